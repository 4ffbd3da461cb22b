//! Events spread over several queues, each thread always into the same one.
//!
//! Enters: the topic exchange of events. Leaves: a consistent-hash exchange behind it that hashes the digest of
//! the thread, and queues with a single active consumer each. Guarantees: consumers share the events, and each
//! thread's events stay in order in one queue; nothing is routed before every queue is bound.

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ErrorKind, ExchangeKind};

use super::queue::Queue;
use super::short;
use super::topology::{TopologyError, bind_queue, ensure_exchange, ensure_queue};
use crate::config::{Broker, Partitions, TopologyMode};

/// The header of an event with the digest of its thread.
pub const THREAD_HEADER: &str = "x-thread";
/// Plugin `rabbitmq_consistent_hash_exchange`; the routing key of a binding is its weight.
const CONSISTENT_HASH: &str = "x-consistent-hash";
const EQUAL_WEIGHT: &str = "1";

/// Exchange and queues of `partitions`, made or checked. A check cannot see bindings: AMQP has no question
/// for them.
pub async fn ensure_partitions(
    connection: &Connection,
    broker: &Broker,
    partitions: &Partitions,
) -> Result<(), TopologyError> {
    let mode = broker.topology;
    let names: Vec<String> = partitions.queue_names().collect();
    let queues = names.iter().map(|name| Queue { single_active_consumer: true, ..Queue::new(name, broker.queue_type) });
    if mode == TopologyMode::Check {
        ensure_exchange(connection, &partitions.exchange, mode).await?;
        for queue in queues {
            ensure_queue(connection, &queue, mode).await?;
        }
        return Ok(());
    }
    declare_exchange(connection, &partitions.exchange).await?;
    for queue in queues {
        ensure_queue(connection, &queue, mode).await?;
        bind_queue(connection, queue.name, &partitions.exchange, EQUAL_WEIGHT).await?;
    }
    bind_exchange(connection, &partitions.exchange, &broker.exchange).await
}

/// Also when it is there: one of another type would not keep the order, and the broker says so.
async fn declare_exchange(connection: &Connection, name: &str) -> Result<(), TopologyError> {
    let mut arguments = FieldTable::default();
    arguments.insert(short("hash-header"), AMQPValue::LongString(THREAD_HEADER.into()));
    let declare = async {
        let channel = connection.create_channel().await?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(short(name), ExchangeKind::Custom(CONSISTENT_HASH.into()), options, arguments).await
    };
    declare.await.map_err(|source| match is_unknown_type(&source) {
        true => TopologyError::NoConsistentHash { name: name.to_owned() },
        false => TopologyError::Refused { kind: "exchange", name: name.to_owned(), source },
    })
}

async fn bind_exchange(connection: &Connection, to: &str, from: &str) -> Result<(), TopologyError> {
    let bind = async {
        let channel = connection.create_channel().await?;
        let options = ExchangeBindOptions::default();
        channel.exchange_bind(short(to), short(from), short("#"), options, FieldTable::default()).await
    };
    bind.await.map_err(|source| TopologyError::Refused { kind: "exchange", name: to.to_owned(), source })
}

/// RabbitMQ 3 ends the connection over a type that it does not know, RabbitMQ 4 the channel.
fn is_unknown_type(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    match error.kind() {
        AMQPErrorKind::Hard(AMQPHardError::COMMANDINVALID) => true,
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
            let text = error.get_message().as_str();
            text.contains("unknown exchange type") || text.contains("invalid exchange type")
        }
        _ => false,
    }
}
