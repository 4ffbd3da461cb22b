//! The message broker: where commands may come from and where events go.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `amqp://user:password@host:5672/%2f` or `amqps://…`; several are tried in turn.
    pub urls: Vec<String>,
    /// Topic exchange for events; the routing key is the event's name.
    #[serde(default = "exchange")]
    pub exchange: String,
    #[serde(default)]
    pub topology: TopologyMode,
    /// Of the queues that the gateway makes.
    #[serde(default)]
    pub queue_type: QueueType,
    /// Unconfirmed publishes in flight.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// Queues that share the events among consumers who need each thread's order.
    pub partitions: Option<Partitions>,
    #[serde(default)]
    pub inputs: Vec<BrokerInput>,
}

/// A queue that messages are taken from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerInput {
    pub queue: String,
    pub source: String,
    #[serde(default = "prefetch")]
    pub prefetch: u16,
    /// Refused messages go here, with the reasons in headers.
    #[serde(default = "dead_letter_exchange")]
    pub dead_letter_exchange: String,
    /// Whether the gateway makes the queue so that one consumer at a time gets its messages, whoever else
    /// stands by. Without it, several gateways let messages of one thread overtake each other.
    #[serde(default = "single_active_consumer")]
    pub single_active_consumer: bool,
    /// Connections of this gateway that take from the queue at once.
    #[serde(default = "consumers")]
    pub consumers: usize,
}

/// A consistent-hash exchange behind the topic exchange, and the queues behind that.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Partitions {
    pub exchange: String,
    /// How many queues.
    pub queues: usize,
    /// Queues are named so, with a number from 1 behind it.
    pub queue_prefix: String,
}

impl Default for Partitions {
    fn default() -> Self {
        Self { exchange: "ers.events.by-thread".into(), queues: 4, queue_prefix: "ers.events.by-thread.".into() }
    }
}

impl Partitions {
    pub fn queue_names(&self) -> impl Iterator<Item = String> {
        (1..=self.queues).map(|number| format!("{}{number}", self.queue_prefix))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopologyMode {
    /// Exchanges and queues are made if they are not there.
    #[default]
    Declare,
    /// They must be there.
    Check,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// Copies on several nodes: a node that dies loses no message.
    #[default]
    Quorum,
    /// On one node.
    Classic,
}

fn exchange() -> String {
    "ers.events".into()
}
fn in_flight_max() -> usize {
    256
}
fn prefetch() -> u16 {
    64
}
fn single_active_consumer() -> bool {
    true
}
fn consumers() -> usize {
    1
}
fn dead_letter_exchange() -> String {
    "ers.rejected".into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_a_word_queues_survive_a_node_and_keep_their_order() {
        let settings = json!({"urls": [], "partitions": {}, "inputs": [{"queue": "q", "source": "northmoor"}]});
        let broker: Broker = serde_json::from_value(settings).expect("a broker");
        assert_eq!(broker.queue_type, QueueType::Quorum);
        assert!(broker.inputs[0].single_active_consumer);
        assert_eq!(broker.inputs[0].consumers, 1);
        let names: Vec<String> = broker.partitions.iter().flat_map(Partitions::queue_names).collect();
        assert_eq!(names, [1, 2, 3, 4].map(|number| format!("ers.events.by-thread.{number}")));
    }

    #[test]
    fn events_are_spread_only_by_wish() {
        let broker: Broker = serde_json::from_value(json!({"urls": []})).expect("a broker");
        assert!(broker.partitions.is_none());
    }
}
