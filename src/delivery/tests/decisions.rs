//! What a provider decides, carried out against the simulator.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;
use crate::config::Unattended;
use crate::events::EventSchemas;
use crate::simulator::{Action, Fault};
use crate::store::NewDocument;

const PROVIDER: &str = "SERVICE_PROVIDER_CLINICIAN";
/// Booked into a slot of a directly bookable service of the caller, and not begun.
const BOOKED: &str = "000000070003";
/// Sent for triage.
const TRIAGE: &str = "000000070000";
const ADVICE: &str = "000049146177";

/// A provider's world with something of each kind to decide.
async fn world() -> World {
    with_something_to_decide(World::started_before_the_simulator(PROVIDER).await)
}

fn with_something_to_decide(world: World) -> World {
    assert!(world.simulator().book(BOOKED, 70_009, "11008006"), "the slot is free");
    assert!(world.simulator().send_for_triage(TRIAGE, "50001"));
    world
}

fn state(world: &World, ubrn: &str) -> (&'static str, Option<&'static str>) {
    let referral = world.simulator().referral(ubrn).expect("a referral");
    (referral.state, referral.reason)
}

fn letter() -> (Value, Vec<NewDocument>) {
    let letter = json!({
        "fileName": "plan.txt", "contentType": "text/plain", "bytes": 5,
        "sha256": format!("{:x}", Sha256::digest(b"hello")), "content": { "in": "document", "number": 1 },
    });
    (letter, vec![NewDocument { number: 1, content: "hello".into() }])
}

#[tokio::test(start_paused = true)]
async fn a_booking_is_accepted_once() {
    let world = world().await;
    let command = world.about(BOOKED, "AcceptReferral", json!({})).await;
    world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A005", "A013"]);
    let told = world.only_event("ReferralAccepted").await;
    assert_eq!((&told["ubrn"], &told["appointment"]), (&json!(BOOKED), &json!("70009")));
    // e-RS alone knows that it was reviewed: no state shows it.
    let again = world.about(BOOKED, "AcceptReferral", json!({})).await;
    assert_eq!(world.failure(again).await.0, "INVALID_REQUEST_STATE");
}

#[tokio::test(start_paused = true)]
async fn a_decision_whose_answer_is_lost_is_found_and_not_sent_again() {
    for (name, more, call, tells) in [
        ("AcceptReferral", json!({}), "A013", "ReferralAccepted"),
        ("RejectReferral", json!({ "reason": "SERVICE_INAPPROPRIATE" }), "A014", "ReferralRejected"),
        ("CancelAppointmentActionLater", json!({ "comments": "Rebook" }), "A022", "AppointmentCancelledActionLater"),
    ] {
        let world = world().await;
        world.simulator().inject(Fault::on(call, Action::Reset { after_commit: true }).times(1));
        let command = world.about(BOOKED, name, more).await;
        world.until(command, "in_doubt").await;
        world.rest(std::time::Duration::from_secs(3_600)).await;
        let calls = world.simulator().calls();
        assert_eq!(calls.iter().filter(|made| **made == call).count(), 1, "{name}: {calls:?}");
        assert_eq!(world.event_names().await, ["CommandInDoubt", "DoubtSettled", tells], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_meanwhile_is_read_and_decided_again() {
    for (ubrn, name, more, calls) in [
        (BOOKED, "AcceptReferral", json!({}), vec!["A005", "A013", "A005", "A013"]),
        (
            BOOKED,
            "RejectReferral",
            json!({ "reason": "SERVICE_INAPPROPRIATE" }),
            vec!["A005", "A004", "A014", "A005", "A014"],
        ),
        (
            TRIAGE,
            "RecordReviewOutcome",
            json!({ "outcome": "ACCEPT_REFER_BOOK_LATER", "comments": "Book" }),
            vec!["A005", "A029", "A028", "A005", "A029", "A028"],
        ),
        (
            ADVICE,
            "SendAdviceResponse",
            json!({ "outcome": "REQUIRE_FURTHER_INFORMATION", "guidance": "Which drug?" }),
            vec!["A024", "A026", "A024", "A026"],
        ),
        (
            ADVICE,
            "ConvertAdviceToReferral",
            json!({ "guidance": "We take over", "comments": "Rapid access" }),
            vec!["A024", "A027", "A024", "A027"],
        ),
    ] {
        let world = world().await;
        let write = calls.last().expect("a write");
        world.simulator().inject(Fault::on(write, Action::answer(409)).times(1));
        let command = world.about(ubrn, name, more).await;
        world.until(command, "completed").await;
        assert_eq!(world.simulator().calls(), calls, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_with_a_wrong_reason_is_told_before_anything_is_written() {
    for (more, code) in [
        (json!({ "reason": "NO_SUCH_REASON" }), "REASON_UNKNOWN"),
        (json!({ "reason": "PATIENT_ILL" }), "REASON_NOT_FOR_REJECTION"),
        (json!({ "reason": "OTHER", "patient": { "nhsNumber": "9994121405" } }), "PATIENT_DIFFERS"),
    ] {
        let world = world().await;
        let command = world.about(BOOKED, "RejectReferral", more).await;
        assert_eq!(world.failure(command).await.0, code);
        assert!(!world.simulator().calls().contains(&"A014"), "{code}");
    }
    let world = world().await;
    let more =
        json!({ "reason": "SERVICE_INAPPROPRIATE", "comment": "See the pathway", "appointmentCancelledInPAS": true });
    let command = world.about(BOOKED, "RejectReferral", more).await;
    world.until(command, "completed").await;
    assert_eq!(state(&world, BOOKED).0, "REJECTED");
    let told = world.only_event("ReferralRejected").await;
    assert!(!told.to_string().contains("pathway"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_appointment_is_cancelled_only_if_it_is_the_one_that_is_meant() {
    for (more, code) in [
        (json!({ "comments": "x", "appointment": "1" }), "APPOINTMENT_DIFFERS"),
        (json!({ "comments": "x", "appointmentStart": "2026-04-11T13:30:00+01:00" }), "APPOINTMENT_DIFFERS"),
    ] {
        let world = world().await;
        let command = world.about(BOOKED, "CancelAppointmentActionLater", more).await;
        assert_eq!(world.failure(command).await.0, code);
        assert_eq!(world.simulator().calls(), ["A005"], "{code}");
    }
    let world = world().await;
    let command = world.about(TRIAGE, "CancelAppointmentActionLater", json!({ "comments": "x" })).await;
    assert_eq!(world.failure(command).await.0, "DECISION_NOT_FOR_STATE");

    let (file, documents) = letter();
    let body = json!({
        "ubrn": BOOKED, "comments": "Rebook", "priority": "TWO_WEEK_WAIT", "letters": [file], "appointment": "70009",
        "appointmentStart": "2026-04-11T13:15:00+01:00",
    });
    let command = world.admit_as("CancelAppointmentActionLater", "by UBRN", body, b"{}", documents).await;
    world.until(command, "completed").await;
    assert_eq!(world.simulator().calls()[1..], ["A005", "A029", "A020", "A022"]);
    let referral = world.simulator().referral(BOOKED).expect("a referral");
    assert_eq!((referral.state, referral.priority), ("TRIAGED_PROVIDER_TO_ACTION", "TWO_WEEK_WAIT"));
    let events = world.events().await;
    let told = events.last().expect("told");
    assert_eq!(told.name, "AppointmentCancelledActionLater");
    assert_eq!(EventSchemas::built_in().violations(&told.name, &told.data), []);
    assert_eq!(told.data["letters"][0]["fileName"], "plan.txt");
}

#[tokio::test(start_paused = true)]
async fn the_hospitals_own_appointment_is_not_given_up_before_it_is_said_what_became_of_it() {
    for (setting, more, code) in [
        (None, json!({}), Some("CANCELLATION_IN_PAS_NOT_SAID")),
        (None, json!({ "appointmentCancelledInPAS": true }), None),
        (Some(true), json!({}), None),
    ] {
        let world = World::started_before_the_simulator(PROVIDER).await;
        assert!(world.simulator().book_indirectly("000000070007", 70_009, "20061", "2026-05-01T09:00:00Z"));
        world.set_source(|source| {
            source.settings.extend(setting.map(|on: bool| ("appointmentCancelledInPAS".to_owned(), on.into())));
        });
        let mut body = json!({ "reason": "OTHER" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let command = world.about("000000070007", "RejectReferral", body).await;
        match code {
            Some(code) => assert_eq!(world.failure(command).await.0, code),
            None => {
                world.until(command, "completed").await;
                assert_eq!(state(&world, "000000070007").0, "REJECTED");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_is_found_out_where_only_e_rs_knows_it() {
    let recommended = "ADVICE_ONLY_NO_REFERRAL_RECOMMENDED";
    for (ubrn, more, calls, event) in [
        (BOOKED, json!({ "decision": "accept" }), vec!["A005", "A013"], "ReferralAccepted"),
        (
            BOOKED,
            json!({ "decision": "reject", "reason": "SERVICE_INAPPROPRIATE", "comment": "See the pathway" }),
            vec!["A005", "A004", "A014"],
            "ReferralRejected",
        ),
        (
            TRIAGE,
            json!({ "decision": "accept", "comment": "MRI first" }),
            vec!["A005", "A029", "A028"],
            "ReviewOutcomeRecorded",
        ),
        (
            TRIAGE,
            json!({ "decision": "reject", "reason": "OTHER", "comment": "See the pathway" }),
            vec!["A005", "A029", "A028"],
            "ReviewOutcomeRecorded",
        ),
        (
            ADVICE,
            json!({ "decision": "accept", "comment": "Reassure", "recommendation": recommended }),
            vec!["A005", "A024", "A026"],
            "AdviceResponded",
        ),
    ] {
        let world = world().await;
        let command = world.about(ubrn, "DecideReferral", more.clone()).await;
        world.until(command, "completed").await;
        assert_eq!(world.simulator().calls(), calls, "{more}");
        let told = world.only_event(event).await;
        if ubrn == TRIAGE {
            let outcome = told["outcome"].as_str().expect("an outcome");
            assert_eq!(outcome == "ACCEPT_REFER_BOOK_LATER", more["decision"] == "accept", "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_with_something_that_has_no_place_is_held_for_a_person() {
    let (file, _) = letter();
    for (ubrn, more, code) in [
        (BOOKED, json!({ "decision": "accept", "comment": "Fast before" }), "COMMENT_HAS_NO_PLACE"),
        (BOOKED, json!({ "decision": "accept", "letters": [file] }), "FILES_HAVE_NO_PLACE"),
        (BOOKED, json!({ "decision": "reject", "reason": "OTHER", "priority": "URGENT" }), "FILES_HAVE_NO_PLACE"),
        (BOOKED, json!({ "decision": "reject" }), "REASON_REQUIRED"),
        (TRIAGE, json!({ "decision": "accept" }), "COMMENT_REQUIRED"),
        (
            TRIAGE,
            json!({ "decision": "accept", "comment": "x", "recommendation": "OTHER" }),
            "RECOMMENDATION_HAS_NO_PLACE",
        ),
        (ADVICE, json!({ "decision": "accept", "comment": "x" }), "RECOMMENDATION_REQUIRED"),
        (ADVICE, json!({ "decision": "accept", "recommendation": "OTHER" }), "COMMENT_REQUIRED"),
        (
            ADVICE,
            json!({ "decision": "reject", "comment": "x", "recommendation": "OTHER", "reason": "OTHER" }),
            "REASON_HAS_NO_PLACE",
        ),
        ("000000070001", json!({ "decision": "accept" }), "DECISION_NOT_FOR_STATE"),
    ] {
        let world = world().await;
        let mut body = json!({ "ubrn": ubrn });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let command = world.admit_as("DecideReferral", "by UBRN", body, b"{}", letter().1).await;
        assert_eq!(world.failure(command).await.0, code, "{more}");
        assert_eq!(world.event_names().await, ["CommandFailed"], "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_converted_request_goes_on_as_a_referral_with_the_same_ubrn() {
    let world = world().await;
    let (file, documents) = letter();
    let body = json!({ "ubrn": ADVICE, "guidance": "We take over", "comments": "Rapid access", "letters": [file] });
    let command = world.admit_as("ConvertAdviceToReferral", "by UBRN", body, b"{}", documents).await;
    world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A024", "A020", "A027"]);
    let (state, reason) = state(&world, ADVICE);
    assert_eq!(
        (state, reason),
        ("TRIAGED_PROVIDER_TO_ACTION", Some("PROVIDER_CONVERTED_ADVICE_AND_GUIDANCE_ADMIN_TO_REFER"))
    );
    world.only_event("AdviceConverted").await;
    let more = json!({ "reason": "TRIAGE_ENDED" });
    let cancel = world.about(ADVICE, "CancelReferral", more).await;
    world.until(cancel, "completed").await;
    assert_eq!(world.simulator().referral(ADVICE).expect("a referral").state, "CANCELLED_REFERRAL");
}

fn approved(operation: &str, only: &[&str]) -> Vec<Unattended> {
    let only = only.iter().map(|code| (*code).to_owned()).collect();
    vec![Unattended { operation: operation.into(), approval: "EXAMPLE-1".into(), only }]
}

#[tokio::test(start_paused = true)]
async fn without_a_user_only_what_was_approved_is_written() {
    let outcome = json!({ "outcome": "ACCEPT_REFER_BOOK_LATER", "comments": "Book" });
    let returned = json!({ "outcome": "RETURN_TO_REFERRER_WITH_ADVICE", "comments": "Not for us" });
    let cancel = json!({ "reason": "BOOKED_OUTSIDE_CAB" });
    let reject = json!({ "reason": "OTHER" });
    for (approvals, ubrn, name, more, refused) in [
        (approved("A013", &[]), BOOKED, "AcceptReferral", json!({}), None),
        (Vec::new(), BOOKED, "AcceptReferral", json!({}), Some("no approval")),
        (approved("A028", &["ACCEPT_REFER_BOOK_LATER"]), BOOKED, "AcceptReferral", json!({}), Some("no approval")),
        (approved("A028", &["ACCEPT_REFER_BOOK_LATER"]), TRIAGE, "RecordReviewOutcome", outcome, None),
        (
            approved("A028", &["ACCEPT_REFER_BOOK_LATER"]),
            TRIAGE,
            "RecordReviewOutcome",
            returned,
            Some("EXAMPLE-1 is for reviewOutcome ACCEPT_REFER_BOOK_LATER only"),
        ),
        (approved("A036", &["BOOKED_OUTSIDE_CAB"]), BOOKED, "CancelReferral", cancel.clone(), None),
        (approved("A036", &["PATIENT_DIED"]), BOOKED, "CancelReferral", cancel.clone(), Some("EXAMPLE-1")),
        (approved("A036", &[]), BOOKED, "CancelReferral", cancel, Some("EXAMPLE-1")),
        (approved("A014", &["OTHER"]), BOOKED, "RejectReferral", reject, None),
    ] {
        let unattended = World::started_unattended(approvals.clone()).await;
        let world = with_something_to_decide(unattended);
        let command = world.about(ubrn, name, more.clone()).await;
        if name == "RejectReferral" {
            // Whatever is configured, e-RS has no reasons to reject for applications, and no such call.
            assert_eq!(world.failure(command).await.0, "REASON_NOT_FOR_FUNCTION");
            continue;
        }
        match refused {
            None => {
                world.until(command, "completed").await;
            }
            Some(text) => {
                world.until(command, "unauthorised").await;
                let reasons = world.reasons(command).await;
                assert!(reasons.iter().any(|reason| reason.contains(text)), "{name} {more}: {reasons:?}");
                let writes = ["A013", "A028", "A036"];
                assert!(!world.simulator().calls().iter().any(|call| writes.contains(call)), "{name} {more}");
            }
        }
        for attempt in world.attempts(command).await {
            let headers = attempt.request.to_string();
            assert!(!headers.contains("NHSD-End-User") && !headers.contains("NHSD-eRS-Business"), "{headers}");
        }
    }
}
