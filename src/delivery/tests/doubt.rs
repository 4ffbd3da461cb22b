//! Promises 5 and 7: a write whose outcome is unknown is never sent again, through any crash.

use std::time::Duration;

use serde_json::json;

use super::fake_ers::Does;
use super::world::World;
use crate::store::{Act, Finding, OperatorStore as _};

/// How often the referral was sent.
fn writes(world: &World) -> usize {
    world.ers.calls().iter().filter(|call| **call == "A011").count()
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_write_in_doubt_and_it_is_never_sent_again() {
    let world = World::started().await;
    world.ers.will([Does::LosesTheAnswer]);
    let command = world.admit("R1").await;
    world.until(command, "in_doubt").await;
    world.rest(Duration::from_secs(3_600)).await;
    let restarted = world.killed_and_restarted().await;
    restarted.rest(Duration::from_secs(3_600)).await;
    assert_eq!(restarted.command(command).await.state.name(), "in_doubt");
    assert_eq!(writes(&world), 1);
    let events = restarted.events().await;
    assert_eq!(events.len(), 2, "a person has to decide");
    assert_eq!(events[1].name, "DecisionNeeded");
    assert_eq!(events[0].name, "CommandInDoubt");
    assert_eq!((&events[0].data["call"], &events[0].data["step"]), (&json!("A011"), &json!("create")));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_that_cannot_be_read_is_a_persons_and_is_never_sent_again() {
    for (column, why) in
        [("command SET body", "the command cannot be read"), ("attempt SET request", "what was sent cannot be read")]
    {
        let world = World::started().await;
        world.ers.will([Does::LosesTheAnswer]);
        let command = world.admit("R1").await;
        world.until(command, "in_doubt").await;
        world.tamper(&format!("UPDATE {column} = '{{cut'"));
        world.rest(Duration::from_secs(3_600)).await;
        assert_eq!(world.event_names().await, ["CommandInDoubt", "DecisionNeeded"], "{why}");
        let told = world.events().await.pop().expect("told");
        assert!(told.data["text"].as_str().is_some_and(|text| text.contains(why)), "{}", told.data);
        assert_eq!(told.data["call"], "A011");
        if column.starts_with("command") {
            let act = Act::of_person("a person", "a test", "looked in e-RS", world.now());
            world.store.decide(command, Finding::default(), act).await.expect("decided");
            let failed = serde_json::to_value(world.until(command, "failed").await.state).expect("a state");
            assert_eq!(failed["why"]["code"], "UNREADABLE");
            // Mended and replayed, it is not sent again: what a person found of its write still counts.
            world.tamper("UPDATE command SET body = '{}'");
            world.replay(command).await;
            world.rest(Duration::from_secs(3_600)).await;
            assert_eq!(world.command(command).await.state.name(), "failed");
        }
        assert_eq!(writes(&world), 1, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_about_to_send_and_the_outcome_leaves_the_write_in_doubt() {
    let world = World::started().await;
    world.ers.will([Does::Hangs]);
    let command = world.admit("R1").await;
    while world.ers.calls().is_empty() {
        world.rest(Duration::from_millis(10)).await;
    }
    let restarted = world.killed_and_restarted().await;
    restarted.until(command, "in_doubt").await;
    assert_eq!(restarted.event_names().await, ["CommandInDoubt"]);
    restarted.rest(Duration::from_secs(3_600)).await;
    assert_eq!(writes(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_a_step_goes_on_with_the_next() {
    let world = World::started().await;
    let letter = json!({
        "fileName": "notes.txt",
        "contentType": "text/plain",
        "bytes": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "content": { "in": "document", "number": 1 },
    });
    world.ers.will([Does::Succeeds, Does::Hangs]);
    let documents = vec![crate::store::NewDocument { number: 1, content: "hello".into() }];
    let command = world.admit_as("CreateReferral", "R1", json!({ "letters": [letter] }), b"{}", documents).await;
    while world.ers.calls().len() < 2 {
        world.rest(Duration::from_millis(10)).await;
    }
    // The upload that hangs does no harm when it is made again.
    let restarted = world.killed_and_restarted().await;
    restarted.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011", "A020", "A020", "A012"]);
    assert_eq!(restarted.event_names().await, ["ReferralCreated", "ReferralLetterAttached"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_call_keeps_its_lease() {
    let world = World::started().await;
    world.ers.will([Does::Hangs]);
    let command = world.admit("R1").await;
    world.rest(Duration::from_secs(600)).await; // ten leases
    assert_eq!(world.command(command).await.state.name(), "running");
    assert_eq!(world.ers.calls(), ["A011"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_answer_to_a_write_is_a_doubt_and_to_a_read_is_not() {
    let world = World::started().await;
    world.ers.will([Does::Answers(503, "SYSTEM_UNAVAILABLE", json!({}))]);
    let write = world.admit("R1").await;
    world.until(write, "in_doubt").await;
    let read = world
        .admit_as(
            "AttachLetters",
            "R2",
            json!({ "ubrn": "000000070000", "letters": [{
                "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5,
                "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                "content": { "in": "document", "number": 1 },
            }] }),
            b"{}",
            vec![crate::store::NewDocument { number: 1, content: "hello".into() }],
        )
        .await;
    world.ers.will([Does::Answers(503, "SYSTEM_UNAVAILABLE", json!({})), Does::LosesTheAnswer]);
    world.until(read, "completed").await;
    let of_the_read: Vec<_> = world.ers.calls().into_iter().filter(|call| !["A011", "A008"].contains(call)).collect();
    assert_eq!(of_the_read, ["A005", "A005", "A005", "A020", "A012"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_used_is_evidence_and_not_a_reason_to_send_again() {
    let world = World::started().await;
    world.ers.will([Does::Answers(201, "", json!({ "resourceType": "ReferralRequest" }))]);
    let command = world.admit("R1").await;
    world.until(command, "in_doubt").await;
    assert_eq!(world.attempts(command).await[0].status, Some(201));
    world.rest(Duration::from_secs(3_600)).await;
    assert_eq!(writes(&world), 1);
}
