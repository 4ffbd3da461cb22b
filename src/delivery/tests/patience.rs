//! Waiting: quotas, locks, outages, age.

use std::time::Duration;

use serde_json::json;

use super::fake_ers::Does;
use super::world::{Wanted, World};
use crate::command::Class;
use crate::config::Mode;
use crate::store::{Act, OperatorStore as _};

#[tokio::test(start_paused = true)]
async fn a_referral_throttled_twice_is_made_once() {
    let world = World::started().await;
    world.ers.will([Does::Answers(429, "", json!("Too Many Requests")), Does::Answers(429, "", json!(null))]);
    let command = world.admit("R1").await;
    world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011", "A011", "A011"]);
    let outcomes: Vec<_> = world.attempts(command).await.into_iter().filter_map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, ["http_429", "http_429", "ok"]);
    let correlation: std::collections::BTreeSet<_> =
        world.attempts(command).await.into_iter().map(|attempt| attempt.correlation_id).collect();
    assert_eq!(correlation.len(), 3, "one for each attempt");
    assert_eq!(world.event_names().await, ["ReferralCreated"]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let world = World::started().await;
    world.ers.will([Does::Says(429, ("Retry-After", "120"))]);
    let began = world.now();
    let command = world.admit("R1").await;
    world.until(command, "waiting").await;
    world.until(command, "completed").await;
    assert!(world.now().duration_since(began) >= jiff::SignedDuration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_never_left_is_tried_again() {
    let world = World::started().await;
    let first = world.admit("R0").await;
    world.until(first, "completed").await; // the token is in hand
    world.ers.will([Does::CannotBeReached, Does::CannotBeReached]);
    let command = world.admit("R1").await;
    world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011", "A011"]);
    let outcomes: Vec<_> = world.attempts(command).await.into_iter().filter_map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, ["not_connected", "not_connected", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn an_e_rs_that_is_away_opens_the_breaker_and_nothing_fails() {
    let world = World::started().await;
    let first = world.admit("R0").await;
    world.until(first, "completed").await;
    world.ers.will((0..7).map(|_| Does::CannotBeReached));
    let mut commands = Vec::new();
    for nth in 1..=20 {
        commands.push(world.admit(&format!("R{nth}")).await);
    }
    for command in commands {
        world.until(command, "completed").await;
        let why = world.reasons(command).await.join("; ");
        assert!(!why.contains("failed"), "{why}");
    }
    assert_eq!(world.ers.calls().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_stays_locked_goes_to_a_person() {
    let world = World::started().await;
    world.ers.will((0..40).map(|_| Does::Answers(423, "", json!(null))));
    let command = world.admit("R1").await;
    let failed = world.until(command, "failed").await;
    assert_eq!(serde_json::to_value(&failed.state).expect("a state")["why"]["code"], "RECORD_LOCKED");
    assert_eq!(world.ers.calls().len(), 21);
}

/// A pause of many looks is no patience that was used up with e-RS.
#[tokio::test(start_paused = true)]
async fn what_a_paused_service_held_for_days_waits_for_a_locked_record_as_anything_does() {
    let world = World::new(Wanted::default()).await;
    world.set_source(|source| source.services.extend([("11002".to_owned(), Mode::Paused)]));
    world.start();
    let command = world.admit("R1").await;
    world.rest(Duration::from_secs(48 * 3_600)).await;
    assert_eq!(world.command(command).await.state.name(), "waiting");
    let looks = world.reasons(command).await.into_iter().filter(|why| why.contains("is paused")).count();
    assert!((288..400).contains(&looks), "every ten minutes or a little sooner: {looks}");
    assert!(world.ers.calls().is_empty());
    world.ers.will([Does::Answers(423, "", json!(null)), Does::Answers(423, "", json!(null))]);
    world.set_source(|_| {});
    let ended = world.now();
    let done = world.until(command, "completed").await;
    assert!(done.changed_at.duration_since(ended).as_mins() <= 12, "within ten minutes, and what e-RS asks for");
    assert_eq!(world.ers.calls(), ["A011", "A011", "A011"]);
    assert_eq!(world.event_names().await, ["ReferralCreated"], "nobody is told of a wait that somebody decided on");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_waits_for_a_person_and_is_sent_when_released() {
    let world = World::new(Wanted::default()).await;
    let limit = world.now() + Duration::from_secs(3_600);
    let change = |command: &mut crate::store::NewCommand| command.not_after = Some(limit);
    let command = world.admit_command("CreateReferral", "R1", json!({}), b"{}", Vec::new(), change).await;
    world.rest(Duration::from_secs(3_601)).await;
    world.start();
    let expired = world.until(command, "failed").await;
    assert_eq!(serde_json::to_value(&expired.state).expect("a state")["why"]["code"], "EXPIRED");
    assert!(world.ers.calls().is_empty());
    let act = Act::of_person("a person", "a test", "still wanted", world.now());
    world.store.replay(command, act).await.expect("released");
    world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_replayed_is_answered_now_or_not_at_all() {
    let world = World::started().await;
    world.ers.will((0..20).map(|_| Does::Answers(503, "", json!(null))));
    let deadline = world.now() + Duration::from_secs(60);
    let change = |command: &mut crate::store::NewCommand| {
        command.class = Class::Interactive;
        command.not_after = Some(deadline);
    };
    let body = json!({ "ubrn": "000000070000" });
    let read = world.admit_command("RetrieveReferral", "R1", body, b"{}", Vec::new(), change).await;
    world.until(read, "failed").await;
    let asked = world.ers.calls().len();
    world.rest(Duration::from_secs(600)).await; // the breaker
    world.replay(read).await;
    world.until(read, "failed").await;
    assert_eq!(world.ers.calls().len(), asked + 1);
    assert!(world.reasons(read).await.iter().all(|why| !why.contains("older than its class")));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_token_is_sent_when_the_token_server_is_back() {
    let world = World::started().await;
    for _ in 0..3 {
        world.ers.token_server_says(503, json!(null));
    }
    let command = world.admit("R1").await;
    world.until(command, "waiting").await;
    world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_what_was_not_sent() {
    let settings = crate::config::Delivery::default();
    let world = World::new(Wanted { settings, ..Wanted::default() }).await;
    world.start();
    let mut commands = Vec::new();
    for nth in 0..20 {
        commands.push(world.admit(&format!("R{nth}")).await);
    }
    world.until(commands[0], "completed").await; // the others wait for their place in the quota
    assert!(world.environment.drain(Duration::from_secs(10)).await, "nothing holds the stop up");
    let sent = world.ers.calls().len();
    let mut completed = 0;
    for command in commands {
        match world.command(command).await.state.name() {
            "completed" => completed += 1,
            state => assert_eq!(state, "queued"),
        }
    }
    assert_eq!(completed, sent);
    assert!(sent < 20);
}
