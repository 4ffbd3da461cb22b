//! Health and metrics.

use ers_gateway::intake::Outcome;
use serde_json::{Value, json};

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};

async fn gateway() -> HttpGateway {
    HttpGateway::start(listener(), ScriptedIntake::new(|_| answer(Outcome::Accepted))).await
}

#[tokio::test]
async fn the_gateway_is_ready_when_all_its_parts_are() {
    let gateway = gateway().await;
    let store = gateway.readiness.check("store");
    let mllp = gateway.readiness.check("mllp");
    mllp.ready();
    let response = gateway.get("/health/ready").await;
    assert_eq!(response.status(), 503);
    let body: Value = response.json().await.expect("a JSON body");
    assert_eq!(body, json!({"status": "not ready", "missing": [{"check": "store", "why": "starting"}]}));
    store.ready();
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
    store.not_ready("the disk is full");
    let body: Value = gateway.get("/health/ready").await.json().await.expect("a JSON body");
    assert_eq!(body["missing"][0]["why"], "the disk is full");
    assert_eq!(gateway.get("/health/live").await.status(), 200);
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_reads_them() {
    let gateway = gateway().await;
    let counter = prometheus::IntCounter::new("gateway_example_total", "An example").expect("a valid name");
    gateway.metrics.register(Box::new(counter.clone())).expect("registered once");
    counter.inc();
    let response = gateway.get("/metrics").await;
    assert!(response.headers()["content-type"].to_str().expect("text").starts_with("text/plain; version=0.0.4"));
    assert!(response.text().await.expect("a body").contains("gateway_example_total 1"));
}

#[tokio::test]
async fn the_api_describes_itself() {
    let document: Value = gateway().await.get("/openapi.json").await.json().await.expect("a JSON body");
    assert_eq!(document["openapi"], "3.1.0");
}
