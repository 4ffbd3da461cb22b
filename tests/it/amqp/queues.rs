//! The queues that the gateway makes: copies on several nodes, and nothing that they drop unseen.

use std::time::Duration;

use ers_gateway::config::{Broker, BrokerInput, QueueType, TopologyMode};
use ers_gateway::intake::Outcome;
use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use serde_json::{Value, json};

use super::input::{Taking, hl7, stored};
use super::{SOON, broker, input, unique, until};
use crate::support::intake::ScriptedIntake;
use crate::support::rabbitmq::RabbitMq;

/// A consumer that has made its queue, and stopped.
async fn made(broker: &Broker) {
    let taking = Taking::over(broker, ScriptedIntake::new(|_| stored(Outcome::Accepted)));
    until("the consumer is up", Duration::from_secs(60), || taking.is_up()).await;
    assert!(taking.environment.drain(SOON).await);
}

/// Type and arguments of a queue, as the broker has them.
fn queue(node: &RabbitMq, name: &str) -> (String, Value) {
    let listed = node.control(&["list_queues", "name", "type", "arguments", "--formatter", "json"]);
    let queues: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    let queue = queues.iter().find(|queue| queue["name"] == name).expect("the queue is there");
    let arguments = queue["arguments"].as_array().expect("a list");
    let arguments = arguments.iter().map(|one| (one[0].as_str().expect("a name").to_owned(), one[2].clone()));
    let arguments: serde_json::Map<String, Value> = arguments.collect();
    (queue["type"].as_str().expect("a text").to_owned(), Value::Object(arguments))
}

/// The next delivery, unless none comes.
async fn next(consumer: &mut Consumer, limit: Duration) -> Option<Delivery> {
    let delivery = tokio::time::timeout(limit, consumer.next()).await.ok()?;
    Some(delivery.expect("the queue is there").expect("the node is up"))
}

async fn give_back(delivery: &Delivery) {
    let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    delivery.nack(options).await.expect("given back");
}

#[tokio::test]
async fn queues_are_made_as_quorum_queues_with_one_consumer_at_a_time() {
    let node = RabbitMq::shared();
    let name = unique("referrals");
    made(&Broker { inputs: vec![input(&name)], ..broker(&node.url(), "unused") }).await;
    let (kind, arguments) = queue(node, &name);
    assert_eq!(kind, "quorum");
    assert_eq!(
        arguments,
        json!({
            "x-dead-letter-exchange": format!("{name}.dlx"),
            "x-dead-letter-routing-key": name,
            "x-dead-letter-strategy": "at-least-once",
            "x-delivery-limit": i32::MAX,
            "x-overflow": "reject-publish",
            "x-queue-type": "quorum",
            "x-single-active-consumer": true,
        })
    );
    let (kind, arguments) = queue(node, &format!("{name}.rejected"));
    assert_eq!(kind, "quorum");
    let expected = json!({"x-delivery-limit": i32::MAX, "x-overflow": "reject-publish", "x-queue-type": "quorum"});
    assert_eq!(arguments, expected);
}

#[tokio::test]
async fn by_setting_queues_are_classic_and_open_to_many_consumers() {
    let node = RabbitMq::shared();
    let name = unique("referrals");
    let mut settings = broker(&node.url(), "unused");
    settings.queue_type = QueueType::Classic;
    settings.inputs = vec![BrokerInput { single_active_consumer: false, ..input(&name) }];
    made(&settings).await;
    let (kind, arguments) = queue(node, &name);
    assert_eq!(kind, "classic");
    assert_eq!(arguments.get("x-single-active-consumer"), None, "{arguments}");
    assert_eq!(queue(node, &format!("{name}.rejected")).0, "classic");
}

#[tokio::test]
async fn a_queue_that_is_there_stays_as_it_is() {
    let node = RabbitMq::shared();
    let name = unique("referrals");
    node.client().await.declare(&name).await;
    for topology in [TopologyMode::Declare, TopologyMode::Check] {
        made(&Broker { inputs: vec![input(&name)], topology, ..broker(&node.url(), "unused") }).await;
        assert_eq!(queue(node, &name), ("classic".to_owned(), json!({})));
    }
}

/// The gateway never gives a message back, but it may be ended with 64 in hand, again and again.
#[tokio::test]
async fn a_message_that_comes_back_again_and_again_keeps_its_place_and_is_not_dropped() {
    let node = RabbitMq::shared();
    let name = unique("referrals");
    made(&Broker { inputs: vec![input(&name)], ..broker(&node.url(), "unused") }).await;
    let client = node.client().await;
    client.send(&name, hl7(), b"first").await;
    client.send(&name, hl7(), b"second").await;
    let mut consumer = client.consume(&name).await;
    // RabbitMQ 4 drops at 20 by default.
    for _ in 0..25 {
        let delivery = next(&mut consumer, SOON).await.expect("it is there");
        assert_eq!(delivery.data, b"first");
        give_back(&delivery).await;
    }
    for body in [&b"first"[..], b"second"] {
        let delivery = next(&mut consumer, SOON).await.expect("it is there");
        assert_eq!(delivery.data, body);
        delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
    }
}

#[tokio::test]
async fn what_the_broker_gives_up_goes_to_the_refused_messages() {
    let node = RabbitMq::shared();
    let (name, client) = (unique("referrals"), node.client().await);
    made(&Broker { inputs: vec![input(&name)], ..broker(&node.url(), "unused") }).await;
    let rejected = format!("{name}.rejected");
    client.send(&name, hl7().with_expiration("50".into()), b"expired").await;
    assert_eq!(client.take(&rejected, SOON).await.expect("a dead letter").data, b"expired");
    node.control(&["set_policy", &name, &format!("^{name}$"), r#"{"delivery-limit": 2}"#, "--apply-to", "queues"]);
    client.send(&name, hl7(), b"too often").await;
    let mut consumer = client.consume(&name).await;
    for _ in 0..3 {
        give_back(&next(&mut consumer, SOON).await.expect("it is there")).await;
    }
    assert_eq!(client.take(&rejected, SOON).await.expect("a dead letter").data, b"too often");
    assert!(next(&mut consumer, Duration::from_millis(100)).await.is_none(), "it left the queue");
    node.control(&["clear_policy", &name]);
}
