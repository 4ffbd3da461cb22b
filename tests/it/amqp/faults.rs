//! The broker goes away and comes back, under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ers_gateway::store::Store;
use serde_json::Value;

use super::{broker, unique};
use crate::support::outbox::Outbox;
use crate::support::publishing::Publishing;
use crate::support::rabbitmq::RabbitMq;

const LONG: Duration = Duration::from_secs(120);

/// Fills the outbox while `harm` is done to the node, then compares what it held with what a consumer got.
async fn nothing_is_lost_through(harm: impl Fn(&RabbitMq) + Send + Sync + 'static) {
    let node = Arc::new(RabbitMq::start_new());
    let (exchange, queue) = (unique("events"), unique("pas"));
    let outbox = Outbox::open().await;
    let signals = outbox.store.signals().clone();
    let publishing = Publishing::over(broker(&node.url(), &exchange), outbox.store.clone(), signals);
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
    while !harming.is_finished() {
        for _ in 0..5 {
            outbox.put().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    harming.await.expect("the harm is done");
    let drained = async {
        while outbox.unconfirmed_count().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, drained).await.expect("the outbox is drained");

    let client = node.client().await;
    // Id by thread and sequence; how far each thread has come.
    let mut ids: BTreeMap<(String, u64), String> = BTreeMap::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(delivery) = client.take(&queue, Duration::from_millis(500)).await {
        let envelope: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let member = |name: &str| envelope[name].as_str().expect("a text").to_owned();
        let (id, thread) = (member("id"), member("partitionkey"));
        let sequence: u64 = member("sequence").parse().expect("a number");
        match ids.insert((thread.clone(), sequence), id.clone()) {
            Some(before) => assert_eq!(before, id, "{thread} {sequence} came with two ids"),
            None => {
                let before = last.insert(thread.clone(), sequence).unwrap_or(0);
                assert_eq!(sequence, before + 1, "{thread} came out of order");
            }
        }
    }
    assert_eq!(ids.len() as u64, outbox.put_count(), "events are missing");
    assert!(publishing.metrics().contains("gateway_events_invalid_total 0"));
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

/// A publisher's connection is blocked meanwhile: what it has sent is neither taken nor refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_blocks_its_publishers_loses_nothing() {
    nothing_is_lost_through(|node| {
        for (alarming, usual, alarm) in [
            (&["set_disk_free_limit", "100000GB"][..], &["set_disk_free_limit", "1MB"][..], "disk"),
            (&["set_vm_memory_high_watermark", "absolute", "1MB"], &["set_vm_memory_high_watermark", "0.4"], "memory"),
        ] {
            node.control(alarming);
            let standing = node.control(&["status"]).to_lowercase();
            assert!(standing.contains("alarm on node"), "the {alarm} alarm is on: {standing}");
            std::thread::sleep(Duration::from_secs(1));
            node.control(usual);
        }
    })
    .await;
}
