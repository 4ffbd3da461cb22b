//! Cancelling, changing and writing about a referral, carried out against the simulator.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;
use crate::command::CommandId;
use crate::events::EventSchemas;
use crate::simulator::{Action, AdditionalRequirement, Fault};
use crate::store::{Act, NewDocument, OperatorStore as _};

const UBRN: &str = "000000070000";
/// Has one letter from the start.
const WITH_LETTER: &str = "000000070001";

impl World {
    /// A command about a referral that is known by its UBRN alone.
    pub async fn about(&self, ubrn: &str, name: &str, more: Value) -> CommandId {
        let mut body = json!({ "ubrn": ubrn });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.admit_as(name, &format!("by UBRN {ubrn}"), body, b"{}", Vec::new()).await
    }

    /// Why a command failed: code and text.
    pub async fn failure(&self, command: CommandId) -> (String, String) {
        let failed = self.until(command, "failed").await;
        let why = serde_json::to_value(&failed.state).expect("a state")["why"].clone();
        let text = |name: &str| why[name].as_str().unwrap_or_default().to_owned();
        (text("code"), text("text"))
    }

    /// The only event, once it is what its schema says.
    pub async fn only_event(&self, name: &str) -> Value {
        let events = self.events().await;
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, [name]);
        assert_eq!(EventSchemas::built_in().violations(name, &events[0].data), []);
        events[0].data.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_referral_is_cancelled_after_everything_was_checked_and_with_no_call_too_many() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let more = json!({
        "reason": "PATIENT_REQUEST_CANCELLATION_OTHER", "comment": "Moves away",
        "patient": { "nhsNumber": "9912003888" },
    });
    let command = world.about(UBRN, "CancelReferral", more).await;
    let done = world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A005", "A004", "A029", "A036"]);
    assert_eq!(world.simulator().referral(UBRN).expect("a referral").state, "CANCELLED_REFERRAL");
    assert_eq!(done.plan["result"], json!({ "ubrn": UBRN, "version": "8" }));
    let event = world.only_event("ReferralCancelled").await;
    assert_eq!((&event["reason"], &event["version"]), (&json!("PATIENT_REQUEST_CANCELLATION_OTHER"), &json!("8")));
    assert!(event.get("appointment").is_none() && !event.to_string().contains("Moves away"), "{event}");

    let again = world.about(UBRN, "CancelReferral", json!({ "reason": "RAISED_IN_ERROR" })).await;
    assert_eq!(world.failure(again).await.0, "REFERRAL_CANCELLED_ALREADY");
    assert_eq!(world.simulator().calls().len(), 5, "one read tells it");
}

#[tokio::test(start_paused = true)]
async fn the_reasons_are_asked_for_once_in_half_a_day() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    for (ubrn, hours) in [(UBRN, 0), (WITH_LETTER, 1), ("000000070003", 12)] {
        world.rest(Duration::from_secs(hours * 3_600)).await;
        let command = world.about(ubrn, "CancelReferral", json!({ "reason": "RAISED_IN_ERROR" })).await;
        world.until(command, "completed").await;
    }
    let whole = ["A005", "A004", "A029", "A036"];
    assert_eq!(world.simulator().calls(), [&whole[..], &["A005", "A029", "A036"], &whole].concat());
}

#[tokio::test(start_paused = true)]
async fn what_makes_a_cancellation_impossible_is_told_before_anything_is_written() {
    for (function, more, code, says) in [
        ("REFERRING_CLINICIAN", json!({ "reason": "CHANGED_MIND" }), "REASON_UNKNOWN", "REFERRAL-CANCELLATION-REASON"),
        (
            "REFERRING_CLINICIAN",
            json!({ "reason": "STRAIGHT_TO_TEST" }),
            "REASON_NOT_FOR_FUNCTION",
            "business function",
        ),
        (
            "REFERRING_CLINICIAN",
            json!({ "reason": "PATIENT_REQUEST_CANCELLATION_OTHER" }),
            "COMMENT_REQUIRED",
            "say in comment",
        ),
        (
            "REFERRING_CLINICIAN",
            json!({ "reason": "RAISED_IN_ERROR", "patient": { "nhsNumber": "9994121405" } }),
            "PATIENT_DIFFERS",
            "check the UBRN",
        ),
        ("SERVICE_PROVIDER_CLINICIAN", json!({ "reason": "INTEND_PRIVATE" }), "CANCELLATION_NOT_AVAILABLE", "A029"),
    ] {
        let world = World::started_before_the_simulator(function).await;
        let command = world.about(UBRN, "CancelReferral", more).await;
        let (found, text) = world.failure(command).await;
        assert_eq!(found, code, "{text}");
        assert!(text.contains(says), "{code}: {text}");
        assert!(!text.contains("9912003888") && !text.contains("9994121405"), "{text}");
        assert!(!world.simulator().calls().contains(&"A036"), "{code}");
        assert_eq!(world.simulator().referral(UBRN).expect("a referral").version, 6, "{code}");
        world.only_event("CommandFailed").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_before_anything_was_written_reads_everything_anew() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    world.simulator().inject(Fault::on("A029", Action::answer(400)).times(1));
    let command = world.about(UBRN, "CancelReferral", json!({ "reason": "RAISED_IN_ERROR" })).await;
    world.failure(command).await;
    // Meanwhile somebody else gives the referral another version.
    let mut body = shortlist(&["11010"]);
    body["ubrn"] = UBRN.into();
    let change = world.admit_as("ChangeShortlist", "of another", body, b"{}", Vec::new()).await;
    world.until(change, "completed").await;
    let act = Act::of_person("a person", "a test", "once more", world.now());
    world.store.replay(command, act).await.expect("replayed");
    world.until(command, "completed").await;
    let calls = world.simulator().calls();
    assert_eq!(calls, ["A005", "A004", "A029", "A005", "A031", "A005", "A029", "A036"]);
    assert_eq!(world.simulator().referral(UBRN).expect("a referral").state, "CANCELLED_REFERRAL");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_whose_answer_is_lost_is_found_and_not_sent_again() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    world.simulator().inject(Fault::on("A036", Action::Reset { after_commit: true }).times(1));
    let command = world.about(UBRN, "CancelReferral", json!({ "reason": "RAISED_IN_ERROR" })).await;
    world.until(command, "in_doubt").await;
    world.rest(Duration::from_secs(3_600)).await;
    assert_eq!(world.simulator().calls(), ["A005", "A004", "A029", "A036", "A005"]);
    assert_eq!(world.event_names().await, ["CommandInDoubt", "DoubtSettled", "ReferralCancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_removed_and_the_others_stay() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let letter = json!({
        "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5,
        "sha256": format!("{:x}", Sha256::digest(b"hello")), "content": { "in": "document", "number": 1 },
    });
    let last =
        world.about(WITH_LETTER, "RemoveLetters", json!({ "remove": [{ "fileName": "referralletter.pdf" }] })).await;
    let (code, text) = world.failure(last).await;
    assert!(code == "LAST_LETTER" && text.contains("attach the new letter first"), "{code}: {text}");
    assert_eq!(world.simulator().calls(), ["A005"]);

    // Another sender's thread, so that nothing holds it.
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let documents = vec![NewDocument { number: 1, content: "hello".into() }];
    let body = json!({ "ubrn": WITH_LETTER, "letters": [letter] });
    let attach = world.admit_as("AttachLetters", "R1", body, b"{}", documents).await;
    world.until(attach, "completed").await;
    assert_eq!(world.simulator().referral(WITH_LETTER).expect("a referral").letters.len(), 2);
    let body = json!({ "ubrn": WITH_LETTER, "remove": [{ "fileName": "referralletter.pdf" }] });
    let remove = world.admit_as("RemoveLetters", "R1", body, b"{}", Vec::new()).await;
    world.until(remove, "completed").await;
    assert_eq!(world.simulator().calls(), ["A005", "A020", "A012", "A005", "A012"]);
    assert_eq!(world.simulator().referral(WITH_LETTER).expect("a referral").letters, ["notes.txt"]);
    let events = world.events().await;
    assert_eq!(events[1].name, "ReferralLetterRemoved");
    assert_eq!(EventSchemas::built_in().violations("ReferralLetterRemoved", &events[1].data), []);
    let told = &events[1].data["letters"];
    assert_eq!(told[0]["binary"], "Binary/19eb7224-dff3-4730-a5cb-67eac811f1a5", "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_not_linked_is_told_before_anything_is_written() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let command =
        world.about(WITH_LETTER, "RemoveLetters", json!({ "remove": [{ "document": "Binary/other" }] })).await;
    let (code, text) = world.failure(command).await;
    assert!(code == "LETTER_NOT_LINKED" && text.contains("none was removed"), "{code}: {text}");
    assert_eq!(world.simulator().calls(), ["A005"]);
}

fn shortlist(services: &[&str]) -> Value {
    json!({
        "priority": "ROUTINE", "specialty": "CARDIOLOGY",
        "shortlist": services.iter().map(|service| json!({ "service": service })).collect::<Vec<_>>(),
        "letterIntention": "NEED_TO_ADD_LATER", "firstReminderDays": 0,
    })
}

#[tokio::test(start_paused = true)]
async fn a_shortlist_is_replaced() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let command = world.about(UBRN, "ChangeShortlist", shortlist(&["11010", "51002"])).await;
    world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A005", "A031"]);
    let referral = world.simulator().referral(UBRN).expect("a referral");
    assert_eq!((referral.services, referral.priority), (vec!["11010".to_owned(), "51002".to_owned()], "ROUTINE"));
    let event = world.only_event("ReferralShortlistChanged").await;
    assert_eq!((&event["services"], &event["version"]), (&json!(["11010", "51002"]), &json!("8")));
}

#[tokio::test(start_paused = true)]
async fn a_shortlist_is_not_changed_while_the_command_does_not_name_what_the_patient_needs() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    assert!(world.simulator().note_requirement(UBRN, AdditionalRequirement::Interpreter));
    let command = world.about(UBRN, "ChangeShortlist", shortlist(&["11010"])).await;
    let (code, text) = world.failure(command).await;
    assert!(code == "ADDITIONAL_REQUIREMENTS" && text.contains("additionalRequirements"), "{code}: {text}");
    assert_eq!(world.simulator().calls(), ["A005"]);

    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    assert!(world.simulator().note_requirement(UBRN, AdditionalRequirement::Interpreter));
    let mut named = shortlist(&["11010"]);
    named["additionalRequirements"] = json!(["INTERPRETER"]);
    let command = world.about(UBRN, "ChangeShortlist", named).await;
    world.until(command, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn what_changed_meanwhile_is_compared_and_decided_again() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    world.simulator().inject(Fault::on("A031", Action::delay(Duration::from_secs(10))).times(1));
    let command = world.about(UBRN, "ChangeShortlist", shortlist(&["11010"])).await;
    world.rest(Duration::from_secs(5)).await;
    assert!(world.simulator().note_requirement(UBRN, AdditionalRequirement::Interpreter));
    assert!(world.simulator().touch(UBRN));
    assert_eq!(world.failure(command).await.0, "ADDITIONAL_REQUIREMENTS");
    assert_eq!(world.simulator().calls(), ["A005", "A031", "A005"]);
}

#[tokio::test(start_paused = true)]
async fn letters_are_linked_to_the_version_of_now_and_uploaded_once() {
    let letter = json!({
        "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5,
        "sha256": format!("{:x}", Sha256::digest(b"hello")), "content": { "in": "document", "number": 1 },
    });
    let documents = || vec![NewDocument { number: 1, content: "hello".into() }];
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    world.simulator().inject(Fault::on("A012", Action::answer(409)).times(1));
    let body = json!({ "ubrn": WITH_LETTER, "letters": [letter] });
    let attach = world.admit_as("AttachLetters", "R1", body, b"{}", documents()).await;
    world.until(attach, "completed").await;
    assert_eq!(world.simulator().calls(), ["A005", "A020", "A012", "A005", "A012"]);
    assert_eq!(world.simulator().referral(WITH_LETTER).expect("a referral").letters.len(), 2);

    // A new referral changes before its letter is linked, and again before it is sent for triage.
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    for call in ["A012", "A016"] {
        world.simulator().inject(Fault::on(call, Action::answer(409)).times(1));
    }
    let more = json!({
        "letters": [letter], "letterIntention": "NEED_TO_ADD_LATER", "then": "triage",
        "shortlist": [{ "service": "50001" }], "specialty": "CARDIOLOGY",
    });
    let create = world.admit_as("CreateReferral", "R2", more, b"{}", documents()).await;
    world.until(create, "completed").await;
    assert_eq!(world.simulator().calls(), ["A011", "A020", "A012", "A005", "A012", "A016", "A005", "A016"]);
    let events = world.event_names().await;
    assert_eq!(events, ["ReferralCreated", "ReferralLetterAttached", "ReferralSentForTriage"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_e_rs_does_not_offer_fails_with_its_code() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let command = world.about(UBRN, "ChangeShortlist", shortlist(&["20081"])).await;
    assert_eq!(world.failure(command).await.0, "SHORTLISTED_SERVICE_NOT_IN_RESULTS");
}

#[tokio::test(start_paused = true)]
async fn the_letter_to_a_patient_is_kept_with_its_call_and_told_by_its_digest() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let command = world.about(UBRN, "GeneratePatientLetter", json!({})).await;
    let done = world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A019"]);
    let attempt = &world.attempts(command).await[0];
    let document = world.document(command).await;
    assert!(document.starts_with(b"%PDF-") && document.ends_with(b"%%EOF\n"));
    let digest = format!("{:x}", Sha256::digest(&document));
    let result = &done.plan["result"];
    assert_eq!((&result["sha256"], &result["step"]), (&json!(digest), &json!(attempt.step)));
    let event = world.only_event("PatientLetterGenerated").await;
    assert_eq!((&event["sha256"], &event["bytes"]), (&json!(digest), &json!(document.len())));
    assert_eq!(event["contentType"], "application/pdf");
}

#[tokio::test(start_paused = true)]
async fn the_clinical_information_is_kept_with_its_call_and_tells_nobody_else() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let command = world.about(UBRN, "RetrieveClinicalInformation", json!({})).await;
    let done = world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A007"]);
    let document = world.document(command).await;
    assert!(document.starts_with(b"%PDF-"));
    let digest = format!("{:x}", Sha256::digest(&document));
    assert_eq!((&done.plan["result"]["sha256"], &done.plan["result"]["step"]), (&json!(digest), &json!("summary")));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_e_rs_cannot_answer_now_is_asked_again() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    world.simulator().inject(Fault::on("A019", Action::answer(503)).times(1));
    let command = world.about(UBRN, "GeneratePatientLetter", json!({})).await;
    world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A019", "A019"]);
}
