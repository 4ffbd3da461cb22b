//! Every published request sample, as it is, put to the simulator in the state that it was written for: the documented
//! answer comes, valid against the published specification.

use std::collections::BTreeSet;

use super::appointments::{bench_of_the_cancellation_samples, insert};
use super::changes::cancellation;
use super::specification::{schema, violations};
use super::*;
use crate::simulator::Ubrn;
use crate::simulator::referral::{Appointment, State};

const UBRN: &str = "000000070000";
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ers/examples");
const REFERRER: &str = "REFERRING_CLINICIAN";
const ADMINISTRATOR: &str = "REFERRING_CLINICIAN_ADMIN";
const PROVIDER: &str = "SERVICE_PROVIDER_CLINICIAN";

/// What was there before the sample.
#[derive(Clone, Copy, Debug)]
enum Before {
    Seeds,
    /// At the time when this was now.
    At(&'static str),
    /// An appointment that a sample cancels, and its referral.
    Appointment(u64, u64),
    /// The referral at a service of the provider, in this state.
    Held(&'static str, State),
    /// The same, booked, with the files of the sample uploaded for it.
    Files(&'static str),
    /// An advice request in the place of the referral, in this version.
    Advice(u32),
    /// The referral, cancelled.
    Cancelled,
    /// The file of the advice sample, uploaded for no request.
    File,
}

async fn bench(before: Before) -> Bench {
    match before {
        Before::Appointment(id, ubrn) => {
            let bench = bench_of_the_cancellation_samples().await;
            insert(&bench, ubrn, Some(id));
            bench
        }
        Before::At(now) => {
            let bench = Bench::start().await;
            bench.simulator.clock().set(at(now));
            let token = bench.refresh_after_reset().await;
            bench.signed_in_by(&token)
        }
        Before::Held(service, state) => {
            let bench = Bench::start().await;
            hold(&bench, 70_000, service, state);
            bench
        }
        Before::Files(service) => {
            let bench = Bench::start().await;
            hold(&bench, 70_000, service, State::Booked);
            for (id, name) in [
                ("b2b22a7e-b3e9-4625-8d2c-00507bfdffb5", "test1.pdf"),
                ("857b901d-1491-47d3-90e2-6c9f13f744dc", "test2.pdf"),
            ] {
                let files = &bench.simulator.world.files;
                let seeded = files.get("e1015896-92f4-4073-ad3c-5f30fca76448".parse().expect("a literal id"));
                let file = crate::simulator::files::File { name: name.into(), ..seeded.expect("seeded") };
                files.insert(id.parse().expect("a literal id"), file);
            }
            bench
        }
        Before::Advice(version) => {
            let bench = Bench::start().await;
            become_advice(&bench, 70_000, version);
            bench
        }
        Before::Cancelled => {
            let bench = Bench::start().await;
            let body = cancellation("intend-private-without-comment");
            assert_eq!(bench.act(UBRN, "cancelReferral", Some(r#"W/"6""#), &body).await.status, 200);
            bench
        }
        Before::File => {
            let bench = Bench::start().await;
            let files = &bench.simulator.world.files;
            let id = "e1015896-92f4-4073-ad3c-5f30fca76448".parse().expect("a literal id");
            let seeded = files.get(id).expect("seeded");
            files.insert(id, crate::simulator::files::File { meant_for: None, ..seeded });
            bench
        }
        Before::Seeds => Bench::start().await,
    }
}

/// Gives a seeded referral an appointment at this service, booked or yet to be made.
pub fn hold(bench: &Bench, ubrn: u64, service: &str, state: State) {
    let now = bench.simulator.clock().now();
    let (status, reason) = match state {
        State::Booked => ("booked", None),
        State::AwaitingTriage => ("proposed", Some("TRIAGE")),
        _ => ("proposed", Some("NO_SLOTS_AT_SERVICE")),
    };
    let booked = |text: &str| (state == State::Booked).then(|| text.to_owned());
    let appointment = Appointment {
        id: ubrn,
        version: 1,
        status,
        reason,
        cancellation: None,
        service: service.into(),
        slot: booked("1"),
        start: booked("2040-05-01T08:00:00.000Z"),
        end: booked("2040-05-01T09:00:00.000Z"),
        clinician: booked("021600556514"),
        comment: None,
        created: now,
    };
    let held = bench.simulator.world.referrals.with(Ubrn(ubrn), |referral| {
        (referral.state, referral.appointment) = (state, Some(appointment));
    });
    assert!(held.is_some(), "seeded");
}

/// Puts the seeded advice request in the place of a seeded referral.
pub fn become_advice(bench: &Bench, ubrn: u64, version: u32) {
    let world = &bench.simulator.world;
    let seeded = Ubrn(demonstration::ADVICE_REQUESTS[0]);
    let advice = world.advice.with(seeded, |advice| advice.clone()).expect("seeded");
    world.referrals.remove(Ubrn(ubrn));
    world.advice.insert(crate::simulator::advice::AdviceRequest { ubrn: Ubrn(ubrn), version, ..advice });
}

/// A sample and its way.
struct Put {
    sample: &'static str,
    before: Before,
    function: &'static str,
    /// Of the specification.
    method: &'static str,
    path: &'static str,
    /// What stands for the braces of the path.
    id: &'static str,
    if_match: Option<&'static str>,
    status: u16,
    /// The code of a refusal, or text of the answer.
    says: &'static str,
}

const LIST: &str = "/STU3/ReferralRequest/$ers.fetchworklist";
const LETTER: &str = "/STU3/ReferralRequest/{ubrn}/$ers.maintainReferralLetter";
const SHORTLIST: &str = "/STU3/ReferralRequest/{ubrn}/$ers.changeShortlist";
const SHORTLIST_AND_SEND: &str = "/STU3/ReferralRequest/{ubrn}/$ers.changeShortlistAndSendForTriage";
const CREATE_AND_SEND: &str = "/STU3/ReferralRequest/$ers.createReferralAndSendForTriage";
const UPDATE: &str = "/STU3/Appointment/{id}";
const CANCEL: &str = "/STU3/ReferralRequest/{ubrn}/$ers.cancelReferral";
const REJECT: &str = "/STU3/ReferralRequest/{ubrn}/$ers.rejectReferral";
const ACT_LATER: &str = "/STU3/ReferralRequest/{ubrn}/$ers.cancelAppointmentActionLater";
const REVIEW: &str = "/STU3/ReferralRequest/{ubrn}/$ers.recordReviewOutcome";
const ADVICE_LIST: &str = "/STU3/CommunicationRequest/$ers.fetchworklist";
const RESPOND: &str = "/STU3/CommunicationRequest/{ubrn}/$ers.sendCommunicationToRequester";
const CONVERT: &str = "/STU3/ReferralRequest/$ers.createFromCommunicationRequestActionLater";
const ADVICE: &str = "/STU3/CommunicationRequest/$ers.createAdviceAndGuidance";

fn post(sample: &'static str, before: Before, path: &'static str, status: u16, says: &'static str) -> Put {
    Put { sample, before, function: REFERRER, method: "post", path, id: "", if_match: None, status, says }
}

/// About a referral in this version.
fn about(sample: &'static str, before: Before, path: &'static str, if_match: &'static str, says: &'static str) -> Put {
    Put { id: UBRN, if_match: Some(if_match), ..post(sample, before, path, 200, says) }
}

fn by(function: &'static str, put: Put) -> Put {
    Put { function, ..put }
}

fn update(sample: &'static str, id: &'static str, before: Before, status: u16, says: &'static str) -> Put {
    Put { method: "put", id, if_match: Some(r#"W/"1""#), ..post(sample, before, UPDATE, status, says) }
}

#[rustfmt::skip]
fn all() -> Vec<Put> {
    use Before::{At, Cancelled, File, Held, Seeds};
    const SIX: &str = r#"W/"6""#;
    const CREATED: Before = At("2024-05-20T12:00:00Z");
    const BOOKABLE: Before = At("2022-07-01T00:00:00Z");
    const CARDIOLOGY: &str = "11002";
    vec![
        by(PROVIDER, post("a008-retrieve-worklist/request-minimal-referrals-for-review", Held("50001", State::AwaitingTriage), LIST, 200, "TRIAGE_DEFERRAL")),
        by(PROVIDER, post("a008-retrieve-worklist/request-minimal-appointment-slot-issues", Held("11021", State::DeferredToProvider), LIST, 200, "NO_SLOTS_AT_SERVICE")),
        by(PROVIDER, post("a008-retrieve-worklist/request-filtering-by-service", Held("21012", State::Booked), LIST, 200, UBRN)),
        by(PROVIDER, post("a008-retrieve-worklist/request-filtering-by-clinician", Held("11000", State::Booked), LIST, 200, "#Practitioner-021600556514")),
        post("a008-retrieve-worklist/request-minimal-rejected-triage-response", Seeds, LIST, 200, "nilknown"),
        post("a008-retrieve-worklist/request-minimal-assessment-returned-cancelled-dna", Cancelled, LIST, 200, UBRN),
        post("a008-retrieve-worklist/request-minimal-awaiting-booking", Seeds, LIST, 200, UBRN),
        post("a008-retrieve-worklist/request-minimal-letters-outstanding", Seeds, LIST, 200, "List"),
        post("a010-patient-service-search/request-rc-minimal", Seeds, SEARCH, 200, CARDIOLOGY),
        post("a010-patient-service-search/request-rc-search-for-advice-service", Seeds, SEARCH, 200, "11010"),
        post("a010-patient-service-search/request-rc-search-with-commissioning-rule-organisation", Seeds, SEARCH, 200, CARDIOLOGY),
        by(ADMINISTRATOR, post("a010-patient-service-search/request-rc-search-by-clinical-term", Seeds, SEARCH, 200, CARDIOLOGY)),
        post("a011-create-referral/request-minimal", CREATED, CREATE, 201, "NOT_BOOKED"),
        by(ADMINISTRATOR, post("a011-create-referral/request-minimal-request-with-referring-clinician", CREATED, CREATE, 201, "NOT_BOOKED")),
        about("a012-maintain-referral-letter/request-single-document-reference", Seeds, LETTER, SIX, "Binary/50f0c0d5-7ed1-4587-8fce-889c8685eb54"),
        about("a012-maintain-referral-letter/request-multiple-document-references", Seeds, LETTER, SIX, "Binary/e1015896-92f4-4073-ad3c-5f30fca76448"),
        post("a016-book-or-defer-appointment/request-minimal-booking", BOOKABLE, APPOINTMENT, 201, "Slot/11000021"),
        post("a016-book-or-defer-appointment/request-minimal-deferral", Seeds, APPOINTMENT, 201, "NO_SLOTS_AT_SERVICE"),
        post("a016-book-or-defer-appointment/request-deferral-booking-attempt-problem", Seeds, APPOINTMENT, 201, "BOOKING_ATTEMPT_PROBLEM"),
        post("a016-book-or-defer-appointment/request-triage-deferral", Seeds, APPOINTMENT, 201, "TRIAGE"),
        post("a021-create-referral-and-send-for-triage/request-parameters", Seeds, CREATE_AND_SEND, 201, "AWAITING_TRIAGE"),
        about("a031-change-shortlist/request-unbooked-referral", Seeds, SHORTLIST, SIX, CARDIOLOGY),
        about("a031-change-shortlist/request-unbooked-referral-mixed-shortlist", Seeds, SHORTLIST, SIX, "51002"),
        about("a032-change-shortlist-and-send-for-triage/request-minimal", Seeds, SHORTLIST_AND_SEND, SIX, "AWAITING_TRIAGE"),
        update("a034-update-appointment/request-minimal-cancellation-reason-only-comment-not-mandatory", "70003", Before::Appointment(70_003, 70_004), 200, "PATIENT_ILL"),
        update("a034-update-appointment/request-cancellation-reason-only-comment-mandatory", "70005", Before::Appointment(70_005, 70_005), 422, "MISSING_VALUE"),
        update("a034-update-appointment/request-cancellation-invalid-reason", "70006", Before::Appointment(70_006, 70_006), 422, "INAPPROPRIATE_VALUE"),
        by(PROVIDER, about("a036-cancel-referral/request-booked-outside-cab-without-comment", Held("50001", State::AwaitingTriage), CANCEL, SIX, "BOOKED_OUTSIDE_CAB")),
        about("a036-cancel-referral/request-intend-private-without-comment", Seeds, CANCEL, SIX, "INTEND_PRIVATE"),
        about("a036-cancel-referral/request-no-longer-required", Seeds, CANCEL, SIX, "TREATMENT_NO_LONGER_REQUIRED"),
        by(PROVIDER, about("a036-cancel-referral/request-outpatient-service", Held("50001", State::TriagedProviderToAction), CANCEL, SIX, "OUTPATIENT_SERVICE_NA")),
        about("a036-cancel-referral/request-patient-request-cancellation-other", Seeds, CANCEL, SIX, "PATIENT_REQUEST_CANCELLATION_OTHER"),
        about("a036-cancel-referral/request-referrer-cancellation", Held("11000", State::Booked), CANCEL, SIX, "updatedAppointment"),
        by(PROVIDER, about("a014-reject-referral/request-basic-example-dbs", Held("11002", State::Booked), REJECT, SIX, "SERVICE_INAPPROPRIATE")),
        by(PROVIDER, about("a022-cancel-appointment-action-later/request-minimal-example-dbs", Held("11002", State::Booked), ACT_LATER, SIX, "CANCEL_APPOINTMENT_ACTION_LATER")),
        by(PROVIDER, about("a022-cancel-appointment-action-later/request-minimal-example-ibs", Held("20061", State::Booked), ACT_LATER, SIX, "CANCEL_APPOINTMENT_ACTION_LATER")),
        by(PROVIDER, about("a022-cancel-appointment-action-later/request-priority-change-and-with-attachments-dbs", Before::Files("11002"), ACT_LATER, SIX, "My second provider attachment")),
        by(PROVIDER, post("a023-retrieve-advice-worklist/request-minimal-advice-and-guidance-requests", Before::Advice(10), ADVICE_LIST, 200, UBRN)),
        by(PROVIDER, about("a026-send-advice-response/request-require-further-information", Before::Advice(6), RESPOND, SIX, "REFERRER_TO_SUBMIT_FURTHER_INFORMATION")),
        by(PROVIDER, about("a026-send-advice-response/request-return-to-referrer-with-advice", Before::Advice(6), RESPOND, SIX, "REFERRER_TO_REVIEW_RESPONSE")),
        by(PROVIDER, post("a027-convert-advice-to-referral/request-no-attachments", Before::Advice(3), CONVERT, 201, "PROVIDER_CONVERTED_ADVICE_AND_GUIDANCE_ADMIN_TO_REFER")),
        by(PROVIDER, about("a028-record-triage-outcome/request-accept-refer-book-later", Held("50001", State::AwaitingTriage), REVIEW, SIX, "ACCEPT_REFER_BOOK_LATER")),
        by(PROVIDER, about("a028-record-triage-outcome/request-return-to-referrer-with-advice", Held("50001", State::AwaitingTriage), REVIEW, SIX, "RETURN_TO_REFERRER_WITH_ADVICE")),
        by(ADMINISTRATOR, post("a044-create-advice-request/request-example-rca-with-attachments", File, ADVICE, 200, "PROVIDER_RESPONSE_REQUIRED")),
    ]
}

#[tokio::test]
async fn every_request_sample_gets_its_documented_answer() {
    for put in all() {
        let sample = put.sample;
        let bench = bench(put.before).await.acting_as("R69", put.function);
        let path = put.path.replace("{ubrn}", put.id).replace("{id}", put.id);
        let method = Method::from_bytes(put.method.to_uppercase().as_bytes()).expect("a method");
        let body = example(&format!("{sample}.json")).to_string();
        let mut request = bench.request(method, &path).header("Content-Type", FHIR).body(body);
        if let Some(version) = put.if_match {
            request = request.header("If-Match", version);
        }
        let reply = seen(request.send().await.expect("an answer")).await;
        assert_eq!(reply.status, put.status, "{sample}: {}", reply.text);
        assert!(reply.text.contains(put.says), "{sample}: {}", reply.text);
        // The description has this text where the environment's URL stands.
        let answered = serde_json::from_str(&reply.text.replace(bench.simulator.base_url(), "_baseurl_"));
        let wrong = violations(&schema(put.path, put.method, put.status), &answered.expect("JSON"));
        assert_eq!(wrong, Vec::<String>::new(), "{sample}: {}", reply.text);
    }
}

#[test]
fn no_request_sample_is_left_out() {
    let mut published = BTreeSet::new();
    for folder in std::fs::read_dir(SAMPLES).expect("the samples are there").flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        if folder.path().is_dir() {
            for file in std::fs::read_dir(folder.path()).expect("readable").flatten() {
                let file = file.file_name().to_string_lossy().into_owned();
                if let (true, Some(stem)) = (file.starts_with("request-"), file.strip_suffix(".json")) {
                    published.insert(format!("{name}/{stem}"));
                }
            }
        }
    }
    let put: BTreeSet<String> = all().iter().map(|put| put.sample.to_owned()).collect();
    assert_eq!(put, published, "a020's only sample is no JSON: the_upload_sample_is_stored");
}
