//! What is measured about the outbox and the links to the broker.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::schemas::EventSchemas;

/// Registered once a process; clones count together.
#[derive(Clone)]
pub struct OutboxMetrics {
    /// Events stored and not yet confirmed by the broker.
    pub depth: IntGauge,
    /// Age of the oldest of them.
    pub oldest_age_seconds: IntGauge,
    published: IntCounterVec,
    /// Confirmed by the broker, but no queue was bound to take them.
    pub unroutable: IntCounter,
    /// Refused by the broker; published again.
    pub nacked: IntCounter,
    /// Published although their data broke their schema.
    pub invalid: IntCounter,
    link: BrokerLinks,
    schemas: Arc<EventSchemas>,
}

impl OutboxMetrics {
    pub fn register(registry: &Registry, links: BrokerLinks, schemas: Arc<EventSchemas>) -> prometheus::Result<Self> {
        let metrics = Self {
            depth: IntGauge::new("gateway_outbox_depth", "Events not yet confirmed by the broker")?,
            oldest_age_seconds: IntGauge::new(
                "gateway_outbox_oldest_age_seconds",
                "Age of the oldest event not yet confirmed by the broker",
            )?,
            published: IntCounterVec::new(
                Opts::new("gateway_events_published_total", "Events confirmed by the broker"),
                &["event"],
            )?,
            unroutable: IntCounter::new(
                "gateway_events_unroutable_total",
                "Events that the broker took although no queue is bound for them",
            )?,
            nacked: IntCounter::new("gateway_events_nacked_total", "Publishes that the broker refused")?,
            invalid: IntCounter::new("gateway_events_invalid_total", "Events whose data broke their schema")?,
            link: links,
            schemas,
        };
        registry.register(Box::new(metrics.depth.clone()))?;
        registry.register(Box::new(metrics.oldest_age_seconds.clone()))?;
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
        self.link.link("events")
    }
}

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
