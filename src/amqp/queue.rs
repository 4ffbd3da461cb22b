//! What a queue is made with when the gateway makes it.

use lapin::types::{AMQPValue, FieldTable};

use super::short;
use crate::config::QueueType;

/// Deliveries after which a quorum queue gives a message up: never, in effect. Every return of what a consumer
/// held counts, so that RabbitMQ 4 with its default of 20 would drop messages of a gateway that is restarted
/// often. Neither "no limit" nor -1: RabbitMQ 3 does not know -1, and a queue without a limit puts what a
/// consumer gives back behind everything else, against the order of its thread.
const DELIVERY_LIMIT: i32 = i32::MAX;

/// A durable queue.
#[derive(Clone, Debug)]
pub struct Queue<'a> {
    pub name: &'a str,
    pub kind: QueueType,
    /// One consumer at a time gets messages; the others stand by. So the order survives several of them.
    pub single_active_consumer: bool,
    /// Where a message goes that the broker gives up (expired, or past a limit that a policy sets). By the
    /// routing key `name`.
    pub dead_letter_exchange: Option<&'a str>,
}

impl<'a> Queue<'a> {
    pub fn new(name: &'a str, kind: QueueType) -> Self {
        Self { name, kind, single_active_consumer: false, dead_letter_exchange: None }
    }

    /// The optional arguments of `queue.declare`.
    pub fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        let mut set = |name: &str, value| {
            arguments.insert(short(name), value);
        };
        // Where a policy limits the length: the publisher hears of it, instead of the oldest message vanishing.
        set("x-overflow", text("reject-publish"));
        match self.kind {
            QueueType::Quorum => {
                set("x-queue-type", text("quorum"));
                set("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT));
            }
            QueueType::Classic => set("x-queue-type", text("classic")),
        }
        if self.single_active_consumer {
            set("x-single-active-consumer", AMQPValue::Boolean(true));
        }
        if let Some(exchange) = self.dead_letter_exchange {
            set("x-dead-letter-exchange", text(exchange));
            set("x-dead-letter-routing-key", text(self.name));
            if self.kind == QueueType::Quorum {
                // The queue keeps a message until the other one has confirmed it.
                set("x-dead-letter-strategy", text("at-least-once"));
            }
        }
        arguments
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
