//! A result with a report (ORU^R01) over MLLP: its document on the referral where the source attaches results, told and no
//! more where it does not; the acknowledgement, what e-RS has afterwards, and every event.

use std::time::Duration;

use ers_gateway::events::EventSchemas;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::referrals::sample;
use crate::support::sender::{MllpSender, field};
use crate::support::world::World;

/// Of the sample, and seeded in the simulator with a letter of its own.
const UBRN: &str = "000000070001";

/// Eastvale attaches its results, or does not.
async fn world(attaches: bool) -> World {
    World::with(|config| {
        let eastvale = config.sources.iter_mut().find(|source| source.name == "eastvale").expect("it is configured");
        eastvale.settings.insert("attachResults".into(), attaches.into());
        eastvale.follow_scans = false;
    })
    .await
}

/// Sample 26, whose sender wants to hear what became of it.
fn result() -> String {
    let message = String::from_utf8(sample("26-")).expect("the sample is ASCII");
    let enhanced = message.replacen("|P|2.4", "|P|2.4|||AL|AL", 1);
    assert_ne!(enhanced, message);
    enhanced
}

struct Answered {
    stored: Vec<u8>,
    outcome: Vec<u8>,
}

/// The acknowledgement of the storing, and the application answer that follows on the same connection.
async fn send(world: &World, message: &str) -> Answered {
    let mut sender = MllpSender::new(world.mllp);
    let stored = sender.deliver_once(message.as_bytes()).await;
    let outcome = tokio::time::timeout(Duration::from_secs(30), sender.frame()).await.expect("in time").expect("one");
    Answered { stored, outcome }
}

fn code(answer: &[u8]) -> String {
    String::from_utf8_lossy(field(answer, b"MSA", 1)).into_owned()
}

fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).replace('\r', "\n")
}

fn letters(world: &World) -> Vec<String> {
    world.simulator.referrals().into_iter().find(|view| view.ubrn == UBRN).expect("it is seeded").letters
}

/// Name and data of every event, each proved valid against its schema.
async fn events(world: &World) -> Vec<(String, Value)> {
    let events = world.gateway.store.events_after(0, 100).await.expect("the store answers");
    for event in &events {
        assert_eq!(EventSchemas::built_in().violations(&event.name, &event.data), [], "{}", event.data);
    }
    events.into_iter().map(|event| (event.name, event.data)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_of_a_result_is_attached_told_and_answered_where_the_source_attaches_results() {
    let world = world(true).await;
    let before = letters(&world);
    let answered = send(&world, &result()).await;
    assert_eq!(code(&answered.stored), "CA", "{}", shown(&answered.stored));
    assert_eq!(code(&answered.outcome), "AA", "{}\n{}", shown(&answered.outcome), world.story().await);
    assert_eq!(field(&answered.outcome, b"MSA", 2), b"EV-0000104320");
    assert_eq!(world.commands().await, ["AttachLetters"]);
    assert_eq!(world.calls(), ["A005", "A020", "A012"]);
    let after = letters(&world);
    assert_eq!((&after[..before.len()], after.len()), (&before[..], before.len() + 1), "{after:?}");

    let told = events(&world).await;
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ReferralLetterAttached"]);
    let data = &told[0].1;
    assert_eq!((&data["ubrn"], &data["documentId"]), (&json!(UBRN), &json!("L2601")), "{data}");
    let report = report_of(&result());
    assert!(report.starts_with(b"%PDF-"));
    assert_eq!(data["letters"][0]["sha256"], format!("{:x}", Sha256::digest(&report)), "{data}");
    assert_eq!(data["letters"][0]["fileName"], after[before.len()], "{data}");

    // Whoever lost the answer sends it again, and nothing is attached twice.
    let again = MllpSender::new(world.mllp).deliver_once(result().as_bytes()).await;
    assert_eq!(code(&again), "CA", "{}", shown(&again));
    world.settle().await;
    assert_eq!((letters(&world), world.calls().len()), (after, 3));
    world.stop().await;
}

/// What OBX-5.5 of the document carries.
fn report_of(message: &str) -> Vec<u8> {
    use base64::Engine as _;
    let line = message.split('\r').find(|line| line.starts_with("OBX") && line.contains("|ED|")).expect("a document");
    let data = line.split('|').nth(5).and_then(|field| field.split('^').nth(4)).expect("OBX-5.5");
    base64::engine::general_purpose::STANDARD.decode(data).expect("Base64")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_of_another_patient_than_the_referrals_is_not_attached() {
    let world = world(true).await;
    let before = letters(&world);
    let other = result().replace("9994121405", "9994122770");
    let answered = send(&world, &other).await;
    assert_eq!(code(&answered.stored), "CA", "{}", shown(&answered.stored));
    assert_eq!(code(&answered.outcome), "AE", "{}", shown(&answered.outcome));
    assert!(shown(&answered.outcome).contains("another patient's"), "{}", shown(&answered.outcome));
    assert_eq!((world.calls(), letters(&world)), (vec!["A005"], before));
    let told = events(&world).await;
    assert_eq!((told.len(), told[0].0.as_str(), &told[0].1["code"]), (1, "CommandFailed", &json!("PATIENT_DIFFERS")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_not_final_is_refused_with_its_place() {
    let world = world(true).await;
    let preliminary = result().replace("||||||F", "||||||P");
    assert_ne!(preliminary, result());
    let answer = MllpSender::new(world.mllp).deliver_once(preliminary.as_bytes()).await;
    assert_eq!(code(&answer), "CE", "{}", shown(&answer));
    assert!(shown(&answer).contains("OBX^2^11"), "{}", shown(&answer));
    assert!(world.commands().await.is_empty() && world.calls().is_empty());
    assert_eq!(events(&world).await[0].0, "MessageRejected");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_told_and_no_more_where_the_source_does_not_attach_results() {
    let world = world(false).await;
    let before = letters(&world);
    let answered = send(&world, &result()).await;
    assert_eq!((code(&answered.stored), code(&answered.outcome)), ("CA".into(), "AA".into()));
    world.settle().await;
    assert!(world.commands().await.is_empty() && world.calls().is_empty());
    assert_eq!(letters(&world), before);
    let told = events(&world).await;
    let data = &told[0].1;
    assert_eq!((told.len(), told[0].0.as_str()), (1, "MessageNoticed"));
    assert_eq!(
        (&data["reason"], &data["ubrn"], &data["kind"]),
        (&json!("ResultReported"), &json!(UBRN), &json!("ORU^R01"),),
        "{data}"
    );
    world.stop().await;
}
