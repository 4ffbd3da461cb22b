//! Exchanges and queues: made if they are not there, or only checked, by setting.
//!
//! What is there stays as it is, whatever its arguments: they are the broker's people's business. A failed
//! check closes its channel, so each one has a channel of its own.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Connection, ErrorKind, ExchangeKind};

use super::short;
use crate::config::TopologyMode;

#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("the {kind} {name} is not there, and `topology: check` forbids to make it")]
    Missing { kind: &'static str, name: String },
    #[error("the {kind} {name} cannot be used: {source}")]
    Refused { kind: &'static str, name: String, source: lapin::Error },
}

/// A durable topic exchange.
pub async fn ensure_exchange(connection: &Connection, name: &str, mode: TopologyMode) -> Result<(), TopologyError> {
    ensure(connection, Part::Exchange, name, mode).await
}

/// A durable queue of the broker's default type.
pub async fn ensure_queue(connection: &Connection, name: &str, mode: TopologyMode) -> Result<(), TopologyError> {
    ensure(connection, Part::Queue, name, mode).await
}

/// The dead-letter exchange of a queue, and, where the gateway may make things, a queue `<queue>.rejected`
/// behind it: a refused message must not vanish because nobody thought of binding one.
pub async fn ensure_dead_letter_queue(
    connection: &Connection,
    exchange: &str,
    queue: &str,
    mode: TopologyMode,
) -> Result<(), TopologyError> {
    ensure_exchange(connection, exchange, mode).await?;
    if mode == TopologyMode::Check {
        return Ok(());
    }
    let rejected = format!("{queue}.rejected");
    ensure_queue(connection, &rejected, mode).await?;
    let bind = async {
        let channel = connection.create_channel().await?;
        let options = QueueBindOptions::default();
        channel.queue_bind(short(&rejected), short(exchange), short(queue), options, FieldTable::default()).await
    };
    bind.await.map_err(|source| TopologyError::Refused { kind: "queue", name: rejected.clone(), source })
}

#[derive(Clone, Copy)]
enum Part {
    Exchange,
    Queue,
}

impl Part {
    fn kind(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Queue => "queue",
        }
    }

    /// Makes it, or with `passive` only asks for it.
    async fn declare(self, connection: &Connection, name: &str, passive: bool) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        match self {
            Self::Exchange => {
                let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(short(name), ExchangeKind::Topic, options, FieldTable::default()).await
            }
            Self::Queue => {
                let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
                channel.queue_declare(short(name), options, FieldTable::default()).await.map(|_| ())
            }
        }
    }
}

async fn ensure(connection: &Connection, part: Part, name: &str, mode: TopologyMode) -> Result<(), TopologyError> {
    let refused = |source| TopologyError::Refused { kind: part.kind(), name: name.to_owned(), source };
    match part.declare(connection, name, true).await {
        Ok(()) => Ok(()),
        Err(error) if !is_not_found(&error) => Err(refused(error)),
        Err(_) if mode == TopologyMode::Check => {
            Err(TopologyError::Missing { kind: part.kind(), name: name.to_owned() })
        }
        Err(_) => part.declare(connection, name, false).await.map_err(refused),
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(e) if *e.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}
