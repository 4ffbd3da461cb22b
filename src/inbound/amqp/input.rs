//! Supervised consumers: one for each input queue, or as many as it is to have.

use std::sync::Arc;

use super::metrics::InputMetrics;
use super::session::{Ended, Session, SessionError};
use crate::amqp::{BrokerLink, BrokerLinks, Connected, Nodes, OPEN_TIMEOUT, close, lost};
use crate::backoff::Backoff;
use crate::config::{Broker, BrokerInput, QueueType, TopologyMode};
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
        for _ in 0..settings.consumers {
            let input = Input {
                topology: broker.topology,
                queue_type: broker.queue_type,
                settings: settings.clone(),
                intake: deps.intake.clone(),
                metrics: deps.metrics.clone(),
                environment: environment.clone(),
            };
            let (nodes, link) = (Nodes::new(&broker.urls, environment), deps.links.link(&settings.queue));
            environment.spawn(input.run(nodes, link));
        }
    }
}

/// One queue and what its sessions need.
pub struct Input {
    pub(super) topology: TopologyMode,
    pub(super) queue_type: QueueType,
    pub(super) settings: BrokerInput,
    pub(super) intake: Arc<dyn Receive>,
    pub(super) metrics: InputMetrics,
    pub(super) environment: Environment,
}

impl Input {
    async fn run(self, mut nodes: Nodes, mut link: BrokerLink) {
        let queue = &self.settings.queue;
        let name = format!("ers-gateway input {queue}");
        let mut backoff = Backoff::default();
        while !self.environment.shutdown().is_cancelled() {
            match nodes.connect(&name).await {
                Ok(connected) => {
                    let ended = tokio::select! {
                        ended = self.session(&connected, &mut link, &mut backoff) => ended,
                        () = lost(&connected.connection, &self.environment) => Err(SessionError::Closed),
                    };
                    link.down();
                    close(&connected.connection).await;
                    match ended {
                        Ok(Ended::Stopped) => return,
                        Err(error) => tracing::warn!(
                            %queue, node = connected.node, %error,
                            "no messages are taken from the queue"
                        ),
                    }
                }
                Err(error) => tracing::warn!(%queue, %error, "no messages are taken from the queue"),
            }
            if !backoff.wait(&self.environment).await {
                return;
            }
        }
    }

    async fn session(
        &self,
        connected: &Connected,
        link: &mut BrokerLink,
        backoff: &mut Backoff,
    ) -> Result<Ended, SessionError> {
        let opening = tokio::time::timeout(OPEN_TIMEOUT, Session::open(self, &connected.connection));
        let mut session = opening.await.map_err(|_| SessionError::Stalled)??;
        link.up();
        tracing::info!(queue = %self.settings.queue, node = connected.node, "taking messages");
        let ended = session.run(backoff).await;
        // While the consumer is still there: its end is a cancellation, after which the broker serves the next
        // consumer before it takes back what this one holds. With the connection both happen at once, in order.
        close(&connected.connection).await;
        ended
    }
}
