//! What a provider decides about a referral: A013, A014, A022, A028, and where the referral is afterwards.

use super::every_sample::hold;
use super::*;
use crate::simulator::Ubrn;
use crate::simulator::referral::State;

const SAMPLE: &str = "000000070000";
const SIX: Option<&str> = Some(r#"W/"6""#);
const EIGHT: Option<&str> = Some(r#"W/"8""#);
const PROVIDER: &str = "SERVICE_PROVIDER_CLINICIAN";
/// Services: directly bookable, indirectly bookable, for triage.
const DIRECT: &str = "11002";
const INDIRECT: &str = "20061";
const TRIAGE: &str = "50001";

/// The sample referral at this service, for its provider.
async fn held(service: &str, state: State) -> Bench {
    let bench = Bench::start().await;
    hold(&bench, 70_000, service, state);
    bench.acting_as("R69", PROVIDER)
}

fn rejection() -> Value {
    example("a014-reject-referral/request-basic-example-dbs.json")
}

fn action_later() -> Value {
    example("a022-cancel-appointment-action-later/request-minimal-example-dbs.json")
}

fn outcome(sample: &str) -> Value {
    example(&format!("a028-record-triage-outcome/request-{sample}.json"))
}

fn with(mut body: Value, part: Value) -> Value {
    body["parameter"].as_array_mut().expect("parameters").push(part);
    body
}

fn in_pas(cancelled: bool) -> Value {
    json!({"name": "appointmentCancelledInPAS", "valueBoolean": cancelled})
}

impl Bench {
    async fn accept(&self, if_match: Option<&str>) -> Seen {
        let mut request = self.request(Method::POST, &format!("/STU3/ReferralRequest/{SAMPLE}/$ers.acceptReferral"));
        if let Some(version) = if_match {
            request = request.header("If-Match", version);
        }
        seen(request.send().await.expect("an answer")).await
    }

    /// Whether the worklist has the sample referral, and how its review is told.
    async fn listed(&self, list: &str) -> Option<String> {
        let mut request = example("a008-retrieve-worklist/request-minimal-referrals-for-review.json");
        request["parameter"][0]["valueCodeableConcept"]["coding"][0]["code"] = list.into();
        let reply = self.post(WORKLIST, &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let list = reply.json();
        let reference = format!("ReferralRequest/{SAMPLE}");
        let entry = list["entry"].as_array()?.iter().find(|entry| entry["item"]["reference"] == reference.as_str())?;
        let parts = entry["extension"][0]["extension"].as_array()?;
        let told = parts.iter().find(|part| part["url"] == "requestContextStatus" || part["url"] == "status")?;
        told["valueCodeableConcept"]["coding"][0]["code"].as_str().map(str::to_owned)
    }

    fn decided(&self) -> &'static str {
        self.simulator.referral(SAMPLE).expect("a referral").state
    }
}

#[tokio::test]
async fn an_accepted_booking_stands_and_leaves_the_worklist_until_its_letters_change() {
    let bench = held(DIRECT, State::Booked).await;
    assert_eq!(bench.listed("REFERRALS_FOR_REVIEW").await.as_deref(), Some("NEVER_REVIEWED"));
    let reply = bench.accept(SIX).await;
    assert_eq!((reply.status, reply.header("ETag")), (200, r#"W/"8""#), "{}", reply.text);
    let wrong = specification::violations(
        &specification::schema("/STU3/ReferralRequest/{ubrn}/$ers.acceptReferral", "post", 200),
        &serde_json::from_str(&reply.text.replace(bench.simulator.base_url(), "_baseurl_")).expect("JSON"),
    );
    assert_eq!(wrong, Vec::<String>::new(), "{}", reply.text);
    assert_eq!((bench.decided(), bench.listed("REFERRALS_FOR_REVIEW").await), ("BOOKED", None));
    assert_eq!(bench.accept(SIX).await.status, 409, "a replay cannot act twice");
    assert_eq!(bench.accept(EIGHT).await.codes(), ["INVALID_REQUEST_STATE"], "there is nothing left to review");

    let bench = bench.acting_as("R69", "REFERRING_CLINICIAN");
    let file = bench.uploaded("later.pdf", SAMPLE).await;
    assert_eq!(bench.link(SAMPLE, EIGHT, &letters(&[&file])).await.status, 200);
    let bench = bench.acting_as("R69", PROVIDER);
    assert_eq!(bench.listed("REFERRALS_FOR_REVIEW").await.as_deref(), Some("LETTER_CHANGED"));
    assert_eq!(bench.accept(Some(r#"W/"10""#)).await.status, 200, "it is reviewed again");
}

#[tokio::test]
async fn a_rejected_referral_goes_back_to_its_referrer_and_frees_the_slot() {
    let bench = changes::booked().await.acting_as("R69", PROVIDER);
    let version = bench.version(SAMPLE).await;
    let if_match = format!("W/\"{version}\"");
    let reply = bench.act(SAMPLE, "rejectReferral", Some(&if_match), &rejection()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let shown = reply.json();
    let appointment = shown["contained"].as_array().and_then(|all| all.iter().find(|one| one["id"] == "appointment"));
    let appointment = appointment.expect("an appointment");
    assert_eq!(
        (&appointment["status"], &appointment["comment"]),
        (&json!("cancelled"), &json!("This is a short comment"))
    );
    assert!(reply.text.contains("Inappropriate service"), "{}", reply.text);
    assert_eq!(bench.decided(), "REJECTED");

    let bench = bench.acting_as("R69", "REFERRING_CLINICIAN");
    assert_eq!(bench.listed("REJECTED_TRIAGE_RESPONSE").await.as_deref(), Some("REJECTED"));
    assert_eq!(bench.listed("AWAITING_BOOKING").await, None);
    let mut again = example("a016-book-or-defer-appointment/request-minimal-booking.json");
    let now = bench.version(SAMPLE).await;
    again["incomingReferral"][0]["reference"] = format!("ReferralRequest/{SAMPLE}/_history/{now}").into();
    let booked = bench.post(APPOINTMENT, &again).await;
    assert_eq!(booked.status, 201, "{}", booked.text);
    let bench = bench.acting_as("R69", PROVIDER);
    assert_eq!(bench.listed("REFERRALS_FOR_REVIEW").await.as_deref(), Some("NEVER_REVIEWED"));
}

#[tokio::test]
async fn what_is_cancelled_to_act_on_later_is_the_providers_with_its_files() {
    let bench = held(DIRECT, State::Booked).await;
    let file = bench.uploaded("plan.pdf", SAMPLE).await;
    let document = json!({"name": "providerAttachmentFile", "resource": {
        "meta": {"profile": ["https://fhir.nhs.uk/STU3/StructureDefinition/eRS-DocumentReference-1"]},
        "resourceType": "DocumentReference",
        "type": {"coding": [{"system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AttachmentType-1", "code": "PROVIDER"}]},
        "status": "current",
        "indexed": "2021-11-03T14:29:41.988000+00:00",
        "content": [{"attachment": {"url": file}}],
    }});
    let priority = json!({"name": "priority", "valueCoding": {
        "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-Priority-1", "code": "TWO_WEEK_WAIT"}});
    let twice = with(with(action_later(), document.clone()), document.clone());
    let reply = bench.act(SAMPLE, "cancelAppointmentActionLater", SIX, &twice).await;
    assert_eq!(reply.codes(), ["DUPLICATE_FILENAME"], "{}", reply.text);
    let body = with(with(action_later(), document), priority);
    let reply = bench.act(SAMPLE, "cancelAppointmentActionLater", SIX, &body).await;
    assert_eq!((reply.status, reply.header("ETag")), (200, r#"W/"8""#), "{}", reply.text);
    let referral = bench.simulator.referral(SAMPLE).expect("a referral");
    assert_eq!(
        (referral.state, referral.reason, referral.priority),
        ("TRIAGED_PROVIDER_TO_ACTION", Some("CANCEL_APPOINTMENT_ACTION_LATER"), "TWO_WEEK_WAIT")
    );
    let read = bench.get(&format!("/STU3/ReferralRequest/{SAMPLE}")).await;
    for shown in ["\"PROVIDER\"", "plan.pdf", "Please contact patient to rebook", "\"proposed\""] {
        assert!(read.text.contains(shown), "{shown}: {}", read.text);
    }
    let cancelled = bench.act(SAMPLE, "cancelReferral", EIGHT, &changes::cancellation("outpatient-service")).await;
    assert_eq!(cancelled.status, 200, "the provider may end it: {}", cancelled.text);
}

#[tokio::test]
async fn whether_the_hospital_cancelled_is_said_of_indirectly_bookable_services_only() {
    for (service, body, operation, codes) in [
        (INDIRECT, rejection(), "rejectReferral", vec!["VALUE_IS_REQUIRED"]),
        (DIRECT, with(rejection(), in_pas(true)), "rejectReferral", vec!["FIELD_NOT_PERMITTED"]),
        (INDIRECT, with(rejection(), in_pas(true)), "rejectReferral", vec![]),
        (INDIRECT, action_later(), "cancelAppointmentActionLater", vec!["VALUE_IS_REQUIRED"]),
        (DIRECT, with(action_later(), in_pas(true)), "cancelAppointmentActionLater", vec!["FIELD_NOT_PERMITTED"]),
        (INDIRECT, with(action_later(), in_pas(false)), "cancelAppointmentActionLater", vec![]),
    ] {
        let bench = held(service, State::Booked).await;
        let reply = bench.act(SAMPLE, operation, SIX, &body).await;
        assert_eq!(reply.codes(), codes, "{service} {operation}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_review_outcome_is_for_what_has_no_date_and_ends_the_wait() {
    for (state, list) in
        [(State::AwaitingTriage, "REFERRALS_FOR_REVIEW"), (State::DeferredToProvider, "APPOINTMENT_SLOT_ISSUES")]
    {
        for (sample, then, reason) in [
            ("accept-refer-book-later", "TRIAGED_PROVIDER_TO_ACTION", "ACCEPT_REFER_BOOK_LATER"),
            ("return-to-referrer-with-advice", "TRIAGE_RESPONSE", "RETURN_TO_REFERRER_WITH_ADVICE"),
        ] {
            let bench = held(TRIAGE, state).await;
            let reply = bench.act(SAMPLE, "recordReviewOutcome", SIX, &outcome(sample)).await;
            assert_eq!((reply.status, reply.header("ETag")), (200, r#"W/"8""#), "{}", reply.text);
            let referral = bench.simulator.referral(SAMPLE).expect("a referral");
            assert_eq!((referral.state, referral.reason), (then, Some(reason)));
            assert_eq!(bench.listed(list).await, None, "it waits no more");
            let again = bench.act(SAMPLE, "recordReviewOutcome", EIGHT, &outcome(sample)).await;
            assert_eq!(again.codes(), ["INVALID_REQUEST_STATE"]);
            let referrer = bench.acting_as("R69", "REFERRING_CLINICIAN");
            let returned = referrer.listed("REJECTED_TRIAGE_RESPONSE").await;
            assert_eq!(returned.is_some(), then == "TRIAGE_RESPONSE", "{sample}");
        }
    }
}

#[tokio::test]
async fn decisions_are_for_the_state_that_they_fit() {
    let accept = "acceptReferral";
    for (state, fits) in [
        (State::Booked, vec![accept, "rejectReferral", "cancelAppointmentActionLater"]),
        (State::AwaitingTriage, vec!["recordReviewOutcome"]),
        (State::DeferredToProvider, vec!["recordReviewOutcome"]),
    ] {
        for (operation, body) in [
            (accept, Value::Null),
            ("rejectReferral", rejection()),
            ("cancelAppointmentActionLater", action_later()),
            ("recordReviewOutcome", outcome("accept-refer-book-later")),
        ] {
            let bench = held(DIRECT, state).await;
            let reply = match operation {
                "acceptReferral" => bench.accept(SIX).await,
                _ => bench.act(SAMPLE, operation, SIX, &body).await,
            };
            match fits.contains(&operation) {
                true => assert_eq!(reply.status, 200, "{state:?} {operation}: {}", reply.text),
                false => assert_eq!(reply.codes(), ["INVALID_REQUEST_STATE"], "{state:?} {operation}"),
            }
        }
    }
    // An appointment that has begun is reviewed no more.
    let bench = held(DIRECT, State::Booked).await;
    let past = |referral: &mut crate::simulator::referral::Referral| {
        let appointment = referral.appointment.as_mut().expect("held");
        appointment.start = Some("2020-01-01T00:00:00.000Z".into());
    };
    bench.simulator.world.referrals.with(Ubrn(70_000), past).expect("seeded");
    assert_eq!(bench.accept(SIX).await.codes(), ["INVALID_REQUEST_STATE"]);
}

#[tokio::test]
async fn a_wrong_decision_gets_a_code_that_is_documented_for_it() {
    let long = "x".repeat(2001);
    let reason = |code: &str| {
        let mut body = rejection();
        body["parameter"][0]["valueCoding"]["code"] = code.into();
        body
    };
    let text = |mut body: Value, index: usize, text: &str| {
        body["parameter"][index]["valueString"] = text.into();
        body
    };
    let mut converted = outcome("accept-refer-book-later");
    converted["parameter"][0]["valueCoding"]["code"] = "CANCEL_APPOINTMENT_ACTION_LATER".into();
    let mut silent = outcome("accept-refer-book-later");
    silent["parameter"].as_array_mut().expect("parameters").retain(|part| part["name"] != "reviewComments");
    for (operation, state, body, codes) in [
        ("rejectReferral", State::Booked, json!({}), vec!["MISSING_VALUE", "MISSING_VALUE", "MISSING_VALUE"]),
        ("rejectReferral", State::Booked, reason("NO_SUCH_REASON"), vec!["INAPPROPRIATE_VALUE"]),
        ("rejectReferral", State::Booked, reason("PATIENT_ILL"), vec!["INAPPROPRIATE_VALUE"]), // not a rejection
        ("rejectReferral", State::Booked, text(rejection(), 1, &long), vec!["INVALID_VALUE"]),
        ("rejectReferral", State::Booked, with(rejection(), json!({"name": "more"})), vec!["UNEXPECTED_FIELD"]),
        ("cancelAppointmentActionLater", State::Booked, text(action_later(), 0, ""), vec!["MISSING_VALUE"]),
        ("cancelAppointmentActionLater", State::Booked, text(action_later(), 0, &long), vec!["INVALID_VALUE"]),
        ("recordReviewOutcome", State::AwaitingTriage, converted, vec!["INVALID_CODE"]),
        ("recordReviewOutcome", State::AwaitingTriage, silent, vec!["MISSING_VALUE"]),
    ] {
        let bench = held(DIRECT, state).await;
        let reply = bench.act(SAMPLE, operation, SIX, &body).await;
        assert_eq!((reply.status, reply.codes()), (422, codes.iter().map(|c| (*c).to_owned()).collect()), "{body}");
    }
    let bench = held(DIRECT, State::Booked).await;
    for (if_match, status) in [(None, 412), (Some("6"), 412), (Some(r#"W/"5""#), 409)] {
        assert_eq!(bench.accept(if_match).await.status, status, "{if_match:?}");
        assert_eq!(bench.act(SAMPLE, "rejectReferral", if_match, &rejection()).await.status, status, "{if_match:?}");
    }
    bench.simulator.lock(SAMPLE);
    assert_eq!(bench.accept(SIX).await.status, 423);
    bench.simulator.unlock(SAMPLE);
    let referrer = bench.acting_as("R69", "REFERRING_CLINICIAN");
    assert_eq!(referrer.accept(SIX).await.codes(), ["FORBIDDEN"]);
    let stranger = referrer.acting_as("RXX00", PROVIDER);
    assert_eq!(stranger.accept(SIX).await.codes(), ["NO_RELATIONSHIP"], "another organisation's service");
}

#[tokio::test]
async fn an_administrator_decides_for_a_clinician_whom_the_organisation_has() {
    let admin = "SERVICE_PROVIDER_CLINICIAN_ADMIN";
    let bench = held(DIRECT, State::Booked).await.acting_as("R69", admin);
    let listed = bench.get("/R4/Practitioner?_query=onBehalfOf").await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    let body = serde_json::from_str(&listed.text.replace(bench.simulator.base_url(), "_baseurl_")).expect("JSON");
    let wrong = specification::violations(&specification::schema("/R4/Practitioner", "get", 200), &body);
    assert_eq!(wrong, Vec::<String>::new(), "{}", listed.text);
    let ids: Vec<&str> =
        body["entry"].as_array().expect("entries").iter().filter_map(|one| one["resource"]["id"].as_str()).collect();
    assert_eq!(ids, [demonstration::USER, demonstration::PROVIDER_USER]);

    let obo = "NHSD-eRS-On-Behalf-Of-User-ID";
    let asked = |path: &str| bench.request(Method::GET, path).header(obo, demonstration::PROVIDER_USER);
    let refused = seen(asked("/R4/Practitioner?_query=onBehalfOf").send().await.expect("an answer")).await;
    assert_eq!((refused.status, refused.codes()), (403, vec!["REC_FORBIDDEN".to_owned()]));
    assert_eq!(bench.get("/R4/Practitioner").await.codes(), ["REC_BAD_REQUEST"]);
    let accept = |clinician: &'static str| {
        let path = format!("/STU3/ReferralRequest/{SAMPLE}/$ers.acceptReferral");
        bench.request(Method::POST, &path).header("If-Match", r#"W/"6""#).header(obo, clinician)
    };
    for (clinician, status) in [("1", 403), ("555000000905", 403), (demonstration::PROVIDER_USER, 200)] {
        let reply = seen(accept(clinician).send().await.expect("an answer")).await;
        assert_eq!(reply.status, status, "{clinician}: {}", reply.text);
    }
    let clinician = bench.acting_as("R69", PROVIDER);
    assert_eq!(clinician.get("/R4/Practitioner?_query=onBehalfOf").await.status, 403);
}
