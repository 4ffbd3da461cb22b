//! What the listener refuses before anyone thinks about it.

use std::time::Duration;

use ers_gateway::intake::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};

async fn gateway() -> HttpGateway {
    HttpGateway::start(listener(), ScriptedIntake::new(|_| answer(Outcome::Accepted))).await
}

/// Sends bytes as they are; returns the first line of the answer.
async fn raw(gateway: &HttpGateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.expect("the listener accepts");
    // The listener may hang up while a head that is too large is still being sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = vec![0; 1_024];
    let read = tokio::time::timeout(Duration::from_secs(15), stream.read(&mut answer)).await.expect("an answer");
    let read = read.unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_announced_or_not() {
    let gateway = gateway().await;
    let body = vec![b'x'; 64 * 1024 + 1];
    let announced = gateway.post("/v1/hl7v2", "application/hl7-v2", body.clone()).await;
    assert_eq!(announced.status(), 413);
    let chunks =
        futures_util::stream::iter(body.chunks(1_000).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>());
    let chunked = gateway.post("/v1/hl7v2", "application/hl7-v2", reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!(chunked.status(), 413);
    assert!(gateway.intake.received().is_empty());
    let largest = gateway.post("/v1/hl7v2", "application/hl7-v2", vec![b'x'; 64 * 1024]).await;
    assert_eq!(largest.status(), 204);
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let gateway = gateway().await;
    let long = format!("GET /health/live HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(256 * 1024));
    let many = format!("GET /health/live HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-a: b\r\n".repeat(200));
    for head in [long, many] {
        let line = raw(&gateway, head.as_bytes()).await;
        assert!(!line.contains(" 200 "), "{line}");
    }
    assert!(raw(&gateway, b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.contains(" 200 "));
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let gateway = gateway().await;
    let line = raw(&gateway, b"\x0bMSH|^~\\&|PAS\r\x1c\r\n\r\n").await;
    assert!(line.is_empty() || line.contains(" 400 "), "{line}");
}

#[tokio::test]
async fn unknown_addresses_and_wrong_methods_say_so() {
    let gateway = gateway().await;
    let response = gateway.get("/v2/nothing").await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let response = gateway.get("/v1/hl7v2").await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    let response = gateway.client.delete(gateway.url("/v1/commands/x")).send().await.expect("an answer");
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST, GET");
}

#[tokio::test]
async fn idle_connections_do_not_keep_the_gateway_from_stopping() {
    let gateway = gateway().await;
    assert_eq!(gateway.get("/health/live").await.status(), 200);
    let silent = TcpStream::connect(gateway.address).await.expect("the listener accepts");
    assert!(gateway.environment.drain(Duration::from_secs(5)).await, "the listener did not stop");
    drop(silent);
}
