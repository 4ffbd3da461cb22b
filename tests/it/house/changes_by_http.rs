//! A referral written about, cancelled, and advice asked for: in by HTTP, through to the simulator.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::waiting::{client, get};
use crate::support::world::World;

async fn act(world: &World, name: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{}/v1/commands/{name}?source=northmoor", world.http);
    let request = client().post(url).header("content-type", "application/json").header("prefer", "wait=10");
    let response = request.body(body.to_string()).send().await.expect("the gateway answers");
    (response.status().as_u16(), response.json().await.expect("a JSON body"))
}

fn referral() -> Value {
    json!({
        "localId": "NM-1", "patient": {"nhsNumber": "9994120034"}, "referrer": {"sdsUserId": "555012345678"},
        "priority": "ROUTINE", "shortlist": [{"service": "20001"}],
        "letterIntention": "NOT_INTENDING_TO_ADD", "firstReminderDays": 10,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_is_written_about_and_cancelled_by_the_senders_own_name_for_it() {
    let world = World::start().await;
    let (status, body) = act(&world, "CreateReferral", &referral()).await;
    assert_eq!(status, 200, "{body}");
    let ubrn = body["commands"][0]["result"]["ubrn"].as_str().expect("a UBRN").to_owned();

    let (status, body) = act(&world, "GeneratePatientLetter", &json!({"localId": "NM-1"})).await;
    assert_eq!((status, &body["commands"][0]["state"]), (200, &json!("completed")), "{body}");
    let letter = &body["commands"][0];
    let (id, step) = (letter["id"].as_str().expect("an id"), letter["result"]["step"].as_str().expect("a step"));
    let url = format!("http://{}/v1/commands/{id}/documents/{step}", world.http);
    let document = get(url).await;
    assert_eq!(document.headers()["content-type"], "application/pdf");
    assert!(document.headers()["content-disposition"].to_str().is_ok_and(|name| name.contains(&ubrn)));
    let document = document.bytes().await.expect("a whole body");
    assert_eq!(letter["result"]["sha256"], format!("{:x}", Sha256::digest(&document)));

    let (_, body) = act(&world, "CancelReferral", &json!({"localId": "NM-1", "reason": "CHANGED_MIND"})).await;
    assert_eq!(body["commands"][0]["why"]["code"], "REASON_UNKNOWN", "{body}");
    assert_eq!(world.simulator.referral(&ubrn).expect("a referral").state, "NOT_BOOKED");
    let (status, body) = act(&world, "CancelReferral", &json!({"localId": "NM-2", "reason": "RAISED_IN_ERROR"})).await;
    assert_eq!(status, 422, "no referral is known by that name: {body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn advice_is_asked_for_once_however_often_it_is_sent() {
    let world = World::start().await;
    let before = world.simulator.advice_requests().len();
    let mut asked = json!({
        "localId": "NM-A", "patient": {"nhsNumber": "9994120034"}, "referrer": {"sdsUserId": "555012345678"},
        "priority": "ROUTINE", "service": "11014", "conversion": "AUTHORISED_TO_CONVERT", "request": "What now?",
    });
    let (status, body) = act(&world, "CreateAdviceRequest", &asked).await;
    assert_eq!((status, &body["commands"][0]["state"]), (200, &json!("completed")), "{body}");
    assert_eq!(body["commands"][0]["result"]["version"], "1");
    let (_, talk) = act(&world, "RetrieveAdviceConversation", &json!({"localId": "NM-A"})).await;
    assert_eq!(talk["commands"][0]["result"]["messages"][0]["text"], "What now?", "{talk}");
    let (_, again) = act(&world, "CreateAdviceRequest", &asked).await;
    assert_eq!(again["outcome"], "duplicate", "{again}");
    asked["request"] = "What else?".into();
    let (_, other) = act(&world, "CreateAdviceRequest", &asked).await;
    assert_eq!(other["commands"][0]["state"], "failed", "{other}");
    assert_eq!(world.simulator.advice_requests().len(), before + 1);
}
