//! Questions to e-RS: answered to who asks, never behind what waits, never for hours.

use std::time::Duration;

use ers_gateway::simulator::{Action, Fault};
use serde_json::{Value, json};

use crate::support::referrals::{attach, create};
use crate::support::waiting::{client, until};
use crate::support::world::World;

/// Unavailable, come again in so many seconds.
fn asks_for(seconds: u64) -> Action {
    Action::Answer { status: 503, code: None, diagnostics: None, retry_after: Some(seconds), body: None }
}

async fn ask(world: &World, name: &str, body: Value) -> (u16, Value) {
    let url = format!("http://{}/v1/commands/{name}?source=northmoor", world.http);
    let request = client().post(url).header("content-type", "application/json");
    let answer = request.header("prefer", "wait=20").body(body.to_string()).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// The answer to a read, from e-RS.
async fn answer(world: &World, name: &str, body: Value) -> Value {
    let (status, answer) = ask(world, name, body).await;
    assert_eq!((status, &answer["commands"][0]["state"]), (200, &json!("completed")), "{name}: {answer}");
    answer["commands"][0]["result"].clone()
}

async fn referral(world: &World, local_id: &str) -> Value {
    answer(world, "CreateReferral", create(local_id, "9994120034")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_read_is_answered_with_what_e_rs_says_in_the_fewest_calls() {
    let world = World::start().await;
    let ubrn = referral(&world, "NM-1").await["ubrn"].clone();
    let search = json!({
        "requestType": "APPOINTMENT_REQUEST", "sortBy": "DISTANCE", "priority": "ROUTINE", "specialty": "CARDIOLOGY",
        "patient": {"nhsNumber": "9994120034"}, "referrer": {"sdsUserId": "555012345678"},
    });
    for (name, body, calls) in [
        ("RetrieveReferral", json!({"localId": "NM-1"}), vec!["A005"]),
        ("RetrieveReferral", json!({"ubrn": ubrn}), vec!["A005"]),
        ("RetrieveAvailableActions", json!({"localId": "NM-1"}), vec!["A005", "A029"]),
        ("RetrieveReferenceData", json!({"codeSystem": "PRIORITY"}), vec!["A004"]),
        ("RetrieveBusinessFunctions", json!({}), vec!["A030"]),
        ("RetrieveWorklist", json!({"list": "LETTERS_OUTSTANDING"}), vec!["A008"]),
        ("RetrieveServices", json!({"service": "20001"}), vec!["A033"]),
        ("RetrieveServices", json!({"services": ["20001", "11002"]}), vec!["A035"]),
        ("RetrieveServices", json!({"versionOf": "20001"}), vec!["A037"]),
        ("SearchServices", search, vec!["A010"]),
    ] {
        let before = world.calls().len();
        let result = answer(&world, name, body.clone()).await;
        assert_eq!(world.calls()[before..], calls, "{name} {body}");
        let told = match name {
            "RetrieveReferral" => {
                result["referral"]["id"] == ubrn && result["version"] == result["referral"]["meta"]["versionId"]
            }
            "RetrieveAvailableActions" => {
                result["actions"].as_array().is_some_and(|all| all.contains(&json!("CANCEL_REFERRAL")))
            }
            "RetrieveReferenceData" => result["codeSystem"]["concept"].is_array(),
            "RetrieveBusinessFunctions" => result["roles"][0]["resourceType"] == "PractitionerRole",
            "RetrieveWorklist" => result["worklist"].to_string().contains(ubrn.as_str().expect("a UBRN")),
            // What is found says how it is booked, and goes into a shortlist as it is.
            "SearchServices" => result["services"].as_array().is_some_and(|all| {
                let of = |id: &str| all.iter().find(|found| found["service"] == id).unwrap_or(&Value::Null);
                of("20061")["bookableType"] == "INDIRECTLY_BOOKABLE"
                    && of("11002")["name"] == "Good Cardiology Business Service"
                    && of("11010")["requestFlowTypes"] == json!(["APPOINTMENT_REQUEST", "ADVICE_AND_GUIDANCE_REQUEST"])
                    && of("11021")["referralLetterRequired"] == true
            }),
            _ => match calls[0] {
                "A033" => result["service"]["id"] == "20001" && result.get("etag").is_none(),
                "A035" => result["services"].as_array().is_some_and(|all| all.len() == 2),
                _ => result == json!({"etag": "W/\"1\""}),
            },
        };
        assert!(told, "{name} {body}: {result}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_passes_what_waits_on_the_same_referral() {
    let world = World::start().await;
    let ubrn = referral(&world, "NM-2").await["ubrn"].clone();
    // The letter's upload waits for an hour; the question does not.
    world.simulator.inject(Fault::on("A020", asks_for(3_600)).times(9));
    let letter = attach("NM-2", "letter.txt", "VGVzdA==");
    let url = format!("http://{}/v1/commands/AttachLetters?source=northmoor", world.http);
    let request = client().post(url).header("content-type", "application/json");
    let stored = request.header("prefer", "respond-async").body(letter.to_string()).send().await.expect("an answer");
    assert_eq!(stored.status(), 202, "{:?}", stored.text().await);
    until("the upload is tried", Duration::from_secs(30), || world.calls().contains(&"A020")).await;
    let result = answer(&world, "RetrieveReferral", json!({"localId": "NM-2"})).await;
    assert_eq!(result["ubrn"], ubrn);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_an_unknown_referral_is_refused_in_the_senders_terms() {
    let world = World::start().await;
    let (status, problem) = ask(&world, "RetrieveReferral", json!({"localId": "NM-NOBODY"})).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(problem["problems"][0]["code"], 204, "{problem}");
    assert!(world.calls().is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_e_rs_does_not_answer_in_time_fails_and_says_so() {
    let world = World::with(|config| config.delivery.read_deadline = Duration::from_secs(3)).await;
    world.simulator.inject(Fault::on("A004", asks_for(60)).times(9));
    let (status, answer) = ask(&world, "RetrieveReferenceData", json!({"codeSystem": "PRIORITY"})).await;
    let command = &answer["commands"][0];
    assert_eq!(
        (status, &command["state"], &command["why"]["code"]),
        (200, &json!("failed"), &json!("EXPIRED")),
        "{answer}"
    );
    assert_eq!(world.calls(), ["A004"], "it is not asked again when nobody listens any more");
    world.stop().await;
}
