//! Canonical commands over HTTP, and what people see and do about them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ers_gateway::command::{CommandId, Failure, MessageId, State};
use ers_gateway::intake::{Answer, Content, Outcome};
use ers_gateway::mapping::{Location, Problem};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};
use crate::support::records;

const CREATE: &str = "/v1/commands/CreateReferral";

fn message_id() -> MessageId {
    MessageId(Uuid::from_u128(1))
}

fn command_id() -> CommandId {
    CommandId(Uuid::from_u128(2))
}

fn accepting() -> Arc<ScriptedIntake> {
    ScriptedIntake::new(|_| Answer {
        message: Some(message_id()),
        commands: vec![command_id()],
        ..answer(Outcome::Accepted)
    })
}

fn failed() -> State {
    State::Failed { why: Failure { code: "NO_SUCH_SERVICE".into(), text: "e-RS does not know the service".into() } }
}

async fn with_command(state: State) -> HttpGateway {
    let gateway = HttpGateway::start(listener(), accepting()).await;
    gateway.records.add_message(records::message(message_id()));
    gateway.records.add_command(records::command(command_id(), message_id(), state));
    gateway
}

async fn json_of(response: reqwest::Response) -> Value {
    response.json().await.expect("a JSON body")
}

#[tokio::test]
async fn a_stored_command_is_answered_with_202_and_its_location() {
    let gateway = with_command(State::Queued).await;
    let response = gateway
        .client
        .post(gateway.url(CREATE))
        .header("content-type", "application/json")
        .header("idempotency-key", "\"key-1\"")
        .body("{}")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["location"], format!("/v1/commands/{}", command_id()));
    let body = json_of(response).await;
    assert_eq!(body["outcome"], "accepted");
    assert_eq!(body["commands"][0]["state"], "queued");
    let received = gateway.intake.received();
    let Content::Command { name, idempotency_key, bytes } = &received[0].content else { panic!("{received:?}") };
    assert_eq!((name.as_str(), idempotency_key.as_deref(), &bytes[..]), ("CreateReferral", Some("key-1"), &b"{}"[..]));
}

#[tokio::test]
async fn a_client_that_waits_hears_the_outcome_as_soon_as_it_is_known() {
    let gateway = with_command(State::Queued).await;
    let records = gateway.records.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        records.settle(command_id(), State::Completed);
    });
    let started = Instant::now();
    let response = waiting(&gateway, "wait=4").await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["preference-applied"], "wait=4");
    let command = &json_of(response).await["commands"][0];
    assert_eq!((&command["state"], &command["result"]["ubrn"]), (&json!("completed"), &json!("000000070000")));
}

#[tokio::test]
async fn a_failure_is_an_outcome_too() {
    let gateway = with_command(failed()).await;
    let response = waiting(&gateway, "wait=4").await;
    assert_eq!(response.status(), 200);
    assert_eq!(json_of(response).await["commands"][0]["why"]["code"], "NO_SUCH_SERVICE");
}

#[tokio::test]
async fn a_wait_that_ends_without_an_outcome_is_a_202() {
    let gateway = with_command(State::Queued).await;
    let response = waiting(&gateway, "wait=1").await;
    assert_eq!(response.status(), 202);
    assert!(response.headers().contains_key("location"));
}

#[tokio::test]
async fn a_client_that_waits_is_answered_when_the_gateway_stops() {
    let gateway = Arc::new(with_command(State::Queued).await);
    let client = gateway.clone();
    let answered = tokio::spawn(async move { waiting(&client, "wait=5").await.status() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    assert!(gateway.environment.drain(Duration::from_secs(10)).await, "the listener did not stop");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(answered.await.expect("an answer"), 202);
}

async fn waiting(gateway: &HttpGateway, prefer: &str) -> reqwest::Response {
    let request = gateway.client.post(gateway.url(CREATE)).header("content-type", "application/json");
    request.header("prefer", prefer).body("{}").send().await.expect("an answer")
}

#[tokio::test]
async fn every_problem_of_an_invalid_command_is_listed() {
    let gateway = HttpGateway::start(
        listener(),
        ScriptedIntake::new(|_| Answer {
            message: Some(message_id()),
            problems: vec![
                Problem::new(Location::Json("/patient/nhsNumber".into()), 101, "is required"),
                Problem::new(Location::Json("/priority".into()), 103, "must be one of ROUTINE, URGENT, TWO_WEEK_WAIT"),
            ],
            ..answer(Outcome::Rejected)
        }),
    )
    .await;
    let response = gateway.post(CREATE, "application/json", "{}").await;
    assert_eq!(response.status(), 422);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(
        json_of(response).await,
        json!({
            "type": "urn:ers-gateway:problem:invalid-command",
            "title": "The command is not valid",
            "status": 422,
            "detail": "Every problem found is listed. The command was kept, but will not be carried out.",
            "message": message_id(),
            "problems": [
                {"pointer": "/patient/nhsNumber", "code": 101, "text": "is required"},
                {"pointer": "/priority", "code": 103, "text": "must be one of ROUTINE, URGENT, TWO_WEEK_WAIT"},
            ],
        })
    );
}

#[tokio::test]
async fn refusals_have_the_status_that_clients_expect() {
    let duplicate_key = Problem::new(Location::Message, 205, "this key came with other content");
    for (outcome, problems, status, kind) in [
        (Outcome::Rejected, vec![duplicate_key], 409, "idempotency-key-reused"),
        (Outcome::Unreadable, vec![], 400, "not-json"),
        (Outcome::UnknownSource, vec![], 404, "not-found"),
        (Outcome::TooLarge, vec![], 413, "too-large"),
        (Outcome::Unavailable, vec![], 503, "unavailable"),
    ] {
        let intake = ScriptedIntake::new(move |_| Answer { problems: problems.clone(), ..answer(outcome) });
        let gateway = HttpGateway::start(listener(), intake).await;
        let response = gateway.post(CREATE, "application/json", "{").await;
        assert_eq!(response.status(), status, "{outcome:?}");
        assert_eq!(response.headers().contains_key("retry-after"), status == 503);
        assert_eq!(json_of(response).await["type"], format!("urn:ers-gateway:problem:{kind}"), "{outcome:?}");
    }
}

#[tokio::test]
async fn requests_that_never_reach_intake() {
    let gateway = HttpGateway::start(listener(), accepting()).await;
    for (path, content_type, status) in [
        ("/v1/commands/EraseReferral", "application/json", 404),
        (CREATE, "text/plain", 415),
        ("/v1/commands/CreateReferral?source=eastvale", "application/json", 403),
        ("/v1/commands/CreateReferral?surce=eastvale", "application/json", 400),
    ] {
        let response = gateway.post(path, content_type, "{}").await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
    assert!(gateway.intake.received().is_empty());
}

#[tokio::test]
async fn a_shared_listener_asks_for_the_source() {
    let shared = ers_gateway::config::HttpListener { source: None, ..listener() };
    let gateway = HttpGateway::start(shared, accepting()).await;
    assert_eq!(gateway.post(CREATE, "application/json", "{}").await.status(), 400);
    let response = gateway.post("/v1/commands/CreateReferral?source=eastvale", "application/json", "{}").await;
    assert_eq!(response.status(), 202);
    assert_eq!(gateway.intake.received()[0].source.as_deref(), Some("eastvale"));
}

#[tokio::test]
async fn a_command_is_shown_with_its_history_and_without_its_patient() {
    let gateway = with_command(State::Completed).await;
    let response = gateway.get(&format!("/v1/commands/{}", command_id())).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.expect("a body");
    assert!(!text.contains("9994120034"), "{text}");
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown["state"], "completed");
    assert_eq!(shown["transitions"][0]["to"], "queued");
    assert_eq!(shown["attempts"][0]["call"], "A011");
    for path in ["/v1/commands/x", "/v1/commands/00000000-0000-0000-0000-0000000000ff"] {
        assert_eq!(gateway.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_queued_command_tells_when_it_will_be_sent() {
    let gateway = with_command(State::Queued).await;
    for path in [format!("/v1/commands/{}", command_id()), format!("/v1/messages/{}", message_id())] {
        let shown: Value = gateway.get(&path).await.json().await.expect("JSON");
        let command = shown.get("commands").map_or(&shown, |commands| &commands[0]);
        assert_eq!(command["estimatedAt"], "1970-01-01T00:00:00Z", "{path}: {shown}");
        assert!(command["estimate"].as_str().is_some_and(|text| text.starts_with("as the queue stands")), "{shown}");
    }
    let gateway = with_command(State::Completed).await;
    let shown: Value = gateway.get(&format!("/v1/commands/{}", command_id())).await.json().await.expect("JSON");
    assert!(shown.get("estimatedAt").is_none() && shown.get("estimate").is_none(), "{shown}");
}

#[tokio::test]
async fn a_step_that_was_not_answered_with_a_document_has_none() {
    let gateway = with_command(State::Completed).await;
    for path in [format!("/v1/commands/{}/documents/create", command_id()), "/v1/commands/x/documents/letter".into()] {
        let response = gateway.get(&path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn a_person_acts_on_a_command_and_says_who_and_why() {
    let unauthorised = || State::Unauthorised { step: "create".into(), since: jiff::Timestamp::UNIX_EPOCH };
    for (verb, before, state) in
        [("replay", failed(), "queued"), ("discard", failed(), "discarded"), ("release", unauthorised(), "queued")]
    {
        let gateway = with_command(before).await;
        let path = format!("/v1/commands/{}/{verb}", command_id());
        for nobody in ["", "{}", r#"{"by": "", "why": "x"}"#, r#"{"by": "A", "why": "x", "more": 1}"#] {
            assert_eq!(gateway.post(&path, "application/json", nobody).await.status(), 400, "{nobody}");
        }
        let body = r#"{"by": "A. Nurse", "why": "service added to the table"}"#;
        let response = gateway.post(&path, "application/json", body).await;
        assert_eq!(response.status(), 200);
        assert_eq!(json_of(response).await["state"], state);
        let act = (verb, command_id(), "A. Nurse".to_owned(), "service added to the table".to_owned());
        assert_eq!(gateway.records.acts(), [act]);
        assert_eq!(gateway.post(&path, "application/json", body).await.status(), 409);
    }
}

#[tokio::test]
async fn a_person_says_what_became_of_a_write_in_doubt() {
    let doubt = State::InDoubt { step: "create".into(), since: jiff::Timestamp::UNIX_EPOCH, look_at: None };
    let gateway = with_command(doubt).await;
    let path = format!("/v1/commands/{}/decide", command_id());
    for nothing in [
        r#"{"by": "A", "why": "x"}"#,
        r#"{"by": "A", "done": true}"#,
        r#"{"by": "A", "why": "x", "done": "yes"}"#,
        r#"{"by": "A", "why": "x", "done": true, "ubrn": "70001"}"#,
        r#"{"by": "A", "why": "x", "done": false, "ubrn": "000000070001"}"#,
    ] {
        assert_eq!(gateway.post(&path, "application/json", nothing).await.status(), 400, "{nothing}");
    }
    let body = r#"{"by": "A. Nurse", "why": "found in e-RS", "done": true, "ubrn": "000000070001"}"#;
    let response = gateway.post(&path, "application/json", body).await;
    assert_eq!(response.status(), 200);
    let shown = json_of(response).await;
    assert_eq!(shown["state"], "in_doubt");
    assert!(shown["lookAt"].is_string(), "it is taken up at once: {shown}");
    let act = ("decide", command_id(), "A. Nurse".to_owned(), "found in e-RS".to_owned());
    assert_eq!(gateway.records.acts(), [act]);
    let settled = with_command(failed()).await;
    assert_eq!(settled.post(&path, "application/json", body).await.status(), 409);
}
