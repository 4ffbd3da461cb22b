//! The outbox to the broker: a loop that keeps one session alive for as long as the gateway runs.

use std::sync::Arc;
use std::time::Duration;

use super::metrics::OutboxMetrics;
use super::schemas::EventSchemas;
use super::session::{Ended, Session};
use crate::amqp::{Backoff, close, connect};
use crate::config::Broker;
use crate::environment::Environment;
use crate::store::{OutboxStore, SearchStore, Signals};

/// How often depth and age of the outbox are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Everything that a session needs; lives longer than any of them.
pub struct Publisher {
    pub(super) broker: Broker,
    pub(super) outbox: Arc<dyn OutboxStore>,
    pub(super) signals: Signals,
    pub(super) schemas: Arc<EventSchemas>,
    pub(super) metrics: OutboxMetrics,
    pub(super) environment: Environment,
}

impl Publisher {
    pub fn new(
        broker: Broker,
        outbox: Arc<dyn OutboxStore>,
        signals: Signals,
        schemas: Arc<EventSchemas>,
        metrics: OutboxMetrics,
        environment: Environment,
    ) -> Self {
        Self { broker, outbox, signals, schemas, metrics, environment }
    }

    /// Publishes until the gateway stops; then waits shortly for what is in flight.
    pub fn start(self) {
        let environment = self.environment.clone();
        environment.spawn(self.run());
    }

    async fn run(self) {
        let link = self.metrics.link();
        let mut backoff = Backoff::default();
        // Confirmed by the broker, not yet noted by the store: survives a session, so that it is noted
        // before anything is read from the outbox again.
        let mut confirmed: Vec<u64> = Vec::new();
        while !self.environment.shutdown().is_cancelled() {
            match connect(&self.broker.urls, "ers-gateway events").await {
                Ok(connection) => {
                    let ended = match Session::open(&self, &connection, &mut confirmed).await {
                        Ok(session) => {
                            link.up();
                            tracing::info!(exchange = %self.broker.exchange, "publishing events");
                            session.run(&mut backoff).await
                        }
                        Err(error) => Err(error),
                    };
                    link.down();
                    close(&connection).await;
                    match ended {
                        Ok(Ended::Stopped) => return,
                        Err(error) => tracing::warn!(%error, "publishing stopped; events stay in the outbox"),
                    }
                }
                Err(error) => tracing::warn!(%error, "events stay in the outbox"),
            }
            if !backoff.wait(&self.environment).await {
                return;
            }
        }
    }
}

impl OutboxMetrics {
    /// Measures the outbox until the gateway stops, broker or not.
    pub fn watch(&self, search: Arc<dyn SearchStore>, environment: &Environment) {
        let metrics = self.clone();
        let environment = environment.clone();
        environment.clone().spawn(async move {
            loop {
                match search.outbox_depth().await {
                    Ok(depth) => {
                        let age = depth.oldest.map_or(0, |oldest| environment.now().duration_since(oldest).as_secs());
                        metrics.depth.set(i64::try_from(depth.count).unwrap_or(i64::MAX));
                        metrics.oldest_age_seconds.set(age.max(0));
                    }
                    Err(error) => tracing::warn!(%error, "the outbox cannot be measured"),
                }
                tokio::select! {
                    () = environment.shutdown().cancelled() => return,
                    () = environment.sleep(MEASURE_EVERY) => {}
                }
            }
        });
    }
}
