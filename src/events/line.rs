//! The broker as publishing needs it: lines, one at a time, on which it confirms or refuses each event.
//!
//! Enters: events. Leaves: what the broker said about each. Guarantees: nothing about what a broker keeps; whoever
//! publishes notes an event as published only when the broker said that it has it. AMQP is one kind of line; a simulated
//! world has another.

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation};
use parking_lot::Mutex;

use super::cloud_event::MEDIA_TYPE;
use super::session::SessionError;
use crate::amqp::{
    ConnectError, Connected, Nodes, PERSISTENT, THREAD_HEADER, close, confirming_channel, ensure_exchange,
    ensure_partitions, lost, short,
};
use crate::config::Broker;
use crate::environment::Environment;
use crate::store::StoredEvent;

/// Leads to the broker.
#[async_trait]
pub trait Lines: Send {
    async fn connect(&mut self) -> Result<Box<dyn Line>, ConnectError>;
}

/// One connection with one channel.
#[async_trait]
pub trait Line: Send + Sync {
    /// Which node of the broker is at the other end, for the log.
    fn node(&self) -> &str;
    /// Opens the channel, and makes, or checks, what events go to.
    async fn open(&self) -> Result<(), SessionError>;
    /// Opens another channel in the place of one on which the broker refused something.
    async fn renew(&self) -> Result<(), SessionError>;
    /// Hands an event over. The answer is awaited apart, so that several are on their way.
    async fn publish(&self, event: &StoredEvent, body: &[u8]) -> Result<Awaited, SessionError>;
    fn is_up(&self) -> bool;
    /// Returns when the connection is gone.
    async fn lost(&self);
    async fn close(&self);
}

/// An answer of the broker that is to come.
pub type Awaited = BoxFuture<'static, Result<Said, SessionError>>;

/// What the broker said about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Taken,
    /// It has the event and found no queue for it.
    TakenByNobody,
    Refused,
}

pub(super) struct AmqpLines {
    broker: Broker,
    nodes: Nodes,
    environment: Environment,
}

impl AmqpLines {
    pub(super) fn new(broker: &Broker, environment: &Environment) -> Self {
        let nodes = Nodes::new(&broker.urls, environment);
        Self { broker: broker.clone(), nodes, environment: environment.clone() }
    }
}

#[async_trait]
impl Lines for AmqpLines {
    async fn connect(&mut self) -> Result<Box<dyn Line>, ConnectError> {
        let connected = self.nodes.connect("ers-gateway events").await?;
        let (broker, environment) = (self.broker.clone(), self.environment.clone());
        Ok(Box::new(AmqpLine { connected, broker, environment, channel: Mutex::default() }))
    }
}

struct AmqpLine {
    connected: Connected,
    broker: Broker,
    environment: Environment,
    channel: Mutex<Option<Channel>>,
}

impl AmqpLine {
    fn channel(&self) -> Result<Channel, SessionError> {
        self.channel.lock().clone().ok_or(SessionError::Closed)
    }
}

#[async_trait]
impl Line for AmqpLine {
    fn node(&self) -> &str {
        &self.connected.node
    }

    async fn open(&self) -> Result<(), SessionError> {
        self.renew().await?;
        let connection = &self.connected.connection;
        ensure_exchange(connection, &self.broker.exchange, self.broker.topology).await?;
        if let Some(partitions) = &self.broker.partitions {
            ensure_partitions(connection, &self.broker, partitions).await?;
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), SessionError> {
        let channel = confirming_channel(&self.connected.connection).await?;
        *self.channel.lock() = Some(channel);
        Ok(())
    }

    async fn publish(&self, event: &StoredEvent, body: &[u8]) -> Result<Awaited, SessionError> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let (exchange, key) = (short(&self.broker.exchange), short(&event.name));
        let confirm = self.channel()?.basic_publish(exchange, key, options, body, properties(event)).await?;
        let said = async move {
            match confirm.await? {
                Confirmation::Ack(None) => Ok(Said::Taken),
                Confirmation::Ack(Some(_)) => Ok(Said::TakenByNobody),
                Confirmation::Nack(_) => Ok(Said::Refused),
                // The channel is in confirm mode, so this is a connection that is not what it should be.
                Confirmation::NotRequested => Err(SessionError::Closed),
            }
        };
        Ok(said.boxed())
    }

    fn is_up(&self) -> bool {
        self.channel().is_ok_and(|channel| channel.status().connected())
    }

    async fn lost(&self) {
        lost(&self.connected.connection, &self.environment).await;
    }

    async fn close(&self) {
        close(&self.connected.connection).await;
    }
}

/// Message id and headers by which consumers recognise repeats and keep a thread's order.
fn properties(event: &StoredEvent) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(short(THREAD_HEADER), AMQPValue::LongString(LongString::from(event.thread.as_str())));
    let sequence = i64::try_from(event.sequence).unwrap_or(i64::MAX);
    headers.insert(short("x-sequence"), AMQPValue::LongLongInt(sequence));
    let seconds = u64::try_from(event.at.as_second()).unwrap_or(0);
    BasicProperties::default()
        .with_content_type(short(MEDIA_TYPE))
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short(&event.id.to_string()))
        .with_timestamp(seconds)
        .with_type(short(&event.name))
        .with_app_id(short("ers-gateway"))
        .with_headers(headers)
}
