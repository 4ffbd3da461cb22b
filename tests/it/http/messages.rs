//! Looking messages up.

use ers_gateway::command::{CommandId, MessageId, State, Verdict};
use ers_gateway::intake::Outcome;
use serde_json::Value;
use uuid::Uuid;

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};
use crate::support::records;

async fn with_messages(count: u128) -> HttpGateway {
    let gateway = HttpGateway::start(listener(), ScriptedIntake::new(|_| answer(Outcome::Unavailable))).await;
    for number in 1..=count {
        let mut message = records::message(MessageId(Uuid::from_u128(number)));
        if number % 2 == 0 {
            message.verdict = Verdict::Rejected;
        }
        gateway.records.add_message(message);
    }
    gateway
}

async fn get(gateway: &HttpGateway, path: &str) -> Value {
    let response = gateway.get(path).await;
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.expect("a JSON body")
}

fn ids(page: &Value) -> Vec<u128> {
    let messages = page["messages"].as_array().expect("a list");
    messages.iter().map(|m| m["id"].as_str().and_then(|id| id.parse::<Uuid>().ok()).expect("an id").as_u128()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let gateway = with_messages(5).await;
    let first = get(&gateway, "/v1/messages?limit=2").await;
    assert_eq!(ids(&first), [5, 4]);
    let second = get(&gateway, &format!("/v1/messages?limit=2&before={}", first["next"].as_str().expect("more"))).await;
    assert_eq!(ids(&second), [3, 2]);
    let last = get(&gateway, &format!("/v1/messages?limit=2&before={}", second["next"].as_str().expect("more"))).await;
    assert_eq!(ids(&last), [1]);
    assert_eq!(last.get("next"), None);
}

#[tokio::test]
async fn messages_are_filtered_and_mistyped_filters_are_refused() {
    let gateway = with_messages(4).await;
    assert_eq!(ids(&get(&gateway, "/v1/messages?verdict=rejected&source=northmoor").await), [4, 2]);
    assert_eq!(ids(&get(&gateway, "/v1/messages?source=eastvale").await), [] as [u128; 0]);
    for query in ["verdict=lost", "state=lost", "sorce=northmoor", "since=yesterday", "before=1", "limit=-1"] {
        let response = gateway.get(&format!("/v1/messages?{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{query}");
    }
}

#[tokio::test]
async fn a_message_is_shown_with_what_became_of_it() {
    let gateway = with_messages(1).await;
    let id = MessageId(Uuid::from_u128(1));
    gateway.records.add_command(records::command(CommandId(Uuid::from_u128(2)), id, State::Queued));
    let shown = get(&gateway, &format!("/v1/messages/{id}")).await;
    assert_eq!((&shown["kind"], &shown["bytes"]), (&"REF^I12".into(), &1_629.into()));
    assert_eq!(shown["commands"][0]["name"], "CreateReferral");
    assert_eq!(gateway.get("/v1/messages/00000000-0000-0000-0000-0000000000ff").await.status(), 404);
}
