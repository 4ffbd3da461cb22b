//! What intake counts. Labels are bounded: configured sources, transports, outcomes.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::Outcome;
use crate::store::Transport;

#[derive(Clone)]
pub struct IntakeMetrics {
    messages: IntCounterVec,
    seconds: HistogramVec,
    unused: IntCounterVec,
}

impl IntakeMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let messages = IntCounterVec::new(
            Opts::new("gateway_messages_total", "Messages received, by source, transport and verdict."),
            &["source", "transport", "verdict"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("gateway_intake_duration_seconds", "From the last byte of a message to its answer.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]),
            &["transport", "outcome"],
        )?;
        let unused = IntCounterVec::new(
            Opts::new(
                "gateway_unused_fields_total",
                "Populated fields that a mapping neither uses nor names as ignored, by source and field.",
            ),
            &["source", "field"],
        )?;
        registry.register(Box::new(messages.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(unused.clone()))?;
        Ok(Self { messages, seconds, unused })
    }

    pub fn decided(&self, source: &str, transport: Transport, verdict: &str) {
        self.messages.with_label_values(&[source, transport.name(), verdict]).inc();
    }

    pub fn took(&self, transport: Transport, outcome: Outcome, duration: Duration) {
        self.seconds.with_label_values(&[transport.name(), outcome.name()]).observe(duration.as_secs_f64());
    }

    /// `field` is a segment and a number; a sender decides how many there are, so odd names share one label.
    pub fn unused(&self, source: &str, field: &str) {
        let (segment, _) = field.split_once('-').unwrap_or((field, ""));
        let standard = segment.len() == 3 && segment.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let label = if standard && !segment.starts_with('Z') { field } else { "local" };
        self.unused.with_label_values(&[source, label]).inc();
    }
}
