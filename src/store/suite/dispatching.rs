//! Messages to hospital systems: answers that are owed, what destinations are told, what becomes of it.

use bytes::Bytes;

use super::Home;
use super::given::{act, admitted, arrives, at, command, ends, failed, local, message, new_id, the_claimed};
use crate::command::{DispatchId, MessageId, State};
use crate::store::{
    DispatchContent, DispatchFilter, DispatchState, DispatchStep, DispatchView, Made, NewDispatch, OwedAnswer, Store,
    StoreError, ToldPlace,
};

const THERE: &str = "northmoor-answers";

fn content(control_id: &str) -> DispatchContent {
    DispatchContent {
        kind: "ACK^I12".into(),
        control_id: control_id.into(),
        bytes: Bytes::from(format!("MSH|^~\\&|ERS||||||ACK^I12|{control_id}\r")),
    }
}

pub(crate) fn new_dispatch(control_id: &str) -> NewDispatch {
    NewDispatch {
        id: DispatchId(new_id()),
        subject: "a message".into(),
        event: None,
        at: at(1),
        made: Made::Message(content(control_id)),
    }
}

fn owed(message: MessageId, outcome_of: MessageId) -> OwedAnswer {
    OwedAnswer { message, outcome_of, destination: THERE.into(), at: at(0) }
}

async fn due(store: &dyn Store) -> Vec<String> {
    let due = store.due_dispatches(THERE, 10).await.expect("read");
    due.into_iter().map(|due| due.content.map_or_else(String::new, |content| content.control_id)).collect()
}

async fn view(store: &dyn Store, id: DispatchId) -> DispatchView {
    store.dispatch(id).await.expect("read").expect("it is there")
}

pub(super) fn step(id: DispatchId, state: DispatchState) -> DispatchStep {
    DispatchStep { id, at: at(5), state, tries: 2, put_off: 1, why: "said so".into() }
}

pub(crate) async fn an_answer_is_due_once_its_outcome_is_known_and_made_once(home: &dyn Home) {
    let store = home.open().await;
    arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    let notice = message("N1");
    let (asked, notice_id) = (running.message, notice.message.id);
    admitted(&*store, notice).await;
    // A repetition of the referral waits for the outcome of the first.
    let repeated = MessageId(new_id());
    for owed in [owed(asked, asked), owed(repeated, asked), owed(notice_id, notice_id)] {
        store.owe_answer(owed.clone()).await.expect("noted");
        store.owe_answer(owed).await.expect("noted once");
    }
    let due_now = store.answers_due(10).await.expect("read");
    assert_eq!(due_now, [owed(notice_id, notice_id)], "of a notice nothing is waited for");

    ends(&*store, &running, failed()).await;
    drop(store);
    let store = home.open().await;
    assert_eq!(store.answers_due(10).await.expect("read").len(), 3);
    let (first, second) = (new_dispatch("A1"), new_dispatch("A2"));
    assert!(store.settle_answer(asked, Some(first), at(2)).await.expect("settled"));
    assert!(!store.settle_answer(asked, Some(new_dispatch("A3")), at(2)).await.expect("asked"), "it was made");
    assert!(store.settle_answer(notice_id, None, at(2)).await.expect("settled"), "its sender wants none");
    assert!(store.settle_answer(repeated, Some(second), at(3)).await.expect("settled"));
    assert!(store.answers_due(10).await.expect("read").is_empty());
    store.owe_answer(owed(asked, asked)).await.expect("noted");
    assert!(store.answers_due(10).await.expect("read").is_empty(), "a resend is owed nothing more");
    assert_eq!(due(&*store).await, ["A1", "A2"]);
}

pub(crate) async fn a_destination_is_told_each_event_once(home: &dyn Home) {
    let store = home.open().await;
    assert_eq!(store.told_up_to(THERE).await.expect("read"), None);
    assert!(store.tell(THERE, None, 7, Vec::new()).await.expect("told"));
    assert!(!store.tell(THERE, None, 8, vec![new_dispatch("E0")]).await.expect("asked"), "it is not new");
    assert!(store.tell(THERE, Some(7), 9, vec![new_dispatch("E1"), new_dispatch("E2")]).await.expect("told"));
    assert!(!store.tell(THERE, Some(7), 9, vec![new_dispatch("E1")]).await.expect("asked"), "another was faster");
    drop(store);
    let store = home.open().await;
    assert_eq!(store.told_up_to(THERE).await.expect("read"), Some(9));
    assert_eq!(store.told_up_to("elsewhere").await.expect("read"), None);
    assert_eq!(due(&*store).await, ["E1", "E2"]);
    for (destination, control_id, was) in [(THERE, "E1", true), (THERE, "E3", false), ("elsewhere", "E1", false)] {
        assert_eq!(
            store.was_dispatched(destination, control_id).await.expect("read"),
            was,
            "{destination} {control_id}"
        );
    }
}

pub(crate) async fn a_destination_that_left_is_known_until_it_is_told_again(home: &dyn Home) {
    let store = home.open().await;
    store.leave_told(THERE, at(1)).await.expect("nothing to note");
    assert_eq!(store.told().await.expect("read"), [], "it was never told");
    store.tell(THERE, None, 7, Vec::new()).await.expect("told");
    store.tell("elsewhere", None, 8, Vec::new()).await.expect("told");
    store.leave_told(THERE, at(2)).await.expect("noted");
    store.leave_told(THERE, at(3)).await.expect("noted before");
    drop(store);
    let store = home.open().await;
    let place = |destination: &str, position, left_at| ToldPlace { destination: destination.into(), position, left_at };
    let told = store.told().await.expect("read");
    assert_eq!(told, [place("elsewhere", 8, None), place(THERE, 7, Some(at(2)))]);
    assert!(store.tell(THERE, Some(7), 9, Vec::new()).await.expect("told"));
    assert_eq!(store.told().await.expect("read")[1], place(THERE, 9, None));
}

pub(crate) async fn what_is_delivered_leaves_and_what_is_refused_waits_for_a_person(home: &dyn Home) {
    let store = home.open().await;
    let (one, two, three) = (new_dispatch("E1"), new_dispatch("E2"), new_dispatch("E3"));
    let (one_id, two_id, three_id) = (one.id, two.id, three.id);
    let unmade = NewDispatch { made: Made::Unmade("no row".into()), event: Some(4), ..new_dispatch("") };
    let unmade_id = unmade.id;
    store.tell(THERE, None, 9, vec![one, two, three, unmade]).await.expect("told");
    assert_eq!(due(&*store).await, ["E1", "E2", "E3"]);

    store.step_dispatch(step(one_id, DispatchState::Waiting)).await.expect("noted");
    assert_eq!((view(&*store, one_id).await.tries, due(&*store).await.len()), (2, 3), "tried, and still due");
    let put_off = store.due_dispatches(THERE, 1).await.expect("read")[0].put_off;
    assert_eq!(put_off, 1, "one of the two was put off");
    store.step_dispatch(step(one_id, DispatchState::Delivered)).await.expect("noted");
    store.step_dispatch(step(two_id, DispatchState::Refused)).await.expect("noted");
    store.step_dispatch(step(one_id, DispatchState::Refused)).await.expect("noted too late");
    assert_eq!(view(&*store, one_id).await.state, DispatchState::Delivered);
    assert_eq!(due(&*store).await, ["E3"], "one that is refused holds none");
    let refused = view(&*store, two_id).await;
    assert_eq!((refused.state, refused.why.as_str(), refused.changed_at), (DispatchState::Refused, "said so", at(5)));
    assert_eq!(store.dispatch_content(two_id).await.expect("read"), content("E2").bytes);

    let depths = store.dispatch_depths().await.expect("read");
    let count = |state| depths.iter().find(|depth| depth.state == state).map(|depth| depth.count);
    assert_eq!(
        [DispatchState::Waiting, DispatchState::Refused, DispatchState::Unmade, DispatchState::Delivered].map(count),
        [Some(1), Some(1), Some(1), None]
    );
    let listed = |filter| async { store.dispatches(filter).await.expect("read") };
    let all = listed(DispatchFilter { max: 10, ..DispatchFilter::default() }).await;
    assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [unmade_id, three_id, two_id, one_id]);
    let page = DispatchFilter { before: Some(three_id), max: 1, ..DispatchFilter::default() };
    assert_eq!(listed(page).await[0].id, two_id);
    let by_state = DispatchFilter {
        destination: Some(THERE.into()),
        state: Some(DispatchState::Refused),
        max: 10,
        ..DispatchFilter::default()
    };
    assert_eq!(listed(by_state).await.iter().map(|one| one.id).collect::<Vec<_>>(), [two_id]);

    // A person's decisions.
    assert!(matches!(store.replay_dispatch(one_id, act()).await, Err(StoreError::Outdated(_))), "delivered");
    assert!(matches!(store.discard_dispatch(one_id, act()).await, Err(StoreError::Outdated(_))), "delivered");
    assert!(matches!(store.replay_dispatch(DispatchId(new_id()), act()).await, Err(StoreError::NotFound)));
    store.replay_dispatch(two_id, act()).await.expect("replayed");
    let again = store.due_dispatches(THERE, 1).await.expect("read");
    assert_eq!((again[0].tries, again[0].put_off), (0, 0), "counted anew");
    assert_eq!(due(&*store).await, ["E2", "E3"], "before what was made after it");
    store.replay_dispatch(unmade_id, act()).await.expect("replayed");
    let due_now = store.due_dispatches(THERE, 10).await.expect("read");
    assert!((due_now[2].content.is_none(), due_now[2].event) == (true, Some(4)), "to be made anew");
    store.make_dispatch(unmade_id, content("E4")).await.expect("made");
    store.make_dispatch(unmade_id, content("E5")).await.expect("made before");
    assert_eq!(due(&*store).await, ["E2", "E3", "E4"]);
    store.discard_dispatch(three_id, act()).await.expect("given up");
    assert_eq!(due(&*store).await, ["E2", "E4"]);
    let acts: Vec<String> =
        store.audit_log(0, 10).await.expect("read").into_iter().map(|entry| entry.act + " " + &entry.subject).collect();
    assert_eq!(
        acts,
        [
            format!("replay dispatch {two_id}"),
            format!("replay dispatch {unmade_id}"),
            format!("discard dispatch {three_id}")
        ]
    );
    drop(store);
    home.prove().await;
}

pub(crate) async fn what_was_delivered_long_ago_is_purged(home: &dyn Home) {
    let store = home.open().await;
    let (one, two) = (new_dispatch("E1"), new_dispatch("E2"));
    let (delivered, waiting) = (one.id, two.id);
    store.tell(THERE, None, 9, vec![one, two]).await.expect("told");
    store.step_dispatch(step(delivered, DispatchState::Delivered)).await.expect("noted");
    let asked = message("M1").with(command(&[local("r1")]).in_state(State::Shadowed));
    let asked_id = asked.message.id;
    admitted(&*store, asked).await;
    store.owe_answer(owed(asked_id, asked_id)).await.expect("noted");
    assert_eq!(store.purge_dispatches(at(100), 10).await.expect("purged"), 1);
    assert!(store.dispatch(delivered).await.expect("read").is_none());
    assert_eq!(view(&*store, waiting).await.state, DispatchState::Waiting, "however old");
    assert_eq!(store.answers_due(10).await.expect("read").len(), 1, "it is owed still");
    store.settle_answer(asked_id, None, at(4)).await.expect("settled");
    assert_eq!(store.purge_dispatches(at(4), 10).await.expect("purged"), 0, "not before its time");
    assert_eq!(store.purge_dispatches(at(5), 10).await.expect("purged"), 1);
}
