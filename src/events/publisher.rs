//! The outbox to the broker: a loop that keeps one session alive for as long as the gateway runs.

use std::sync::Arc;
use std::time::Duration;

use super::line::{AmqpLines, Line, Lines};
use super::metrics::PublisherMetrics;
use super::schemas::EventSchemas;
use super::session::{Ended, Session, SessionError};
use crate::amqp::{BrokerLink, OPEN_TIMEOUT};
use crate::backoff::Backoff;
use crate::config::Broker;
use crate::environment::Environment;
use crate::instances::Duty;
use crate::store::{OutboxStore, Signals};
use crate::telemetry::Traces;

/// When the gateway stops, what is still in the outbox gets this long; the rest goes out after the next start.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// A broker that does not confirm an event for so long is given up, and asked again over a new connection.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that a session needs; lives longer than any of them.
pub struct Publisher {
    pub(super) broker: Broker,
    pub(super) outbox: Arc<dyn OutboxStore>,
    pub(super) signals: Signals,
    duty: Duty,
    pub(super) schemas: Arc<EventSchemas>,
    pub(super) metrics: PublisherMetrics,
    pub(super) environment: Environment,
    pub(super) confirm_timeout: Duration,
    pub(super) traces: Traces,
}

impl Publisher {
    pub fn new(
        broker: Broker,
        outbox: Arc<dyn OutboxStore>,
        signals: Signals,
        duty: Duty,
        schemas: Arc<EventSchemas>,
        metrics: PublisherMetrics,
        environment: Environment,
    ) -> Self {
        let (confirm_timeout, traces) = (CONFIRM_TIMEOUT, Traces::default());
        Self { broker, outbox, signals, duty, schemas, metrics, environment, confirm_timeout, traces }
    }

    pub fn with_traces(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Gives up a broker that does not confirm an event for `limit`.
    pub fn with_confirm_timeout(self, limit: Duration) -> Self {
        Self { confirm_timeout: limit, ..self }
    }

    /// Publishes until the gateway stops, and then, for a short time, what is left.
    pub fn start(self) {
        let lines = AmqpLines::new(&self.broker, &self.environment);
        self.start_over(Box::new(lines));
    }

    /// The same over lines of another kind.
    pub fn start_over(self, lines: Box<dyn Lines>) {
        let environment = self.environment.clone();
        environment.spawn(self.run(lines));
    }

    async fn run(self, mut lines: Box<dyn Lines>) {
        let mut link = self.metrics.link();
        let mut backoff = Backoff::default();
        // Confirmed by the broker, not yet noted by the store: survives a session, so that it is noted
        // before anything is read from the outbox again.
        let mut confirmed: Vec<u64> = Vec::new();
        while !self.environment.shutdown().is_cancelled() {
            // One instance publishes. One that reaches no broker lets go, so that another may try.
            let Some(held) = self.duty.hold().await else { return };
            match lines.connect().await {
                Ok(line) => {
                    let ended = tokio::select! {
                        biased;
                        ended = self.session(&*line, &mut link, &mut confirmed, &mut backoff) => ended,
                        () = line.lost() => Err(SessionError::Closed),
                        () = held.lost() => Err(SessionError::Displaced),
                        () = self.stops_now() => Ok(Ended::Stopped),
                    };
                    link.down();
                    line.close().await;
                    match ended {
                        Ok(Ended::Stopped) => {
                            held.leave().await;
                            return;
                        }
                        Err(error) => tracing::warn!(
                            node = line.node(), %error,
                            "publishing stopped; events stay in the outbox"
                        ),
                    }
                }
                Err(error) => tracing::warn!(%error, "events stay in the outbox"),
            }
            held.leave().await;
            if !backoff.wait(&self.environment).await {
                return;
            }
        }
    }

    /// The gateway stops, and what was left to publish had its time.
    async fn stops_now(&self) {
        self.environment.shutdown().cancelled().await;
        self.environment.sleep(DRAIN_MAX).await;
    }

    async fn session(
        &self,
        line: &dyn Line,
        link: &mut BrokerLink,
        confirmed: &mut Vec<u64>,
        backoff: &mut Backoff,
    ) -> Result<Ended, SessionError> {
        let opening = Session::open(self, line, confirmed);
        let session = tokio::time::timeout(OPEN_TIMEOUT, opening).await.map_err(|_| SessionError::Stalled)??;
        link.up();
        tracing::info!(node = line.node(), exchange = %self.broker.exchange, "publishing events");
        session.run(backoff).await
    }
}
