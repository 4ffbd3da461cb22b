//! The broker goes away and comes back, under load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{broker, unique, until};
use crate::support::publishing::Publishing;
use crate::support::rabbitmq::RabbitMq;
use crate::support::records::event;

const LONG: Duration = Duration::from_secs(120);

/// Publishes while `harm` is done to the node, then compares what the outbox held with what a consumer got.
async fn nothing_is_lost_through(harm: impl Fn(&RabbitMq) + Send + Sync + 'static) {
    let node = Arc::new(RabbitMq::start_new());
    let (exchange, queue) = (unique("events"), unique("pas"));
    let publishing = Publishing::start(broker(&node.url(), &exchange));
    publishing.is_up().await;
    let client = node.client().await;
    client.bind(&queue, &exchange, "#").await;
    drop(client);

    let harmed = node.clone();
    let harming = tokio::task::spawn_blocking(move || {
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(500));
            harm(&harmed);
        }
    });
    let mut position = 0;
    while !harming.is_finished() {
        for _ in 0..10 {
            position += 1;
            publishing.records.publish(event(position, &format!("thread-{}", position % 13), position));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    harming.await.expect("the harm is done");
    until("the outbox is drained", LONG, || publishing.records.unconfirmed_count() == 0).await;

    let client = node.client().await;
    let mut seen = BTreeSet::new();
    let mut ids = BTreeMap::new();
    let mut last_new: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(delivery) = client.take(&queue, Duration::from_millis(500)).await {
        let envelope: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let sequence: u64 = envelope["sequence"].as_str().and_then(|s| s.parse().ok()).expect("a number");
        let id = envelope["id"].as_str().expect("an id").to_owned();
        let before = ids.insert(sequence, id.clone());
        assert!(before.is_none_or(|before| before == id), "{sequence} came with two ids");
        if seen.insert(sequence) {
            let thread = envelope["partitionkey"].as_str().expect("a thread").to_owned();
            let before = last_new.insert(thread, sequence);
            assert!(before.is_none_or(|before| before < sequence), "{sequence} came after {before:?}");
        }
    }
    assert_eq!(seen.len() as u64, position, "events are missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_stopped_and_started_under_load_loses_nothing() {
    nothing_is_lost_through(|node| {
        node.stop();
        node.start();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_under_load_loses_nothing() {
    nothing_is_lost_through(|node| {
        node.kill();
        node.start();
    })
    .await;
}
