use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::door::{Served, exchange, framed, message, settings};

/// True if the peer closed the connection without a word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    closed.is_ok() && answer.is_empty()
}

#[tokio::test]
async fn an_endless_frame_is_cut_off_at_the_limit() {
    let served = Served::start(settings(|listener| listener.frame_bytes_max = 256 * 1024)).await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    stream.write_all(b"\x0bMSH|^~\\&|").await.expect("it reads");
    let mut sent = 0usize;
    // Without a limit this would go on until the gigabyte is full.
    while sent < 1 << 30 {
        match stream.write_all(&[b'x'; 64 * 1024]).await {
            Ok(()) => sent += 64 * 1024,
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    served.reaches("gateway_mllp_framing_errors_total", "too_large", 1).await;
    served.reaches("gateway_mllp_connections_open", "", 0).await;
    assert!(served.door.control_ids().is_empty());
}

#[tokio::test]
async fn a_frame_of_exactly_the_limit_is_taken() {
    let length = message("E1").len();
    let served = Served::start(settings(|listener| listener.frame_bytes_max = length)).await;
    assert_eq!(exchange(served.address, &framed("E1")).await, "\x0bMSA|AA|E1\r\x1c\r");
}

#[tokio::test]
async fn frames_of_several_megabytes_are_taken_one_after_the_other() {
    let served = Served::start(settings(|listener| listener.frame_bytes_max = 16 << 20)).await;
    let mut client = served.client().await;
    for control_id in ["E1", "E2", "E3"] {
        let mut large = message(control_id);
        large.extend(std::iter::repeat_n(b'x', 7 << 20));
        let answer = client.send(&large).await.expect("an answer");
        assert_eq!(answer.as_ref(), format!("MSA|AA|{control_id}\r").as_bytes());
    }
}

#[tokio::test]
async fn an_http_request_is_discarded_and_its_connection_closed_when_idle() {
    let served = Served::start(settings(|listener| listener.idle_timeout = Duration::from_millis(200))).await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway.example.invalid\r\n\r\n").await.expect("it reads");
    assert!(is_closed(&mut stream).await);
    assert_eq!(served.metric("gateway_mllp_discarded_bytes_total", ""), 49);
    assert!(served.door.control_ids().is_empty());
}

#[tokio::test]
async fn a_frame_that_never_ends_is_given_up_after_its_time() {
    let served = Served::start(settings(|listener| listener.frame_timeout = Duration::from_millis(300))).await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    stream.write_all(b"\x0bMSH|").await.expect("it reads");
    let began = Instant::now();
    // A byte now and then keeps a connection from being idle, but not a frame from being slow.
    let (mut reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), reader.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(answer.is_empty() && began.elapsed() >= Duration::from_millis(300));
    dripping.await.expect("it does not panic");
    served.reaches("gateway_mllp_framing_errors_total", "too_slow", 1).await;
}

#[tokio::test]
async fn a_peer_that_waits_for_a_deferred_answer_is_not_idle() {
    let served = Served::start(settings(|listener| listener.idle_timeout = Duration::from_millis(100))).await;
    let mut client = served.client().await;
    client.write(&message("LATE1")).await.expect("it reads");
    tokio::time::sleep(Duration::from_millis(400)).await;
    served.door.let_go.notify_one();
    assert_eq!(client.answer().await.expect("late").as_ref(), b"MSA|AA|LATE1\r");
}

#[tokio::test]
async fn connections_over_the_maximum_are_closed_until_there_is_room() {
    let served = Served::start(settings(|listener| listener.connections_max = 2)).await;
    let mut first = served.client().await;
    let mut second = served.client().await;
    first.send(&message("E1")).await.expect("an answer");
    second.send(&message("E2")).await.expect("an answer");
    let mut third = served.client().await;
    assert!(third.send(&message("E3")).await.is_err());
    assert_eq!(served.metric("gateway_mllp_connections_refused_total", "too_many"), 1);
    drop(first);
    served.reaches("gateway_mllp_connections_open", "", 1).await;
    // The place is free a moment after the connection is counted as closed.
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.client().await.send(&message("E4")).await.expect("an answer");
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answers_is_let_go() {
    let served = Served::start(settings(|listener| listener.frame_timeout = Duration::from_millis(300))).await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let many = framed(&"E".repeat(200)).repeat(200);
    let writing = async { while stream.write_all(&many).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), writing).await.expect("the connection is closed at last");
    served.reaches("gateway_mllp_connections_open", "", 0).await;
}
