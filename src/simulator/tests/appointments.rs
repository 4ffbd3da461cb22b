//! Slots, booking, cancelling, deferring: A015, A016, A034 and A038 as one life, and what each refuses.

use super::shapes::same_keys;
use super::*;
use crate::simulator::people::{Person, Standing};
use crate::simulator::referral::{Appointment, Referral, Review, State};
use crate::simulator::services::{Flow, Service, Slot};
use crate::simulator::{Action, Fault, Ubrn};

const UBRN: &str = "000000070003";
const SERVICE: &str = "20021";
const CLINICIAN: &str = "555012340001";

fn slot(number: u32, service: &str, start: &str, clinician: Option<&str>) -> Slot {
    let start = at(start);
    let id = format!("{service}{number:03}");
    let end = start + jiff::SignedDuration::from_mins(30);
    Slot { id, service: service.into(), start, end, clinician: clinician.map(String::from) }
}

/// Twelve slots of one service in the near future, the last two with a named clinician.
async fn bench() -> Bench {
    let slots = (0..12)
        .map(|number| {
            let start = format!("2040-05-{:02}T09:00:00Z", number + 1);
            slot(number, SERVICE, &start, (number >= 10).then_some(CLINICIAN))
        })
        .collect();
    Bench::with(SimulatorConfig { slots, ..SimulatorConfig::default() }).await
}

fn slots_path(more: &str) -> String {
    format!(
        "/STU3/Slot?schedule.actor%3AHealthcareService={SERVICE}&appointmentType=ROUTINE&status=free&_include=Slot%3Aschedule{more}"
    )
}

impl Bench {
    async fn slots(&self, path: &str) -> Seen {
        let request = self.request(Method::GET, path).header("NHSD-eRS-Comm-Rule-Org", "R69");
        seen(request.send().await.expect("an answer")).await
    }

    async fn free(&self) -> Vec<String> {
        let bundle = self.slots(&slots_path("&_count=100&page=1")).await.json();
        let entries = bundle["entry"].as_array().expect("entries").clone();
        let slots = entries.iter().filter(|entry| entry["resource"]["resourceType"] == "Slot");
        slots.map(|entry| entry["resource"]["id"].as_str().expect("an id").to_owned()).collect()
    }

    async fn cancel_appointment(&self, id: &str, if_match: Option<&str>, body: &Value) -> Seen {
        let path = format!("{APPOINTMENT}/{id}");
        let mut request = self.request(Method::PUT, &path).header("Content-Type", FHIR).body(body.to_string());
        if let Some(version) = if_match {
            request = request.header("If-Match", version);
        }
        seen(request.send().await.expect("an answer")).await
    }

    fn state(&self, ubrn: &str) -> &'static str {
        self.simulator.referral(ubrn).expect("a referral").state
    }
}

fn booking(number: u32, version: u32, clinician: Option<&str>) -> Value {
    let mut body = example("a016-book-or-defer-appointment/request-minimal-booking.json");
    let day = number + 1;
    body["start"] = format!("2040-05-{day:02}T09:00:00+00:00").into();
    body["end"] = format!("2040-05-{day:02}T09:30:00+00:00").into();
    body["slot"] = json!([{"reference": format!("Slot/{SERVICE}{number:03}")}]);
    body["incomingReferral"] = json!([{"reference": format!("ReferralRequest/{UBRN}/_history/{version}")}]);
    body["participant"][0]["actor"]["identifier"]["value"] = SERVICE.into();
    body["participant"][1]["actor"]["identifier"]["value"] = "9994122770".into();
    if let Some(clinician) = clinician {
        let participant = json!({
            "type": {"coding": [{"system": "http://hl7.org/fhir/ValueSet/encounter-participant-type", "code": "CON"}]},
            "actor": {"identifier": {"system": "http://fhir.nhs.net/Id/sds-user-id", "value": clinician}},
            "status": "accepted",
        });
        body["participant"].as_array_mut().expect("participants").push(participant);
    }
    body
}

/// What a referrer sends to cancel the appointment that A038 has shown.
fn cancellation(shown: &Value, reason: &str) -> Value {
    let mut body =
        example("a034-update-appointment/request-minimal-cancellation-reason-only-comment-not-mandatory.json");
    for member in ["id", "incomingReferral", "participant"] {
        body[member] = shown[member].clone();
    }
    body["meta"]["versionId"] = shown["meta"]["versionId"].clone();
    body["reason"][0]["coding"][0]["code"] = reason.into();
    body
}

#[tokio::test]
async fn slots_come_in_pages_with_their_schedules() {
    let bench = bench().await;
    let first = bench.slots(&slots_path("&_count=5&page=1")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    same_keys(&first.json(), "a015-retrieve-appointment-slots/response-page1-page-size5.json", &[]);
    let relations = |bundle: &Value| -> Vec<String> {
        let links = bundle["link"].as_array().expect("links").clone();
        links.iter().map(|link| link["relation"].as_str().expect("a relation").to_owned()).collect()
    };
    assert_eq!((&first.json()["total"], relations(&first.json())), (&json!(12), vec!["self".into(), "next".into()]));
    let last = bench.slots(&slots_path("&_count=5&page=3")).await.json();
    assert_eq!(relations(&last), ["self", "previous"]);
    let schedules: Vec<&Value> = last["entry"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["resource"]["resourceType"] == "Schedule")
        .collect();
    assert_eq!(schedules.len(), 1, "both slots of the page are of one clinician");
    assert_eq!(schedules[0]["resource"]["actor"][1]["identifier"]["value"], CLINICIAN);
    let own = last["link"][0]["url"].as_str().expect("a link");
    let sample = example("a015-retrieve-appointment-slots/response-page1-page-size5.json");
    let published = sample["link"][0]["url"].as_str().expect("a link").replace("_baseUrl_", bench.simulator.base_url());
    assert_eq!(own, published.replace("11000", SERVICE).replace("page=1", "page=3"), "encoded as e-RS does it");

    let after_last = bench.slots(&slots_path("&_count=5&page=5")).await;
    assert_eq!(after_last.status, 400);
    assert_eq!(after_last.json(), example("a015-retrieve-appointment-slots/response-error-page5.json"));
    let of_clinician = format!("&schedule.actor%3APractitioner={CLINICIAN}&_count=5&page=1");
    let found = bench.slots(&slots_path(&of_clinician)).await.json();
    assert_eq!(found["total"], 2);
    same_keys(&found, "a015-retrieve-appointment-slots/response-slot-clinician-search.json", &[]);
}

#[tokio::test]
async fn a_service_without_slots_gets_an_empty_bundle() {
    let bench = bench().await;
    let path = slots_path("&_count=20&page=1").replace(SERVICE, "11021");
    let reply = bench.slots(&path).await;
    same_keys(&reply.json(), "a015-retrieve-appointment-slots/response-no-slots.json", &[]);
    assert_eq!((&reply.json()["total"], &reply.json()["entry"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn a_wrong_search_for_slots_gets_the_documented_code_with_400() {
    let bench = bench().await;
    let good = slots_path("&_count=5&page=1");
    for (from, to, codes) in [
        ("appointmentType=ROUTINE&", "", vec!["MISSING_PARAMETER"]),
        ("&_count=5&page=1", "", vec!["MISSING_PARAMETER", "MISSING_PARAMETER"]),
        ("ROUTINE", "SOON", vec!["INVALID_CODE"]),
        ("status=free", "status=busy", vec!["INVALID_VALUE"]),
        ("_count=5", "_count=101", vec!["INVALID_VALUE"]),
        ("_count=5", "_count=0", vec!["INVALID_VALUE"]),
        ("page=1", "page=x", vec!["INVALID_VALUE"]),
        ("Slot%3Aschedule", "Slot%3Aother", vec!["INVALID_VALUE"]),
        ("&page=1", "&page=1&schedule.actor%3APractitioner=1", vec!["INVALID_VALUE"]),
        (SERVICE, "eleven", vec!["REFERENCE_NOT_FOUND"]),
        (SERVICE, "11099", vec!["SERVICE_UNAVAILABLE"]), // closed
        (SERVICE, "20061", vec!["INVALID_STATE"]),       // booked by telephone
        (SERVICE, "20041", vec!["INVALID_STATE"]),       // triages
    ] {
        let reply = bench.slots(&good.replace(from, to)).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (400, codes.iter().map(|c| (*c).to_owned()).collect()),
            "{from} {to}"
        );
    }
    for (code, status) in [("R6", 400), ("r69", 400), ("ABCDEFGH12", 200), ("ABCDEFGH123", 400)] {
        let request = bench.request(Method::GET, &good).header("NHSD-eRS-Comm-Rule-Org", code);
        let reply = seen(request.send().await.expect("an answer")).await;
        assert_eq!(reply.status, status, "an ODS code has three to ten letters and digits: {code}");
    }
    let bare = bench.get(&good).await;
    assert_eq!((bare.status, bare.codes()), (400, vec!["MISSING_HEADER".to_owned()]));
    let provider = bench.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(provider.slots(&good).await.codes(), ["FORBIDDEN"]);
}

#[tokio::test]
async fn a_slot_is_gone_while_it_is_booked_and_back_when_it_is_cancelled() {
    let bench = bench().await;
    assert_eq!(bench.free().await.len(), 12);
    let booked = bench.post(APPOINTMENT, &booking(10, 3, Some(CLINICIAN))).await;
    assert_eq!((booked.status, bench.state(UBRN)), (201, "BOOKED"), "{}", booked.text);
    assert!(!bench.free().await.contains(&format!("{SERVICE}010")));

    let id = booked.json()["id"].as_str().expect("an id").to_owned();
    let shown = bench.get(&format!("{APPOINTMENT}/{id}")).await;
    assert_eq!((shown.status, shown.header("ETag")), (200, r#"W/"0""#));
    assert_eq!(shown.json(), booked.json(), "A038 shows what A016 has answered");
    // The sample has no clinician.
    same_keys(&shown.json(), "a038-retrieve-appointment/response-booked-dbs.json", &["/participant/type"]);
    let of_referral = bench.get(&format!("/STU3/ReferralRequest/{UBRN}")).await.json();
    let mut contained = of_referral["contained"][2].clone();
    contained["id"] = id.as_str().into();
    assert_eq!(contained, shown.json(), "A005 contains the same appointment");

    let body = cancellation(&shown.json(), "PATIENT_ILL");
    for (if_match, status) in [(None, 412), (Some(r#""0""#), 412), (Some(r#"W/"1""#), 409)] {
        assert_eq!(bench.cancel_appointment(&id, if_match, &body).await.status, status, "{if_match:?}");
    }
    bench.simulator.lock(UBRN);
    assert_eq!(bench.cancel_appointment(&id, Some(r#"W/"0""#), &body).await.status, 423);
    assert_eq!(bench.get(&format!("{APPOINTMENT}/{id}")).await.status, 200, "reading needs no lock");
    bench.simulator.unlock(UBRN);
    let cancelled = bench.cancel_appointment(&id, Some(r#"W/"0""#), &body).await;
    assert_eq!((cancelled.status, cancelled.header("ETag")), (200, r#"W/"1""#), "{}", cancelled.text);
    let response = "a034-update-appointment/response-minimal-cancellation-reason-only-comment-not-mandatory.json";
    same_keys(&cancelled.json(), response, &["/participant/type"]);
    assert_eq!((bench.state(UBRN), bench.free().await.len()), ("APPT_CANCELLED_BY_PATIENT", 12));
    assert_eq!(bench.cancel_appointment(&id, Some(r#"W/"0""#), &body).await.status, 409, "a replay cancels nothing");
    let again = bench.cancel_appointment(&id, Some(r#"W/"1""#), &cancellation(&cancelled.json(), "PATIENT_ILL")).await;
    assert_eq!(again.codes(), ["INVALID_REQUEST_STATE"]);
    let rebooked = bench.post(APPOINTMENT, &booking(0, 7, None)).await;
    assert_eq!((rebooked.status, bench.state(UBRN)), (201, "BOOKED"), "{}", rebooked.text);
    assert_eq!(bench.get(&format!("{APPOINTMENT}/{id}")).await.status, 404, "another appointment is the current one");
}

#[tokio::test]
async fn a_referral_says_why_its_appointment_was_cancelled() {
    let bench = bench().await;
    let booked = bench.post(APPOINTMENT, &booking(0, 3, None)).await.json();
    let id = booked["id"].as_str().expect("an id");
    bench.simulator.clock().freeze(bench.simulator.clock().now() + jiff::SignedDuration::from_mins(1));
    let mut body = cancellation(&booked, "PATIENT_OTHER_ENGAGEMENT");
    body["comment"] = "A wedding".into();
    let cancelled = bench.cancel_appointment(id, Some(r#"W/"0""#), &body).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let referral = bench.get(&format!("/STU3/ReferralRequest/{UBRN}")).await.json();
    let extensions = referral["extension"].as_array().expect("extensions");
    let state = extensions.iter().find(|one| one["url"].as_str().is_some_and(|url| url.ends_with("ReferralState-1")));
    let parts = &state.expect("a state")["extension"];
    let reason = json!({
        "system": format!("{}/STU3/CodeSystem/APPOINTMENT-CANCELLATION-REASON", bench.simulator.base_url()),
        "code": "PATIENT_OTHER_ENGAGEMENT",
        "display": "Patient - Other more pressing engagement",
    });
    assert_eq!(parts[1], json!({"url": "reason", "valueCoding": reason}), "{parts}");
    assert_eq!(parts[2], json!({"url": "comments", "valueString": "A wedding"}), "{parts}");

    let awaiting = example("a008-retrieve-worklist/request-minimal-awaiting-booking.json");
    let list = bench.post(WORKLIST, &awaiting).await.json();
    let entries = list["entry"].as_array().expect("entries");
    let of_referral = |entry: &&Value| entry["item"]["reference"] == format!("ReferralRequest/{UBRN}");
    let entry = entries.iter().find(of_referral).expect("the referral waits for booking again");
    let coded = |part: usize| &entry["extension"][0]["extension"][part]["valueCodeableConcept"]["coding"][0];
    assert_eq!((&coded(6)["code"], coded(7)), (&json!("APP_CANCELLED_BY_PATIENT"), &reason), "{entry}");
    let now = crate::simulator::referral_resource::instant(bench.simulator.clock().now());
    assert_eq!(entry["extension"][0]["extension"][5]["valueDateTime"], now, "last updated when it was cancelled");
}

#[tokio::test]
async fn a_booking_must_fit_its_slot() {
    let bench = bench().await;
    let mut late = booking(0, 3, None);
    late["end"] = "2040-05-01T09:31:00Z".into();
    let mut unknown = booking(0, 3, None);
    unknown["slot"][0]["reference"] = "Slot/1".into();
    for (body, code) in [
        (booking(10, 3, None), "INAPPROPRIATE_SLOT"), // its schedule names a clinician
        (booking(0, 3, Some(CLINICIAN)), "INAPPROPRIATE_SLOT"), // its schedule names none
        (late, "INAPPROPRIATE_SLOT"),
        (unknown, "REFERENCE_NOT_FOUND"),
    ] {
        assert_eq!(bench.post(APPOINTMENT, &body).await.codes(), [code], "{body}");
    }
    bench.simulator.lock(UBRN);
    assert_eq!(bench.post(APPOINTMENT, &booking(0, 3, None)).await.status, 423);
    bench.simulator.unlock(UBRN);
    assert_eq!(bench.post(APPOINTMENT, &booking(0, 2, None)).await.status, 409);
    assert_eq!(bench.post(APPOINTMENT, &booking(0, 3, None)).await.status, 201);
    assert_eq!(bench.post(APPOINTMENT, &booking(1, 5, None)).await.codes(), ["INVALID_REQUEST_STATE"]);
}

#[tokio::test]
async fn the_last_slot_is_booked_once_and_then_the_referral_can_be_deferred() {
    let slots = vec![slot(0, SERVICE, "2040-05-01T09:00:00Z", None)];
    let bench = Bench::with(SimulatorConfig { slots, ..SimulatorConfig::default() }).await;
    let mut deferral = example("a016-book-or-defer-appointment/request-minimal-deferral.json");
    for member in ["incomingReferral", "participant"] {
        deferral[member] = booking(0, 3, None)[member].clone();
    }
    assert_eq!(bench.post(APPOINTMENT, &deferral).await.codes(), ["SLOTS_CURRENTLY_AVAILABLE"]);
    let mut of_slot = deferral.clone();
    of_slot["reason"][0]["coding"][0]["code"] = "SLOT_NOT_AVAILABLE".into();
    of_slot["slot"] = booking(0, 3, None)["slot"].clone();
    assert_eq!(bench.post(APPOINTMENT, &of_slot).await.codes(), ["THIS_SLOT_IS_AVAILABLE"]);

    // Another referral takes the slot.
    let mut other = booking(0, 3, None);
    other["incomingReferral"][0]["reference"] =
        format!("ReferralRequest/{}/_history/3", insert(&bench, 1, None)).into();
    other["participant"][1]["actor"]["identifier"]["value"] = "1000000001".into();
    assert_eq!(bench.post(APPOINTMENT, &other).await.status, 201);
    assert_eq!(bench.post(APPOINTMENT, &booking(0, 3, None)).await.codes(), ["SLOT_NOT_AVAILABLE"]);
    assert_eq!(bench.post(APPOINTMENT, &of_slot).await.status, 201);
    assert_eq!(bench.state(UBRN), "DEFERRED_TO_PROVIDER");
}

#[tokio::test]
async fn a_provider_system_that_fails_books_nothing_and_permits_a_deferral() {
    for (status, code, reason, with_slot) in [
        (502, "PAS_RESPONDED_WITH_ERROR", "SLOT_NOT_AVAILABLE", true),
        (504, "PAS_NOT_RESPONDING", "BOOKING_ATTEMPT_PROBLEM", false),
    ] {
        let bench = bench().await;
        bench.simulator.inject(Fault::on("A016", Action::answer(status)).times(1));
        let failed = bench.post(APPOINTMENT, &booking(0, 3, None)).await;
        assert_eq!((failed.status, failed.codes()), (status, vec![code.to_owned()]));
        assert_eq!((bench.state(UBRN), bench.free().await.len()), ("NOT_BOOKED", 12));
        let mut deferral = example("a016-book-or-defer-appointment/request-minimal-deferral.json");
        for member in ["incomingReferral", "participant"] {
            deferral[member] = booking(0, 3, None)[member].clone();
        }
        deferral["reason"][0]["coding"][0]["code"] = reason.into();
        if with_slot {
            deferral["slot"] = booking(0, 3, None)["slot"].clone();
        }
        let deferred = bench.post(APPOINTMENT, &deferral).await;
        assert_eq!(deferred.status, 201, "{reason}: {}", deferred.text);
        let id = deferred.json()["id"].as_str().expect("an id").to_owned();
        let shown = bench.get(&format!("{APPOINTMENT}/{id}")).await.json();
        same_keys(&shown, "a038-retrieve-appointment/response-appointment-deferral.json", &["/slot"]);
        let refused = bench.cancel_appointment(&id, Some(r#"W/"1""#), &cancellation(&shown, "PATIENT_ILL")).await;
        assert_eq!(refused.codes(), ["INVALID_REQUEST_STATE"], "a deferral is not an appointment to cancel");
    }
}

/// A referral of the patient in the A034 samples, at their service 50; its UBRN.
pub fn insert(bench: &Bench, number: u64, appointment: Option<u64>) -> String {
    let now = bench.simulator.clock().now();
    let ubrn = Ubrn(number);
    let booked = |id| Appointment {
        id,
        version: 1,
        status: "booked",
        reason: None,
        cancellation: None,
        service: "50".into(),
        slot: Some("50001".into()),
        start: Some("2040-05-01T08:00:00.000Z".into()),
        end: Some("2040-05-01T09:00:00.000Z".into()),
        clinician: None,
        comment: None,
        created: now,
    };
    bench.simulator.world.referrals.insert(Referral {
        ubrn,
        version: if appointment.is_some() { 6 } else { 3 },
        request_id: uuid::Uuid::nil(),
        patient: "1000000001".into(),
        priority: "ROUTINE",
        criteria: "[]".into(),
        shortlist: vec!["50".into(), SERVICE.into()],
        pathway_start: None,
        state: if appointment.is_some() { State::Booked } else { State::NotBooked },
        appointment: appointment.map(booked),
        letters: Vec::new(),
        additional_requirements: Vec::new(),
        cancellation: None,
        review: Review::Never,
        provider_files: Vec::new(),
        was_advice: false,
        letter_intended: false,
        referrer: demonstration::USER.into(),
        clinical_information_first: None,
        clinical_information_last: None,
        created: now,
        updated: now,
        organisation: Some("R69".into()),
        booking_failure: None,
    });
    ubrn.to_string()
}

pub async fn bench_of_the_cancellation_samples() -> Bench {
    let mut config = SimulatorConfig::default();
    config.services.push(Service {
        id: "50".into(),
        name: "Direct SVC 1".into(),
        flows: vec![Flow::Appointment],
        directly_bookable: true,
        specialty: None,
        organisation: "R69".into(),
        organisation_name: "Cicero-Clinic".into(),
        referral_letter_required: false,
        priorities: vec!["ROUTINE".into()],
        offered: true,
    });
    config.slots = vec![slot(1, "50", "2040-05-01T08:00:00Z", None)];
    Bench::with(config).await
}

#[tokio::test]
async fn the_cancellation_samples_get_their_documented_answers() {
    for (sample, ubrn, id, status) in [
        ("minimal-cancellation-reason-only-comment-not-mandatory", 70_004, 70_003, 200),
        ("cancellation-reason-only-comment-mandatory", 70_005, 70_005, 422),
        ("cancellation-invalid-reason", 70_006, 70_006, 422),
    ] {
        let bench = bench_of_the_cancellation_samples().await;
        let ubrn = insert(&bench, ubrn, Some(id));
        let mut request = example(&format!("a034-update-appointment/request-{sample}.json"));
        // Here as everywhere the base URL of the environment.
        let system = format!("{}/STU3/CodeSystem/APPOINTMENT-CANCELLATION-REASON", bench.simulator.base_url());
        request["reason"][0]["coding"][0]["system"] = system.as_str().into();
        let reply = bench.cancel_appointment(&id.to_string(), Some(r#"W/"1""#), &request).await;
        assert_eq!(reply.status, status, "{sample}: {}", reply.text);
        let (mut own, mut published) =
            (reply.json(), example(&format!("a034-update-appointment/response-{sample}.json")));
        if status == 200 {
            published["reason"][0]["coding"][0]["system"] = system.into();
            // This e-RS counts two versions for each act.
            assert_eq!(own["incomingReferral"][0]["reference"], format!("ReferralRequest/{ubrn}/_history/8"));
            for changing in ["created", "incomingReferral"] {
                own[changing] = Value::Null;
                published[changing] = Value::Null;
            }
            let shown = bench.get(&format!("{APPOINTMENT}/{id}")).await.json();
            same_keys(&shown, "a038-retrieve-appointment/response-cancelled.json", &["/comment"]);
        } else {
            assert_eq!(bench.state(&ubrn), "BOOKED", "{sample}");
        }
        assert_eq!(own, published, "{sample}");
    }
}

#[tokio::test]
async fn a_wrong_cancellation_gets_a_code_that_is_documented_for_it() {
    let bench = bench_of_the_cancellation_samples().await;
    let ubrn = insert(&bench, 70_004, Some(70_003));
    let sample = || {
        let name = "a034-update-appointment/request-minimal-cancellation-reason-only-comment-not-mandatory.json";
        example(name)
    };
    let coding = "/reason/0/coding/0";
    for (pointer, value, codes) in [
        ("/id", json!("70004"), vec!["INAPPROPRIATE_VALUE"]),
        ("/meta/versionId", json!("2"), vec!["INAPPROPRIATE_VALUE"]),
        ("/meta/versionId", Value::Null, vec!["MISSING_VALUE"]),
        ("/meta/profile/1", Value::Null, vec!["INVALID_VALUE"]),
        ("/status", json!("booked"), vec!["INAPPROPRIATE_VALUE"]),
        ("/language", json!("cy"), vec!["INVALID_VALUE"]),
        ("/slot", json!([{"reference": "Slot/1"}]), vec!["UNEXPECTED_FIELD"]),
        ("/reason", Value::Null, vec!["MISSING_VALUE"]),
        (coding, json!({"system": "x", "code": "PATIENT_ILL"}), vec!["INVALID_VALUE"]),
        ("/reason/0/coding/0/code", json!("SERVICE_INAPPROPRIATE"), vec!["INAPPROPRIATE_VALUE"]), // rejects
        ("/reason/0/coding/0/code", json!("PATIENT_APPOINTMENT_CLASH"), vec!["INAPPROPRIATE_VALUE"]), // ended
        ("/reason/0/coding/0/code", json!("PATIENT_OTHER_ENGAGEMENT"), vec!["MISSING_VALUE"]),
        ("/comment", json!("x".repeat(1001)), vec!["INVALID_VALUE"]),
        (
            "/incomingReferral/0/reference",
            json!("ReferralRequest/000000070003/_history/3"),
            vec!["INAPPROPRIATE_VALUE"],
        ),
        ("/participant/0/actor/identifier/value", json!("51"), vec!["INAPPROPRIATE_VALUE"]),
        ("/participant/1", Value::Null, vec!["MISSING_VALUE"]),
    ] {
        let body = super::bad_requests::changed(sample(), pointer, value);
        let reply = bench.cancel_appointment("70003", Some(r#"W/"1""#), &body).await;
        let wanted = (422, codes.iter().map(|code| (*code).to_owned()).collect());
        assert_eq!((reply.status, reply.codes()), wanted, "{pointer}: {}", reply.text);
    }
    assert_eq!((bench.state(&ubrn), bench.version(&ubrn).await), ("BOOKED", 6));
    for (id, status) in [("seventy", 400), ("1", 404)] {
        assert_eq!(bench.cancel_appointment(id, Some(r#"W/"1""#), &sample()).await.status, status, "{id}");
        assert_eq!(bench.get(&format!("{APPOINTMENT}/{id}")).await.status, status, "{id}");
    }
    assert_eq!(bench.get(&format!("{APPOINTMENT}/70003/_history/1")).await.status, 200);
    assert_eq!(bench.get(&format!("{APPOINTMENT}/70003/_history/0")).await.status, 404);
}

#[tokio::test]
async fn an_appointment_needs_a_relationship_a_usable_patient_and_a_role() {
    let config = SimulatorConfig {
        patients: vec![Person { id: "1000000001".into(), standing: Some(Standing::Restricted) }],
        ..SimulatorConfig::default()
    };
    let bench = Bench::with(config).await;
    insert(&bench, 70_004, Some(70_003));
    let path = format!("{APPOINTMENT}/70003");
    let sample = example("a034-update-appointment/request-minimal-cancellation-reason-only-comment-not-mandatory.json");
    assert_eq!(bench.get(&path).await.codes(), ["PATIENT_ERROR"]);
    assert_eq!(bench.cancel_appointment("70003", Some(r#"W/"1""#), &sample).await.codes(), ["PATIENT_ERROR"]);
    let bench = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    assert_eq!(bench.get(&path).await.codes(), ["NO_RELATIONSHIP"]);
    assert_eq!(bench.cancel_appointment("70003", Some(r#"W/"1""#), &sample).await.codes(), ["NO_RELATIONSHIP"]);
    let bench = bench.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(bench.cancel_appointment("70003", Some(r#"W/"1""#), &sample).await.codes(), ["FORBIDDEN"]);
}

#[tokio::test]
async fn an_appointment_that_has_passed_is_not_cancelled_any_more() {
    let bench = bench_of_the_cancellation_samples().await;
    let ubrn = insert(&bench, 70_004, Some(70_003));
    let task = format!("/STU3/Task?focus=ReferralRequest/{ubrn}/_history/6&intent=proposal&status=ready");
    assert!(bench.get(&task).await.text.contains("CANCEL_DIRECTLY_BOOKED_APPOINTMENT"));
    bench.simulator.world.referrals.with(Ubrn(70_004), |referral| {
        let appointment = referral.appointment.as_mut().expect("booked above");
        appointment.start = Some("2020-05-01T08:00:00.000Z".into());
    });
    assert!(!bench.get(&task).await.text.contains("CANCEL_DIRECTLY_BOOKED_APPOINTMENT"));
    let sample = example("a034-update-appointment/request-minimal-cancellation-reason-only-comment-not-mandatory.json");
    assert_eq!(bench.cancel_appointment("70003", Some(r#"W/"1""#), &sample).await.codes(), ["INVALID_REQUEST_STATE"]);
}
