//! A consumer of events that remembers what it got, and what it may not get.

use std::collections::BTreeMap;
use std::time::Duration;

use ers_gateway::events::EventSchemas;
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use serde_json::Value;

use super::rabbitmq::{Client, RabbitMq};

/// For the next of those that are in the queue, on a busy machine too.
const NEXT_WITHIN: Duration = Duration::from_secs(30);
/// Nothing comes beyond them after so long.
const QUIET: Duration = Duration::from_secs(2);

/// Every event of a queue, each once.
#[derive(Default)]
pub struct Heard {
    /// By id, in the order of their first arrival.
    pub events: Vec<Value>,
    /// Deliveries that repeated an event.
    pub repeats: u64,
    /// Places in `events`, by command.
    by_command: BTreeMap<String, Vec<usize>>,
}

impl Heard {
    /// Takes all that is in the queue. Each event is valid against its schema, comes again only with the same id
    /// and content, and is the next of its thread when it comes first.
    pub async fn all(node: &RabbitMq, queue: &str) -> Self {
        let client = node.client().await;
        let schemas = EventSchemas::built_in();
        let mut heard = Self::default();
        let mut by_place: BTreeMap<(String, u64), Value> = BTreeMap::new();
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
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
            let thread = member("partitionkey").to_owned();
            let sequence: u64 = member("sequence").parse().expect("a number");
            assert_eq!(schemas.violations(member("type"), &event["data"]), [], "{event}");
            if let Some(before) = by_place.get(&(thread.clone(), sequence)) {
                assert_eq!(*before, event, "another event has its place");
                heard.repeats += 1;
                continue;
            }
            let before = last.insert(thread.clone(), sequence).unwrap_or(0);
            assert_eq!(sequence, before + 1, "out of order, or a gap: {event}");
            by_place.insert((thread, sequence), event.clone());
            if let Some(command) = event["data"]["command"].as_str() {
                heard.by_command.entry(command.to_owned()).or_default().push(heard.events.len());
            }
            heard.events.push(event);
        }
        heard
    }

    pub fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.events.iter().filter_map(|event| event["id"].as_str()).collect();
        ids.sort_unstable();
        ids
    }

    /// Events of a name about a command.
    pub fn about<'a>(&'a self, name: &'a str, command: &str) -> impl Iterator<Item = &'a Value> {
        let events = &self.events;
        let places = self.by_command.get(command).into_iter().flatten();
        places.map(move |place| &events[*place]).filter(move |event| event["type"] == name)
    }
}

/// A queue that hears every event of an exchange from now on.
pub async fn listen(client: &Client, exchange: &str, queue: &str) {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (kind, table) = (lapin::ExchangeKind::Topic, FieldTable::default());
    client.channel.exchange_declare(exchange.into(), kind, options, table).await.expect("an exchange");
    client.bind(queue, exchange, "#").await;
}
