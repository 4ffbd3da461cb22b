//! Who may be claimed, in which order, and by whom it may be changed.

use serde_json::json;

use super::Home;
use super::given::{
    act, admitted, arrives, at, attempt, claim, claimed, claimed_ids, command, ends, failed, finished, into_state,
    local, message, progress, state_of, the_claimed, ubrn,
};
use crate::command::{Class, State, WaitReason};
use crate::store::{Claim, Finding, Progress, StoreError};

fn waiting(seconds: i64) -> State {
    State::Waiting { step: "create".into(), until: at(seconds), why: WaitReason::Throttled }
}

pub(crate) async fn a_thread_runs_one_at_a_time_in_arrival_order(home: &dyn Home) {
    let store = home.open().await;
    let mut arrived = Vec::new();
    for _ in 0..5 {
        arrived.push(arrives(&*store, &[local("r1")]).await);
    }
    for expected in arrived {
        let running = the_claimed(&*store).await;
        assert_eq!(running.id, expected);
        assert!(claimed(&*store, 10).await.is_empty(), "the others are held");
        ends(&*store, &running, State::Completed).await;
    }
    assert!(claimed(&*store, 10).await.is_empty());
}

pub(crate) async fn other_threads_never_wait(home: &dyn Home) {
    let store = home.open().await;
    let mut heads = Vec::new();
    for thread in ["r1", "r2", "r3"] {
        heads.push(arrives(&*store, &[local(thread)]).await);
        arrives(&*store, &[local(thread)]).await;
    }
    assert_eq!(claimed_ids(&*store, 2).await, heads[..2]);
    assert_eq!(claimed_ids(&*store, 10).await, heads[2..]);
}

pub(crate) async fn whatever_is_not_finished_holds_what_follows(home: &dyn Home) {
    let store = home.open().await;
    for (number, (state, holds)) in [
        (failed(), true),
        (State::InDoubt { step: "create".into(), since: at(0), look_at: None }, true),
        (waiting(1_000), true),
        (State::Unauthorised { step: "create".into(), since: at(0) }, true),
        (State::Completed, false),
        (State::Shadowed, false),
    ]
    .into_iter()
    .enumerate()
    {
        let thread = [local(&format!("r{number}"))];
        arrives(&*store, &thread).await;
        let follower = arrives(&*store, &thread).await;
        let running = the_claimed(&*store).await;
        ends(&*store, &running, state.clone()).await;
        let then = claimed_ids(&*store, 10).await;
        assert_eq!(then, if holds { vec![] } else { vec![follower] }, "after {}", state.name());
    }
}

pub(crate) async fn waiting_commands_are_claimed_at_their_time(home: &dyn Home) {
    let store = home.open().await;
    let (early, late) = (arrives(&*store, &[local("r1")]).await, arrives(&*store, &[local("r2")]).await);
    for running in claimed(&*store, 2).await {
        ends(&*store, &running, waiting(if running.id == early { 30 } else { 50 })).await;
    }
    assert_eq!(store.next_due().await.expect("read"), Some(at(30)));
    assert!(store.claim(claim(10, 29)).await.expect("claimed").is_empty());
    let due = store.claim(claim(10, 30)).await.expect("claimed");
    assert_eq!(due.iter().map(|command| command.id).collect::<Vec<_>>(), [early]);
    assert_eq!(due[0].deferrals, 1);
    assert_eq!(state_of(&*store, early).await, State::Running { step: "create".into() });
    assert_eq!(store.next_due().await.expect("read"), Some(at(50)));
    assert_eq!(state_of(&*store, late).await.name(), "waiting");
}

pub(crate) async fn what_is_in_doubt_is_looked_at_at_its_time_and_stays_in_doubt(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    let follower = arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    let doubt = |look_at| State::InDoubt { step: "create".into(), since: at(0), look_at };
    ends(&*store, &running, doubt(Some(at(30)))).await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(30)));
    assert!(store.claim(claim(10, 29)).await.expect("claimed").is_empty());
    let looking = store.claim(claim(10, 30)).await.expect("claimed").pop().expect("its time has come");
    assert_eq!((looking.id, &looking.state), (id, &doubt(Some(at(30)))));
    assert!(looking.fence > running.fence);
    assert_eq!(state_of(&*store, id).await, doubt(Some(at(30))), "whoever looks changes nothing");
    assert!(
        store.claim(claim(10, 31)).await.expect("claimed").is_empty(),
        "one looks at a time, and it holds the rest"
    );

    // Whoever looked is gone: another does.
    let again = store.claim(claim(10, 10_000)).await.expect("claimed").pop().expect("the lease has ended");
    assert_eq!(again.id, id);
    assert!(matches!(store.record(into_state(&looking, State::Queued)).await, Err(StoreError::Outdated(_))));
    ends(&*store, &again, doubt(None)).await;
    assert!(store.claim(claim(10, 20_000)).await.expect("claimed").is_empty(), "a person decides");
    assert_eq!(store.next_due().await.expect("read"), None);

    // A person does; the plan says what.
    let finding = Finding { done: true, ubrn: Some("000000070001".into()) };
    store.decide(id, finding, act()).await.expect("it is in doubt");
    let decided = store.claim(claim(10, 20_000)).await.expect("claimed").pop().expect("at once");
    assert_eq!(decided.plan["doubt"]["said"], json!({"done": true, "ubrn": "000000070001"}));
    ends(&*store, &decided, State::Queued).await;
    let running = store.claim(claim(10, 20_000)).await.expect("claimed").pop().expect("queued");
    assert_eq!(running.state, State::Running { step: String::new() });
    let refused = store.decide(id, Finding::default(), act()).await;
    assert!(matches!(refused, Err(StoreError::Outdated(_))), "{refused:?}");
    let log = store.audit_log(0, 10).await.expect("read");
    assert_eq!((log.len(), log[0].act.as_str()), (1, "decide"));
    assert_eq!(state_of(&*store, follower).await, State::Queued);
}

pub(crate) async fn what_is_looked_at_when_the_gateway_ends_is_looked_at_again(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    ends(&*store, &running, State::InDoubt { step: "create".into(), since: at(0), look_at: Some(at(0)) }).await;
    the_claimed(&*store).await;
    drop(store);
    let store = home.open().await;
    let recovered = store.recover(at(10)).await.expect("recovered");
    assert_eq!((recovered.requeued, recovered.in_doubt), (0, 0), "nothing new is in doubt");
    assert_eq!(the_claimed(&*store).await.id, id);
    assert_eq!(state_of(&*store, id).await.name(), "in_doubt");
}

pub(crate) async fn deferrals_are_counted_until_a_step_is_done(home: &dyn Home) {
    let store = home.open().await;
    arrives(&*store, &[local("r1")]).await;
    for expected in 0..3 {
        let running = store.claim(claim(1, i64::from(expected) * 10)).await.expect("claimed").remove(0);
        assert_eq!(running.deferrals, expected);
        let attempt = attempt(false);
        store
            .record(Progress { started: Some(attempt.clone()), plan: Some(json!({"step": 0})), ..progress(&running) })
            .await
            .expect("recorded");
        let deferred = into_state(&running, waiting(i64::from(expected) * 10 + 5));
        store.record(Progress { finished: Some(finished(&attempt)), ..deferred }).await.expect("recorded");
    }
    let running = store.claim(claim(1, 100)).await.expect("claimed").remove(0);
    assert_eq!(running.plan, json!({"step": 0}));
    let attempt = attempt(false);
    store.record(Progress { started: Some(attempt.clone()), ..progress(&running) }).await.expect("recorded");
    let done = Progress { finished: Some(finished(&attempt)), plan: Some(json!({"step": 1})), ..progress(&running) };
    store.record(done).await.expect("recorded");
    ends(&*store, &running, waiting(110)).await;
    assert_eq!(store.claim(claim(1, 110)).await.expect("claimed")[0].deferrals, 1);
}

pub(crate) async fn a_follower_raises_what_holds_it(home: &dyn Home) {
    let store = home.open().await;
    arrives(&*store, &[local("other")]).await;
    let head = arrives(&*store, &[local("r1")]).await;
    admitted(&*store, message("").with(command(&[local("r1")]).class(Class::TwoWeekWait))).await;
    let first = store.claim(claim(1, 0)).await.expect("claimed").remove(0);
    assert_eq!((first.id, first.class), (head, Class::TwoWeekWait));
}

pub(crate) async fn a_paused_source_stays_where_it_is(home: &dyn Home) {
    let store = home.open().await;
    admitted(&*store, message("").with(command(&[local("r1")]).class(Class::Interactive))).await;
    let other = command(&[local("r2")]);
    let other_id = other.id;
    admitted(&*store, message("").from("eastvale").with(other)).await;
    let paused = Claim { paused: vec!["northmoor".into(), "never heard of".into()], ..claim(10, 0) };
    let claimed = store.claim(paused).await.expect("claimed");
    assert_eq!(claimed.iter().map(|command| command.id).collect::<Vec<_>>(), [other_id]);
    assert_eq!(claimed[0].source, "eastvale");
    assert_eq!(claimed_ids(&*store, 10).await.len(), 1);
}

pub(crate) async fn an_outdated_fence_is_refused(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    let old = the_claimed(&*store).await;
    ends(&*store, &old, waiting(10)).await;
    let new = store.claim(claim(1, 10)).await.expect("claimed").remove(0);
    assert!(new.fence > old.fence);
    assert!(matches!(store.record(into_state(&old, State::Completed)).await, Err(StoreError::Outdated(_))));
    assert_eq!(state_of(&*store, id).await.name(), "running");
    ends(&*store, &new, State::Completed).await;
    assert!(matches!(store.record(into_state(&new, failed())).await, Err(StoreError::Outdated(_))));
    let unknown = Progress { command: crate::command::CommandId(super::given::new_id()), ..progress(&new) };
    assert!(matches!(store.record(unknown).await, Err(StoreError::NotFound)));
}

pub(crate) async fn a_lease_that_ended_is_taken_over(home: &dyn Home) {
    let store = home.open().await;
    let (renewed, lost) = (arrives(&*store, &[local("r1")]).await, arrives(&*store, &[local("r2")]).await);
    let running = claimed(&*store, 2).await;
    // A step is recorded 40 seconds on: the lease of 60 seconds begins again.
    store.record(Progress { at: at(40), ..progress(&running[0]) }).await.expect("recorded");
    assert_eq!(running[0].id, renewed);
    let taken = store.claim(claim(10, 70)).await.expect("claimed");
    assert_eq!(taken.iter().map(|command| command.id).collect::<Vec<_>>(), [lost]);
    assert!(matches!(store.record(progress(&running[1])).await, Err(StoreError::Outdated(_))));
}

pub(crate) async fn aliases_merge_threads_in_arrival_order(home: &dyn Home) {
    let store = home.open().await;
    let mut arrived = Vec::new();
    for name in [local("r1"), ubrn("u1"), local("r1"), ubrn("u1")] {
        arrived.push(arrives(&*store, &[name]).await);
    }
    arrived.push(arrives(&*store, &[ubrn("u1"), local("r1")]).await);
    arrived.push(arrives(&*store, &[ubrn("u1")]).await);
    for expected in arrived {
        let running = the_claimed(&*store).await;
        assert_eq!(running.id, expected);
        ends(&*store, &running, State::Completed).await;
    }
    let by_local = store.find_thread(&local("r1")).await.expect("read").expect("there").id;
    let by_ubrn = store.find_thread(&ubrn("u1")).await.expect("read").expect("there").id;
    assert_eq!(by_local, by_ubrn);
}

pub(crate) async fn a_merge_never_lets_two_of_a_thread_run(home: &dyn Home) {
    let store = home.open().await;
    let early = arrives(&*store, &[ubrn("u1")]).await;
    let creating = arrives(&*store, &[local("r1")]).await;
    let later = arrives(&*store, &[local("r1")]).await;
    let early_running = store.claim(claim(1, 0)).await.expect("claimed").remove(0);
    assert_eq!(early_running.id, early);
    let running = the_claimed(&*store).await;
    assert_eq!(running.id, creating);
    ends(&*store, &early_running, waiting(10)).await;
    // The one that runs learns the UBRN that names the other thread, whose head came earlier and waits.
    let learnt =
        Progress { aliases: vec![ubrn("u1")], known: Some(json!({"ubrn": "000000070000"})), ..progress(&running) };
    store.record(learnt).await.expect("recorded");
    assert!(store.claim(claim(10, 20)).await.expect("claimed").is_empty(), "one of the thread runs");
    ends(&*store, &running, State::Completed).await;
    let next = store.claim(claim(10, 20)).await.expect("claimed");
    assert_eq!(next.iter().map(|command| command.id).collect::<Vec<_>>(), [early]);
    assert_eq!(next[0].thread.known, json!({"ubrn": "000000070000"}));
    ends(&*store, &next[0], State::Completed).await;
    assert_eq!(the_claimed(&*store).await.id, later);
}

pub(crate) async fn shadowed_commands_are_final(home: &dyn Home) {
    let store = home.open().await;
    let mut settled = store.signals().settled.subscribe();
    let shadowed = command(&[local("r1")]).in_state(State::Shadowed);
    let shadowed_id = shadowed.id;
    admitted(&*store, message("").with(shadowed)).await;
    assert_eq!(settled.recv().await.expect("told").command, shadowed_id);
    let follower = arrives(&*store, &[local("r1")]).await;
    assert_eq!(claimed_ids(&*store, 10).await, [follower]);
}
