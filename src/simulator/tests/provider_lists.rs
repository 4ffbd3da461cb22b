//! The worklists of providers (A008): whose they are, what they show, and what narrows them down.

use super::access_rules::application;
use super::every_sample::hold;
use super::shapes::same_keys;
use super::*;
use crate::simulator::referral::State;

const REVIEW: &str = "a008-retrieve-worklist/request-minimal-referrals-for-review.json";
const CLINICIAN: &str = "021600556514";

/// One waits for triage, one is booked with [`CLINICIAN`], one could not be booked.
async fn provider() -> Bench {
    let bench = Bench::start().await.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    hold(&bench, 70_000, "50001", State::AwaitingTriage);
    hold(&bench, 70_003, "20021", State::Booked);
    hold(&bench, 70_001, "20013", State::DeferredToProvider);
    bench
}

/// The request for referrals to review, with these parameters besides.
fn review(more: &[Value]) -> Value {
    let mut body = example(REVIEW);
    body["parameter"].as_array_mut().expect("parameters").extend(more.iter().cloned());
    body
}

fn service(id: &str) -> Value {
    json!({"name": "service", "valueIdentifier": {"system": "http://fhir.nhs.net/Id/ers-service", "value": id}})
}

fn location(code: &str) -> Value {
    let system = "https://directory.spineservices.nhs.uk/STU3/Organization";
    json!({"name": "location", "valueIdentifier": {"system": system, "value": code}})
}

fn clinician(id: &str) -> Value {
    json!({"name": "clinician", "valueIdentifier": {"system": "http://fhir.nhs.net/Id/sds-user-id", "value": id}})
}

fn specialty(code: &str) -> Value {
    let coding = json!({"system": "_baseUrl_/STU3/CodeSystem/SPECIALTY", "code": code});
    json!({"name": "specialty", "valueCodeableConcept": {"coding": [coding]}})
}

fn indicator(of: &str, code: &str) -> Value {
    let coding = json!({"system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AssignedIndicator-1", "code": code});
    json!({"name": format!("{of}AssignedIndicator"), "valueCodeableConcept": {"coding": [coding]}})
}

fn listed(reply: &Seen) -> Vec<String> {
    let list = reply.json();
    let entries = list["entry"].as_array().into_iter().flatten();
    let mut ubrns: Vec<String> = entries
        .filter_map(|one| one["item"]["reference"].as_str()?.split('/').next_back().map(str::to_owned))
        .collect();
    ubrns.sort();
    ubrns
}

#[tokio::test]
async fn a_provider_sees_what_waits_for_review_as_the_samples_show_it() {
    let bench = provider().await;
    let reply = bench.post(WORKLIST, &example(REVIEW)).await;
    assert_eq!(listed(&reply), ["000000070000", "000000070003"]);
    same_keys(&reply.json(), "a008-retrieve-worklist/response-referrals-for-review.json", &[]);
    let items = reply.json();
    let member = |entry: usize, name: &str| {
        let members = items["entry"][entry]["extension"][0]["extension"].as_array().expect("members").clone();
        members.into_iter().find(|one| one["url"] == name)
    };
    let booked = usize::from(items["entry"][0]["item"]["reference"] == "ReferralRequest/000000070000");
    assert_eq!(member(booked, "referralRequestVersion").expect("a version")["valueInteger"], 3);
    assert_eq!(member(booked, "appointmentStart").expect("a time")["valueDateTime"], "2040-05-01T08:00:00.000Z");
    assert_eq!(member(1 - booked, "appointmentStart"), None, "nothing is booked for triage");
    let contained: Vec<&str> =
        items["contained"].as_array().expect("people").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(contained, ["Practitioner-021600556514", "Patient-9912003888", "Patient-9994122770"]);

    let issues = example("a008-retrieve-worklist/request-minimal-appointment-slot-issues.json");
    let reply = bench.post(WORKLIST, &issues).await;
    assert_eq!(listed(&reply), ["000000070001"]);
    same_keys(&reply.json(), "a008-retrieve-worklist/response-appointment-slot-issues.json", &[]);
    let elsewhere = bench.acting_as("RXX00", "SERVICE_PROVIDER_ADMIN");
    assert_eq!(listed(&elsewhere.post(WORKLIST, &issues).await), Vec::<String>::new(), "services of others");
}

#[tokio::test]
async fn filters_narrow_a_list_down() {
    let bench = provider().await;
    let (triage, booked) = ("000000070000", "000000070003");
    for (filters, found) in [
        (vec![service("50001")], vec![triage]),
        (vec![service("20013")], vec![]),
        (vec![location("R69")], vec![triage, booked]),
        (vec![location("RXX00")], vec![]),
        (vec![indicator("clinician", "ASSIGNED")], vec![booked]),
        (vec![indicator("clinician", "NOT_ASSIGNED")], vec![triage]),
        (vec![indicator("clinician", "ASSIGNED"), clinician(CLINICIAN)], vec![booked]),
        (vec![indicator("clinician", "ASSIGNED"), clinician("555000000001")], vec![]),
        (vec![indicator("specialty", "ASSIGNED"), specialty("CARDIOLOGY")], vec![triage]),
        (vec![indicator("specialty", "NOT_ASSIGNED")], vec![booked]),
        (vec![service("20021"), indicator("clinician", "ASSIGNED"), location("R69")], vec![booked]),
    ] {
        let reply = bench.post(WORKLIST, &review(&filters)).await;
        assert_eq!(
            (reply.status, listed(&reply)),
            (200, found.iter().map(|one| (*one).to_owned()).collect()),
            "{filters:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_filter_gets_a_documented_code() {
    let bench = provider().await;
    for (filters, code) in [
        (vec![clinician(CLINICIAN)], "MISSING_VALUE"),
        (vec![clinician(CLINICIAN), indicator("clinician", "NOT_ASSIGNED")], "INVALID_VALUE"),
        (vec![clinician("1"), indicator("clinician", "ASSIGNED")], "INVALID_VALUE"),
        (vec![specialty("CARDIOLOGY")], "MISSING_VALUE"),
        (vec![indicator("specialty", "PERHAPS")], "INVALID_CODE"),
        (vec![location("r69")], "INVALID_VALUE"),
        (vec![service("eleven")], "REFERENCE_NOT_FOUND"),
    ] {
        let reply = bench.post(WORKLIST, &review(&filters)).await;
        assert_eq!((reply.status, reply.codes()), (422, vec![code.to_owned()]), "{filters:?}");
    }
    let booking = example("a008-retrieve-worklist/request-minimal-awaiting-booking.json");
    assert_eq!(bench.post(WORKLIST, &booking).await.codes(), ["INVALID_CODE"], "that is a referrer's");
    let elsewhere = bench.acting_as("RXX00", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(elsewhere.post(WORKLIST, &review(&[service("50001")])).await.codes(), ["NO_RELATIONSHIP"]);
}

#[tokio::test]
async fn unattended_software_asks_for_one_service_at_a_time() {
    let bench = provider().await;
    let token = application(&bench, demonstration::PROVIDER_CLIENT_ID).await;
    let ask = |body: Value| {
        let request = bench.http.post(format!("{}{WORKLIST}", bench.simulator.base_url())).bearer_auth(&token);
        request.header("Content-Type", FHIR).body(body.to_string()).send()
    };
    let refused = seen(ask(example(REVIEW)).await.expect("an answer")).await;
    assert_eq!(refused.codes(), ["MISSING_VALUE"]);
    let reply = seen(ask(review(&[service("50001")])).await.expect("an answer")).await;
    assert_eq!((reply.status, listed(&reply)), (200, vec!["000000070000".to_owned()]));
    let again = seen(ask(review(&[service("50001")])).await.expect("an answer")).await;
    let too_often = seen(ask(review(&[service("50001")])).await.expect("an answer")).await;
    let other = seen(ask(review(&[service("11002")])).await.expect("an answer")).await;
    assert_eq!([again.status, too_often.status, other.status], [200, 429, 200], "twice a day for each service");
}
