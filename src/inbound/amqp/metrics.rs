//! What is measured about input queues.

use prometheus::{IntCounterVec, Opts};

use crate::metrics::Registry;

#[derive(Clone)]
pub struct InputMetrics {
    /// Refused deliveries that the broker took on the dead-letter exchange.
    pub dead_lettered: IntCounterVec,
    /// Of those, the ones that no queue was bound for: they are only in the gateway's store.
    pub unroutable: IntCounterVec,
}

impl InputMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            dead_lettered: IntCounterVec::new(
                Opts::new("gateway_amqp_dead_lettered_total", "Refused deliveries sent to the dead-letter exchange"),
                &["queue"],
            )?,
            unroutable: IntCounterVec::new(
                Opts::new(
                    "gateway_amqp_dead_letters_unroutable_total",
                    "Refused deliveries for which no queue is bound to the dead-letter exchange",
                ),
                &["queue"],
            )?,
        };
        registry.register(Box::new(metrics.dead_lettered.clone()))?;
        registry.register(Box::new(metrics.unroutable.clone()))?;
        Ok(metrics)
    }
}
