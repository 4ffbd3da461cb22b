//! The event feed, as pages and as a stream.

use std::time::Duration;

use ers_gateway::intake::Outcome;
use serde_json::Value;

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};
use crate::support::records::event;

async fn with_events(count: u64) -> HttpGateway {
    let gateway = HttpGateway::start(listener(), ScriptedIntake::new(|_| answer(Outcome::Unavailable))).await;
    for position in 1..=count {
        gateway.records.publish(event(position, "thread", position));
    }
    gateway
}

/// Reads from a stream until `count` events came; returns their positions.
async fn positions(response: &mut reqwest::Response, count: usize) -> Vec<u64> {
    let mut text = String::new();
    let read = async {
        while text.matches("\n\n").count() < count {
            let chunk = response.chunk().await.expect("the stream goes on").expect("the stream goes on");
            text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    };
    tokio::time::timeout(Duration::from_secs(5), read).await.expect("the events come");
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().expect("a number")).collect()
}

#[tokio::test]
async fn the_feed_is_read_page_by_page_to_its_end() {
    let gateway = with_events(3).await;
    let mut after = 0;
    for expected in [vec![1, 2], vec![3], vec![]] {
        let page: Value =
            gateway.get(&format!("/v1/events?after={after}&limit=2")).await.json().await.expect("a JSON body");
        let events = page["events"].as_array().expect("a list");
        let sequences: Vec<u64> =
            events.iter().map(|e| e["sequence"].as_str().and_then(|s| s.parse().ok()).expect("a number")).collect();
        assert_eq!(sequences, expected);
        assert!(events.iter().all(|e| e["specversion"] == "1.0" && e["type"] == "ReferralCreated"));
        after = page["next"].as_u64().expect("a position");
    }
    assert_eq!(after, 3);
}

#[tokio::test]
async fn a_stream_goes_on_where_the_client_was_and_brings_what_is_new() {
    let gateway = with_events(3).await;
    let request = gateway.client.get(gateway.url("/v1/events?after=0")).header("accept", "text/event-stream");
    let mut response = request.header("last-event-id", "1").send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(positions(&mut response, 2).await, [2, 3]);
    gateway.records.publish(event(4, "thread", 4));
    assert_eq!(positions(&mut response, 1).await, [4]);
}

#[tokio::test]
async fn a_stream_without_a_position_brings_only_what_is_new() {
    let gateway = with_events(3).await;
    let request = gateway.client.get(gateway.url("/v1/events")).header("accept", "text/event-stream");
    let mut response = request.send().await.expect("an answer");
    gateway.records.publish(event(4, "thread", 4));
    assert_eq!(positions(&mut response, 1).await, [4]);
}

#[tokio::test]
async fn a_stream_does_not_keep_the_gateway_from_stopping() {
    let gateway = with_events(1).await;
    let request = gateway.client.get(gateway.url("/v1/events?after=0")).header("accept", "text/event-stream");
    let mut response = request.send().await.expect("an answer");
    assert_eq!(positions(&mut response, 1).await, [1]);
    assert!(gateway.environment.drain(Duration::from_secs(5)).await, "the listener did not stop");
}
