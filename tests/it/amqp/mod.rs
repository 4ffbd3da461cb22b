//! RabbitMQ, the real one: events out, messages in, and the broker going away and coming back.

mod cluster;
mod consumers;
mod definitions;
mod faults;
mod input;
mod partitions;
mod publishing;
mod queues;

use std::time::Duration;

use ers_gateway::config::{Broker, BrokerInput, QueueType, TopologyMode};

use crate::support::waiting::until;

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn broker(url: &str, exchange: &str) -> Broker {
    Broker {
        urls: vec![url.to_owned()],
        exchange: exchange.to_owned(),
        topology: TopologyMode::Declare,
        queue_type: QueueType::Quorum,
        in_flight_max: 32,
        partitions: None,
        inputs: Vec::new(),
    }
}

/// An input of the settings' defaults.
fn input(queue: &str) -> BrokerInput {
    BrokerInput {
        queue: queue.to_owned(),
        source: "northmoor".to_owned(),
        prefetch: 8,
        dead_letter_exchange: format!("{queue}.dlx"),
        single_active_consumer: true,
        consumers: 1,
    }
}

/// A name that no other scenario uses.
fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4())
}
