//! Events spread over queues by their thread.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ers_gateway::amqp::{TopologyError, ensure_exchange, ensure_partitions};
use ers_gateway::config::{Broker, Partitions, TopologyMode};
use futures_util::StreamExt as _;
use lapin::options::BasicAckOptions;
use lapin::types::AMQPValue;
use lapin::{Connection, ConnectionProperties};

use super::{SOON, broker, unique, until};
use crate::support::publishing::Publishing;
use crate::support::rabbitmq::RabbitMq;
use crate::support::records::event;

fn partitioned(node: &RabbitMq, queues: usize) -> Broker {
    let exchange = unique("events");
    let partitions = Partitions {
        exchange: format!("{exchange}.by-thread"),
        queues,
        queue_prefix: format!("{exchange}.by-thread."),
    };
    Broker { partitions: Some(partitions), ..broker(&node.url(), &exchange) }
}

fn names(broker: &Broker) -> Vec<String> {
    broker.partitions.iter().flat_map(|partitions| partitions.queue_names().collect::<Vec<_>>()).collect()
}

/// `Err` with what the gateway would log.
async fn ensure(broker: &Broker) -> Result<(), TopologyError> {
    let connection = Connection::connect(&broker.urls[0], ConnectionProperties::default()).await.expect("it is up");
    ensure_exchange(&connection, &broker.exchange, TopologyMode::Declare).await?;
    let partitions = broker.partitions.as_ref().expect("they are set");
    ensure_partitions(&connection, broker, partitions).await
}

#[tokio::test]
async fn each_threads_events_are_in_one_queue_in_their_order_and_every_queue_has_a_share() {
    let node = RabbitMq::shared();
    let broker = partitioned(node, 3);
    let (publishing, records) = Publishing::start(broker.clone());
    publishing.is_up().await;
    let client = node.client().await;
    client.bind(&unique("another"), &broker.exchange, "#").await;
    for position in 1..=600u64 {
        // Digests as they are: long, and without a pattern.
        let thread = uuid::Uuid::from_u128(u128::from(position % 60) * 0x9e37_79b9_7f4a_7c15).to_string();
        records.publish(event(position, &thread, position));
    }
    until("all are confirmed", SOON, || records.unconfirmed_count() == 0).await;

    let mut queue_of: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = 0;
    for (number, queue) in names(&broker).iter().enumerate() {
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        let mut consumer = client.consume(queue).await;
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(500), consumer.next()).await {
            let delivery = delivery.expect("the node is up");
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
            let headers = delivery.properties.headers().as_ref().expect("headers").inner();
            let Some(AMQPValue::LongLongInt(sequence)) = headers.get("x-sequence") else { panic!("{headers:?}") };
            let Some(AMQPValue::LongString(thread)) = headers.get("x-thread") else { panic!("{headers:?}") };
            let thread = thread.to_string();
            assert_eq!(*queue_of.entry(thread.clone()).or_insert(number), number, "{thread} is in two queues");
            let before = last.insert(thread.clone(), *sequence);
            assert!(before.is_none_or(|before| before < *sequence), "{thread}: {sequence} after {before:?}");
            count += 1;
        }
    }
    assert_eq!(count, 600);
    assert_eq!(queue_of.values().collect::<BTreeSet<_>>().len(), 3, "{queue_of:?}");
    assert!(publishing.metrics().contains("gateway_events_unroutable_total 0"));
}

#[tokio::test]
async fn a_gateway_that_starts_again_finds_its_partitions_and_changes_nothing() {
    let node = RabbitMq::shared();
    let broker = partitioned(node, 2);
    for _ in 0..2 {
        ensure(&broker).await.expect("they are made, or there");
    }
    let listed = node.control(&["list_bindings", "source_name", "destination_name", "routing_key"]);
    let partitions = broker.partitions.as_ref().expect("they are set");
    let mut expected: Vec<String> =
        names(&broker).iter().map(|queue| format!("{}\t{queue}\t1", partitions.exchange)).collect();
    expected.insert(0, format!("{}\t{}\t#", broker.exchange, partitions.exchange));
    let mut bindings: Vec<&str> = listed.lines().filter(|line| line.starts_with(&broker.exchange)).collect();
    bindings.sort_unstable();
    expected.sort_unstable();
    assert_eq!(bindings, expected);
}

#[tokio::test]
async fn partitions_are_only_checked_where_the_gateway_may_not_make_them() {
    let node = RabbitMq::shared();
    let declared = partitioned(node, 2);
    let checked = Broker { topology: TopologyMode::Check, ..declared.clone() };
    let missing = |error: TopologyError| match error {
        TopologyError::Missing { kind, name } => (kind, name),
        other => panic!("{other}"),
    };
    let partitions = declared.partitions.clone().expect("they are set");
    assert_eq!(
        missing(ensure(&checked).await.expect_err("nothing is there")),
        ("exchange", partitions.exchange.clone())
    );
    ensure(&declared).await.expect("they are made");
    ensure(&checked).await.expect("they are there");
    let more = Broker { partitions: Some(Partitions { queues: 3, ..partitions.clone() }), ..checked };
    let third = format!("{}3", partitions.queue_prefix);
    assert_eq!(missing(ensure(&more).await.expect_err("the third is not there")), ("queue", third));
}

#[tokio::test]
async fn an_exchange_of_that_name_that_does_not_hash_is_refused() {
    let node = RabbitMq::shared();
    let mut broker = partitioned(node, 2);
    let other = unique("other");
    let client = node.client().await;
    let options = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    let table = lapin::types::FieldTable::default();
    let declared = client.channel.exchange_declare(other.as_str().into(), lapin::ExchangeKind::Topic, options, table);
    declared.await.expect("an exchange");
    broker.partitions.as_mut().expect("they are set").exchange = other.clone();
    let error = ensure(&broker).await.expect_err("it would not keep the order").to_string();
    assert!(error.contains(&other) && error.contains("inequivalent arg 'type'"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_the_plugin_is_told_what_to_do_and_events_stay_in_the_outbox() {
    let node = tokio::task::block_in_place(|| RabbitMq::start_with(""));
    let broker = partitioned(&node, 2);
    let (publishing, records) = Publishing::start(broker.clone());
    records.publish(event(1, "thread", 1));
    let error = ensure(&broker).await.expect_err("the type is unknown").to_string();
    assert!(error.contains("rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"), "{error}");
    assert!(publishing.metrics().contains(r#"gateway_broker_up{link="events"} 0"#));
    assert_eq!(records.unconfirmed_count(), 1);
    node.enable("rabbitmq_consistent_hash_exchange");
    until("it goes out by itself", Duration::from_secs(60), || records.unconfirmed_count() == 0).await;
}
