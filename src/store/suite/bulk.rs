//! Bulk replay: what is a candidate, and that nothing is replayed twice by one decision.

use serde_json::json;
use uuid::Uuid;

use super::Home;
use super::given::{
    act, admitted, arrives, at, attempt, claimed, command, ends, failed, finished, into_state, local, message, new_id,
    progress, state_of,
};
use crate::command::{Class, CommandId, State, Verdict};
use crate::store::{
    NewBulkReplay, ProblemFilter, Progress, ReplayCandidate, ReplayCandidates, ReplayFilter, ReplayItem, ReplayOf,
    ReplayOutcome, ReplayStanding, Share, Store, StoreError, TakenAgain,
};

async fn failing(store: &dyn Store, threads: &[&str]) -> Vec<CommandId> {
    let mut ids = Vec::new();
    for thread in threads {
        ids.push(arrives(store, &[local(thread)]).await);
    }
    for running in claimed(store, 100).await {
        ends(store, &running, failed()).await;
    }
    ids
}

fn new_replay(filter: ReplayFilter) -> NewBulkReplay {
    NewBulkReplay { id: new_id(), filter, share: Share::QUARTER, overtaken: false }
}

async fn candidates(store: &dyn Store, filter: &ReplayFilter, except: Option<Uuid>) -> Vec<ReplayCandidate> {
    let asked = ReplayCandidates { filter: filter.clone(), except, after: 0, until: None, max: 100 };
    store.replay_candidates(asked).await.expect("found")
}

pub(crate) async fn what_failed_is_found_for_a_replay_by_any_filter(home: &dyn Home) {
    let store = home.open().await;
    let ids = failing(&*store, &["r1", "r2"]).await;
    let mut other = message("").from("eastvale").received(600).with(command(&[local("r3")]));
    other.commands[0].name = "AttachLetters".into();
    admitted(&*store, other).await;
    let running = claimed(&*store, 1).await.remove(0);
    let third = running.id;
    let (first, second) = (attempt(true), attempt(true));
    // A write is done, and what came after it is refused.
    let mut begun = progress(&running);
    begun.started = Some(first.clone());
    store.record(begun).await.expect("recorded");
    let mut done = progress(&running);
    done.finished = Some(finished(&first));
    done.started = Some(second.clone());
    store.record(done).await.expect("recorded");
    let mut refused = into_state(&running, failed());
    refused.finished = Some(crate::store::FinishedAttempt { status: Some(422), ..finished(&second) });
    store.record(refused).await.expect("recorded");

    let cause = store.problems(ProblemFilter { max: 10, ..ProblemFilter::default() }).await.expect("grouped");
    let cause = cause.into_iter().find(|problem| problem.cause.source == "northmoor").expect("one").cause.id;
    let all = ReplayFilter::default;
    for (name, filter, expected) in [
        ("all", all(), vec![ids[0], ids[1], third]),
        ("source", ReplayFilter { source: Some("eastvale".into()), ..all() }, vec![third]),
        ("cause", ReplayFilter { cause: Some(cause), ..all() }, vec![ids[0], ids[1]]),
        ("command", ReplayFilter { command: Some("CreateReferral".into()), ..all() }, vec![ids[0], ids[1]]),
        ("since", ReplayFilter { since: Some(at(300)), ..all() }, vec![third]),
        ("until", ReplayFilter { until: Some(at(300)), cause: Some(cause), ..all() }, vec![ids[0], ids[1]]),
        ("refused messages", ReplayFilter { of: ReplayOf::Rejected, ..all() }, vec![]),
    ] {
        let found: Vec<_> = candidates(&*store, &filter, None).await;
        assert_eq!(found.iter().filter_map(|one| one.command).collect::<Vec<_>>(), expected, "{name}");
    }
    let found = candidates(&*store, &all(), None).await;
    assert_eq!(found.iter().map(|one| one.begun).collect::<Vec<_>>(), [false, false, true]);
    let asked = ReplayCandidates { filter: all(), except: None, after: found[0].number, until: None, max: 1 };
    assert_eq!(store.replay_candidates(asked).await.expect("found"), found[1..2]);
}

pub(crate) async fn refused_messages_are_found_for_a_replay_until_they_are_taken(home: &dyn Home) {
    let store = home.open().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let mut sent = message(&format!("M{number}"));
        sent.verdict = Verdict::Rejected;
        sent.message.problems = json!([{ "location": "RF1-2", "code": 103, "text": "no row" }]);
        ids.push(admitted(&*store, sent).await);
    }
    let mut again = message("again").with(command(&[local("r1")]));
    again.taken_again = Some(TakenAgain { first: ids[1], edited: false, act: act() });
    admitted(&*store, again).await;
    let cause =
        store.problems(ProblemFilter { max: 10, ..ProblemFilter::default() }).await.expect("grouped")[0].cause.id;
    for cause in [None, Some(cause)] {
        let filter = ReplayFilter { of: ReplayOf::Rejected, cause, ..ReplayFilter::default() };
        let found: Vec<_> = candidates(&*store, &filter, None).await.into_iter().map(|one| one.message).collect();
        assert_eq!(found, [ids[0], ids[2]]);
    }
}

pub(crate) async fn what_something_later_has_overtaken_is_said(home: &dyn Home) {
    let store = home.open().await;
    let failing = failing(&*store, &["r1"]).await;
    let later = arrives(&*store, &[local("r1")]).await;
    let found = candidates(&*store, &ReplayFilter::default(), None).await;
    assert_eq!((found[0].command, found[0].overtaken), (Some(failing[0]), false));
    // Past what held it, which then waits for a person again.
    store.replay(failing[0], act()).await.expect("replayed");
    let running = claimed(&*store, 1).await.remove(0);
    ends(&*store, &running, State::Completed).await;
    let running = claimed(&*store, 1).await.remove(0);
    assert_eq!(running.id, later);
    ends(&*store, &running, failed()).await;
    let last = arrives(&*store, &[local("r1")]).await;
    assert_eq!(state_of(&*store, last).await, State::Queued);
    let found = candidates(&*store, &ReplayFilter::default(), None).await;
    assert_eq!((found[0].command, found[0].overtaken), (Some(later), false), "what came before has not overtaken it");
}

pub(crate) async fn what_is_replayed_in_bulk_goes_behind_what_comes_in_unless_it_is_urgent(home: &dyn Home) {
    let store = home.open().await;
    let mut urgent = message("M1").with(command(&[local("r1")]));
    urgent.commands[0].class = Class::Urgent;
    let first = urgent.commands[0].id;
    admitted(&*store, urgent).await;
    let ids = failing(&*store, &["r2", "r3"]).await;
    // Something urgent waits behind the last one.
    let mut behind = message("M4").with(command(&[local("r3")]));
    behind.commands[0].class = Class::TwoWeekWait;
    admitted(&*store, behind).await;
    let replay = new_replay(ReplayFilter::default());
    let id = replay.id;
    store.begin_replay(replay, act()).await.expect("begun");
    for candidate in candidates(&*store, &ReplayFilter::default(), None).await {
        store.replay_in_bulk(id, candidate, act()).await.expect("replayed");
    }
    let mut classes = Vec::new();
    for id in [first, ids[0], ids[1]] {
        classes.push(store.command(id).await.expect("read").expect("there").class);
    }
    assert_eq!(classes, [Class::Urgent, Class::Bulk, Class::TwoWeekWait]);
    let live = arrives(&*store, &[local("r5")]).await;
    let went: Vec<_> = claimed(&*store, 4).await.into_iter().map(|one| one.id).collect();
    assert_eq!(went.len(), 4);
    let place = |id| went.iter().position(|one| *one == id).expect("claimed");
    assert!(place(live) < place(ids[0]), "a replayed one goes behind a live one: {went:?}");
    store.verify().await.expect("whole");
}

pub(crate) async fn a_bulk_replay_replays_each_once_and_is_audited(home: &dyn Home) {
    let store = home.open().await;
    let ids = failing(&*store, &["r1", "r2", "r3"]).await;
    let replay = new_replay(ReplayFilter::default());
    let id = replay.id;
    store.begin_replay(replay, act()).await.expect("begun");
    let late = arrives(&*store, &[local("r4")]).await;
    let running = claimed(&*store, 1).await.remove(0);
    store.record(Progress { at: at(200), ..into_state(&running, failed()) }).await.expect("recorded");
    let begun = store.bulk_replay(id).await.expect("read").expect("there");
    assert_eq!((begun.standing, begun.at, begun.by.as_str()), (ReplayStanding::Running, 0, "j.smith"));
    let asked = || ReplayCandidates {
        filter: begun.filter.clone(),
        except: Some(id),
        after: begun.at,
        until: Some(begun.created_at),
        max: 10,
    };
    let found = store.replay_candidates(asked()).await.expect("found");
    assert_eq!(
        found.iter().filter_map(|one| one.command).collect::<Vec<_>>(),
        ids,
        "what fails later is no part of it"
    );

    store.replay_in_bulk(id, found[0].clone(), act()).await.expect("replayed");
    assert_eq!(state_of(&*store, ids[0]).await, State::Queued);
    let twice = store.replay_in_bulk(id, found[0].clone(), act()).await;
    assert!(matches!(twice, Err(StoreError::Outdated(_))), "{twice:?}");
    let skipped = ReplayItem::of(&found[1], ReplayOutcome::Overtaken, "because");
    store
        .note_replayed(id, vec![skipped.clone(), ReplayItem::of(&found[0], ReplayOutcome::Skipped, "no")], at(1))
        .await
        .expect("noted");
    let sent = ReplayItem::of(&found[0], ReplayOutcome::Sent, "");
    assert_eq!(
        store.replay_items(id, None, 10).await.expect("read"),
        [sent.clone(), skipped.clone()],
        "what is there stays"
    );
    assert_eq!(store.replays_on_their_way(id, 10).await.expect("read"), [sent]);
    assert_eq!(store.replay_candidates(asked()).await.expect("found"), found[2..], "each is come to once");

    // It fails again: not a candidate of the same replay any more.
    let running = claimed(&*store, 1).await.remove(0);
    ends(&*store, &running, failed()).await;
    assert_eq!(store.replay_candidates(asked()).await.expect("found"), found[2..]);
    store.settle_replayed(id, vec![(ids[0].0, ReplayOutcome::Failed)]).await.expect("settled");
    store.advance_replay(id, found[1].number).await.expect("advanced");
    store.advance_replay(id, found[0].number).await.expect("never back");

    store.stand_replay(id, ReplayStanding::Paused, act()).await.expect("paused");
    let paused = store.replay_in_bulk(id, found[2].clone(), act()).await;
    assert!(matches!(paused, Err(StoreError::Outdated(_))), "{paused:?}");
    assert!(matches!(state_of(&*store, ids[2]).await, State::Failed { .. }), "nothing was done");
    drop(store);
    let store = home.open().await;
    store.stand_replay(id, ReplayStanding::Running, act()).await.expect("resumed");
    let view = store.bulk_replay(id).await.expect("read").expect("there");
    assert_eq!(
        (view.at, view.count(ReplayOutcome::Failed), view.count(ReplayOutcome::Overtaken)),
        (found[1].number, 1, 1)
    );
    store.stand_replay(id, ReplayStanding::Cancelled, act()).await.expect("cancelled");
    let after = store.stand_replay(id, ReplayStanding::Running, act()).await;
    assert!(matches!(after, Err(StoreError::Outdated(_))), "{after:?}");
    assert!(matches!(store.stand_replay(new_id(), ReplayStanding::Paused, act()).await, Err(StoreError::NotFound)));
    assert_eq!(store.bulk_replays(Some(ReplayStanding::Running), 10).await.expect("listed"), []);
    assert_eq!(store.bulk_replays(None, 10).await.expect("listed").len(), 1);
    assert!(matches!(state_of(&*store, late).await, State::Failed { .. }));

    let acts: Vec<String> = store.audit_log(0, 100).await.expect("read").into_iter().map(|entry| entry.act).collect();
    let expected = ["begin bulk replay", "replay", "pause bulk replay", "resume bulk replay", "cancel bulk replay"];
    assert_eq!(acts, expected);
    store.verify().await.expect("whole");
}
