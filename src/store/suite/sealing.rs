//! Encryption at rest: what stands in the store tells nobody anything, and all of it opens for who has the key.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::Home;
use super::given::{
    act, admitted, arrives, at, attempt, claim, claimed, command, ends, local, message, new_id, progress, state_of,
    the_claimed, ubrn,
};
use crate::command::{AttemptId, CommandId, DispatchId, MessageId, State};
use crate::store::{
    Admitted, DispatchContent, Finding, FinishedAttempt, Made, NewAttempt, NewDispatch, NewEvent, Progress,
    SealedSecret, Sealing, Snapshot, Store, StoreError, why_unreadable,
};

/// What each sealed column holds of, once, in this order: none of it may be found.
const MARKS: [&str; 15] = [
    "MarkInRaw",
    "MarkInLongRaw",
    "MarkInAcknowledgement",
    "MarkInDocument",
    "MarkInBody",
    "MarkInPlan",
    "MarkInLocalId",
    "MarkInKnown",
    "MarkInRequest",
    "MarkInResponse",
    "MarkInEvent",
    "MarkInFetched",
    "MarkInDispatch",
    "MarkInSnapshot",
    "MarkInSecret",
];

/// Long enough to be in chunks, with its mark at the end of the second.
fn long() -> Bytes {
    let mut long = vec![b'.'; 400 << 10];
    long.extend_from_slice(b"MarkInLongRaw");
    long.into()
}

struct Filled {
    short: MessageId,
    long: MessageId,
    command: CommandId,
    attempt: AttemptId,
    dispatch: DispatchId,
}

/// Everything that can be marked, under names that end with `name`.
async fn fill(store: &dyn Store, name: &str) -> Filled {
    let mut short = message(&format!("short-{name}")).with_document(1, Bytes::from_static(b"MarkInDocument"));
    short.message.raw = Bytes::from_static(b"MSH|^~\\&|MarkInRaw\r");
    short.acknowledgement = Bytes::from_static(b"MSA|AA|MarkInAcknowledgement\r");
    let mut made = command(&[local(name)]);
    made.body = json!({"note": "MarkInBody", "localId": "MarkInLocalId", "patient": {"nhsNumber": name}});
    let (message, command) = (short.message.id, made.id);
    admitted(store, short.with(made)).await;
    let mut other = super::given::message(&format!("long-{name}"));
    other.message.raw = long();
    let other = admitted(store, other).await;
    let claim = the_claimed(store).await;
    let attempt = AttemptId(new_id());
    let id = crate::command::EventId(new_id());
    store
        .record(Progress {
            plan: Some(json!({"secret": "MarkInPlan"})),
            started: Some(NewAttempt {
                id: attempt,
                step: "read".into(),
                call: "A005".into(),
                is_write: false,
                correlation_id: "c".into(),
                request: Arc::new(json!("MarkInRequest")),
            }),
            finished: Some(FinishedAttempt {
                id: attempt,
                status: Some(200),
                outcome: "ok".into(),
                duration_ms: 7,
                response: Arc::new(json!("MarkInResponse")),
                patients: Vec::new(),
            }),
            known: Some(json!({"ubrn": "MarkInKnown"})),
            events: vec![NewEvent {
                id,
                name: "ReferralCreated".into(),
                at: at(1),
                source: "northmoor".into(),
                subject: command.to_string(),
                data: json!({"note": "MarkInEvent"}),
            }],
            ..Progress::of(claim.id, claim.fence, at(1))
        })
        .await
        .expect("recorded");
    store.keep_fetched(command, attempt, 0, Bytes::from_static(b"MarkInFetched")).await.expect("kept");
    ends(store, &claim, State::Completed).await;
    let dispatch = DispatchId(new_id());
    let content = DispatchContent {
        kind: "SRM^S01".into(),
        control_id: name.into(),
        bytes: Bytes::from_static(b"MarkInDispatch"),
    };
    let told = NewDispatch { id: dispatch, subject: "s".into(), event: None, made: Made::Message(content), at: at(2) };
    let destination = format!("pas-{name}");
    assert!(store.tell(&destination, None, 1, vec![told]).await.expect("told"));
    let content = Bytes::from_static(b"MarkInSnapshot");
    let (watch, service) = (name.to_owned(), "20001".to_owned());
    let snapshot = Snapshot { watch, service, version: 1, by: command, at: at(2), content };
    assert!(store.save_snapshot(snapshot).await.expect("saved"));
    let sealed = Bytes::from_static(b"MarkInSecret");
    let (connection, kind) = (name.to_owned(), "refresh_token".to_owned());
    store.save_secret(SealedSecret { connection, kind, version: 1, sealed, at: at(2) }, None).await.expect("saved");
    Filled { short: message, long: other, command, attempt, dispatch }
}

/// Reads all of it.
async fn opens(store: &dyn Store, name: &str, filled: &Filled) {
    let Filled { short, long: other, command, attempt, dispatch } = filled;
    let raw = store.read_message(*short, 0..u64::MAX).await.expect("read");
    assert_eq!(raw, "MSH|^~\\&|MarkInRaw\r");
    assert_eq!(store.read_message(*short, 9..18).await.expect("read"), "MarkInRaw");
    assert_eq!(store.read_message(*other, 0..u64::MAX).await.expect("read"), long());
    assert_eq!(store.read_document(*short, 1, 0..u64::MAX).await.expect("read"), "MarkInDocument");
    let view = store.message(*short).await.expect("read").expect("there");
    assert_eq!((view.acknowledgement, view.size), (Bytes::from_static(b"MSA|AA|MarkInAcknowledgement\r"), 19));
    let view = store.command(*command).await.expect("read").expect("there");
    assert_eq!(view.body["note"], "MarkInBody");
    assert_eq!(view.plan, json!({"secret": "MarkInPlan"}));
    assert_eq!(view.known, json!({"ubrn": "MarkInKnown"}));
    let attempts = store.attempts(*command).await.expect("read");
    assert_eq!((&attempts[0].request, &attempts[0].response), (&json!("MarkInRequest"), &json!("MarkInResponse")));
    let events = store.events_after(0, 1000).await.expect("read");
    assert!(events.iter().any(|event| event.subject == command.to_string() && event.data["note"] == "MarkInEvent"));
    let fetched = store.fetched(*command, *attempt, 0).await.expect("read");
    assert_eq!(fetched, Some(Bytes::from_static(b"MarkInFetched")));
    assert_eq!(store.dispatch_content(*dispatch).await.expect("read"), "MarkInDispatch");
    assert_eq!(store.dispatch(*dispatch).await.expect("read").expect("there").size, 14);
    let snapshot = store.snapshot(name, "20001").await.expect("read").expect("there");
    assert_eq!(snapshot.content, "MarkInSnapshot");
    let secret = store.load_secret(name, "refresh_token").await.expect("read").expect("there");
    assert_eq!(secret.sealed, "MarkInSecret");
}

async fn found(home: &dyn Home) -> Vec<&'static str> {
    let bytes = home.everything().await;
    let stands = |mark: &&str| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    MARKS.into_iter().filter(stands).collect()
}

fn in_clear(home: &dyn Home) -> Sealing {
    Sealing { encrypt: false, ..Sealing::with(home.keys("gateway")) }
}

async fn opened(home: &dyn Home, sealing: Sealing) -> Arc<dyn Store> {
    home.open_with(Some(sealing)).await.expect("opened")
}

pub(crate) async fn nothing_that_is_sealed_stands_in_the_store(home: &dyn Home) {
    let store = home.open().await;
    let filled = fill(&*store, "one").await;
    opens(&*store, "one", &filled).await;
    assert!(found(home).await.is_empty(), "while it is open: {:?}", found(home).await);
    drop(store);
    assert!(found(home).await.is_empty(), "{:?}", found(home).await);
    opens(&*home.open().await, "one", &filled).await;
    home.prove().await;
    // That the marks would be found, if they stood there.
    home.begin_anew().await;
    let store = opened(home, in_clear(home)).await;
    let filled = fill(&*store, "one").await;
    opens(&*store, "one", &filled).await;
    drop(store);
    assert_eq!(found(home).await, MARKS);
}

pub(crate) async fn what_stood_in_clear_is_sealed_step_by_step(home: &dyn Home) {
    let store = opened(home, in_clear(home)).await;
    let first = fill(&*store, "one").await;
    assert!(store.renew().await.expect("asked").is_none(), "it seals nothing");
    drop(store);
    let store = home.open().await;
    let second = fill(&*store, "two").await;
    for (name, filled) in [("one", &first), ("two", &second)] {
        opens(&*store, name, filled).await;
    }
    assert!(store.encryption().await.expect("asked").renewing);
    // A crash after some steps; others write and read meanwhile.
    for _ in 0..3 {
        assert!(!store.renew().await.expect("renewed").expect("something to do").ended);
    }
    drop(store);
    let store = home.open().await;
    let third = fill(&*store, "three").await;
    let mut values = 0;
    loop {
        let step = store.renew().await.expect("renewed").expect("something to do");
        values += step.values;
        if step.ended {
            break;
        }
    }
    assert!(values > 5, "{values}");
    assert!(store.renew().await.expect("asked").is_none(), "all of it is done");
    assert!(!store.encryption().await.expect("asked").renewing);
    for (name, filled) in [("one", &first), ("two", &second), ("three", &third)] {
        opens(&*store, name, filled).await;
    }
    drop(store);
    assert!(found(home).await.is_empty(), "{:?}", found(home).await);
    home.prove().await;
}

pub(crate) async fn a_value_that_was_moved_does_not_open(home: &dyn Home) {
    let store = home.open().await;
    let one = fill(&*store, "one").await;
    let two = fill(&*store, "two").await;
    drop(store);
    home.tamper(
        "UPDATE message SET raw = (SELECT m.raw FROM message m WHERE m.control_id = 'short-one')
         WHERE control_id = 'short-two'",
    )
    .await;
    home.tamper(&format!("UPDATE command SET plan = body WHERE id = {}", home.id(two.command.0))).await;
    let store = home.open().await;
    opens(&*store, "one", &one).await;
    assert!(matches!(store.read_message(two.short, 0..u64::MAX).await, Err(StoreError::Damaged(_))));
    let view = store.command(two.command).await.expect("read").expect("there");
    assert_eq!(view.body["note"], "MarkInBody");
    assert!(why_unreadable(&view.plan).is_some_and(|why| why.contains("does not open in its place")), "{}", view.plan);
    assert!(matches!(store.verify().await, Err(StoreError::Damaged(_))), "proof finds it");
}

pub(crate) async fn what_cannot_be_read_harms_itself_alone(home: &dyn Home) {
    let store = home.open().await;
    let first = arrives(&*store, &[local("known")]).await;
    let known = Some(json!({"ubrn": "000000070000"}));
    let running = the_claimed(&*store).await;
    store.record(Progress { known, ..progress(&running) }).await.expect("recorded");
    ends(&*store, &running, State::Completed).await;
    let doubtful = arrives(&*store, &[local("sent")]).await;
    let running = the_claimed(&*store).await;
    let sending = Progress { started: Some(attempt(true)), plan: Some(json!({"wrote": false})), ..progress(&running) };
    store.record(sending).await.expect("recorded");
    let follower = arrives(&*store, &[local("known")]).await;
    let broken = arrives(&*store, &[local("broken")]).await;
    let mut made = command(&[local("whole")]);
    made.body = json!({"localId": "NM-7"});
    let whole = made.id;
    let answered = admitted(&*store, message("answered").with(made).with_event("ReferralReceived")).await;
    admitted(&*store, message("also").with_event("ReferralReceived")).await;
    for (from, control_id, to) in [(None, "first", 1), (Some(1), "second", 2)] {
        let (kind, control_id) = ("SRM^S01".into(), control_id.to_owned());
        let content = DispatchContent { kind, bytes: control_id.clone().into(), control_id };
        let (id, subject, made) = (DispatchId(new_id()), "s".into(), Made::Message(content));
        let told = NewDispatch { id, subject, event: None, made, at: at(2) };
        assert!(store.tell("pas", from, to, vec![told]).await.expect("told"));
    }
    drop(store);
    home.tamper(&format!(
        "UPDATE dispatch SET content = (SELECT d.content FROM dispatch d WHERE d.control_id = 'second')
           WHERE control_id = 'first';
         UPDATE command SET body = (SELECT c.body FROM command c WHERE c.id = {}) WHERE id = {};
         UPDATE command SET plan = '{{cut' WHERE id = {};
         UPDATE thread SET known = '{{cut' WHERE known IS NOT NULL;
         UPDATE message SET acknowledgement = (SELECT m.acknowledgement FROM message m WHERE m.control_id = 'also')
           WHERE control_id = 'answered';
         UPDATE outbox SET data = (SELECT o.data FROM outbox o WHERE o.position = 2) WHERE position = 1",
        home.id(whole.0),
        home.id(broken.0),
        home.id(doubtful.0),
    ))
    .await;

    let store = home.open().await;
    assert_eq!(store.recover(at(10)).await.expect("recovered").in_doubt, 1);
    let mut leased = store.claim(claim(10, 10)).await.expect("claimed");
    leased.sort_by_key(|command| command.id);
    let unreadable: Vec<_> = leased.iter().map(|one| (one.id, one.unreadable().map(|(part, _)| part))).collect();
    let of = |id, part| (id, Some(part));
    assert_eq!(
        unreadable,
        [of(doubtful, "progress"), of(follower, "knowledge of its referral"), of(broken, "command"), (whole, None)]
    );
    // What a person then does about them.
    let (why, held) = (crate::command::Failure { code: "UNREADABLE".into(), text: "no".into() }, &leased[2]);
    ends(&*store, held, State::Failed { why }).await;
    store.discard(broken, act()).await.expect("discarded");
    let looked = State::InDoubt { step: "create".into(), since: at(1), look_at: None };
    ends(&*store, &leased[0], looked).await;
    let decided = store.decide(doubtful, Finding::default(), act()).await;
    assert!(matches!(&decided, Err(StoreError::Outdated(why)) if why.contains("discard it")), "{decided:?}");
    let plan = store.command(doubtful).await.expect("read").expect("there").plan;
    assert!(why_unreadable(&plan).is_some(), "how far it came is not forgotten: {plan}");
    store.discard(doubtful, act()).await.expect("discarded");
    assert_eq!(state_of(&*store, doubtful).await, State::Discarded);
    // What names it and another thread is taken in, and nothing of both is sent.
    let (other, both) = (arrives(&*store, &[ubrn("known")]).await, [local("known"), ubrn("known")]);
    arrives(&*store, &both).await;
    let merged = store.command(other).await.expect("read").expect("there");
    assert!(why_unreadable(&merged.known).is_some(), "{}", merged.known);
    assert_eq!(store.commands_of(answered).await.expect("read").len(), 1);
    assert_eq!(state_of(&*store, first).await, State::Completed);

    let events = store.unconfirmed(0, 10).await.expect("read");
    let unreadable: Vec<bool> = events.iter().map(|event| why_unreadable(&event.data).is_some()).collect();
    assert_eq!(unreadable, [true, false, false], "{events:?}");
    assert_eq!(events[2].name, "CommandInDoubt");
    let due = store.due_dispatches("pas", 10).await.expect("read");
    let sent: Vec<_> = due.iter().map(|due| due.content.as_ref().map(|content| content.bytes.clone())).collect();
    assert_eq!(sent, [None, Some(Bytes::from_static(b"second"))], "it is made anew, or set aside");
    let again = store.admit(message("answered")).await.expect("asked");
    assert!(matches!(&again, Admitted::Resend { acknowledgement, .. } if acknowledgement.is_empty()), "{again:?}");
    assert!(store.message(answered).await.expect("read").expect("there").acknowledgement.is_empty());
    while store.renew().await.expect("renewed").is_some() {}
    assert!(matches!(store.verify().await, Err(StoreError::Damaged(_))), "proof finds it");
}

pub(crate) async fn only_the_key_of_a_store_opens_it(home: &dyn Home) {
    let store = home.open().await;
    fill(&*store, "one").await;
    drop(store);
    let another = home.open_with(Some(Sealing::with(home.keys("another")))).await;
    assert!(matches!(another.err(), Some(StoreError::Locked(_))));
    assert!(matches!(home.open_with(None).await.err(), Some(StoreError::Locked(_))));
    home.prove().await;
}

pub(crate) async fn a_change_in_the_middle_of_a_renewal_leaves_nothing_to_the_old_data_key(home: &dyn Home) {
    let new = home.keys("another");
    let store = opened(home, in_clear(home)).await;
    let filled = fill(&*store, "one").await;
    drop(store);
    let store = home.open().await;
    // The first tables are walked already.
    for _ in 0..4 {
        assert!(store.renew().await.expect("renewed").is_some_and(|step| !step.ended));
    }
    store.add_master(&new).await.expect("added");
    drop(store);
    home.tamper("UPDATE data_key SET used_from = 0").await;
    let store = opened(home, Sealing::with(new.clone())).await;
    while store.renew().await.expect("renewed").is_some() {}
    store.keep_only(new.fingerprint()).await.expect("all is renewed");
    drop(store);
    home.tamper("DELETE FROM data_key WHERE number = 1").await;
    let store = opened(home, Sealing::with(new)).await;
    opens(&*store, "one", &filled).await;
    store.verify().await.expect("whole");
}

pub(crate) async fn the_master_key_is_changed_while_the_store_is_used(home: &dyn Home) {
    let (old, new) = (home.keys("gateway"), home.keys("another"));
    let store = home.open().await;
    let digest = |store: &dyn Store| store.keys().expect("opened with keys").given_digest(&["known again"]);
    let before = digest(&*store);
    let first = fill(&*store, "one").await;
    while store.renew().await.expect("renewed").is_some() {}
    store.add_master(&new).await.expect("added");
    store.add_master(&new).await.expect("a second time does nothing");
    assert!(
        matches!(store.add_master(&home.keys("third")).await, Err(StoreError::Outdated(_))),
        "one change at a time"
    );
    let second = fill(&*store, "two").await;
    store.look_at_keys(&old).await.expect("looked");
    let view = store.encryption().await.expect("asked");
    assert_eq!((view.masters, view.current, view.keys.len()), (2, Some(1), 2), "the new data key waits to be known");
    assert!(view.renewing && store.renew().await.expect("asked").is_none(), "until then nothing is renewed");
    assert!(matches!(store.keep_only(new.fingerprint()).await, Err(StoreError::Outdated(_))));
    drop(store);
    home.tamper("UPDATE data_key SET used_from = 0").await;
    // An instance that has the old master key still, and one that has the new one already.
    let store = opened(home, Sealing::with(old.clone())).await;
    let third = fill(&*store, "three").await;
    drop(store);
    let store = opened(home, Sealing::with(new.clone())).await;
    assert_eq!(digest(&*store), before, "digests stay");
    assert_eq!(store.encryption().await.expect("asked").current, Some(2));
    let mut ended = false;
    while let Some(step) = store.renew().await.expect("renewed") {
        ended |= step.ended;
    }
    assert!(ended);
    let wrong = store.keep_only(old.fingerprint()).await;
    assert!(matches!(wrong, Err(StoreError::Outdated(_))), "the key that is to go is not kept: {wrong:?}");
    store.keep_only(new.fingerprint()).await.expect("nothing needs the old one");
    let view = store.encryption().await.expect("asked");
    assert_eq!((view.masters, view.keys.len()), (1, 2), "data keys stay");
    home.tamper("DELETE FROM data_key WHERE number = 1").await;
    store.look_at_keys(&new).await.expect("looked");
    for (name, filled) in [("one", &first), ("two", &second), ("three", &third)] {
        opens(&*store, name, filled).await;
    }
    drop(store);
    assert!(matches!(home.open_with(Some(Sealing::with(old))).await.err(), Some(StoreError::Locked(_))));
    let store = opened(home, Sealing::with(new)).await;
    opens(&*store, "one", &first).await;
}

pub(crate) async fn what_the_gateway_decides_about_a_sealed_command_is_told_in_its_own_words(home: &dyn Home) {
    let store = home.open().await;
    let filled = fill(&*store, "one").await;
    let mut made = command(&[local("two")]);
    made.body = json!({"localId": "NM-7", "patient": {"nhsNumber": "9990000018"}});
    let id = made.id;
    admitted(&*store, message("two").with(made)).await;
    let open = store.open_for_patients(vec!["9990000018".into()]).await.expect("asked");
    assert_eq!(open.iter().map(|open| open.id).collect::<Vec<_>>(), [id]);
    let why = crate::command::Failure { code: "HELD".into(), text: "held".into() };
    store.hold(id, why, act()).await.expect("held");
    let events = store.events_after(0, 1000).await.expect("read");
    let told = events.iter().find(|event| event.subject == id.to_string()).expect("told");
    assert_eq!((&told.data["localId"], &told.data["code"]), (&json!("NM-7"), &json!("HELD")));
    assert!(claimed(&*store, 10).await.is_empty());
    opens(&*store, "one", &filled).await;
}
