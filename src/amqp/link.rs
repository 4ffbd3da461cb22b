//! Whether each connection to the broker is up, as a metric.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

/// `gateway_broker_up{link}` for every connection that the gateway keeps to the broker.
#[derive(Clone)]
pub struct BrokerLinks {
    up: IntGaugeVec,
}

impl BrokerLinks {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let up = IntGaugeVec::new(Opts::new("gateway_broker_up", "1 while connected to the broker"), &["link"])?;
        registry.register(Box::new(up.clone()))?;
        Ok(Self { up })
    }

    /// `events`, or the name of an input queue.
    pub fn link(&self, name: &str) -> BrokerLink {
        let up = self.up.with_label_values(&[name]);
        up.set(0);
        BrokerLink { up }
    }
}

/// One connection's state.
#[derive(Clone)]
pub struct BrokerLink {
    up: IntGauge,
}

impl BrokerLink {
    pub fn up(&self) {
        self.up.set(1);
    }

    pub fn down(&self) {
        self.up.set(0);
    }
}
