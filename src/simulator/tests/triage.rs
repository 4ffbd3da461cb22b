//! Referrals sent for triage in one call: A021 and A032, with the published samples.

use super::shapes::same_keys;
use super::specification::{schema, violations};
use super::*;
use crate::simulator::AdditionalRequirement;

const CREATE_FOR_TRIAGE: &str = "/STU3/ReferralRequest/$ers.createReferralAndSendForTriage";
const CHANGE_AND_SEND: &str = "/STU3/ReferralRequest/{ubrn}/$ers.changeShortlistAndSendForTriage";
const UBRN: &str = "000000070000";

fn creation() -> Value {
    example("a021-create-referral-and-send-for-triage/request-parameters.json")
}

fn change() -> Value {
    example("a032-change-shortlist-and-send-for-triage/request-minimal.json")
}

/// The resource of the shortlist of either.
fn shortlist(body: &mut Value) -> &mut Value {
    let parameters = body["parameter"].as_array_mut().expect("parameters");
    &mut parameters.iter_mut().find(|part| part["name"] == "shortlist").expect("a shortlist")["resource"]
}

fn named<'a>(body: &'a mut Value, name: &str) -> &'a mut Value {
    let parameters = body["parameter"].as_array_mut().expect("parameters");
    parameters.iter_mut().find(|part| part["name"] == name).expect("such a parameter")
}

fn valid(path: &str, status: u16, reply: &Seen) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(violations(&schema(path, "post", status), &reply.json()), Vec::<String>::new(), "{}", reply.text);
}

impl Bench {
    async fn change_and_send(&self, version: u32, body: &Value) -> Seen {
        self.act(UBRN, "changeShortlistAndSendForTriage", Some(&format!("W/\"{version}\"")), body).await
    }
}

/// What both refuse alike: the code, and what leads to it.
fn wrong(sample: &dyn Fn() -> Value) -> Vec<(Value, &'static str)> {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut body = sample();
        change(&mut body);
        body
    };
    let service = |id: &str| changed(&|body| shortlist(body)["entry"][0]["item"]["identifier"]["value"] = id.into());
    let second = changed(&|body| {
        let mut entry = shortlist(body)["entry"][0].clone();
        entry["item"]["identifier"]["value"] = "50001".into();
        shortlist(body)["entry"].as_array_mut().expect("entries").push(entry);
    });
    let days = |days: Value| {
        changed(&|body| named(body, "firstReminderLetterFollowUpDays")["valueUnsignedInt"] = days.clone())
    };
    vec![
        (second, "TOO_MANY_ITEMS"),
        (service("11002"), "SHORTLISTED_SERVICE_NOT_IN_RESULTS"), // is booked
        (service("11014"), "SHORTLISTED_SERVICE_NOT_IN_RESULTS"), // gives advice
        (service("eleven"), "INVALID_VALUE"),
        (days(json!(7)), "INAPPROPRIATE_VALUE"),
        (days(json!(-1)), "INVALID_VALUE"),
        (
            changed(&|body| named(body, "intentionToAddReferralLetter")["valueCoding"]["code"] = "PERHAPS".into()),
            "INVALID_CODE",
        ),
        (changed(&|body| body["meta"]["profile"] = json!([])), "MISSING_VALUE"),
        (
            changed(&|body| {
                let extra = json!({"name": "eReferralPathwayStart", "valueInstant": "2024-05-01T09:55:00.000Z"});
                body["parameter"].as_array_mut().expect("parameters").push(extra);
            }),
            "UNEXPECTED_FIELD",
        ),
    ]
}

#[tokio::test]
async fn the_sample_makes_a_referral_that_waits_for_triage() {
    let bench = Bench::start().await;
    let reply = bench.post(CREATE_FOR_TRIAGE, &creation()).await;
    valid(CREATE_FOR_TRIAGE, 201, &reply);
    assert_eq!(reply.header("ETag"), r#"W/"3""#);
    let ubrn = reply.json()["id"].as_str().expect("a UBRN").to_owned();
    let referral = bench.simulator.referral(&ubrn).expect("a referral");
    assert_eq!((referral.state, referral.reason), ("AWAITING_TRIAGE", Some("TRIAGE")));
    // The sample has a pathway start, which the request cannot give.
    let unused = ["valueInstant", "/specialty/coding/display"];
    same_keys(&reply.json(), "a021-create-referral-and-send-for-triage/response-referral-request.json", &unused);
    let reference = reply.json()["extension"][1]["valueReference"]["reference"].as_str().expect("one").to_owned();
    assert_eq!(bench.get(&format!("/STU3/{reference}")).await.status, 200, "{reference}");
    let outstanding = example("a008-retrieve-worklist/request-minimal-letters-outstanding.json");
    assert!(bench.post(WORKLIST, &outstanding).await.text.contains(&ubrn), "triage needs a letter");

    assert_eq!(bench.post(CREATE_FOR_TRIAGE, &creation()).await.status, 201, "nothing guards it");
    assert_eq!((bench.simulator.created(), bench.simulator.duplicates().len()), (2, 1));
}

#[tokio::test]
async fn a_wrong_creation_gets_a_documented_code() {
    let bench = Bench::start().await;
    let mut cases = wrong(&creation);
    let mut without = creation();
    named(&mut without, "intentionToAddReferralLetter")["valueCoding"]["code"] = "NOT_INTENDING_TO_ADD".into();
    cases.push((without, "INAPPROPRIATE_VALUE"));
    for (number, code) in [("9999000010", "PATIENT_ERROR"), ("9999000029", "NO_REG_GP_PRACTICE")] {
        let mut body = creation();
        named(&mut body, "patient")["valueIdentifier"]["value"] = number.into();
        cases.push((body, code));
    }
    for (body, code) in cases {
        let reply = bench.post(CREATE_FOR_TRIAGE, &body).await;
        valid(CREATE_FOR_TRIAGE, 422, &reply);
        assert_eq!(reply.codes(), [code], "{body}");
    }
    assert_eq!(bench.simulator.created(), 0);
    let admin = bench.acting_as("R69", "REFERRING_CLINICIAN_ADMIN");
    assert_eq!(admin.post(CREATE_FOR_TRIAGE, &creation()).await.codes(), ["VALUE_IS_REQUIRED"]);
    let provider = admin.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(provider.post(CREATE_FOR_TRIAGE, &creation()).await.codes(), ["FORBIDDEN"]);
}

#[tokio::test]
async fn the_sample_changes_the_shortlist_and_sends_the_referral_for_triage() {
    let bench = Bench::start().await;
    let file = bench.uploaded("letter.pdf", UBRN).await;
    assert_eq!(bench.link(UBRN, Some(r#"W/"6""#), &letters(&[&file])).await.status, 200);
    assert!(bench.simulator.note_requirement(UBRN, AdditionalRequirement::Interpreter));
    let reply = bench.change_and_send(8, &change()).await;
    valid(CHANGE_AND_SEND, 200, &reply);
    assert_eq!(reply.header("ETag"), "", "none is documented");
    assert!(reply.text.contains("\"INTERPRETER\""), "what was noted stays: {}", reply.text);
    let unused = ["valueInstant", "/specialty/coding/display"];
    same_keys(&reply.json(), "a032-change-shortlist-and-send-for-triage/response-minimal-request.json", &unused);
    let changed = reply.json();
    let created = &changed["parameter"][1]["resource"];
    assert_eq!(created["incomingReferral"][0]["reference"], format!("ReferralRequest/{UBRN}/_history/10"));
    let shown = bench.get(&format!("{APPOINTMENT}/{}", created["id"].as_str().expect("an id"))).await;
    assert_eq!(&shown.json(), created);
    let read = bench.get(&format!("/STU3/ReferralRequest/{UBRN}/_history/10")).await;
    assert_eq!(read.json(), changed["parameter"][0]["resource"]);
    let referral = bench.simulator.referral(UBRN).expect("a referral");
    assert_eq!((referral.state, referral.services), ("AWAITING_TRIAGE", vec!["11004".to_owned()]));
    assert_eq!(bench.change_and_send(8, &change()).await.status, 409, "a replay changes nothing");
    let again = bench.change_and_send(10, &change()).await;
    valid(CHANGE_AND_SEND, 422, &again);
    assert_eq!(again.codes(), ["INVALID_REQUEST_STATE"]);
}

#[tokio::test]
async fn a_wrong_change_gets_a_documented_code() {
    let bench = Bench::start().await;
    for (body, code) in wrong(&change) {
        let reply = bench.change_and_send(6, &body).await;
        valid(CHANGE_AND_SEND, 422, &reply);
        assert_eq!(reply.codes(), [code], "{body}");
    }
    let send = "changeShortlistAndSendForTriage";
    assert_eq!(bench.act(UBRN, send, None, &change()).await.status, 412);
    assert_eq!(bench.change_and_send(5, &change()).await.status, 409);
    bench.simulator.lock(UBRN);
    assert_eq!(bench.change_and_send(6, &change()).await.status, 423);
    bench.simulator.unlock(UBRN);
    assert_eq!(bench.act("000049146177", send, Some(r#"W/"1""#), &change()).await.codes(), ["INVALID_REQUEST_TYPE"]);
    assert_eq!(bench.act("000000099999", send, Some(r#"W/"1""#), &change()).await.status, 404);
    assert_eq!((bench.version(UBRN).await, bench.simulator.referral(UBRN).expect("one").state), (6, "NOT_BOOKED"));
    let ubrn = bench.created().await;
    let elsewhere = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    let refused = elsewhere.act(&ubrn, send, Some(r#"W/"3""#), &change()).await;
    assert_eq!(refused.codes(), ["NO_RELATIONSHIP"]);
}
