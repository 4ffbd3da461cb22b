//! A consumer of events that remembers what it got, and what it may not get.

use std::collections::BTreeSet;
use std::time::Duration;

use ers_gateway::events::EventSchemas;
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use serde_json::Value;

use super::rabbitmq::{Client, RabbitMq};
use crate::history;

/// For the next of those that are in the queue, on a busy machine too.
const NEXT_WITHIN: Duration = Duration::from_secs(30);
/// Nothing comes beyond them after so long.
const QUIET: Duration = Duration::from_secs(2);

/// Every event of a queue.
#[derive(Default)]
pub struct Heard {
    /// In the order of their arrival, repeats included.
    pub arrivals: Vec<Value>,
    /// Each once, by id, in the order of their first arrival.
    pub events: Vec<Value>,
    /// Deliveries that repeated an event.
    pub repeats: u64,
}

impl Heard {
    /// Takes all that is in the queue. Each event is valid against its schema, comes again only with the same id
    /// and content, and is the next of its thread when it comes first.
    pub async fn all(node: &RabbitMq, queue: &str) -> Self {
        let client = node.client().await;
        let schemas = EventSchemas::built_in();
        let mut heard = Self::default();
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut waiting = client.depth(queue).await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = client.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await;
        let mut consumer = consumer.expect("the queue is there");
        loop {
            let patience = if waiting > 0 { NEXT_WITHIN } else { QUIET };
            let Ok(Some(delivery)) = tokio::time::timeout(patience, consumer.next()).await else { break };
            waiting = waiting.saturating_sub(1);
            let delivery = delivery.expect("the node is up");
            let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
            let member = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("no {name}: {event}"));
            assert_eq!(schemas.violations(member("type"), &event["data"]), [], "{event}");
            heard.arrivals.push(event.clone());
            match known.insert(member("id").to_owned()) {
                true => heard.events.push(event),
                false => heard.repeats += 1,
            }
        }
        assert_eq!(history::out_of_order(&heard.arrivals), [], "events arrive in order");
        heard
    }
}

/// A queue that hears every event of an exchange from now on.
pub async fn listen(client: &Client, exchange: &str, queue: &str) {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (kind, table) = (lapin::ExchangeKind::Topic, FieldTable::default());
    client.channel.exchange_declare(exchange.into(), kind, options, table).await.expect("an exchange");
    client.bind(queue, exchange, "#").await;
}
