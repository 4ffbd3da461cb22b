//! Files and searches: what e-RS answers elsewhere, what is deprecated, and what is still being made.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;
use crate::simulator::{Action, Fault};
use crate::store::NewDocument;

const UBRN: &str = "000000070001";
const LETTER: &str = "Binary/19eb7224-dff3-4730-a5cb-67eac811f1a5";

#[tokio::test(start_paused = true)]
async fn a_file_is_fetched_where_e_rs_says_and_without_the_token() {
    for settings in [json!({}), json!({ "attachmentsStu3": true })] {
        let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
        world.set_source(|source| source.settings = settings.as_object().expect("an object").clone());
        // Its object store refuses whoever brings a token.
        let command = world.about(UBRN, "RetrieveAttachment", json!({ "fileName": "referralletter.pdf" })).await;
        let done = world.until(command, "completed").await;
        let (call, step) = if settings["attachmentsStu3"] == true { ("A006", "fileStu3") } else { ("A042", "file") };
        assert_eq!(world.simulator().calls(), ["A005", call]);
        let file = world.document(command).await;
        assert_eq!(file, &b"letter"[..], "as the published samples have it");
        let result = &done.plan["result"];
        assert_eq!(result["document"], LETTER);
        assert_eq!((&result["step"], &result["bytes"]), (&json!(step), &json!(file.len())));
        assert_eq!(result["sha256"], json!(format!("{:x}", Sha256::digest(&file))));
        let told =
            serde_json::to_string(&world.attempts(command).await.last().expect("a call").response).expect("JSON");
        assert!(!told.contains("signature="), "the place is a secret");
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_file_and_json_are_files_too() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let letter = json!({
        "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5,
        "sha256": format!("{:x}", Sha256::digest(b"hello")), "content": { "in": "document", "number": 1 },
    });
    let documents = vec![NewDocument { number: 1, content: "hello".into() }];
    let attach =
        world.admit_as("AttachLetters", "R1", json!({ "ubrn": UBRN, "letters": [letter] }), b"{}", documents).await;
    world.until(attach, "completed").await;
    world.rest(std::time::Duration::from_secs(600)).await; // scanned by then
    let command = world.about(UBRN, "RetrieveAttachment", json!({ "fileName": "notes.txt" })).await;
    let done = world.until(command, "completed").await;
    assert_eq!(world.document(command).await, &b"hello"[..]);
    assert_eq!(done.plan["result"]["contentType"], "text/plain");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_had_is_told() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let unknown = world.about(UBRN, "RetrieveAttachment", json!({ "fileName": "no-such.pdf" })).await;
    assert_eq!(world.failure(unknown).await.0, "FILE_NOT_FOUND");
    let threat = Action::Answer {
        status: 422,
        code: Some("THREATS_FOUND".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    world.simulator().inject(Fault::on("A042", threat).times(1));
    let quarantined = world.about(UBRN, "RetrieveAttachment", json!({ "document": LETTER })).await;
    assert_eq!(world.failure(quarantined).await.0, "THREATS_FOUND");
}

/// A triage service gets no referral without its letter; where one call sends it, the letter follows.
fn with_letter(mut body: Value) -> Value {
    body["letters"] = json!([{
        "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5,
        "sha256": format!("{:x}", Sha256::digest(b"hello")), "content": { "in": "document", "number": 1 },
    }]);
    body
}

fn for_triage() -> Value {
    json!({
        "shortlist": [{ "service": "50001" }], "specialty": "CARDIOLOGY", "letterIntention": "NEED_TO_ADD_LATER",
        "firstReminderDays": 0, "then": "triage", "priority": "ROUTINE",
    })
}

#[tokio::test(start_paused = true)]
async fn a_referral_is_made_and_sent_for_triage_in_one_call_where_the_source_asks_for_it() {
    for (one_call, created, changed) in [
        (true, vec!["A021", "A020", "A012"], vec!["A005", "A032"]),
        (false, vec!["A011", "A020", "A012", "A016"], vec!["A005", "A031", "A016"]),
    ] {
        let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
        world.set_source(|source| {
            source.settings.insert("triageInOneCall".into(), one_call.into());
        });
        let documents = vec![NewDocument { number: 1, content: "hello".into() }];
        let command = world.admit_as("CreateReferral", "R1", with_letter(for_triage()), b"{}", documents).await;
        let done = world.until(command, "completed").await;
        assert_eq!(world.simulator().calls(), created);
        let mut told = world.event_names().await;
        told.sort();
        assert_eq!(told, ["ReferralCreated", "ReferralLetterAttached", "ReferralSentForTriage"]);
        let ubrn = done.plan["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
        assert_eq!(world.simulator().referral(&ubrn).expect("made").state, "AWAITING_TRIAGE");

        let other = "000000070003";
        let command = world.about(other, "ChangeShortlist", for_triage()).await;
        world.until(command, "completed").await;
        assert_eq!(world.simulator().calls()[created.len()..], changed);
        assert_eq!(world.simulator().referral(other).expect("seeded").state, "AWAITING_TRIAGE");
        for event in world.events().await {
            let violations = crate::events::EventSchemas::built_in().violations(&event.name, &event.data);
            assert_eq!(violations, [], "{}: {}", event.name, event.data);
        }
        assert_eq!(world.event_names().await[3..], ["ReferralShortlistChanged", "ReferralSentForTriage"]);
    }
}

#[tokio::test(start_paused = true)]
async fn service_requests_are_found_by_their_ubrn() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    world.set_source(|source| {
        source.settings.insert("findServiceRequests".into(), true.into());
    });
    let command = world.about(UBRN, "FindServiceRequests", json!({})).await;
    let done = world.until(command, "completed").await;
    assert_eq!(world.simulator().calls(), ["A041"]);
    assert_eq!(done.plan["result"]["requests"][0]["kind"], "referral", "{}", done.plan["result"]);
}
