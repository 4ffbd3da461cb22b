use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::door::{Served, exchange, framed, message, settings};
use crate::hl7::samples::sample;
use crate::intake::Content;
use crate::outbound::MllpClientError;
use crate::store::Transport;

#[tokio::test]
async fn a_message_is_handed_to_intake_and_its_answer_written_and_noted() {
    let served = Served::start(settings(|_| {})).await;
    let mut client = served.client().await;
    assert_eq!(client.send(&message("E1")).await.expect("an answer").as_ref(), b"MSA|AA|E1\r");
    assert_eq!(client.send(&message("E2")).await.expect("an answer").as_ref(), b"MSA|AA|E2\r");
    {
        let received = served.door.received.lock();
        assert_eq!((received[0].source.as_deref(), received[0].transport), (Some("eastvale"), Transport::Mllp));
        let Content::Hl7v2 { bytes, charset } = &received[0].content else { panic!("HL7 v2") };
        assert_eq!((bytes.as_ref(), charset.as_ref()), (message("E1").as_slice(), None));
    }
    served.reaches("gateway_mllp_answers_total", "", 2).await;
    assert_eq!(served.metric("gateway_mllp_frames_total", "listener=\"127.0.0.1:0\""), 2);
    assert_eq!(served.metric("gateway_mllp_connections_total", ""), 1);
    let noted = served.door.acknowledged.lock().clone();
    assert_eq!(noted, [served.door.id_of("E1"), served.door.id_of("E2")]);
}

#[tokio::test]
async fn two_frames_in_one_write_get_two_answers_in_order() {
    let served = Served::start(settings(|_| {})).await;
    let both = [framed("E1"), framed("E2")].concat();
    assert_eq!(exchange(served.address, &both).await, "\x0bMSA|AA|E1\r\x1c\r\x0bMSA|AA|E2\r\x1c\r");
}

#[tokio::test]
async fn one_byte_a_packet_makes_no_difference() {
    let served = Served::start(settings(|_| {})).await;
    let mut client = served.client().await;
    for byte in framed("E1") {
        client.write_raw(&[byte]).await.expect("it reads");
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await.expect("an answer").as_ref(), b"MSA|AA|E1\r");
}

#[tokio::test]
async fn a_half_closed_peer_still_gets_its_answers() {
    let served = Served::start(settings(|_| {})).await;
    let mut client = served.client().await;
    client.write(&message("HELD1")).await.expect("it reads");
    client.write(&message("BOTH2")).await.expect("it reads");
    client.finish().await.expect("half of it closes");
    served.door.let_go.notify_one();
    assert_eq!(client.answer().await.expect("an answer").as_ref(), b"MSA|AA|HELD1\r");
    assert_eq!(client.answer().await.expect("an answer").as_ref(), b"MSA|CA|BOTH2\r");
    served.door.let_go.notify_one();
    assert_eq!(client.answer().await.expect("a deferred answer").as_ref(), b"MSA|AA|BOTH2\r");
    assert!(matches!(client.answer().await, Err(MllpClientError::Closed)));
}

#[tokio::test]
async fn a_deferred_answer_does_not_hold_the_frames_that_follow() {
    let served = Served::start(settings(|_| {})).await;
    let mut client = served.client().await;
    assert_eq!(client.send(&message("BOTH1")).await.expect("an answer").as_ref(), b"MSA|CA|BOTH1\r");
    client.write(&message("LATE2")).await.expect("it reads");
    assert_eq!(client.send(&message("E3")).await.expect("an answer").as_ref(), b"MSA|AA|E3\r");
    served.door.let_go.notify_waiters();
    let mut late = [client.answer().await.expect("late"), client.answer().await.expect("late")];
    late.sort();
    assert_eq!(late, ["MSA|AA|BOTH1\r", "MSA|AA|LATE2\r"]);
    // Once for each message, by the first thing that its sender got.
    served.reaches("gateway_mllp_answers_total", "", 4).await;
    let noted = served.door.acknowledged.lock().clone();
    assert_eq!(noted, ["BOTH1", "E3", "LATE2"].map(|control_id| served.door.id_of(control_id)));
}

#[tokio::test]
async fn a_deferred_answer_is_written_while_another_message_is_in_hand() {
    let served = Served::start(settings(|_| {})).await;
    let mut client = served.client().await;
    client.send(&message("BOTH1")).await.expect("a commit answer");
    client.write(&message("HELD2")).await.expect("it reads");
    served.reaches("gateway_mllp_frames_total", "", 2).await;
    // Waiters are served in turn: the deferred answer first.
    served.door.let_go.notify_one();
    assert_eq!(client.answer().await.expect("late").as_ref(), b"MSA|AA|BOTH1\r");
    served.door.let_go.notify_one();
    assert_eq!(client.answer().await.expect("an answer").as_ref(), b"MSA|AA|HELD2\r");
}

#[tokio::test]
async fn who_wants_no_answer_gets_none_and_nothing_is_noted() {
    let served = Served::start(settings(|_| {})).await;
    assert_eq!(exchange(served.address, &framed("SILENT1")).await, "");
    assert_eq!(served.door.control_ids(), ["SILENT1"]);
    assert!(served.door.acknowledged.lock().is_empty());
}

#[tokio::test]
async fn the_samples_of_raw_bytes_get_the_answers_of_their_index() {
    let served = Served::start(settings(|_| {})).await;
    for (number, answers) in [
        ("60", &[][..]),
        ("61", &["E60", "E60"]),
        ("62", &["E60", "E60"]),
        ("63", &["E63A", "E63B"]),
        ("64", &["E64B"]),
        ("78", &[]),
    ] {
        let expected: String = answers.iter().map(|id| format!("\x0bMSA|AA|{id}\r\x1c\r")).collect();
        assert_eq!(exchange(served.address, &sample(number)).await, expected, "{number}");
    }
    assert_eq!(served.metric("gateway_mllp_framing_errors_total", "cut_short"), 2);
    assert!(served.metric("gateway_mllp_discarded_bytes_total", "") > 40);
}

#[tokio::test]
async fn an_answer_that_could_not_be_written_is_not_noted() {
    let served = Served::start(settings(|_| {})).await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    stream.write_all(&framed("HELD1")).await.expect("it reads");
    served.reaches("gateway_mllp_frames_total", "", 1).await;
    // Reset, not closed: the answer has nowhere to go.
    stream.set_zero_linger().expect("the option exists");
    drop(stream);
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.door.let_go.notify_one();
    served.reaches("gateway_mllp_connections_open", "", 0).await;
    assert!(served.door.acknowledged.lock().is_empty());
    // The resend finds a connection and gets its answer.
    assert_eq!(exchange(served.address, &framed("E1")).await, "\x0bMSA|AA|E1\r\x1c\r");
}

#[tokio::test]
async fn a_shutdown_answers_the_message_in_hand_and_takes_no_more() {
    let served = Served::start(settings(|_| {})).await;
    let mut busy = served.client().await;
    let mut idle = served.client().await;
    busy.write_raw(&[framed("HELD1"), framed("E2")].concat()).await.expect("it reads");
    served.reaches("gateway_mllp_frames_total", "", 1).await;
    let environment = served.environment.clone();
    let drained = tokio::spawn(async move { environment.drain(Duration::from_secs(10)).await });
    assert!(matches!(idle.answer().await, Err(MllpClientError::Closed)));
    served.door.let_go.notify_one();
    assert_eq!(busy.answer().await.expect("an answer").as_ref(), b"MSA|AA|HELD1\r");
    assert!(busy.answer().await.is_err());
    assert!(drained.await.expect("it does not panic"), "everything stopped in time");
    assert_eq!(served.door.control_ids(), ["HELD1"]);
    assert!(TcpStream::connect(served.address).await.is_err());
}
