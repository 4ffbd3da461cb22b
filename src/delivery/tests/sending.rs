//! The happy path, letters, and what is refused.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::fake_ers::Does;
use super::world::{Wanted, World, user_restricted};
use crate::config::{Access, Mode};
use crate::store::NewDocument;

#[tokio::test(start_paused = true)]
async fn a_referral_is_sent_once_and_its_result_is_kept() {
    let world = World::started().await;
    let command = world.admit("R1").await;
    let done = world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011"]);
    assert_eq!(done.known, json!({ "ubrn": "000000070001", "version": "1", "services": ["11002"] }));
    assert_eq!(done.plan["result"], json!({ "ubrn": "000000070001", "version": "1" }));
    let request = &world.ers.seen()[0];
    assert_eq!(request.header("authorization"), Some("Bearer access-1"));
    assert_eq!(request.header("NHSD-End-User-Organisation-ODS"), Some("R69"));
    assert_eq!(request.header("NHSD-eRS-Business-Function"), Some("REFERRING_CLINICIAN"));
    assert_eq!(request.header("content-type"), Some("application/fhir+json"));
    let attempts = world.attempts(command).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome.as_deref(), Some("ok"));
    assert_eq!(Some(attempts[0].correlation_id.as_str()), request.header("X-Correlation-ID"));
    assert!(!attempts[0].request.to_string().contains("access-1"), "the token is not recorded");
    let events = world.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].name, "ReferralCreated");
    assert_eq!(events[0].data["command"], command.to_string());
    assert_eq!(events[0].data["ubrn"], "000000070001");
}

#[tokio::test(start_paused = true)]
async fn a_letter_inside_the_message_is_uploaded_and_linked() {
    // Two ranges of base64 with line breaks as HL7 writes them.
    const RAW: &[u8] = br"MSH|^~\&|PAS|NORTHMOOR|OBX|1|ED|JVBER\.br\i0xLjQ|OBX|2|ED|gbGV0d\X0D\\X0A\GVy|";
    const LETTER: &[u8] = b"%PDF-1.4 letter";
    let at = |part: &[u8]| RAW.windows(part.len()).position(|window| window == part).expect("in the message");
    let first = br"JVBER\.br\i0xLjQ";
    let second = br"gbGV0d\X0D\\X0A\GVy";
    let letter = json!({
        "fileName": "letter.pdf",
        "contentType": "application/pdf",
        "bytes": LETTER.len(),
        "sha256": format!("{:x}", Sha256::digest(LETTER)),
        "content": { "in": "message", "base64": [[at(first), first.len()], [at(second), second.len()]] },
    });
    let world = World::started().await;
    let command =
        world.admit_as("CreateReferral", "R1", json!({ "letters": [letter], "then": "triage" }), RAW, Vec::new()).await;
    assert_eq!(world.raw(command).await, RAW);
    world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011", "A020", "A012", "A016"]);
    let upload = &world.ers.seen()[1];
    assert_eq!(upload.body, LETTER);
    assert_eq!(upload.header("content-type"), Some("application/pdf"));
    assert_eq!(upload.header("NHSD-eRS-File-Name"), Some("letter.pdf"));
    assert_eq!(upload.header("NHSD-eRS-Referral-ID"), Some("000000070001"));
    assert_eq!(world.ers.seen()[2].header("If-Match"), Some("W/\"1\""));
    assert_eq!(world.event_names().await, ["ReferralCreated", "ReferralLetterAttached", "ReferralSentForTriage"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_made_from_the_message_is_uploaded() {
    let text = "Seen today.".repeat(20_000).into_bytes();
    let letter = json!({
        "fileName": "notes.txt",
        "contentType": "text/plain",
        "bytes": text.len(),
        "sha256": format!("{:x}", Sha256::digest(&text)),
        "content": { "in": "document", "number": 1 },
    });
    let world = World::started().await;
    let documents = vec![NewDocument { number: 1, content: text.clone().into() }];
    world.admit("R1").await;
    let late = world.admit_as("AttachLetters", "R1", json!({ "letters": [letter] }), b"{}", documents).await;
    world.until(late, "completed").await;
    assert_eq!(world.ers.calls(), ["A011", "A005", "A020", "A012"]);
    assert_eq!(world.ers.seen()[2].body, text);
    assert!(world.ers.seen()[1].path.ends_with("/ReferralRequest/000000070001"), "the UBRN comes from the thread");
    let attempts = world.attempts(late).await;
    let calls: Vec<&str> = attempts.iter().map(|attempt| attempt.call.as_str()).collect();
    assert_eq!(calls, ["A005", "A020", "A012"], "reads are recorded too");
    assert!(attempts.iter().all(|attempt| attempt.finished_at.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_letter_fails_before_it_is_linked() {
    let letter = json!({
        "fileName": "notes.txt",
        "contentType": "text/plain",
        "bytes": 5,
        "sha256": "00".repeat(32),
        "content": { "in": "document", "number": 1 },
    });
    let world = World::started().await;
    let documents = vec![NewDocument { number: 1, content: "hello".into() }];
    let command = world.admit_as("CreateReferral", "R1", json!({ "letters": [letter] }), b"{}", documents).await;
    let failed = world.until(command, "failed").await;
    assert_eq!(serde_json::to_value(&failed.state).expect("a state")["why"]["code"], "LETTER_DAMAGED");
    assert_eq!(world.ers.calls(), ["A011"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_cannot_be_read_stops_no_other() {
    let world = World::new(Wanted::default()).await;
    world.set_mode(Mode::Paused);
    let spoilt = world.admit("R1").await;
    let begun = world.admit("R2").await;
    let whole = world.admit("R3").await;
    world.tamper(&format!("UPDATE command SET body = '{{cut' WHERE id = x'{}'", spoilt.0.simple()));
    world.tamper(&format!("UPDATE command SET plan = '{{cut' WHERE id = x'{}'", begun.0.simple()));
    world.set_mode(Mode::Live);
    world.start();
    world.until(whole, "completed").await;
    for (command, part) in [(spoilt, "the command cannot be read"), (begun, "the progress cannot be read")] {
        let failed = serde_json::to_value(world.until(command, "failed").await.state).expect("a state");
        assert_eq!(failed["why"]["code"], "UNREADABLE");
        assert!(failed["why"]["text"].as_str().is_some_and(|text| text.contains(part)), "{failed}");
    }
    assert_eq!(world.ers.calls(), ["A011"], "one of them");
    // How far it came stays unknown: replayed, it is not begun anew.
    world.replay(begun).await;
    world.environment.sleep(std::time::Duration::from_secs(60)).await;
    world.until(begun, "failed").await;
    assert_eq!(world.ers.calls(), ["A011"]);
    let failures = world.event_names().await.iter().filter(|name| *name == "CommandFailed").count();
    assert_eq!(failures, 3);
}

#[tokio::test(start_paused = true)]
async fn what_e_rs_refuses_fails_with_its_code_and_without_the_patient() {
    let world = World::started().await;
    world.ers.will([Does::Answers(422, "INVALID_VALUE", json!({}))]);
    let command = world.admit("R1").await;
    let failed = world.until(command, "failed").await;
    let why = serde_json::to_value(&failed.state).expect("a state")["why"].clone();
    assert_eq!(why["code"], "INVALID_VALUE");
    let events = world.events().await;
    assert_eq!(events[0].name, "CommandFailed");
    assert_eq!(events[0].data["call"], "A011");
    assert_eq!(events[0].data["localId"], "R1");
    let told = format!("{why} {:?} {:?}", world.reasons(command).await, events[0].data);
    assert!(!told.contains("Canary") && !told.contains("000000070000") && !told.contains("9994120034"), "{told}");
    assert!(told.contains("parameter[0]/valueIdentifier"), "the place in the request helps: {told}");
    assert!(world.attempts(command).await[0].response.to_string().contains("Canary"), "the evidence is kept");
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_everything_happens_but_the_sending() {
    let world = World::new(Wanted::default()).await;
    world.set_mode(Mode::Shadow);
    world.start();
    let command = world.admit("R1").await;
    let shadowed = world.until(command, "shadowed").await;
    assert!(world.ers.calls().is_empty() && world.ers.token_forms().is_empty());
    assert_eq!(shadowed.plan["preview"][0]["call"], "A011");
    // What came in shadow mode stays in it.
    world.set_mode(Mode::Live);
    let change = |command: &mut crate::store::NewCommand| command.plan = json!({ "shadow": true });
    let later = world.admit_command("CreateReferral", "R2", json!({}), b"{}", Vec::new(), change).await;
    world.until(later, "shadowed").await;
    assert!(world.ers.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_paused_source_waits_until_it_is_switched_on() {
    let world = World::new(Wanted::default()).await;
    world.set_mode(Mode::Paused);
    world.start();
    let command = world.admit("R1").await;
    world.rest(std::time::Duration::from_secs(60)).await;
    assert_eq!(world.command(command).await.state.name(), "queued");
    world.set_mode(Mode::Live);
    world.until(command, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn a_business_function_that_may_not_refer_is_not_tried() {
    let mut connection = user_restricted();
    if let Access::UserRestricted(user) = &mut connection.access {
        user.business_function = "SERVICE_PROVIDER_CLINICIAN".into();
    }
    let world = World::new(Wanted { connection, ..Wanted::default() }).await;
    world.start();
    let command = world.admit("R1").await;
    world.until(command, "unauthorised").await;
    assert!(world.ers.calls().is_empty());
    let events = world.events().await;
    assert_eq!(events[0].name, "AuthorisationRequired");
    assert_eq!(events[0].data["connection"], "ers");
}
