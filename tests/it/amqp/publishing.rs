//! The outbox to a topic exchange.

use std::time::{Duration, Instant};

use ers_gateway::amqp::Nodes;
use ers_gateway::config::{Broker, TopologyMode};
use ers_gateway::environment::Environment;
use ers_gateway::store::StoredEvent;
use lapin::types::AMQPValue;
use serde_json::Value;

use super::{SOON, broker, unique, until};
use crate::support::publishing::Publishing;
use crate::support::rabbitmq::RabbitMq;
use crate::support::records::event;

#[tokio::test]
async fn events_arrive_as_cloudevents_in_the_order_of_their_thread() {
    let node = RabbitMq::shared();
    let (exchange, queue) = (unique("events"), unique("pas"));
    let (publishing, records) = Publishing::start(broker(&node.url(), &exchange));
    publishing.is_up().await;
    let client = node.client().await;
    client.bind(&queue, &exchange, "ReferralCreated").await;
    for position in 1..=200u64 {
        records.publish(event(position, &format!("thread-{}", position % 7), position));
    }
    until("all are confirmed", SOON, || records.unconfirmed_count() == 0).await;

    let mut last = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let delivery = client.take(&queue, SOON).await.expect("an event");
        let properties = &delivery.properties;
        assert_eq!(delivery.routing_key.as_str(), "ReferralCreated");
        assert_eq!(*properties.delivery_mode(), Some(2));
        let content_type = properties.content_type().as_ref().map(|t| t.as_str());
        assert_eq!(content_type, Some("application/cloudevents+json; charset=utf-8"));
        let envelope: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        assert_eq!(properties.message_id().as_ref().map(|id| id.as_str()), envelope["id"].as_str());
        let headers = properties.headers().as_ref().expect("headers").inner();
        let Some(AMQPValue::LongLongInt(sequence)) = headers.get("x-sequence") else { panic!("{headers:?}") };
        let Some(AMQPValue::LongString(thread)) = headers.get("x-thread") else { panic!("{headers:?}") };
        assert_eq!(envelope["partitionkey"].as_str().map(str::as_bytes), Some(thread.as_bytes()));
        let before = last.insert(thread.to_string(), *sequence);
        assert!(before.is_none_or(|before| before < *sequence), "{thread}: {sequence} after {before:?}");
    }
    assert_eq!(client.take(&queue, Duration::from_millis(300)).await.map(|d| d.data), None);
    assert!(publishing.metrics().contains(r#"gateway_events_published_total{event="ReferralCreated"} 200"#));
}

#[tokio::test]
async fn an_event_that_no_queue_wants_leaves_the_outbox_and_is_counted() {
    let node = RabbitMq::shared();
    let (publishing, records) = Publishing::start(broker(&node.url(), &unique("events")));
    records.publish(event(1, "thread", 1));
    until("it is confirmed", SOON, || records.unconfirmed_count() == 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let metrics = publishing.metrics();
    assert!(metrics.contains("gateway_events_unroutable_total 1"), "{metrics}");
}

#[tokio::test]
async fn what_the_broker_refuses_is_published_again_and_in_order_once_it_is_taken() {
    let node = RabbitMq::shared();
    let (exchange, queue) = (unique("events"), unique("full"));
    let client = node.client().await;
    // A queue that takes one message and refuses the next.
    let mut arguments = lapin::types::FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let (publishing, records) = Publishing::start(broker(&node.url(), &exchange));
    publishing.is_up().await;
    let options = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
    client.channel.queue_declare(queue.as_str().into(), options, arguments).await.expect("a queue");
    let (key, bind) = ("ReferralCreated".into(), lapin::options::QueueBindOptions::default());
    let table = lapin::types::FieldTable::default();
    let bound = client.channel.queue_bind(queue.as_str().into(), exchange.as_str().into(), key, bind, table).await;
    bound.expect("a binding");

    for position in 1..=4 {
        records.publish(event(position, "thread", position));
    }
    until("the queue is full", SOON, || !publishing.metrics().contains("gateway_events_nacked_total 0")).await;
    let mut sequences = Vec::new();
    while sequences.len() < 4 {
        let delivery = client.take(&queue, SOON).await.expect("room makes the next one come");
        let envelope: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        sequences.push(envelope["sequence"].as_str().and_then(|s| s.parse::<u64>().ok()).expect("a number"));
    }
    assert_eq!(sequences, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_that_is_never_confirmed_is_published_again_however_busy_the_others_are() {
    let node = RabbitMq::shared();
    let (exchange, queue) = (unique("events"), unique("stuck"));
    let (publishing, records) = Publishing::patient_for(Duration::from_secs(3), broker(&node.url(), &exchange));
    publishing.is_up().await;
    let client = node.client().await;
    client.bind(&queue, &exchange, "AppointmentBooked").await;
    // A queue that takes everything and answers nothing.
    let process = |verb: &str| {
        let name = format!("rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)");
        node.control(&[
            "eval",
            &format!("{{ok, Q}} = rabbit_amqqueue:lookup({name}), sys:{verb}(amqqueue:get_pid(Q))."),
        ])
    };
    process("suspend");
    let stuck = StoredEvent { name: "AppointmentBooked".into(), ..event(1, "stuck", 1) };
    records.publish(stuck);
    let began = Instant::now();
    let mut position = 1;
    while began.elapsed() < Duration::from_secs(8) {
        position += 1;
        records.publish(event(position, "busy", position));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(records.unconfirmed_positions().first(), Some(&1));
    process("resume");
    until("all are confirmed", SOON, || records.unconfirmed_count() == 0).await;
    let mut times = 0;
    while client.take(&queue, Duration::from_secs(1)).await.is_some() {
        times += 1;
    }
    assert!(times >= 2, "published {times} times");
}

#[tokio::test]
async fn topology_is_only_checked_where_the_gateway_may_not_make_it() {
    let node = RabbitMq::shared();
    let exchange = unique("events");
    let checked = Broker { topology: TopologyMode::Check, ..broker(&node.url(), &exchange) };
    let (publishing, records) = Publishing::start(checked.clone());
    records.publish(event(1, "thread", 1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(records.unconfirmed_count(), 1);
    assert!(publishing.metrics().contains(r#"gateway_broker_up{link="events"} 0"#));

    // Somebody makes it; its other arguments are theirs to choose.
    let options = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    let mut arguments = lapin::types::FieldTable::default();
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString("amq.fanout".into()));
    let kind = lapin::ExchangeKind::Topic;
    let client = node.client().await;
    client.channel.exchange_declare(exchange.as_str().into(), kind, options, arguments).await.expect("an exchange");
    until("it is confirmed", SOON, || records.unconfirmed_count() == 0).await;
    let (declares, _) = Publishing::start(broker(&node.url(), &exchange));
    declares.is_up().await;
}

#[tokio::test]
async fn the_next_url_is_tried_when_one_does_not_answer() {
    let node = RabbitMq::shared();
    let mut two = broker(&node.url(), &unique("events"));
    two.urls.insert(0, "amqp://guest:secret@127.0.0.1:1/%2f".into());
    let (publishing, _) = Publishing::start(two.clone());
    publishing.is_up().await;
    // Wherever it begins, it comes past the dead one within two turns.
    let mut nodes = Nodes::new(&two.urls, &Environment::system());
    for _ in 0..2 {
        let connected = nodes.connect("a test").await.expect("one is up");
        assert_eq!(connected.node, format!("127.0.0.1:{}", node.port));
    }
}

#[tokio::test]
async fn stopping_empties_the_outbox_first() {
    let node = RabbitMq::shared();
    let (exchange, queue) = (unique("events"), unique("pas"));
    let (publishing, records) = Publishing::start(broker(&node.url(), &exchange));
    publishing.is_up().await;
    let client = node.client().await;
    client.bind(&queue, &exchange, "#").await;
    for position in 1..=100 {
        records.publish(event(position, "thread", position));
    }
    assert!(publishing.environment.drain(Duration::from_secs(5)).await);
    assert_eq!(records.unconfirmed_count(), 0);
    assert_eq!(client.depth(&queue).await, 100);
}
