//! What people and metrics see.

use serde_json::json;

use super::Home;
use super::given::{admitted, arrives, at, claimed, command, ends, failed, local, message, the_claimed};
use crate::command::{Class, MessageId, State, Verdict};
use crate::store::{Depth, Hold, MessageFilter, Problem, ProblemFilter, Purge, PurgePlace, Store, TakenAgain};

async fn listed(store: &dyn Store, filter: MessageFilter) -> Vec<MessageId> {
    store.messages(filter).await.expect("listed").into_iter().map(|message| message.id).collect()
}

pub(crate) async fn messages_are_listed_newest_first_by_any_filter(home: &dyn Home) {
    let store = home.open().await;
    let mut ids = Vec::new();
    for number in 0..12_i64 {
        let source = if number % 3 == 0 { "eastvale" } else { "northmoor" };
        let mut sent = message(&format!("M{number}")).from(source).received(number * 600);
        if number % 4 == 1 {
            sent.verdict = Verdict::Rejected;
        } else {
            sent = sent.with(command(&[local(&format!("r{number}"))]));
        }
        ids.push(admitted(&*store, sent).await);
    }
    for running in claimed(&*store, 4).await {
        // The commands of messages 0, 2, 3 and 4.
        ends(&*store, &running, if running.source == "eastvale" { failed() } else { State::Completed }).await;
    }
    let all = || MessageFilter { max: 100, ..MessageFilter::default() };
    let northmoor = || Some("northmoor".to_owned());
    for (name, filter, expected) in [
        ("all", all(), vec![11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("two", MessageFilter { max: 2, ..all() }, vec![11, 10]),
        ("paged", MessageFilter { max: 2, before: Some(ids[10]), ..all() }, vec![9, 8]),
        ("source", MessageFilter { source: northmoor(), ..all() }, vec![11, 10, 8, 7, 5, 4, 2, 1]),
        ("verdict", MessageFilter { verdict: Some(Verdict::Rejected), ..all() }, vec![9, 5, 1]),
        (
            "source and verdict",
            MessageFilter { verdict: Some(Verdict::Rejected), source: northmoor(), ..all() },
            vec![5, 1],
        ),
        (
            "one of a rare kind",
            MessageFilter {
                verdict: Some(Verdict::Rejected),
                source: northmoor(),
                max: 1,
                before: Some(ids[5]),
                ..all()
            },
            vec![1],
        ),
        ("failed", MessageFilter { state: Some("failed".into()), ..all() }, vec![3, 0]),
        ("completed", MessageFilter { state: Some("completed".into()), ..all() }, vec![4, 2]),
        ("queued", MessageFilter { state: Some("queued".into()), ..all() }, vec![11, 10, 8, 7, 6]),
        (
            "queued, paged",
            MessageFilter { state: Some("queued".into()), before: Some(ids[8]), max: 1, ..all() },
            vec![7],
        ),
        (
            "queued, of a source",
            MessageFilter { state: Some("queued".into()), source: northmoor(), ..all() },
            vec![11, 10, 8, 7],
        ),
        ("nothing", MessageFilter { state: Some("in_doubt".into()), ..all() }, vec![]),
        ("control id", MessageFilter { control_id: Some("M6".into()), ..all() }, vec![6]),
        ("unknown control id", MessageFilter { control_id: Some("M99".into()), ..all() }, vec![]),
        ("since", MessageFilter { since: Some(at(6_000)), ..all() }, vec![11, 10]),
        ("until", MessageFilter { until: Some(at(1_200)), ..all() }, vec![1, 0]),
        ("between", MessageFilter { since: Some(at(1_200)), until: Some(at(2_400)), ..all() }, vec![3, 2]),
        ("unknown source", MessageFilter { source: Some("nobody".into()), ..all() }, vec![]),
    ] {
        let expected: Vec<MessageId> = expected.into_iter().map(|index: usize| ids[index]).collect();
        assert_eq!(listed(&*store, filter).await, expected, "{name}");
    }
}

pub(crate) async fn a_command_tells_what_holds_it_and_how_it_came_there(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    let second = arrives(&*store, &[local("r1")]).await;
    let third = arrives(&*store, &[local("r1")]).await;
    for held in [second, third] {
        assert_eq!(store.command(held).await.expect("read").expect("there").held_by, Some(id));
    }
    let view = store.command(id).await.expect("read").expect("there");
    assert_eq!((view.held_by, &view.state, view.name.as_str()), (None, &State::Queued, "CreateReferral"));
    assert_eq!((view.source.as_str(), view.body["priority"].as_str()), ("northmoor", Some("ROUTINE")));
    let transitions = store.transitions(second).await.expect("read");
    assert_eq!((transitions.len(), transitions[0].to.as_str(), transitions[0].at), (1, "queued", at(0)));
    assert!(store.command(crate::command::CommandId(super::given::new_id())).await.expect("read").is_none());
    assert!(store.message(MessageId(super::given::new_id())).await.expect("read").is_none());
}

pub(crate) async fn what_holds_a_cancellation_is_shown_first(home: &dyn Home) {
    let store = home.open().await;
    let mut holders = Vec::new();
    for (thread, follower) in [("r1", "AttachLetters"), ("r2", "CancelReferral"), ("r3", "")] {
        holders.push(arrives(&*store, &[local(thread)]).await);
        if !follower.is_empty() {
            let mut held = command(&[local(thread)]);
            held.name = follower.into();
            admitted(&*store, message("").with(held)).await;
        }
    }
    assert_eq!(store.holds(10).await.expect("read"), [], "what runs, or is ready, holds nothing up");
    for running in claimed(&*store, 10).await {
        ends(&*store, &running, failed()).await;
    }
    let hold = |holder, cancellations| Hold { holder, followers: 1, cancellations };
    assert_eq!(store.holds(10).await.expect("read"), [hold(holders[1], 1), hold(holders[0], 0)]);
    assert_eq!(store.holds(1).await.expect("read"), [hold(holders[1], 1)]);
}

async fn problems(store: &dyn Store) -> Vec<Problem> {
    store.problems(ProblemFilter { max: 100, ..ProblemFilter::default() }).await.expect("grouped")
}

/// Refused for a priority that no table has, and for a second reason where one is named.
fn refused(control_id: &str, priority: &str, other: Option<&str>) -> crate::store::Admission {
    let mut sent = message(control_id);
    sent.verdict = Verdict::Rejected;
    let text = format!("priority code `{priority}` has no row in mappings/codes/northmoor/priority.csv");
    let mut found = vec![json!({ "location": "RF1-2", "code": 103, "text": text })];
    found.extend(other.map(|text| json!({ "location": "PID-3.1", "code": 101, "text": text })));
    sent.message.problems = found.into();
    sent
}

pub(crate) async fn what_fails_for_one_reason_is_one_problem(home: &dyn Home) {
    let store = home.open().await;
    let mut refusals = Vec::new();
    for number in 0..3 {
        let other = (number == 2).then_some("PID-3.1 is required");
        refusals.push(admitted(&*store, refused(&format!("M{number}"), "4", other).received(number * 60)).await);
    }
    admitted(&*store, refused("M9", "9", None).from("eastvale")).await;
    for thread in ["r1", "r2"] {
        arrives(&*store, &[local(thread)]).await;
    }
    for running in claimed(&*store, 10).await {
        ends(&*store, &running, failed()).await;
    }
    let found = problems(&*store).await;
    let told: Vec<_> = found
        .iter()
        .map(|problem| (problem.cause.state.as_str(), problem.cause.source.as_str(), problem.count))
        .collect();
    assert_eq!(told[..2], [("failed", "northmoor", 2), ("rejected", "northmoor", 3)]);
    assert_eq!(told.len(), 4);
    let unmapped = &found[1];
    assert_eq!((unmapped.first, unmapped.last), (at(0), at(120)));
    assert_eq!(unmapped.cause.text, "priority code `4` has no row in mappings/codes/northmoor/priority.csv");
    assert_eq!((unmapped.cause.code.as_str(), unmapped.cause.place.as_deref()), ("103", Some("RF1-2")));
    assert_eq!(
        unmapped.examples.iter().map(|example| example.message).collect::<Vec<_>>(),
        [refusals[2], refusals[1], refusals[0]]
    );
    assert!(found[0].examples.iter().all(|example| example.command.is_some()));
    let of = |cause| MessageFilter { cause: Some(cause), max: 2, ..MessageFilter::default() };
    assert_eq!(listed(&*store, of(unmapped.cause.id)).await, [refusals[2], refusals[1]]);
    let next = MessageFilter { before: Some(refusals[1]), ..of(unmapped.cause.id) };
    assert_eq!(listed(&*store, next).await, [refusals[0]]);
    let failing: Vec<MessageId> = found[0].examples.iter().map(|example| example.message).collect();
    assert_eq!(listed(&*store, of(found[0].cause.id)).await, failing);

    let eastvale = ProblemFilter { source: Some("eastvale".into()), max: 100, ..ProblemFilter::default() };
    assert_eq!(store.problems(eastvale).await.expect("grouped").len(), 1);
    let one = ProblemFilter { cause: Some(unmapped.cause.id), max: 100, ..ProblemFilter::default() };
    assert_eq!(store.problems(one).await.expect("grouped"), std::slice::from_ref(unmapped));
    let late = ProblemFilter { since: Some(at(100)), max: 100, ..ProblemFilter::default() };
    assert_eq!(store.problems(late).await.expect("grouped").len(), 2, "what nobody came to since is left out");
}

pub(crate) async fn messages_are_found_by_referral_and_by_patient(home: &dyn Home) {
    let store = home.open().await;
    let patient = [5; 32];
    let mut first = message("M1").with(command(&[local("r1"), super::given::ubrn("u1")]));
    first.patients = vec![patient];
    let first = admitted(&*store, first).await;
    let second = admitted(&*store, message("M2").received(60).with(command(&[super::given::ubrn("u1")]))).await;
    let mut other = message("M3").received(120).with(command(&[local("r2")]));
    other.patients = vec![[6; 32]];
    let other = admitted(&*store, other).await;
    ends(&*store, &claimed(&*store, 1).await[0], failed()).await;
    let all = || MessageFilter { max: 100, ..MessageFilter::default() };
    let by = |alias| MessageFilter { referral: Some(alias), ..all() };
    let theirs = || MessageFilter { patient: Some(patient), ..all() };
    for (name, filter, expected) in [
        ("local id", by(local("r1")), vec![second, first]),
        ("UBRN", by(super::given::ubrn("u1")), vec![second, first]),
        ("another's", by(local("r2")), vec![other]),
        ("nobody's", by(local("r3")), vec![]),
        ("patient", theirs(), vec![second, first]),
        ("patient, page by page", MessageFilter { max: 1, before: Some(second), ..theirs() }, vec![first]),
        ("patient and state", MessageFilter { state: Some("failed".into()), ..theirs() }, vec![first]),
        ("referral and state", MessageFilter { state: Some("queued".into()), ..by(local("r1")) }, vec![second]),
        ("patient and time", MessageFilter { since: Some(at(30)), ..theirs() }, vec![second]),
        (
            "control id and state",
            MessageFilter { control_id: Some("M1".into()), state: Some("queued".into()), ..all() },
            vec![],
        ),
    ] {
        assert_eq!(listed(&*store, filter).await, expected, "{name}");
    }
    let cause = problems(&*store).await[0].cause.id;
    assert_eq!(listed(&*store, MessageFilter { cause: Some(cause), ..theirs() }).await, [first]);
}

pub(crate) async fn what_is_mended_is_no_problem_any_more(home: &dyn Home) {
    let store = home.open().await;
    let first = admitted(&*store, refused("M1", "4", None)).await;
    admitted(&*store, refused("M2", "4", None)).await;
    let failing = arrives(&*store, &[local("r1")]).await;
    ends(&*store, &the_claimed(&*store).await, failed()).await;
    let mut again = message("again").with(command(&[local("r2")]));
    again.taken_again = Some(TakenAgain { first, edited: false, act: super::given::act() });
    admitted(&*store, again).await;
    store.replay(failing, super::given::act()).await.expect("replayed");
    drop(store);
    let store = home.open().await;
    let found = problems(&*store).await;
    assert_eq!(found.iter().map(|problem| problem.count).collect::<Vec<_>>(), [1], "only the second refusal is left");

    let purge = Purge {
        messages_before: Some(at(10 * 86_400)),
        events_before: None,
        keep_unconfirmed: false,
        told_up_to: 0,
        max: 100,
        from: PurgePlace::START,
    };
    store.purge(purge).await.expect("purged");
    assert_eq!(problems(&*store).await, []);
}

pub(crate) async fn depths_count_what_is_where(home: &dyn Home) {
    let store = home.open().await;
    for (number, source) in ["northmoor", "northmoor", "eastvale"].into_iter().enumerate() {
        let number = i64::try_from(number).expect("three");
        let sent = message("").from(source).received(100 - number).with(command(&[local("r1")]));
        admitted(&*store, sent).await;
    }
    let urgent = message("").received(7).with(command(&[local("r2")]).class(Class::Urgent));
    admitted(&*store, urgent).await;
    let running = store.claim(super::given::claim(1, 0)).await.expect("claimed").remove(0);
    assert_eq!(running.class, Class::Urgent);
    let expected = |state: &str| -> Vec<(String, Class, u64, Option<jiff::Timestamp>)> {
        let (oldest, state) = if state == "completed" { (None, state) } else { (Some(at(7)), state) };
        let mut rows =
            vec![("queued".to_owned(), Class::Routine, 3, Some(at(98))), (state.to_owned(), Class::Urgent, 1, oldest)];
        rows.sort();
        rows
    };
    let counted = |depths: Vec<Depth>| {
        let mut rows: Vec<_> =
            depths.into_iter().map(|depth| (depth.state, depth.class, depth.count, depth.oldest)).collect();
        rows.sort();
        rows
    };
    assert_eq!(counted(store.depths().await.expect("counted")), expected("running"));
    ends(&*store, &running, State::Completed).await;
    drop(store);
    let store = home.open().await;
    assert_eq!(counted(store.depths().await.expect("counted")), expected("completed"));
}

pub(crate) async fn the_queue_is_counted_whole_and_told_in_part(home: &dyn Home) {
    let store = home.open().await;
    for (number, name) in ["r1", "r2", "r3", "r1"].into_iter().enumerate() {
        let number = i64::try_from(number).expect("four");
        admitted(&*store, message("").received(number).with(command(&[local(name)]))).await;
    }
    let urgent = message("").from("eastvale").received(9).with(command(&[local("r9")]).class(Class::Urgent));
    admitted(&*store, urgent).await;
    let running = store.claim(super::given::claim(1, 0)).await.expect("claimed").remove(0);
    let queue = store.queue(4).await.expect("told");
    let mut told: Vec<_> = queue
        .places
        .iter()
        .map(|place| (place.class, format!("{:?}", place.standing), &*place.source, place.count, place.commands.len()))
        .collect();
    told.sort();
    let expected = [
        (Class::Urgent, "Running".to_owned(), "eastvale", 1, 1),
        (Class::Routine, "Held".to_owned(), "northmoor", 1, 1),
        (Class::Routine, "Ready".to_owned(), "northmoor", 3, 2),
    ];
    assert_eq!(told, expected);
    let ready = queue.places.iter().find(|place| place.count == 3).expect("told");
    assert_eq!((ready.newest, ready.commands[0].received_at), (at(2), at(0)));
    let held = queue.places.iter().find(|place| place.class == Class::Routine && place.count == 1).expect("told");
    assert_eq!(held.commands[0].thread, ready.commands[0].thread);
    assert!(held.commands[0].number > ready.commands[1].number && held.commands[0].name == "CreateReferral");
    ends(&*store, &running, State::Completed).await;
    assert_eq!(store.queue(4).await.expect("told").places.len(), 2, "what has ended is not of the queue");
}

pub(crate) async fn bells_ring_after_the_commit(home: &dyn Home) {
    let store = home.open().await;
    let signals = store.signals().clone();
    let mut settled = signals.settled.subscribe();
    let rung = signals.commands.notified();
    arrives(&*store, &[local("r1")]).await;
    rung.await;
    let (id, running) = (arrives(&*store, &[local("r1")]).await, the_claimed(&*store).await);
    let mut done = super::given::into_state(&running, State::Completed);
    done.events.push(super::given::event("ReferralCreated"));
    // Permits of before are taken, so that what rings is the step.
    let next = signals.commands.notified();
    tokio::pin!(next);
    next.as_mut().enable();
    let outbox = signals.outbox.notified();
    store.record(done).await.expect("recorded");
    outbox.await;
    next.await;
    assert_eq!(settled.recv().await.expect("told").command, running.id);
    assert_eq!(the_claimed(&*store).await.id, id);
}
