//! Exchanges and queues: made if they are not there, or only checked, by setting.
//!
//! What is there stays as it is, whatever its arguments: they are the broker's people's business. A failed
//! check closes its channel, so each one has a channel of its own.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Connection, ErrorKind, ExchangeKind};

use super::queue::Queue;
use super::short;
use crate::config::TopologyMode;

#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("the {kind} {name} is not there, and `topology: check` forbids to make it")]
    Missing { kind: &'static str, name: String },
    #[error("the {kind} {name} cannot be used: {source}")]
    Refused { kind: &'static str, name: String, source: lapin::Error },
    #[error(
        "the broker cannot make the exchange {name} of type x-consistent-hash: its plugin is off. On every node, run \
         `rabbitmq-plugins enable rabbitmq_consistent_hash_exchange`; or take broker.partitions out of the settings"
    )]
    NoConsistentHash { name: String },
}

/// A durable topic exchange.
pub async fn ensure_exchange(connection: &Connection, name: &str, mode: TopologyMode) -> Result<(), TopologyError> {
    ensure(connection, Part::Exchange(name), mode).await.map(|_| ())
}

/// A durable queue. One that was there before and does not keep the order is told of, and used.
pub async fn ensure_queue(connection: &Connection, queue: &Queue<'_>, mode: TopologyMode) -> Result<(), TopologyError> {
    let found = ensure(connection, Part::Queue(queue), mode).await?;
    if found == Found::There && mode == TopologyMode::Declare && queue.single_active_consumer {
        tell_if_otherwise(connection, queue).await;
    }
    Ok(())
}

/// The dead-letter exchange of a queue, and, where the gateway may make things, a queue `<queue>.rejected`
/// behind it: a refused message must not vanish because nobody thought of binding one.
pub async fn ensure_dead_letter_queue(
    connection: &Connection,
    exchange: &str,
    queue: &Queue<'_>,
    mode: TopologyMode,
) -> Result<(), TopologyError> {
    ensure_exchange(connection, exchange, mode).await?;
    if mode == TopologyMode::Check {
        return Ok(());
    }
    let rejected = format!("{}.rejected", queue.name);
    ensure_queue(connection, &Queue::new(&rejected, queue.kind), mode).await?;
    bind_queue(connection, &rejected, exchange, queue.name).await
}

pub(super) async fn bind_queue(
    connection: &Connection,
    queue: &str,
    exchange: &str,
    key: &str,
) -> Result<(), TopologyError> {
    let bind = async {
        let channel = connection.create_channel().await?;
        let options = QueueBindOptions::default();
        channel.queue_bind(short(queue), short(exchange), short(key), options, FieldTable::default()).await
    };
    bind.await.map_err(|source| TopologyError::Refused { kind: "queue", name: queue.to_owned(), source })
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Exchange(&'a str),
    Queue(&'a Queue<'a>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    There,
    Made,
}

impl Part<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Exchange(_) => "exchange",
            Self::Queue(_) => "queue",
        }
    }

    fn name(self) -> String {
        match self {
            Self::Exchange(name) => name.to_owned(),
            Self::Queue(queue) => queue.name.to_owned(),
        }
    }

    /// Makes it, or with `passive` only asks for it.
    async fn declare(self, connection: &Connection, passive: bool) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        match self {
            Self::Exchange(name) => {
                let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(short(name), ExchangeKind::Topic, options, FieldTable::default()).await
            }
            Self::Queue(queue) => {
                let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
                channel.queue_declare(short(queue.name), options, queue.arguments()).await.map(|_| ())
            }
        }
    }
}

async fn ensure(connection: &Connection, part: Part<'_>, mode: TopologyMode) -> Result<Found, TopologyError> {
    let refused = |source| TopologyError::Refused { kind: part.kind(), name: part.name(), source };
    match part.declare(connection, true).await {
        Ok(()) => Ok(Found::There),
        Err(error) if !is_soft(&error, &AMQPSoftError::NOTFOUND) => Err(refused(error)),
        Err(_) if mode == TopologyMode::Check => Err(TopologyError::Missing { kind: part.kind(), name: part.name() }),
        Err(_) => part.declare(connection, false).await.map(|()| Found::Made).map_err(refused),
    }
}

/// Asks the broker whether the queue is as the gateway would make it. Whatever the answer, it is used.
async fn tell_if_otherwise(connection: &Connection, queue: &Queue<'_>) {
    if let Err(error) = Part::Queue(queue).declare(connection, false).await
        && is_soft(&error, &AMQPSoftError::PRECONDITIONFAILED)
    {
        tracing::warn!(
            queue = queue.name, %error,
            "the queue was made otherwise and stays so; without a single active consumer, messages of one thread \
             can overtake each other when several gateways take from it"
        );
    }
}

fn is_soft(error: &lapin::Error, expected: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(e) if matches!(e.kind(), AMQPErrorKind::Soft(soft) if soft == expected))
}
