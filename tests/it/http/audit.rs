//! Who looks at what over HTTP is noted: people always, programs only where they see content that is not their own.

use ers_gateway::command::{CommandId, MessageId, State};
use ers_gateway::intake::Outcome;
use ers_gateway::store::AuditStore as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};
use crate::support::records;

const MESSAGE: MessageId = MessageId(Uuid::from_u128(1));
const READ: CommandId = CommandId(Uuid::from_u128(2));
const QUEUED: CommandId = CommandId(Uuid::from_u128(3));

/// With a command that has read something, and one that waits. `source`: of the listener.
async fn gateway_of(source: Option<&str>) -> HttpGateway {
    let mut listener = listener();
    listener.source = source.map(str::to_owned);
    let gateway = HttpGateway::start(listener, ScriptedIntake::new(|_| answer(Outcome::Unavailable))).await;
    gateway.records.add_message(records::message(MESSAGE));
    let mut read = records::command(READ, MESSAGE, State::Completed);
    read.plan = json!({"result": {"patient": "one"}});
    gateway.records.add_command(read);
    gateway.records.add_command(records::command(QUEUED, MESSAGE, State::Queued));
    gateway
}

/// What is in the log: who, what kind, what, and why.
async fn log(gateway: &HttpGateway) -> Vec<(String, String, String, String)> {
    let entries = gateway.store.audit_log(0, 100).await.expect("read");
    assert!(entries.iter().all(|entry| entry.place.as_deref() == Some("http 127.0.0.1")), "{entries:?}");
    let told = |entry: ers_gateway::store::AuditEntry| {
        let did = format!("{} {}", entry.act, entry.subject);
        Some((entry.by, entry.kind?, did, entry.why?))
    };
    entries.into_iter().filter_map(told).collect()
}

fn row(by: &str, kind: &str, did: &str, why: &str) -> (String, String, String, String) {
    (by.into(), kind.into(), did.into(), why.into())
}

async fn looks_as(gateway: &HttpGateway, path: &str, person: &[u8], why: &str) -> u16 {
    let request = gateway.client.get(gateway.url(path)).header("Acting-Person", person).header("Acting-Reason", why);
    request.send().await.expect("the listener answers").status().as_u16()
}

#[tokio::test]
async fn whoever_names_a_person_is_noted_once_an_hour_for_the_same_look() {
    let gateway = gateway_of(Some("northmoor")).await;
    let zoe = "Zoë Smith".as_bytes();
    for _ in 0..3 {
        assert_eq!(looks_as(&gateway, &format!("/v1/messages/{MESSAGE}"), zoe, "the ward telephoned").await, 200);
    }
    assert_eq!(looks_as(&gateway, &format!("/v1/commands/{QUEUED}"), zoe, "the ward telephoned").await, 200);
    assert_eq!(looks_as(&gateway, &format!("/v1/messages/{MESSAGE}"), b"j.doe", "looks too").await, 200);
    assert_eq!(looks_as(&gateway, "/v1/messages?controlId=MSG00001", b"j.doe", "lost").await, 200);
    assert_eq!(looks_as(&gateway, "/v1/messages?state=failed", b"j.doe", "a list names nobody").await, 200);
    assert_eq!(
        log(&gateway).await,
        [
            row("Zoë Smith", "person", &format!("view message {MESSAGE}"), "the ward telephoned"),
            row("Zoë Smith", "person", &format!("view command {QUEUED}"), "the ward telephoned"),
            row("j.doe", "person", &format!("view message {MESSAGE}"), "looks too"),
            row("j.doe", "person", "search messages by control id", "control id MSG00001; lost"),
        ]
    );
    // What is not there is not looked at.
    let nothing = format!("/v1/messages/{}", Uuid::from_u128(99));
    assert_eq!(looks_as(&gateway, &nothing, b"j.doe", "x").await, 404);
    for wrong in [&b" "[..], b"\xff\xfe", &[b'x'; 1_001]] {
        assert_eq!(looks_as(&gateway, &format!("/v1/messages/{MESSAGE}"), wrong, "x").await, 400);
    }
    assert_eq!(log(&gateway).await.len(), 4);
}

#[tokio::test]
async fn a_program_that_asks_for_what_its_own_source_sent_is_not_noted() {
    let gateway = gateway_of(Some("northmoor")).await;
    for path in [format!("/v1/commands/{READ}"), format!("/v1/commands/{QUEUED}"), format!("/v1/messages/{MESSAGE}")] {
        assert_eq!(gateway.get(&path).await.status(), 200);
    }
    assert_eq!(gateway.get("/v1/events").await.status(), 200);
    assert_eq!(gateway.get("/v1/messages?controlId=MSG00001&source=northmoor").await.status(), 200);
    assert_eq!(log(&gateway).await, []);
}

#[tokio::test]
async fn a_program_that_sees_content_of_others_is_noted_and_may_poll_for_states() {
    for (source, name) in [(Some("eastvale"), "eastvale"), (None, "unnamed")] {
        let gateway = gateway_of(source).await;
        for _ in 0..3 {
            assert_eq!(gateway.get(&format!("/v1/commands/{QUEUED}")).await.status(), 200);
            assert_eq!(gateway.get("/v1/events").await.status(), 200);
            assert_eq!(gateway.get(&format!("/v1/commands/{READ}")).await.status(), 200);
            assert_eq!(gateway.get("/v1/messages?controlId=MSG00001").await.status(), 200);
        }
        assert_eq!(
            log(&gateway).await,
            [
                row(name, "program", &format!("view command {READ}"), ""),
                row(name, "program", "search messages by control id", "control id MSG00001"),
            ]
        );
    }
}

#[tokio::test]
async fn the_log_is_read_in_pages_with_all_that_proves_it() {
    let gateway = gateway_of(None).await;
    for person in [&b"one"[..], b"two", b"three"] {
        assert_eq!(looks_as(&gateway, &format!("/v1/messages/{MESSAGE}"), person, "x").await, 200);
    }
    let page: Value = gateway.get("/v1/audit?after=1&limit=2").await.json().await.expect("JSON");
    // Who reads the log is in it as well.
    assert_eq!(page["written"], 4);
    let entries = page["entries"].as_array().expect("entries");
    assert_eq!(entries.iter().map(|entry| &entry["number"]).collect::<Vec<_>>(), [&json!(2), &json!(3)]);
    assert_eq!((&entries[0]["by"], &entries[0]["from"]), (&json!("two"), &json!("http 127.0.0.1")));
    let kept = gateway.store.audit_log(1, 2).await.expect("read");
    assert_eq!(serde_json::to_value(kept).expect("JSON"), page["entries"]);
    assert_eq!(gateway.get("/v1/audit?person=j.smith").await.status(), 400);
    assert_eq!(log(&gateway).await[3], row("unnamed", "program", "view audit log", ""));
}
