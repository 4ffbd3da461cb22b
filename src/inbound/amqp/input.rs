//! One supervised consumer for each input queue.

use std::sync::Arc;

use lapin::Connection;

use super::metrics::InputMetrics;
use super::session::{Ended, Session, SessionError};
use crate::amqp::{Backoff, BrokerLink, BrokerLinks, OPEN_TIMEOUT, close, connect, lost};
use crate::config::{Broker, BrokerInput, TopologyMode};
use crate::environment::Environment;
use crate::intake::Receive;

/// The rooms behind the queues.
#[derive(Clone)]
pub struct AmqpDeps {
    pub intake: Arc<dyn Receive>,
    pub links: BrokerLinks,
    pub metrics: InputMetrics,
}

/// Takes messages from every input queue of the broker until the gateway stops.
pub fn start(broker: &Broker, deps: &AmqpDeps, environment: &Environment) {
    for settings in &broker.inputs {
        let input = Input {
            link: deps.links.link(&settings.queue),
            urls: broker.urls.clone(),
            topology: broker.topology,
            settings: settings.clone(),
            intake: deps.intake.clone(),
            metrics: deps.metrics.clone(),
            environment: environment.clone(),
        };
        environment.spawn(input.run());
    }
}

/// One queue and what its sessions need.
pub struct Input {
    urls: Vec<String>,
    pub(super) topology: TopologyMode,
    pub(super) settings: BrokerInput,
    pub(super) intake: Arc<dyn Receive>,
    pub(super) metrics: InputMetrics,
    pub(super) environment: Environment,
    link: BrokerLink,
}

impl Input {
    async fn run(self) {
        let queue = &self.settings.queue;
        let name = format!("ers-gateway input {queue}");
        let mut backoff = Backoff::default();
        while !self.environment.shutdown().is_cancelled() {
            match connect(&self.urls, &name).await {
                Ok(connection) => {
                    let ended = tokio::select! {
                        ended = self.session(&connection, &mut backoff) => ended,
                        () = lost(&connection, &self.environment) => Err(SessionError::Closed),
                    };
                    self.link.down();
                    // What was delivered and not acknowledged goes back to the queue, in its old order.
                    close(&connection).await;
                    match ended {
                        Ok(Ended::Stopped) => return,
                        Err(error) => tracing::warn!(%queue, %error, "no messages are taken from the queue"),
                    }
                }
                Err(error) => tracing::warn!(%queue, %error, "no messages are taken from the queue"),
            }
            if !backoff.wait(&self.environment).await {
                return;
            }
        }
    }
    async fn session(&self, connection: &Connection, backoff: &mut Backoff) -> Result<Ended, SessionError> {
        let opening = tokio::time::timeout(OPEN_TIMEOUT, Session::open(self, connection));
        let session = opening.await.map_err(|_| SessionError::Stalled)??;
        self.link.up();
        tracing::info!(queue = %self.settings.queue, "taking messages");
        session.run(backoff).await
    }
}
