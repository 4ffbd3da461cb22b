//! Changing, ending and writing about a referral: A031, A036, A019, A007, with the published samples.

use super::*;
use crate::simulator::AdditionalRequirement;

const SAMPLE: &str = "000000070000";

impl Bench {
    pub async fn act(&self, ubrn: &str, operation: &str, if_match: Option<&str>, body: &Value) -> Seen {
        let path = format!("/STU3/ReferralRequest/{ubrn}/$ers.{operation}");
        let mut request = self.request(Method::POST, &path).header("Content-Type", FHIR).body(body.to_string());
        if let Some(version) = if_match {
            request = request.header("If-Match", version);
        }
        seen(request.send().await.expect("an answer")).await
    }

    async fn cancel(&self, version: u32, body: &Value) -> Seen {
        self.act(SAMPLE, "cancelReferral", Some(&format!("W/\"{version}\"")), body).await
    }

    async fn change(&self, version: u32, body: &Value) -> Seen {
        self.act(SAMPLE, "changeShortlist", Some(&format!("W/\"{version}\"")), body).await
    }

    async fn clinical_information(&self, ubrn: &str) -> Seen {
        let request = self.request(Method::POST, &format!("/STU3/ReferralRequest/{ubrn}/$ers.generateCRI"));
        seen(request.send().await.expect("an answer")).await
    }

    async fn letter(&self, ubrn: &str) -> Seen {
        let request = self.request(Method::POST, &format!("/STU3/ReferralRequest/{ubrn}/$ers.generatePatientLetter"));
        seen(request.send().await.expect("an answer")).await
    }
}

pub fn cancellation(sample: &str) -> Value {
    example(&format!("a036-cancel-referral/request-{sample}.json"))
}

fn reason(code: &str) -> Value {
    let mut body = cancellation("intend-private-without-comment");
    body["parameter"][0]["valueCoding"]["code"] = code.into();
    body
}

/// The sample referral, booked at the time of its slot.
pub async fn booked() -> Bench {
    let bench = Bench::start().await;
    bench.simulator.clock().set(at("2022-07-01T00:00:00Z"));
    let token = bench.refresh_after_reset().await;
    let bench = bench.signed_in_by(&token);
    let booking = example("a016-book-or-defer-appointment/request-minimal-booking.json");
    let reply = bench.post(APPOINTMENT, &booking).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    bench
}

#[tokio::test]
async fn the_cancellation_samples_of_a_referrer_are_accepted() {
    for sample in [
        "intend-private-without-comment",
        "no-longer-required",
        "patient-request-cancellation-other",
        "referrer-cancellation",
    ] {
        let bench = Bench::start().await;
        let body = cancellation(sample);
        let reply = bench.cancel(6, &body).await;
        assert_eq!(reply.status, 200, "{sample}: {}", reply.text);
        let updated = reply.json();
        assert_eq!(updated["parameter"].as_array().map(Vec::len), Some(1), "there was no appointment");
        assert_eq!(updated["parameter"][0]["resource"]["status"], "cancelled");
        assert_eq!(bench.simulator.referral(SAMPLE).expect("a referral").state, "CANCELLED_REFERRAL");
        let read = bench.get(&format!("/STU3/ReferralRequest/{SAMPLE}")).await;
        let code = body["parameter"][0]["valueCoding"]["code"].as_str().expect("a code");
        assert!(read.text.contains(code), "{}", read.text);
        let version = bench.version(SAMPLE).await;
        assert_eq!(bench.cancel(version, &body).await.codes(), ["INVALID_REQUEST_STATE"], "{sample}");
        assert_eq!(bench.cancel(6, &body).await.status, 409, "a replay cannot act twice");
    }
}

#[tokio::test]
async fn the_cancellation_samples_of_a_provider_are_accepted_in_their_state() {
    let bench = Bench::start().await;
    bench.post(APPOINTMENT, &triage(SAMPLE, 6, "50001")).await;
    let outside = cancellation("booked-outside-cab-without-comment");
    assert_eq!(bench.cancel(8, &outside).await.codes(), ["INAPPROPRIATE_VALUE"], "a reason of providers");
    let bench = bench.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(bench.cancel(8, &cancellation("outpatient-service")).await.codes(), ["INAPPROPRIATE_VALUE"]);
    assert_eq!(bench.cancel(8, &outside).await.status, 200);

    let bench = Bench::start().await;
    bench.post(APPOINTMENT, &triage(SAMPLE, 6, "50001")).await;
    assert!(bench.simulator.accept_to_book_later(SAMPLE) && !bench.simulator.accept_to_book_later(SAMPLE));
    let shown = bench.get(&format!("/STU3/ReferralRequest/{SAMPLE}")).await.text;
    assert!(shown.contains("Triaged - Provider To Action"), "{shown}");
    let bench = bench.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(bench.cancel(10, &outside).await.codes(), ["INAPPROPRIATE_VALUE"], "after triage with its reasons");
    let mut silent = cancellation("outpatient-service");
    silent["parameter"].as_array_mut().expect("parameters").truncate(1);
    assert_eq!(bench.cancel(10, &silent).await.codes(), ["MISSING_VALUE"], "the reason wants a comment");
    assert_eq!(bench.cancel(10, &cancellation("outpatient-service")).await.status, 200);
}

#[tokio::test]
async fn an_appointment_that_stands_is_cancelled_with_its_referral() {
    let bench = booked().await;
    let version = bench.version(SAMPLE).await;
    let provider = booked().await.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    let reply = provider.cancel(version, &cancellation("outpatient-service")).await;
    assert_eq!(
        reply.codes(),
        ["INAPPROPRIATE_VALUE", "INAPPROPRIATE_VALUE"],
        "of another state, and not for appointments"
    );
    let reply = bench.cancel(version, &cancellation("referrer-cancellation")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let updated = reply.json();
    assert_eq!(updated["parameter"][1]["name"], "updatedAppointment");
    assert_eq!(updated["parameter"][1]["resource"]["status"], "cancelled");
    assert_eq!(updated["parameter"][1]["resource"]["meta"]["versionId"], "1");
    let id = updated["parameter"][1]["resource"]["id"].as_str().expect("an id");
    let shown = bench.get(&format!("{APPOINTMENT}/{id}")).await.json();
    assert_eq!(shown, updated["parameter"][1]["resource"], "what was answered is what is kept");
    assert_eq!(shown["reason"][0]["coding"][0]["code"], "PATIENT_APPOINTMENT_CANCELLATION_OTHER");
    assert_eq!(shown["comment"], "This is a cancellation reason comment");
}

#[tokio::test]
async fn a_wrong_cancellation_gets_a_code_that_is_documented_for_it() {
    let bench = Bench::start().await;
    let long = "x".repeat(2001);
    let comments = |text: &str| {
        let mut body = cancellation("no-longer-required");
        body["parameter"][1]["valueString"] = text.into();
        body
    };
    for (body, codes) in [
        (json!({}), vec!["MISSING_VALUE", "MISSING_VALUE", "MISSING_VALUE"]),
        (reason("NO_SUCH_REASON"), vec!["INAPPROPRIATE_VALUE"]),
        (reason("PROVIDER_CANCELLATION"), vec!["INAPPROPRIATE_VALUE"]), // not meant for referrals
        (reason("PATIENT_REQUEST_CANCELLATION_OTHER"), vec!["MISSING_VALUE"]), // wants a comment
        (reason(""), vec!["MISSING_VALUE"]),
        (comments(""), vec!["MISSING_VALUE"]),
        (comments(&long), vec!["INAPPROPRIATE_VALUE"]),
    ] {
        let reply = bench.cancel(6, &body).await;
        assert_eq!((reply.status, reply.codes()), (422, codes.iter().map(|c| (*c).to_owned()).collect()), "{body}");
    }
    let good = cancellation("intend-private-without-comment");
    for (if_match, status) in [(None, 412), (Some("6"), 412), (Some(r#"W/"5""#), 409)] {
        assert_eq!(bench.act(SAMPLE, "cancelReferral", if_match, &good).await.status, status, "{if_match:?}");
    }
    bench.simulator.lock(SAMPLE);
    assert_eq!(bench.cancel(6, &good).await.status, 423);
    assert_eq!(
        bench.act("000049146177", "cancelReferral", Some(r#"W/"1""#), &good).await.codes(),
        ["INVALID_REQUEST_TYPE"]
    );
    assert_eq!(bench.act("000000099999", "cancelReferral", Some(r#"W/"1""#), &good).await.status, 404);
    let ubrn = bench.created().await;
    let bench = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    assert_eq!(bench.act(&ubrn, "cancelReferral", Some(r#"W/"3""#), &good).await.codes(), ["NO_RELATIONSHIP"]);
}

#[tokio::test]
async fn the_shortlist_samples_replace_services_criteria_and_what_was_noted() {
    for (sample, services) in
        [("unbooked-referral", vec!["11002"]), ("unbooked-referral-mixed-shortlist", vec!["11002", "51002"])]
    {
        let bench = Bench::start().await;
        assert!(bench.simulator.note_requirement(SAMPLE, AdditionalRequirement::Transport));
        let before = bench.get(&format!("/STU3/ReferralRequest/{SAMPLE}")).await;
        assert!(before.text.contains("\"TRANSPORT\""), "{}", before.text);
        let reply = bench.change(6, &example(&format!("a031-change-shortlist/request-{sample}.json"))).await;
        assert_eq!((reply.status, reply.header("ETag")), (200, r#"W/"8""#), "{sample}: {}", reply.text);
        assert!(!reply.text.contains("\"TRANSPORT\"") && reply.text.contains("HEART_FAILURE"), "{}", reply.text);
        assert_eq!(bench.simulator.referral(SAMPLE).expect("a referral").services, services);
    }
}

#[tokio::test]
async fn a_new_shortlist_says_anew_whether_a_letter_will_follow() {
    let bench = Bench::start().await;
    let mut outstanding = Vec::new();
    for (version, intention) in [(6, "NOT_INTENDING_TO_ADD"), (8, "NEED_TO_ADD_LATER")] {
        let mut body = example("a031-change-shortlist/request-unbooked-referral.json");
        body["parameter"][1]["valueCoding"]["code"] = intention.into();
        assert_eq!(bench.change(version, &body).await.status, 200, "{intention}");
        let request = example("a008-retrieve-worklist/request-minimal-letters-outstanding.json");
        outstanding.push(bench.post(WORKLIST, &request).await.text.contains(SAMPLE));
    }
    assert_eq!(outstanding, [false, true]);
}

#[tokio::test]
async fn a_wrong_shortlist_gets_a_code_that_is_documented_for_it() {
    let bench = Bench::start().await;
    let sample = || example("a031-change-shortlist/request-unbooked-referral.json");
    let service = |id: &str| {
        let mut body = sample();
        body["parameter"][0]["resource"]["entry"][0]["item"]["identifier"]["value"] = id.into();
        body
    };
    let mut twice = sample();
    let entry = twice["parameter"][0]["resource"]["entry"][0].clone();
    twice["parameter"][0]["resource"]["entry"].as_array_mut().expect("entries").push(entry);
    let mut intention = sample();
    intention["parameter"][1]["valueCoding"]["code"] = "PERHAPS".into();
    let mut extra = sample();
    extra["parameter"].as_array_mut().expect("parameters").push(json!({"name": "patient", "valueIdentifier": {}}));
    for (body, codes) in [
        (service("11010x"), vec!["INVALID_VALUE"]),
        (service("20081"), vec!["SHORTLISTED_SERVICE_NOT_IN_RESULTS"]), // gives advice only
        (twice, vec!["DUPLICATE_SERVICE"]),
        (intention, vec!["INVALID_CODE"]),
        (extra, vec!["UNEXPECTED_FIELD"]),
    ] {
        let reply = bench.change(6, &body).await;
        assert_eq!((reply.status, reply.codes()), (422, codes.iter().map(|c| (*c).to_owned()).collect()), "{body}");
    }
    assert_eq!(bench.act(SAMPLE, "changeShortlist", None, &sample()).await.status, 412);
    assert_eq!(bench.change(5, &sample()).await.status, 409);
    bench.post(APPOINTMENT, &triage(SAMPLE, 6, "50001")).await;
    assert_eq!(bench.change(8, &sample()).await.codes(), ["INVALID_REQUEST_STATE"]);
    let bench = bench.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(bench.change(8, &sample()).await.status, 403);
}

#[tokio::test]
async fn the_letter_to_the_patient_is_a_pdf_named_after_its_referral() {
    let bench = Bench::start().await;
    let letter = bench.letter(SAMPLE).await;
    assert_eq!((letter.status, letter.header("Content-Type")), (200, "application/pdf"));
    let name = letter.header("Content-Disposition");
    assert!(name.contains("000000070000-appointment-confirmation-summary-") && name.ends_with(".pdf\""), "{name}");
    assert!(letter.text.starts_with("%PDF-") && letter.text.ends_with("%%EOF\n") && letter.text.contains(SAMPLE));
    let start: usize =
        letter.text.rsplit("startxref\n").next().and_then(|rest| rest.lines().next()?.parse().ok()).expect("an offset");
    assert!(letter.text[start..].starts_with("xref\n"));

    let mut unknown_to_the_portal = referral_request();
    unknown_to_the_portal["parameter"][0]["valueIdentifier"]["value"] = "9999000045".into();
    let created = bench.create(&unknown_to_the_portal).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let refused = bench.letter(created.json()["id"].as_str().expect("a UBRN")).await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["NO_ACCESS_CODE".to_owned()]));
    assert_eq!(bench.letter("000049146177").await.codes(), ["INVALID_REQUEST_TYPE"]);
    assert_eq!(bench.letter("000000099999").await.status, 404);
    bench.cancel(6, &cancellation("intend-private-without-comment")).await;
    assert_eq!(bench.letter(SAMPLE).await.codes(), ["INVALID_REQUEST_STATE"]);
}

#[tokio::test]
async fn the_clinical_information_is_a_pdf_even_of_a_referral_that_was_cancelled() {
    let bench = Bench::start().await;
    let cancelled = bench.cancel(6, &cancellation("no-longer-required")).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let summary = bench.clinical_information(SAMPLE).await;
    assert_eq!((summary.status, summary.header("Content-Type")), (200, "application/pdf"));
    let name = summary.header("Content-Disposition");
    assert!(name.contains(&format!("{SAMPLE}-clinical-information-summary-")), "{name}");
    assert!(summary.text.starts_with("%PDF-") && summary.text.contains(SAMPLE));
    assert_eq!(bench.clinical_information("000049146177").await.codes(), ["INVALID_REQUEST_TYPE"]);
    assert_eq!(bench.clinical_information("000000099999").await.status, 404);
}
