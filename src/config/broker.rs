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
    /// Unconfirmed publishes in flight.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
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

fn exchange() -> String {
    "ers.events".into()
}
fn in_flight_max() -> usize {
    256
}
fn prefetch() -> u16 {
    64
}
fn dead_letter_exchange() -> String {
    "ers.rejected".into()
}
