//! In by HTTP, out in the feed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::referrals::sample;
use crate::support::waiting::{get, post};
use crate::support::world::World;

const HL7: (&str, &str) = ("content-type", "application/hl7-v2; charset=utf-8");
const JSON: (&str, &str) = ("content-type", "application/json");
const CREATE: &str = "/v1/commands/CreateReferral?source=northmoor";

fn referral() -> Value {
    json!({
        "localId": "NM-HTTP-1",
        "patient": {"nhsNumber": "9994120034"},
        "referrer": {"sdsUserId": "555012345678"},
        "priority": "ROUTINE",
        "specialty": "TRAUMA_AND_ORTHOPAEDICS",
        "clinicType": "NOT_OTHERWISE_SPECIFIED",
        "shortlist": [{"service": "20001"}],
        "letterIntention": "NOT_INTENDING_TO_ADD",
        "firstReminderDays": 10,
    })
}

async fn json_of(response: reqwest::Response) -> Value {
    response.json().await.expect("a JSON body")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hl7_message_becomes_a_referral_and_its_resend_the_same_answer() {
    let world = World::start().await;
    let first = post(&world, "/v1/hl7v2", &[HL7], sample("01-")).await;
    assert_eq!(first.status(), 200);
    let first = first.text().await.expect("an answer");
    assert!(first.contains("MSA|AA|NM2603160001"), "{first}");
    let again = post(&world, "/v1/hl7v2", &[HL7], sample("01-")).await.text().await.expect("an answer");
    assert_eq!(again, first);

    world.settle().await;
    let mut events = Vec::new();
    let began = Instant::now();
    while events.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30), "no event: {}", world.story().await);
        let page = get(format!("http://{}/v1/events?after=0", world.http)).await;
        events = json_of(page).await["events"].as_array().expect("a list").clone();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(events[0]["type"], "ReferralCreated", "{events:?}");
    assert_eq!(world.simulator.created(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_answered_with_its_ubrn_by_one_who_waits() {
    let world = World::start().await;
    let headers = [JSON, ("prefer", "wait=20"), ("idempotency-key", "k-1")];
    let response = post(&world, CREATE, &headers, referral().to_string()).await;
    let status = response.status();
    let body = json_of(response).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["commands"][0]["state"], "completed", "{body}");
    assert!(body["commands"][0]["result"]["ubrn"].as_str().is_some_and(|ubrn| ubrn.len() == 12), "{body}");

    // The same key: answered from the record with the same content, refused with another.
    let again = post(&world, CREATE, &headers, referral().to_string()).await;
    assert_eq!(again.status(), 200);
    let again = json_of(again).await;
    assert_eq!((&again["outcome"], &again["message"]), (&json!("duplicate"), &body["message"]));
    let mut other = referral();
    other["priority"] = json!("URGENT");
    let reused = post(&world, CREATE, &headers, other.to_string()).await;
    assert_eq!(reused.status(), 409);
    assert_eq!(world.simulator.created(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_searched_for_and_booked_by_one_who_waits() {
    let world = World::start().await;
    let headers = [JSON, ("prefer", "wait=20")];
    let done = async |name: &str, body: Value| {
        let path = format!("/v1/commands/{name}?source=northmoor");
        let answer = json_of(post(&world, &path, &headers, body.to_string()).await).await;
        assert_eq!(answer["commands"][0]["state"], "completed", "{name}: {answer}");
        answer["commands"][0]["result"].clone()
    };
    let found = done("SearchSlots", json!({"ubrn": "000000070001", "service": "20013"})).await;
    let slot = &found["slots"][0];
    let booking = json!({
        "ubrn": "000000070001", "patient": {"nhsNumber": "9994121405"}, "service": "20013",
        "slot": slot["slot"], "start": slot["start"], "end": slot["end"],
    });
    let booked = done("BookAppointment", booking).await;
    // A search is nobody's predecessor: the booking reads the version itself.
    let calls = vec!["A005", "A015", "A005", "A016"];
    assert_eq!((&booked["ubrn"], world.calls()), (&json!("000000070001"), calls));
    assert_eq!(world.simulator.referral("000000070001").expect("seeded").state, "BOOKED");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_is_made_and_handed_to_its_provider_who_offers_no_slots() {
    let world = World::start().await;
    let headers = [JSON, ("prefer", "wait=20")];
    let mut body = referral();
    body["shortlist"] = json!([{"service": "20011"}]);
    body["then"] = json!("defer");
    let answer = json_of(post(&world, CREATE, &headers, body.to_string()).await).await;
    let command = &answer["commands"][0];
    assert_eq!(command["state"], "completed", "{answer}");
    let ubrn = command["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
    assert_eq!(world.calls(), ["A011", "A005", "A015", "A016"]);
    assert_eq!(world.simulator.referral(&ubrn).expect("made").state, "DEFERRED_TO_PROVIDER");
    let page = json_of(get(format!("http://{}/v1/events?after=0", world.http)).await).await;
    let told: Vec<&Value> = page["events"].as_array().expect("a list").iter().map(|event| &event["type"]).collect();
    assert_eq!(told, ["ReferralCreated", "AppointmentDeferred"], "{page}");

    // This one offers slots: the referral is there, and whoever sent it is told why it was not deferred.
    body["localId"] = json!("NM-HTTP-2");
    body["shortlist"] = json!([{"service": "20013"}]);
    let answer = json_of(post(&world, CREATE, &headers, body.to_string()).await).await;
    let command = &answer["commands"][0];
    assert_eq!((&command["state"], &command["why"]["code"]), (&json!("failed"), &json!("SLOTS_CURRENTLY_AVAILABLE")));
    assert_eq!(world.simulator.created(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_command_is_listed_and_never_repeated() {
    let world = World::start().await;
    let mut wrong = referral();
    wrong["patient"]["nhsNumber"] = json!("9994120035");
    wrong["priority"] = json!("SOON-9994120035");
    let response = post(&world, CREATE, &[JSON], wrong.to_string()).await;
    assert_eq!(response.status(), 422);
    let text = response.text().await.expect("a body");
    assert!(!text.contains("9994120035"), "{text}");
    let problem: Value = serde_json::from_str(&text).expect("JSON");
    let pointers: Vec<&str> =
        problem["problems"].as_array().expect("a list").iter().filter_map(|p| p["pointer"].as_str()).collect();
    assert!(pointers.contains(&"/patient/nhsNumber") && pointers.contains(&"/priority"), "{text}");
    assert_eq!(post(&world, CREATE, &[JSON], "{").await.status(), 400);
    let nobody = post(&world, "/v1/commands/CreateReferral?source=nobody", &[JSON], "{}").await;
    assert_eq!(nobody.status(), 404);
    assert_eq!(post(&world, "/v1/hl7v2/northmoor", &[HL7], "not HL7").await.status(), 400);
}
