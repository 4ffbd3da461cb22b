//! HL7 over HTTP (HAPI HoH).

use bytes::Bytes;
use ers_gateway::command::MessageId;
use ers_gateway::intake::{Answer, Content, Outcome};
use uuid::Uuid;

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};

const MESSAGE: &[u8] = b"MSH|^~\\&|PAS|NORTHMOOR|ERS|GW|20260316093000||REF^I12|MSG00001|P|2.4\r";
const ACK: &[u8] = b"MSH|^~\\&|ERS|GW|PAS|NORTHMOOR|20260316093000||ACK^I12|1|P|2.4\rMSA|AA|MSG00001\r";

fn id() -> MessageId {
    MessageId(Uuid::from_u128(1))
}

fn hl7(outcome: Outcome) -> Answer {
    Answer { message: Some(id()), hl7: Some(Bytes::from_static(ACK)), ..answer(outcome) }
}

#[tokio::test]
async fn any_hl7_answer_is_a_200_in_the_type_that_was_received() {
    for outcome in [Outcome::Accepted, Outcome::Rejected, Outcome::Duplicate, Outcome::Notice, Outcome::UnknownSource] {
        let gateway = HttpGateway::start(listener(), ScriptedIntake::new(move |_| hl7(outcome))).await;
        for (sent, answered) in [
            ("application/hl7-v2", "application/hl7-v2"),
            ("Application/HL7-V2; Charset=utf-8", "application/hl7-v2; charset=utf-8"),
            ("application/hl7-v2+er7", "application/hl7-v2+er7"),
            ("x-application/hl7-v2+er7; charset=iso-8859-1", "x-application/hl7-v2+er7; charset=iso-8859-1"),
        ] {
            let response = gateway.post("/v1/hl7v2", sent, MESSAGE).await;
            assert_eq!(response.status(), 200, "{outcome:?} {sent}");
            assert_eq!(response.headers()["content-type"], answered, "{outcome:?}");
            assert_eq!(response.bytes().await.expect("a body"), ACK);
        }
    }
}

#[tokio::test]
async fn what_arrives_is_handed_to_intake_byte_for_byte_with_its_charset() {
    let gateway = HttpGateway::start(listener(), ScriptedIntake::new(|_| hl7(Outcome::Accepted))).await;
    gateway.post("/v1/hl7v2", "application/hl7-v2; charset=\"ISO-8859-1\"", &b"MSH|\xe9\r"[..]).await;
    gateway.post("/v1/hl7v2/eastvale", "application/hl7-v2", MESSAGE).await;
    let received = gateway.intake.received();
    let Content::Hl7v2 { bytes, charset } = &received[0].content else { panic!("{received:?}") };
    assert_eq!((&bytes[..], charset.as_deref()), (&b"MSH|\xe9\r"[..], Some("ISO-8859-1")));
    assert_eq!(received[0].source.as_deref(), Some("northmoor"));
    assert_eq!(received[1].source.as_deref(), Some("eastvale"));
}

#[tokio::test]
async fn a_shared_listener_leaves_the_source_to_msh_3_and_4() {
    let shared = ers_gateway::config::HttpListener { source: None, ..listener() };
    let gateway = HttpGateway::start(shared, ScriptedIntake::new(|_| hl7(Outcome::Accepted))).await;
    gateway.post("/v1/hl7v2", "application/hl7-v2", MESSAGE).await;
    assert_eq!(gateway.intake.received()[0].source, None);
}

#[tokio::test]
async fn trouble_of_the_transport_is_plain_text_and_never_hl7() {
    for (outcome, path, status) in [
        (Outcome::Unreadable, "/v1/hl7v2", 400),
        (Outcome::UnknownSource, "/v1/hl7v2/nobody", 404),
        (Outcome::TooLarge, "/v1/hl7v2", 413),
        (Outcome::Unavailable, "/v1/hl7v2", 503),
    ] {
        let gateway = HttpGateway::start(listener(), ScriptedIntake::new(move |_| answer(outcome))).await;
        let response = gateway.post(path, "application/hl7-v2", MESSAGE).await;
        assert_eq!(response.status(), status, "{outcome:?}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{outcome:?}");
        assert_eq!(response.headers().contains_key("retry-after"), status == 503, "{outcome:?}");
    }
}

#[tokio::test]
async fn an_unavailable_store_is_never_answered_with_200_even_if_an_answer_was_made() {
    let gateway = HttpGateway::start(listener(), ScriptedIntake::new(|_| hl7(Outcome::Unavailable))).await;
    assert_eq!(gateway.post("/v1/hl7v2", "application/hl7-v2", MESSAGE).await.status(), 503);
}

#[tokio::test]
async fn a_sender_that_wants_no_answer_gets_204() {
    let gateway = HttpGateway::start(listener(), ScriptedIntake::new(|_| answer(Outcome::Accepted))).await;
    assert_eq!(gateway.post("/v1/hl7v2", "application/hl7-v2", MESSAGE).await.status(), 204);
}

#[tokio::test]
async fn other_types_are_refused_and_text_plain_is_taken_by_setting_only() {
    let gateway = HttpGateway::start(listener(), ScriptedIntake::new(|_| hl7(Outcome::Accepted))).await;
    for content_type in ["text/plain", "application/json", "application/hl7-v2+xml", "nonsense"] {
        let response = gateway.post("/v1/hl7v2", content_type, MESSAGE).await;
        assert_eq!(response.status(), 415, "{content_type}");
    }
    assert!(gateway.intake.received().is_empty());

    let tolerant = ers_gateway::config::HttpListener { accept_text_plain: true, ..listener() };
    let gateway = HttpGateway::start(tolerant, ScriptedIntake::new(|_| hl7(Outcome::Accepted))).await;
    let response = gateway.post("/v1/hl7v2", "text/plain; charset=utf-8", MESSAGE).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test]
async fn the_sender_counts_as_told_once_the_answer_left() {
    let gateway = HttpGateway::start(listener(), ScriptedIntake::new(|_| hl7(Outcome::Accepted))).await;
    gateway.post("/v1/hl7v2", "application/hl7-v2", MESSAGE).await.bytes().await.expect("a body");
    let told = async {
        while gateway.intake.acknowledged().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), told).await.expect("intake hears of it");
    assert_eq!(gateway.intake.acknowledged(), [id()]);
}
