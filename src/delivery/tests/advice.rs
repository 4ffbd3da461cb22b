//! Asking for advice and following it, carried out against the simulator.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;
use crate::simulator::{Action, Fault};
use crate::store::NewDocument;

fn request() -> Value {
    json!({
        "patient": { "nhsNumber": "9994120034" }, "priority": "ROUTINE", "specialty": "CARDIOLOGY",
        "service": "11014", "conversion": "NOT_AUTHORISED_TO_CONVERT", "request": "What would you do?",
    })
}

#[tokio::test(start_paused = true)]
async fn advice_is_asked_for_with_its_files_and_followed() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let mut body = request();
    body["letters"] = json!([{
        "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5,
        "sha256": format!("{:x}", Sha256::digest(b"hello")), "content": { "in": "document", "number": 1 },
    }]);
    let documents = vec![NewDocument { number: 1, content: "hello".into() }];
    let command = world.admit_as("CreateAdviceRequest", "R1", body, b"{}", documents).await;
    let done = world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A020", "A044"]);
    let ubrn = done.plan["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
    assert_eq!(done.known, json!({ "ubrn": ubrn, "version": "1", "services": ["11014"] }));
    let event = world.only_event("AdviceRequestCreated").await;
    assert_eq!((&event["ubrn"], &event["version"], &event["service"]), (&json!(ubrn), &json!("1"), &json!("11014")));
    assert!(!event.to_string().contains("What would you do?"), "{event}");

    // By the sender's own name for it.
    let read = world.admit_as("RetrieveAdviceRequest", "R1", json!({}), b"{}", Vec::new()).await;
    let read = world.until(read, "completed").await;
    assert_eq!(read.plan["result"]["status"], "PROVIDER_RESPONSE_REQUIRED");
    let talk = world.admit_as("RetrieveAdviceConversation", "R1", json!({}), b"{}", Vec::new()).await;
    let talk = world.until(talk, "completed").await;
    let result = &talk.plan["result"];
    assert_eq!(
        (&result["messages"][0]["text"], &result["messages"][0]["by"]),
        (&json!("What would you do?"), &json!("REQUESTER"))
    );
    assert_eq!(result["messages"][0]["files"][0], result["files"][0]["id"]);
    assert_eq!(result["files"][0]["fileName"], "notes.txt");
    let overview = world.admit_as("RetrieveAdviceOverview", "R1", json!({}), b"{}", Vec::new()).await;
    let overview = world.until(overview, "completed").await;
    assert_eq!(overview.plan["result"]["contentType"], "application/pdf");
    assert_eq!(world.simulator().calls()[2..], ["A024", "A024", "A025", "A043"]);
    assert_eq!(world.event_names().await, ["AdviceRequestCreated"], "reads publish nothing");
}

#[tokio::test(start_paused = true)]
async fn an_advice_request_whose_answer_is_lost_is_never_sent_again() {
    for action in [Action::Reset { after_commit: true }, Action::answer(503)] {
        let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
        world.simulator().inject(Fault::on("A044", action).times(1));
        let command = world.admit_as("CreateAdviceRequest", "R1", request(), b"{}", Vec::new()).await;
        world.until(command, "in_doubt").await;
        world.rest(Duration::from_secs(3_600)).await;
        assert_eq!(world.simulator().calls(), ["A044"]);
        assert_eq!(world.event_names().await, ["CommandInDoubt", "DecisionNeeded"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_gives_no_advice_fails_with_its_code() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let mut body = request();
    body["service"] = "11002".into();
    let command = world.admit_as("CreateAdviceRequest", "R1", body, b"{}", Vec::new()).await;
    assert_eq!(world.failure(command).await.0, "SHORTLISTED_SERVICE_NOT_IN_RESULTS");
}
