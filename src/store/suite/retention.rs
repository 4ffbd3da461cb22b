//! What is finished and old is removed; what recognises it stays.

use super::Home;
use super::given::{
    act, admitted, alias, arrives, at, attempt, claimed, claimed_ids, command, ends, event, failed, finished,
    into_state, local, message, progress, state_of, the_claimed, ubrn,
};
use crate::command::{CommandId, MessageId, State, Verdict};
use crate::store::{
    Admitted, AliasKind, MessageFilter, Progress, Purge, PurgePlace, Purged, Store, StoreError, StoredEvent,
};

/// Seconds after which all that the scenarios made is old.
pub(super) const OLD: i64 = 1_000_000;

pub(super) fn purge_before(seconds: i64) -> Purge {
    Purge {
        messages_before: Some(at(seconds)),
        events_before: Some(at(seconds)),
        keep_unconfirmed: true,
        told_up_to: u64::MAX,
        max: 100,
        from: PurgePlace::START,
    }
}

/// Calls until the round has ended. What all of them removed, and how many there were.
pub(super) async fn round(store: &dyn Store, purge: Purge) -> (Purged, usize) {
    let (mut sum, mut from) = (Purged { messages: 0, commands: 0, events: 0, next: None }, purge.from);
    for call in 1..1_000 {
        let purged = store.purge(Purge { from, ..purge }).await.expect("purged");
        assert!(purged.messages <= purge.max as u64 && purged.events <= purge.max as u64, "{purged:?}");
        sum.messages += purged.messages;
        sum.commands += purged.commands;
        sum.events += purged.events;
        match purged.next {
            Some(next) => {
                assert_ne!(next, from, "it goes on");
                from = next;
            }
            None => return (sum, call),
        }
    }
    panic!("a round without end");
}

pub(super) async fn messages_left(store: &dyn Store) -> Vec<MessageId> {
    let all = MessageFilter { max: 1_000, ..MessageFilter::default() };
    store.messages(all).await.expect("listed").into_iter().map(|view| view.id).collect()
}

pub(super) async fn events_left(store: &dyn Store) -> Vec<StoredEvent> {
    store.events_after(0, 1_000).await.expect("read")
}

async fn counted(store: &dyn Store) -> u64 {
    store.depths().await.expect("counted").iter().map(|depth| depth.count).sum()
}

/// Whatever can be claimed ends as completed.
pub(super) async fn all_complete(store: &dyn Store) {
    loop {
        let running = claimed(store, 100).await;
        if running.is_empty() {
            return;
        }
        for command in &running {
            ends(store, command, State::Completed).await;
        }
    }
}

/// A message with one command that makes a referral, carried out.
async fn referral(store: &dyn Store, control_id: &str, name: &str, digest: u8) -> (MessageId, CommandId) {
    let creating = command(&[local(name)]).creating(digest);
    let id = creating.id;
    let message = admitted(store, message(control_id).with(creating)).await;
    all_complete(store).await;
    (message, id)
}

pub(crate) async fn what_is_finished_and_old_is_purged_and_nothing_else(home: &dyn Home) {
    let store = home.open().await;
    let done = command(&[local("r1")]);
    let done_id = done.id;
    let mut large = message("M1").with(done).with_document(1, vec![b'd'; 300_000].into());
    large.message.raw = vec![b'x'; 300_000].into();
    let old = admitted(&*store, large).await;
    store.acknowledged(vec![(old, at(1))]).await.expect("noted");
    let running = the_claimed(&*store).await;
    let begun = attempt(true);
    store.record(Progress { started: Some(begun.clone()), ..progress(&running) }).await.expect("recorded");
    let ending = Progress { finished: Some(finished(&begun)), ..into_state(&running, State::Completed) };
    store.record(ending).await.expect("recorded");
    let notice = admitted(&*store, message("M2")).await;
    store.discard(arrives(&*store, &[local("r4")]).await, act()).await.expect("discarded");
    let young = admitted(&*store, message("M3").received(500).with(command(&[local("r3")]))).await;
    all_complete(&*store).await;

    assert_eq!(round(&*store, purge_before(-500)).await.0.messages, 0);
    let (purged, _) = round(&*store, purge_before(400)).await;
    assert_eq!((purged.messages, purged.commands), (3, 2));
    assert_eq!(messages_left(&*store).await, [young]);
    for gone in [old, notice] {
        assert!(store.message(gone).await.expect("read").is_none());
        assert!(matches!(store.read_message(gone, 0..10).await, Err(StoreError::NotFound)));
        assert!(matches!(store.read_document(gone, 1, 0..10).await, Err(StoreError::NotFound)));
    }
    assert!(store.command(done_id).await.expect("read").is_none());
    assert!(store.commands_of(old).await.expect("read").is_empty());
    assert!(store.transitions(done_id).await.expect("read").is_empty());
    assert!(store.attempts(done_id).await.expect("read").is_empty());
    assert_eq!(counted(&*store).await, 1, "what is purged is not counted");
    assert_eq!(store.audit_log(0, 10).await.expect("read").len(), 1, "the audit log stays");
    assert!(store.find_thread(&local("r1")).await.expect("read").is_some(), "threads stay");
    assert_eq!(round(&*store, purge_before(400)).await.0.messages, 0);
    drop(store);
    home.prove().await;
}

pub(crate) async fn what_is_not_finished_stays_however_old(home: &dyn Home) {
    let store = home.open().await;
    let half = admitted(&*store, message("M1").with(command(&[local("r0")])).with(command(&[local("r1")]))).await;
    let in_doubt = admitted(&*store, message("M2").with(command(&[local("r2")]))).await;
    let running = claimed(&*store, 10).await;
    assert_eq!(running.len(), 3);
    ends(&*store, &running[0], State::Completed).await;
    ends(&*store, &running[1], failed()).await;
    ends(&*store, &running[2], State::InDoubt { step: "create".into(), since: at(1), look_at: None }).await;
    // One that came later is finished before.
    let (done, _) = referral(&*store, "M3", "r3", 1).await;
    assert_eq!(round(&*store, purge_before(OLD)).await.0.messages, 1);
    assert!(store.message(done).await.expect("read").is_none());
    assert_eq!(messages_left(&*store).await, [in_doubt, half]);
    assert_eq!(store.commands_of(half).await.expect("read").len(), 2, "a message is purged as a whole");
    store.discard(running[1].id, act()).await.expect("discarded");
    assert_eq!(round(&*store, purge_before(OLD)).await.0.commands, 2);
    assert_eq!(messages_left(&*store).await, [in_doubt]);
}

pub(crate) async fn a_resend_of_a_purged_message_is_a_resend(home: &dyn Home) {
    let store = home.open().await;
    let (first, _) = referral(&*store, "M1", "r1", 1).await;
    round(&*store, purge_before(OLD)).await;
    drop(store);
    let store = home.open().await;
    match store.admit(message("M1").with(command(&[local("r1")]).creating(1))).await.expect("answered") {
        Admitted::Resend { stored, acknowledgement, message } => {
            assert!(acknowledgement.is_empty(), "the answer is made anew by who asks");
            assert_eq!((stored.id(), message), (first, first));
        }
        other => panic!("{other:?}"),
    }
    let mut reused = message("M1");
    reused.message.sha256 = [8; 32];
    match store.admit(reused).await.expect("answered") {
        Admitted::ControlIdReused { message } => assert_eq!(message, first),
        other => panic!("{other:?}"),
    }
    assert!(claimed_ids(&*store, 10).await.is_empty());
    store.acknowledged(vec![(first, at(3))]).await.expect("passed over");
    let named = MessageFilter { control_id: Some("M1".into()), max: 10, ..MessageFilter::default() };
    assert!(store.messages(named).await.expect("listed").is_empty());
}

pub(crate) async fn a_refused_message_that_was_purged_is_new_when_it_comes_again(home: &dyn Home) {
    let store = home.open().await;
    let refused = || {
        let mut refused = message("M1").with_event("MessageRejected");
        refused.verdict = Verdict::Rejected;
        refused
    };
    let first = admitted(&*store, refused()).await;
    assert!(matches!(store.admit(refused()).await, Ok(Admitted::Resend { message, .. }) if message == first));
    assert_eq!(round(&*store, purge_before(OLD)).await.0.messages, 1);
    // The mapping was mended meanwhile: what is acknowledged now must be carried out.
    let taken = command(&[local("r1")]);
    let taken_id = taken.id;
    admitted(&*store, message("M1").with(taken)).await;
    assert_eq!(claimed_ids(&*store, 10).await, [taken_id]);
}

pub(crate) async fn a_purged_referral_is_not_made_again(home: &dyn Home) {
    let store = home.open().await;
    let (_, made_by) = referral(&*store, "M1", "r1", 1).await;
    round(&*store, purge_before(OLD)).await;
    drop(store);
    home.prove().await;
    let store = home.open().await;
    let thread = store.find_thread(&local("r1")).await.expect("read").expect("there");
    assert_eq!(thread.created_by, Some(made_by));
    match store.admit(message("M2").with(command(&[local("r1")]).creating(1))).await.expect("admitted") {
        Admitted::New { stored, repeats } => {
            assert_eq!(repeats, Some(made_by));
            let view = store.message(stored.id()).await.expect("read").expect("there");
            assert_eq!(view.verdict, Verdict::Duplicate);
        }
        other => panic!("{other:?}"),
    }
    let changed = command(&[local("r1")]).creating(2);
    let changed_id = changed.id;
    admitted(&*store, message("M3").with(changed)).await;
    match state_of(&*store, changed_id).await {
        State::Failed { why } => {
            assert_eq!(why.code, "RESENT_WITH_A_CHANGE");
            assert!(why.text.contains(&made_by.to_string()), "{}", why.text);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.replay(changed_id, act()).await, Err(StoreError::Outdated(_))));
    // What else concerns the referral goes on, and knows who made it.
    store.discard(changed_id, act()).await.expect("discarded");
    arrives(&*store, &[local("r1")]).await;
    assert_eq!(the_claimed(&*store).await.thread.created_by, Some(made_by));
}

pub(crate) async fn a_purged_referral_outlives_a_merge_and_a_discarded_command(home: &dyn Home) {
    let store = home.open().await;
    // The younger of two that are merged is purged; the older waits for a person.
    let older = command(&[local("r1")]).creating(1);
    let older_id = older.id;
    admitted(&*store, message("M1").with(older)).await;
    let running = the_claimed(&*store).await;
    ends(&*store, &running, failed()).await;
    let younger = command(&[ubrn("u1")]).creating(2);
    let younger_id = younger.id;
    admitted(&*store, message("M2").with(younger)).await;
    all_complete(&*store).await;
    assert_eq!(round(&*store, purge_before(OLD)).await.0.messages, 1);
    admitted(&*store, message("M3").with(command(&[local("r1"), ubrn("u1")]))).await;
    let created_by = async || store.find_thread(&ubrn("u1")).await.expect("read").expect("there").created_by;
    assert_eq!(created_by().await, Some(older_id));
    store.discard(older_id, act()).await.expect("discarded");
    assert_eq!(created_by().await, Some(younger_id), "a purged creator is not forgotten");
    match store.admit(message("M4").with(command(&[local("r1")]).creating(2))).await.expect("admitted") {
        Admitted::New { repeats, .. } => assert_eq!(repeats, Some(younger_id)),
        other => panic!("{other:?}"),
    }
    all_complete(&*store).await;
    // Both are purged now, and a third thread joins them.
    round(&*store, purge_before(OLD)).await;
    let (_, third) = referral(&*store, "M5", "r5", 5).await;
    round(&*store, purge_before(OLD)).await;
    let document = alias(AliasKind::Document, "d1");
    admitted(&*store, message("M6").with(command(&[local("r5"), local("r1"), document]))).await;
    let thread = store.find_thread(&local("r5")).await.expect("read").expect("there");
    assert_eq!(thread.created_by, Some(younger_id), "the first that made it");
    assert_ne!(younger_id, third);
}

pub(crate) async fn events_are_purged_once_nobody_waits_for_them(home: &dyn Home) {
    let store = home.open().await;
    for number in 0..6 {
        admitted(&*store, message(&format!("M{number}")).with_event("Notice")).await;
    }
    let mut late = message("M9");
    late.events.push(crate::store::NewEvent { at: at(500), ..event("Notice") });
    admitted(&*store, late.received(500)).await;
    let positions: Vec<u64> = events_left(&*store).await.iter().map(|event| event.position).collect();
    store.confirm(vec![positions[0], positions[2], positions[3], positions[6]], at(1)).await.expect("confirmed");
    let (purged, _) = round(&*store, Purge { messages_before: None, ..purge_before(400) }).await;
    assert_eq!((purged.messages, purged.events), (0, 3), "only what the broker confirmed");
    let left = |events: Vec<StoredEvent>| events.iter().map(|event| event.position).collect::<Vec<_>>();
    assert_eq!(left(events_left(&*store).await), [positions[1], positions[4], positions[5], positions[6]]);
    assert_eq!(store.outbox_depth().await.expect("read").count, 3);
    let by_age = Purge { keep_unconfirmed: false, messages_before: None, ..purge_before(400) };
    let untold = Purge { told_up_to: positions[1] - 1, ..by_age };
    assert_eq!(round(&*store, untold).await.0.events, 0, "somebody is still to be told of them");
    assert_eq!(round(&*store, by_age).await.0.events, 3);
    assert_eq!(left(events_left(&*store).await), [positions[6]]);
    assert_eq!(store.outbox_depth().await.expect("read").count, 0);
    assert!(store.unconfirmed(0, 10).await.expect("read").is_empty());
    let all = Purge { keep_unconfirmed: false, ..purge_before(OLD) };
    assert_eq!(round(&*store, all).await.0.events, 1);
    drop(store);
    home.prove().await;
    // Positions are cursors of readers: none comes again.
    let store = home.open().await;
    assert_eq!(store.last_position().await.expect("read"), positions[6]);
    admitted(&*store, message("M10").with_event("Notice")).await;
    assert!(events_left(&*store).await[0].position > positions[6]);
}

pub(crate) async fn one_call_is_bounded_and_a_round_passes_everything_once(home: &dyn Home) {
    let store = home.open().await;
    let mut unfinished = Vec::new();
    for number in 0..40 {
        let name = format!("r{number}");
        let sent = message(&format!("M{number}")).with(command(&[local(&name)])).with_event("Notice");
        let id = admitted(&*store, sent).await;
        let running = the_claimed(&*store).await;
        let is_stuck = number % 2 == 0;
        ends(&*store, &running, if is_stuck { failed() } else { State::Completed }).await;
        if is_stuck {
            unfinished.push((id, running.id));
        }
    }
    let small = Purge { max: 3, keep_unconfirmed: false, ..purge_before(OLD) };
    let (purged, calls) = round(&*store, small).await;
    assert_eq!((purged.messages, purged.commands, purged.events), (20, 20, 40));
    assert!((14..80).contains(&calls), "{calls}");
    let mut left = messages_left(&*store).await;
    left.reverse();
    assert_eq!(left, unfinished.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    // What was passed over is found by a later round, once it is finished.
    for (_, id) in &unfinished {
        store.discard(*id, act()).await.expect("discarded");
    }
    assert_eq!(round(&*store, small).await.0.messages, 20);
    let nothing = Purge { messages_before: None, events_before: None, ..small };
    assert_eq!(round(&*store, nothing).await, (Purged { messages: 0, commands: 0, events: 0, next: None }, 1));
    drop(store);
    home.prove().await;
}

pub(crate) async fn numbers_are_not_used_again_after_a_purge(home: &dyn Home) {
    let store = home.open().await;
    let (_, first) = referral(&*store, "M1", "r1", 1).await;
    assert_eq!(round(&*store, purge_before(OLD)).await.0.messages, 1);
    drop(store);
    // The store is empty now but for what recognises the referral.
    let store = home.open().await;
    let (_, second) = referral(&*store, "M2", "r2", 2).await;
    let created_by = async |name: &str| store.find_thread(&local(name)).await.expect("read").expect("there").created_by;
    assert_eq!(created_by("r1").await, Some(first), "and not whatever has its number now");
    assert_eq!(created_by("r2").await, Some(second));
}
