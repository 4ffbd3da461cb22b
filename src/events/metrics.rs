//! What is measured about publishing. Depth and age of the outbox are in `telemetry`.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts};

use super::schemas::EventSchemas;
use crate::amqp::{BrokerLink, BrokerLinks};
use crate::metrics::Registry;

/// Registered once a process; clones count together.
#[derive(Clone)]
pub struct PublisherMetrics {
    published: IntCounterVec,
    /// Confirmed by the broker, but no queue was bound to take them.
    pub unroutable: IntCounter,
    /// Refused by the broker; published again.
    pub nacked: IntCounter,
    /// Published although their data broke their schema.
    pub invalid: IntCounter,
    links: BrokerLinks,
    schemas: Arc<EventSchemas>,
}

impl PublisherMetrics {
    pub fn register(registry: &Registry, links: BrokerLinks, schemas: Arc<EventSchemas>) -> prometheus::Result<Self> {
        let metrics = Self {
            published: IntCounterVec::new(
                Opts::new("gateway_events_published_total", "Events confirmed by the broker"),
                &["event"],
            )?,
            unroutable: IntCounter::new(
                "gateway_events_unroutable_total",
                "Events that the broker took although no queue is bound for them: nobody gets them",
            )?,
            nacked: IntCounter::new(
                "gateway_events_nacked_total",
                "Publishes that the broker refused; they are published again",
            )?,
            invalid: IntCounter::new("gateway_events_invalid_total", "Events whose data broke their schema")?,
            links,
            schemas,
        };
        registry.register(Box::new(metrics.published.clone()))?;
        registry.register(Box::new(metrics.unroutable.clone()))?;
        registry.register(Box::new(metrics.nacked.clone()))?;
        registry.register(Box::new(metrics.invalid.clone()))?;
        Ok(metrics)
    }

    /// Names without a schema share one label: labels stay bounded.
    pub fn published(&self, name: &str) {
        let label = if self.schemas.knows(name) { name } else { "other" };
        self.published.with_label_values(&[label]).inc();
    }

    pub fn link(&self) -> BrokerLink {
        self.links.link("events")
    }
}
