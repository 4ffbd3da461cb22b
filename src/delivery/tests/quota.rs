//! The quota of e-RS: a backlog against its real limits, and what is said of when it will be sent.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::fake_ers::Does;
use super::world::{Queued, Wanted, World};
use crate::command::{Class, CommandId, Estimate, Unforeseen};
use crate::config::Mode;
use crate::store::{NewDocument, SearchStore as _};

/// Of the seeds of the simulator.
const UBRN: &str = "000000070000";
const PER_SECOND: f64 = 9.6;
/// An estimate may be off by this part of the time that it tells, or by so much.
const ESTIMATE_OFF: f64 = 0.1;
const ESTIMATE_OFF_SECONDS: f64 = 5.0;

fn create(local_id: String, class: Class) -> Queued {
    let body = json!({
        "localId": local_id,
        "patient": { "nhsNumber": "9994120034" },
        "priority": "ROUTINE",
        "shortlist": [{ "service": "11002" }],
        "letterIntention": "NOT_INTENDING_TO_ADD",
        "firstReminderDays": 7,
    });
    Queued { name: "CreateReferral", local_id, class, body }
}

/// Three calls, behind a referral in its thread.
fn cancel(local_id: String, class: Class) -> Queued {
    let body = json!({ "localId": local_id, "reason": "RAISED_IN_ERROR" });
    Queued { name: "CancelReferral", local_id, class, body }
}

fn read(local_id: String, class: Class) -> Queued {
    let body = json!({ "localId": local_id, "ubrn": UBRN });
    Queued { name: "RetrieveReferral", local_id, class, body }
}

/// Of twenty, one comes from each class that is rare; every fourth routine referral is cancelled by a follower.
fn backlog(count: usize) -> Vec<Queued> {
    let mut backlog: Vec<Queued> = Vec::new();
    let mut referrals = 0;
    while backlog.len() < count {
        let number = backlog.len();
        let local_id = format!("B{number}");
        backlog.push(match number % 20 {
            3 => create(local_id, Class::TwoWeekWait),
            7 | 13 => create(local_id, Class::Urgent),
            9 => read(local_id, Class::Poll),
            15 | 17 => create(local_id, Class::Bulk),
            11 if number % 400 == 11 => read(local_id, Class::Interactive),
            _ => {
                referrals += 1;
                match (referrals % 5, backlog.last()) {
                    (0, Some(before)) if before.name == "CreateReferral" && before.class == Class::Routine => {
                        cancel(before.local_id.clone(), Class::Routine)
                    }
                    _ => create(local_id, Class::Routine),
                }
            }
        });
    }
    backlog
}

fn is_full() -> bool {
    std::env::var("ERS_GATEWAY_TEST_FULL").is_ok_and(|full| full == "1")
}

async fn first_call(world: &World, id: CommandId) -> Option<Timestamp> {
    world.attempts(id).await.iter().map(|attempt| attempt.started_at).min()
}

async fn waiting(world: &World) -> u64 {
    let depths = world.store.depths().await.expect("counted");
    let unfinished = depths.iter().filter(|depth| ["queued", "running", "waiting"].contains(&depth.state.as_str()));
    unfinished.map(|depth| depth.count).sum()
}

fn clears_in(world: &World, class: Class) -> f64 {
    let families = world.registry.gather();
    let family = families.iter().find(|family| family.name() == "gateway_backlog_clears_in_seconds").expect("shown");
    let is_of = |metric: &&prometheus::proto::Metric| metric.get_label()[0].value() == class.name();
    family.get_metric().iter().find(is_of).expect("every class is shown").get_gauge().get_value()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_all_classes_leaves_at_the_pace_and_as_estimated() {
    let world = World::before_the_real_limits().await;
    let count = if is_full() { 5_000 } else { 1_000 };
    let backlog = backlog(count);
    let classes: Vec<Class> = backlog.iter().map(|queued| queued.class).collect();
    let ids = world.admit_all(backlog).await;
    let mut by_class: BTreeMap<Class, Vec<CommandId>> = BTreeMap::new();
    for (id, class) in ids.iter().zip(&classes) {
        by_class.entry(*class).or_default().push(*id);
    }

    world.start();
    world.rest(Duration::from_millis(5_500)).await;
    let asked = world.now();
    let mut told: HashMap<CommandId, Timestamp> = HashMap::new();
    for ids in by_class.values() {
        for part in [1, 3, 5, 7, 9] {
            let id = ids[ids.len() * part / 10];
            if let Estimate::At { at, coarse: false } = world.estimate(id).await {
                told.insert(id, at);
            }
        }
    }
    let clears: BTreeMap<Class, f64> = by_class.keys().map(|class| (*class, clears_in(&world, *class))).collect();

    // One more comes in the middle.
    let half_time = Duration::from_secs_f64(count as f64 / PER_SECOND / 2.0);
    world.rest(half_time).await;
    let came = world.now();
    let urgent = world.admit_all(vec![create("late".into(), Class::TwoWeekWait)]).await[0];
    let behind = waiting(&world).await;
    while waiting(&world).await > 0 {
        world.rest(Duration::from_secs(5)).await;
    }

    let calls: Vec<_> =
        world.simulator().ledger().into_iter().filter(|entry| entry.operation.starts_with('A')).collect();
    let throttled = calls.iter().filter(|call| call.status == 429).count();
    let lasted = seconds(calls[0].at, calls[calls.len() - 1].at);
    let used = (calls.len() - 1) as f64 / lasted / PER_SECOND;
    let late = seconds(came, first_call(&world, urgent).await.expect("it was sent"));
    let mut urgent_end = asked;
    for class in [Class::TwoWeekWait, Class::Urgent] {
        let last = *by_class[&class].last().expect("there are some");
        urgent_end = urgent_end.max(first_call(&world, last).await.expect("sent"));
    }
    let mut routine_meanwhile = 0;
    for id in &by_class[&Class::Routine] {
        routine_meanwhile += usize::from(first_call(&world, *id).await.is_some_and(|at| at < urgent_end));
    }

    let mut figures = format!(
        "{count} commands, {} calls in {lasted:.1} s, {:.2} % of the pace, {throttled} times 429; a two-week-wait with {behind} \
         waiting left after {late:.2} s; {routine_meanwhile} routine ones left in the {:.1} s before the urgent were done\n",
        calls.len(),
        used * 100.0,
        seconds(calls[0].at, urgent_end),
    );
    let mut wrong = 0;
    for (class, ids) in &by_class {
        for id in ids {
            let Some(at) = told.get(id) else { continue };
            let (said, was) = (seconds(asked, *at), seconds(asked, first_call(&world, *id).await.expect("sent")));
            let is_wrong = (said - was).abs() > f64::max(was * ESTIMATE_OFF, ESTIMATE_OFF_SECONDS);
            wrong += usize::from(is_wrong);
            let mark = if is_wrong { "!" } else { "" };
            writeln!(figures, "{}: told {said:.1} s, was {was:.1} s {mark}", class.name()).expect("a text");
        }
        let last = ids[ids.len() - 1];
        let (said, was) = (clears[class], seconds(asked, first_call(&world, last).await.expect("sent")));
        let is_wrong = (said - was).abs() > f64::max(was * ESTIMATE_OFF, 2.0 * ESTIMATE_OFF_SECONDS);
        wrong += usize::from(is_wrong);
        writeln!(figures, "{} clears: told {said:.1} s, the newest left after {was:.1} s", class.name())
            .expect("a text");
    }
    if is_full() {
        println!("{figures}");
    }
    assert_eq!(throttled, 0, "{figures}");
    assert!((0.95..=1.0).contains(&used), "{figures}");
    assert!(late < 5.0, "{figures}");
    assert!(routine_meanwhile as f64 > 0.08 * (seconds(calls[0].at, urgent_end) * PER_SECOND), "{figures}");
    assert!(told.len() >= 20 && wrong == 0, "{wrong} estimates of {} are wrong:\n{figures}", told.len());
}

#[tokio::test(start_paused = true)]
async fn a_two_week_wait_finds_a_hand_though_all_are_busy_with_long_plans() {
    let world = World::before_the_real_limits().await;
    let letter = json!({ "letterIntention": "NEED_TO_ADD_LATER", "letters": [{
        "fileName": "notes.txt",
        "contentType": "text/plain",
        "bytes": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "content": { "in": "document", "number": 1 },
    }] });
    for nth in 0..110 {
        let document = NewDocument { number: 1, content: "hello".into() };
        world.admit_as("CreateReferral", &format!("R{nth}"), letter.clone(), b"{}", vec![document]).await;
    }
    world.start();
    // As long as the first calls of all that are in hand would take.
    world.rest(Duration::from_secs(7)).await;
    let calls = world.simulator().calls();
    assert!(calls.contains(&"A012"), "what has begun ends before the others begin: {calls:?}");
    let came = world.now();
    let urgent = world.admit_all(vec![create("late".into(), Class::TwoWeekWait)]).await[0];
    world.until(urgent, "completed").await;
    let left = seconds(came, first_call(&world, urgent).await.expect("sent"));
    assert!(left < 3.0, "it left after {left:.1} s");
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_last_look_is_told_from_counts() {
    let world = World::before_the_real_limits().await;
    world.admit_all(backlog(400)).await;
    world.start();
    world.rest(Duration::from_secs(6)).await;
    let asked = world.now();
    let late = world.admit_all(vec![create("late".into(), Class::Routine)]).await[0];
    let Estimate::At { at, coarse: true } = world.estimate(late).await else { panic!("it is told coarsely") };
    world.until(late, "completed").await;
    let (said, was) = (seconds(asked, at), seconds(asked, first_call(&world, late).await.expect("sent")));
    assert!((said - was).abs() < f64::max(0.2 * was, 10.0), "told {said:.1} s, was {was:.1} s");
}

#[tokio::test(start_paused = true)]
async fn of_a_paused_source_nothing_is_estimated() {
    let world = World::new(Wanted::default()).await;
    world.set_mode(Mode::Paused);
    world.start();
    let command = world.admit("R1").await;
    world.rest(Duration::from_secs(6)).await;
    assert_eq!(world.estimate(command).await, Estimate::Unknown(Unforeseen::SourcePaused));
    assert_eq!(clears_in(&world, Class::Routine), 0.0, "nothing of it can be sent");
    world.set_mode(Mode::Live);
    world.until(command, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_held_behind_a_failure_is_not_estimated() {
    let world = World::started().await;
    world.ers.will([Does::Answers(422, "INVALID_VALUE", json!(null))]);
    let failed = world.admit("R1").await;
    world.until(failed, "failed").await;
    world.rest(Duration::from_secs(6)).await;
    let held = world.admit_as("CancelReferral", "R1", json!({"reason": "RAISED_IN_ERROR"}), b"{}", Vec::new()).await;
    for _ in 0..2 {
        assert_eq!(world.estimate(held).await, Estimate::Unknown(Unforeseen::HeldBack));
        world.rest(Duration::from_secs(6)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_breaker_is_open_nothing_is_estimated() {
    let world = World::started().await;
    let first = world.admit("R0").await;
    world.until(first, "completed").await;
    world.ers.will((0..100).map(|_| Does::CannotBeReached));
    let mut commands = Vec::new();
    for nth in 1..=8 {
        commands.push(world.admit(&format!("R{nth}")).await);
    }
    let held = world.admit_as("CancelReferral", "R1", json!({"reason": "RAISED_IN_ERROR"}), b"{}", Vec::new()).await;
    world.rest(Duration::from_secs(11)).await;
    assert_eq!(world.command(held).await.state.name(), "queued");
    assert_eq!(world.estimate(held).await, Estimate::Unknown(Unforeseen::BreakerOpen));
    assert!(clears_in(&world, Class::Routine).is_nan());
}
