//! One connection's worth of taking: deliver, hand to intake, acknowledge or dead-letter.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Connection, Consumer};

use super::content::content;
use super::dead_letter;
use super::input::Input;
use crate::amqp::{Queue, TopologyError, confirming_channel, ensure_dead_letter_queue, ensure_queue, short};
use crate::backoff::Backoff;
use crate::intake::{Answer, Inbound, Outcome};
use crate::store::Transport;

/// How often the channel is looked at while nothing comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For the broker's confirmation of a dead letter.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a session ended without an error.
pub enum Ended {
    /// The gateway stops.
    Stopped,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the connection to the broker ended: {0}")]
    Broken(#[from] lapin::Error),
    #[error("the connection to the broker ended, or the queue was deleted")]
    Closed,
    #[error("the broker answered nothing for too long")]
    Stalled,
}

pub struct Session<'a> {
    input: &'a Input,
    connection: &'a Connection,
    consumer: Consumer,
    /// In confirm mode, apart from the consumer's channel.
    dead_letters: Channel,
}

impl<'a> Session<'a> {
    pub async fn open(input: &'a Input, connection: &'a Connection) -> Result<Self, SessionError> {
        let settings = &input.settings;
        let queue = Queue {
            single_active_consumer: settings.single_active_consumer,
            dead_letter_exchange: Some(&settings.dead_letter_exchange),
            ..Queue::new(&settings.queue, input.queue_type)
        };
        // The dead letters' place first: from the moment that the queue is there, something may expire in it.
        ensure_dead_letter_queue(connection, &settings.dead_letter_exchange, &queue, input.topology).await?;
        ensure_queue(connection, &queue, input.topology).await?;
        let dead_letters = confirming_channel(connection).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(settings.prefetch.max(1), BasicQosOptions::default()).await?;
        let consumer = channel
            .basic_consume(short(&settings.queue), short(""), BasicConsumeOptions::default(), FieldTable::default())
            .await?;
        Ok(Self { input, connection, consumer, dead_letters })
    }

    pub async fn run(&mut self, backoff: &mut Backoff) -> Result<Ended, SessionError> {
        let environment = self.input.environment.clone();
        loop {
            let delivery = tokio::select! {
                () = environment.shutdown().cancelled() => return Ok(Ended::Stopped),
                delivery = self.consumer.next() => delivery.ok_or(SessionError::Closed)??,
                () = environment.sleep(LOOK_EVERY) => {
                    self.check_channel()?;
                    continue;
                }
            };
            if self.take(&delivery, backoff).await?.is_some() {
                return Ok(Ended::Stopped);
            }
        }
    }

    /// `Some` if the gateway was asked to stop before the delivery could be stored; it stays in the queue.
    ///
    /// While the store cannot take anything, the delivery is held and tried again after a pause, with
    /// everything behind it: giving it back would let others overtake it, and count against the limit of
    /// redeliveries, past which some queues drop a message.
    async fn take(&mut self, delivery: &Delivery, backoff: &mut Backoff) -> Result<Option<Ended>, SessionError> {
        let bytes = Bytes::copy_from_slice(&delivery.data);
        let answer = loop {
            let answer = self.receive(delivery, bytes.clone()).await;
            if answer.outcome != Outcome::Unavailable {
                break answer;
            }
            tracing::warn!(queue = %self.input.settings.queue, "the store takes no message; the queue is held");
            if !backoff.wait(&self.input.environment).await {
                return Ok(Some(Ended::Stopped));
            }
            self.check_channel()?;
        };
        if is_refused(&answer) && self.dead_letter(delivery, &answer, backoff).await?.is_some() {
            return Ok(Some(Ended::Stopped));
        }
        if !delivery.ack(BasicAckOptions::default()).await? {
            return Err(SessionError::Closed);
        }
        backoff.reset();
        if let Some(message) = answer.message {
            self.input.intake.acknowledged(message).await;
        }
        Ok(None)
    }

    async fn receive(&self, delivery: &Delivery, bytes: Bytes) -> Answer {
        match content(&delivery.properties, bytes) {
            Ok(content) => {
                let inbound = Inbound {
                    source: Some(self.input.settings.source.clone()),
                    transport: Transport::Amqp,
                    received_at: self.input.environment.now(),
                    peer: None,
                    content,
                };
                self.input.intake.receive(inbound).await
            }
            Err(problem) => Answer {
                outcome: Outcome::Unreadable,
                message: None,
                commands: Vec::new(),
                problems: vec![problem],
                hl7: None,
                deferred: None,
            },
        }
    }

    /// Returns once the broker has the refused delivery on the dead-letter exchange. `Some` if the gateway
    /// was asked to stop before that.
    async fn dead_letter(
        &mut self,
        delivery: &Delivery,
        answer: &Answer,
        backoff: &mut Backoff,
    ) -> Result<Option<Ended>, SessionError> {
        let input = self.input;
        let queue = input.settings.queue.as_str();
        let exchange = input.settings.dead_letter_exchange.as_str();
        let metrics = &input.metrics;
        loop {
            match self.publish_dead_letter(delivery, answer).await? {
                Confirmation::Ack(None) => {
                    metrics.dead_lettered.with_label_values(&[queue]).inc();
                    return Ok(None);
                }
                // Kept in the store, so nothing is lost.
                Confirmation::Ack(Some(_)) if answer.message.is_some() => {
                    metrics.dead_lettered.with_label_values(&[queue]).inc();
                    metrics.unroutable.with_label_values(&[queue]).inc();
                    tracing::warn!(%queue, %exchange, "no queue is bound for refused messages; it is only in the store");
                    return Ok(None);
                }
                Confirmation::Ack(Some(_)) => {
                    metrics.unroutable.with_label_values(&[queue]).inc();
                    tracing::error!(
                        %queue, %exchange,
                        "a message that cannot be stored has nowhere to go; bind a queue for refused messages"
                    );
                }
                Confirmation::Nack(_) => {
                    tracing::warn!(%queue, %exchange, "the broker refused a dead letter; the queue is held");
                }
                Confirmation::NotRequested => return Err(SessionError::Closed),
            }
            if !backoff.wait(&self.input.environment).await {
                return Ok(Some(Ended::Stopped));
            }
            self.check_channel()?;
            let opening = tokio::time::timeout(CONFIRM_TIMEOUT, confirming_channel(self.connection));
            self.dead_letters = opening.await.map_err(|_| SessionError::Stalled)??;
        }
    }

    async fn publish_dead_letter(&self, delivery: &Delivery, answer: &Answer) -> Result<Confirmation, SessionError> {
        let settings = &self.input.settings;
        let publish = async {
            let confirm = self
                .dead_letters
                .basic_publish(
                    short(&settings.dead_letter_exchange),
                    short(&settings.queue),
                    BasicPublishOptions { mandatory: true, immediate: false },
                    &delivery.data,
                    dead_letter::properties(delivery, &settings.source, answer),
                )
                .await?;
            confirm.await
        };
        Ok(tokio::time::timeout(CONFIRM_TIMEOUT, publish).await.map_err(|_| SessionError::Stalled)??)
    }

    fn check_channel(&self) -> Result<(), SessionError> {
        if self.dead_letters.status().connected() { Ok(()) } else { Err(SessionError::Closed) }
    }
}

/// A resend of a refused message is as refused as the first one was.
fn is_refused(answer: &Answer) -> bool {
    match answer.outcome {
        Outcome::Accepted | Outcome::Notice => false,
        Outcome::Duplicate => !answer.problems.is_empty(),
        Outcome::Rejected | Outcome::Unreadable | Outcome::UnknownSource | Outcome::TooLarge | Outcome::Unavailable => {
            true
        }
    }
}
