//! Professional sessions of the retired interface (A001 to A003): made once, kept, chosen again, ended.

use std::time::Duration;

use serde_json::json;

use super::world::World;
use crate::simulator::{Action, Fault, demonstration};

/// Everything that e-RS was asked, in order.
fn operations(world: &World) -> Vec<&'static str> {
    world.simulator().ledger().iter().map(|entry| entry.operation).collect()
}

fn count(world: &World, operation: &str) -> usize {
    operations(world).iter().filter(|one| **one == operation).count()
}

#[tokio::test(start_paused = true)]
async fn a_session_is_made_once_kept_sealed_and_used_again_after_a_restart() {
    let world = World::started_by_smartcard(|_| {}).await;
    let first = world.admit("R1").await;
    world.until(first, "completed").await;
    assert_eq!(operations(&world)[..2], ["A001", "A002"], "no function is chosen before there is a session");
    let ledger = world.simulator().ledger();
    let made = ledger.iter().find(|entry| entry.operation == "A011" && entry.status == 201).expect("a referral");
    assert_eq!(made.user.as_deref(), Some(demonstration::USER));
    assert_eq!(made.client_id.as_deref(), Some(demonstration::ASID));
    let second = world.admit("R2").await;
    world.until(second, "completed").await;
    world.rest(Duration::from_secs(11 * 60)).await;
    let third = world.admit("R3").await;
    world.until(third, "completed").await;
    assert_eq!((count(&world, "A001"), count(&world, "A002")), (1, 2), "it is looked at again after a while");

    let restarted = world.killed_and_restarted().await;
    let before = operations(&restarted).len();
    let fourth = restarted.admit("R4").await;
    restarted.until(fourth, "completed").await;
    assert_eq!(operations(&restarted)[before], "A002");
    assert_eq!(count(&restarted, "A001"), 1, "the session that was kept is used");
    assert_eq!(restarted.simulator().professional_sessions(), 1);
    let files = restarted.store_files();
    assert!(!files.is_empty());
    for path in files {
        let bytes = std::fs::read(&path).expect("a file of the store");
        let text = String::from_utf8_lossy(&bytes);
        for secret in ["pro-xapi-session_", demonstration::SMARTCARD_TOKEN] {
            assert!(!text.contains(secret), "{secret} is in {}", path.display());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_is_made_anew_while_the_smartcard_is_in() {
    let world = World::started_by_smartcard(|_| {}).await;
    let first = world.admit("R1").await;
    world.until(first, "completed").await;
    world.simulator().end_professional_sessions();
    let second = world.admit("R2").await;
    world.until(second, "completed").await;
    assert_eq!((count(&world, "A001"), world.simulator().professional_sessions()), (2, 1));
}

/// With a session whose smartcard is out, which a command has found.
async fn with_its_smartcard_out() -> World {
    let world = World::started_by_smartcard(|_| {}).await;
    let first = world.admit("R1").await;
    world.until(first, "completed").await;
    world.simulator().take_out_smartcard(demonstration::SMARTCARD_TOKEN);
    let second = world.admit("R2").await;
    world.until(second, "unauthorised").await;
    let why = world.reasons(second).await.join("; ");
    assert!(why.contains("put the smartcard in and set `smartcard_token` of connection ers"), "{why}");
    assert!(!why.contains(demonstration::SMARTCARD_TOKEN), "{why}");
    assert_eq!(count(&world, "A001"), 2);
    world
}

#[tokio::test(start_paused = true)]
async fn a_smartcard_that_is_out_needs_a_person_and_its_token_is_tried_once() {
    let world = with_its_smartcard_out().await;
    // Longer than a refusal is kept in memory.
    world.rest(Duration::from_secs(3_600)).await;
    let third = world.admit("R3").await;
    world.until(third, "unauthorised").await;
    assert_eq!(count(&world, "A001"), 2, "a token that was refused is not tried again");
    let restarted = world.killed_and_restarted().await;
    let fourth = restarted.admit("R4").await;
    restarted.until(fourth, "unauthorised").await;
    assert_eq!(count(&restarted, "A001"), 2, "also not after a restart");
}

#[tokio::test(start_paused = true)]
async fn a_smartcard_that_is_in_again_begins_another_session() {
    let back = with_its_smartcard_out().await.with_smartcard(Some(demonstration::NEXT_SMARTCARD_TOKEN)).await;
    let third = back.admit("R3").await;
    back.until(third, "completed").await;
    assert_eq!(back.simulator().professional_sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nothing_uses_any_more_is_ended() {
    for (token, state, of_sessions, left) in [
        (Some(demonstration::NEXT_SMARTCARD_TOKEN), "completed", &["A001", "A002", "A003", "A001", "A002"][..], 1),
        (None, "unauthorised", &["A001", "A002", "A003"], 0),
    ] {
        let world = World::started_by_smartcard(|_| {}).await;
        let first = world.admit("R1").await;
        world.until(first, "completed").await;
        let next = world.with_smartcard(token).await;
        let second = next.admit("R2").await;
        next.until(second, state).await;
        let asked = operations(&next).into_iter().filter(|one| ["A001", "A002", "A003"].contains(one));
        assert_eq!(asked.collect::<Vec<_>>(), of_sessions);
        assert_eq!(next.simulator().professional_sessions(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_the_users_or_not_in_that_function_is_ended_and_never_used() {
    for (token, user, told) in [
        (demonstration::CLINICIANS_SMARTCARD_TOKEN, demonstration::USER, "the smartcard is not user 555000000001's"),
        (
            demonstration::SMARTCARD_TOKEN_WITHOUT_ROLE,
            demonstration::WITHOUT_ROLE,
            "user 555000000016 is no REFERRING_CLINICIAN at R69",
        ),
    ] {
        let world = World::started_by_smartcard(|session| {
            session.smartcard_token = Some(token.into());
            session.user = user.into();
        })
        .await;
        let command = world.admit("R1").await;
        world.until(command, "unauthorised").await;
        let why = world.reasons(command).await.join("; ");
        assert!(why.contains(told), "{why}");
        assert_eq!(operations(&world), ["A001", "A003"]);
        assert_eq!(world.simulator().professional_sessions(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_somebody_else_runs_in_it() {
    let world = World::started_by_smartcard(|_| {}).await;
    let author = json!({ "author": demonstration::FIRST_CLINICIAN });
    let others = world.admit_as("CreateReferral", "R1", author, b"{}", Vec::new()).await;
    world.until(others, "unauthorised").await;
    assert_eq!(operations(&world), [""; 0]);
    let author = json!({ "author": demonstration::USER });
    let own = world.admit_as("CreateReferral", "R2", author, b"{}", Vec::new()).await;
    world.until(own, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_a_session_that_nobody_knows_and_another_is_made() {
    let world = World::started_by_smartcard(|_| {}).await;
    world.simulator().inject(Fault::on("A001", Action::lost_answer()).times(1));
    let command = world.admit("R1").await;
    world.until(command, "completed").await;
    assert_eq!((count(&world, "A001"), world.simulator().professional_sessions()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_the_retired_interface_has_not_is_not_called() {
    let world = World::started_by_smartcard(|_| {}).await;
    let read = world.admit_as("RetrieveBusinessFunctions", "R1", json!({}), b"{}", Vec::new()).await;
    let (code, text) = world.failure(read).await;
    assert_eq!(code, "NOT_AUTHORISED", "{text}");
    assert!(text.contains("the interface of professional sessions has STU3 only"), "{text}");
    assert_eq!(operations(&world), [""; 0], "nothing is asked for, no session is made");
}
