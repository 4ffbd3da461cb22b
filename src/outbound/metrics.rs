//! What is measured about messages to hospital systems. How many wait, and since when, is in `telemetry`.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::metrics::Registry;

/// Registered once a process.
#[derive(Clone)]
pub struct OutboundMetrics {
    tries: IntCounterVec,
    up: IntGaugeVec,
    told: IntCounterVec,
}

impl OutboundMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let tries = Opts::new(
            "gateway_dispatch_tries_total",
            "Tries to send a message to a hospital system: delivered, refused, not_now, unanswered, unreachable, unmade",
        );
        let tries = IntCounterVec::new(tries, &["destination", "outcome"])?;
        let up = Opts::new(
            "gateway_destination_up",
            "1 while the connection to a hospital system works, or the folder can be written, on the one instance that sends",
        );
        let up = IntGaugeVec::new(up, &["destination"])?;
        let told = Opts::new(
            "gateway_told_total",
            "Events for a hospital system, by what came of them: told (messages), unmade (messages), passed_over (events)",
        );
        let told = IntCounterVec::new(told, &["destination", "outcome"])?;
        registry.register(Box::new(told.clone()))?;
        registry.register(Box::new(tries.clone()))?;
        registry.register(Box::new(up.clone()))?;
        Ok(Self { tries, up, told })
    }

    pub(super) fn destination(&self, name: &str) -> DestinationMetrics {
        let up = self.up.with_label_values(&[name]);
        DestinationMetrics { name: name.to_owned(), tries: self.tries.clone(), up }
    }
}

impl OutboundMetrics {
    pub(super) fn told(&self, destination: &str) -> ToldMetrics {
        ToldMetrics { name: destination.to_owned(), told: self.told.clone() }
    }
}

pub(super) struct ToldMetrics {
    name: String,
    told: IntCounterVec,
}

impl ToldMetrics {
    pub fn told(&self, outcome: &str, count: u64) {
        self.told.with_label_values(&[&self.name, outcome]).inc_by(count);
    }
}

pub(super) struct DestinationMetrics {
    name: String,
    tries: IntCounterVec,
    pub up: IntGauge,
}

impl DestinationMetrics {
    pub fn tried(&self, outcome: &str) {
        self.tries.with_label_values(&[&self.name, outcome]).inc();
    }
}
