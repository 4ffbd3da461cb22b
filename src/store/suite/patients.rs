//! What there is of a patient is found with all of its referrals, and kept as long as a hold is on it.

use uuid::Uuid;

use super::Home;
use super::dispatching::{new_dispatch, step};
use super::given::{
    act, admitted, arrives, at, attempt, command, finished, local, message, progress, the_claimed, ubrn,
};
use super::retention::{OLD, all_complete, events_left, messages_left, purge_before, round};
use crate::command::{MessageId, Verdict};
use crate::store::{Admission, DispatchState, Held, LegalHold, PatientDigest, Progress, Store, StoreError};

const ONE: PatientDigest = [1; 32];
const TWO: PatientDigest = [2; 32];

fn about(control_id: &str, patients: &[PatientDigest]) -> Admission {
    Admission { patients: patients.to_vec(), ..message(control_id) }
}

fn refused(control_id: &str, patients: &[PatientDigest]) -> Admission {
    let refused = about(control_id, patients).with_event("MessageRejected");
    Admission { verdict: Verdict::Rejected, ..refused }
}

/// In pages of two.
async fn found(store: &dyn Store, patient: PatientDigest) -> Vec<MessageId> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let page = store.messages_of_patient(patient, after, 2).await.expect("read");
        let Some(last) = page.last() else { return found };
        assert!(page.len() <= 2 && last.number > after, "{page:?}");
        after = last.number;
        found.extend(page.iter().map(|placed| placed.id));
    }
}

fn hold(on: Held) -> LegalHold {
    LegalHold { id: super::given::new_id(), on, at: at(100), by: "j.smith".into() }
}

async fn purge(store: &dyn Store) -> (u64, u64) {
    let purged = round(store, crate::store::Purge { keep_unconfirmed: false, ..purge_before(OLD) }).await.0;
    (purged.messages, purged.events)
}

pub(crate) async fn what_mentions_a_patient_is_found_with_all_of_its_referrals(home: &dyn Home) {
    let store = home.open().await;
    let first = admitted(&*store, about("M1", &[ONE]).with(command(&[local("r1")]))).await;
    let other = admitted(&*store, about("M2", &[TWO]).with(command(&[local("r2")]))).await;
    // Names only the referral.
    let follows = admitted(&*store, about("M3", &[]).with(command(&[local("r1")]))).await;
    let refused = admitted(&*store, refused("M4", &[ONE, TWO])).await;
    // In a thread of its own, which is that of the referral as soon as its UBRN is known.
    let by_ubrn = admitted(&*store, about("M5", &[]).with(command(&[ubrn("000000070000")]))).await;
    assert_eq!(found(&*store, ONE).await, [first, follows, refused]);
    let claimed = store.claim(super::given::claim(10, 0)).await.expect("claimed");
    let of = |id: MessageId| claimed.iter().find(|one| one.message == id).expect("it runs");
    store
        .record(Progress { aliases: vec![ubrn("000000070000")], ..progress(of(first)) })
        .await
        .expect("threads are merged");
    assert_eq!(found(&*store, ONE).await, [first, follows, refused, by_ubrn]);
    assert_eq!(found(&*store, TWO).await, [other, refused]);
    assert_eq!(found(&*store, [3; 32]).await, [] as [MessageId; 0]);
    drop(store);
    home.prove().await;
}

pub(crate) async fn an_answer_that_mentions_a_patient_leads_to_its_message(home: &dyn Home) {
    let store = home.open().await;
    let asks = admitted(&*store, about("M1", &[]).with(command(&[local("r1")]))).await;
    let running = the_claimed(&*store).await;
    let read = attempt(false);
    let mut answer = finished(&read);
    answer.patients = vec![ONE, TWO];
    let step = Progress { started: Some(read), finished: Some(answer.clone()), ..progress(&running) };
    store.record(step).await.expect("recorded");
    // The same again, by another call.
    let again = attempt(false);
    let answer = crate::store::FinishedAttempt { id: again.id, ..answer };
    let step = Progress { started: Some(again), finished: Some(answer), ..progress(&running) };
    store.record(step).await.expect("recorded");
    for patient in [ONE, TWO] {
        assert_eq!(found(&*store, patient).await, [asks]);
    }
}

pub(crate) async fn what_is_held_outlives_every_purge_until_it_is_lifted(home: &dyn Home) {
    let store = home.open().await;
    let held = admitted(&*store, about("M1", &[ONE]).with(command(&[local("r1")])).with_event("Notice")).await;
    let other = admitted(&*store, about("M2", &[TWO]).with(command(&[local("r2")])).with_event("Notice")).await;
    let follows = admitted(&*store, about("M3", &[]).with(command(&[local("r1")])).with_event("Notice")).await;
    let refused = admitted(&*store, refused("M4", &[TWO])).await;
    all_complete(&*store).await;
    let events = events_left(&*store).await;
    let dispatch = crate::store::NewDispatch { event: Some(events[0].position), ..new_dispatch("E1") };
    let sent = dispatch.id;
    store.tell("answers", None, 9, vec![dispatch, new_dispatch("E2")]).await.expect("told");
    store.step_dispatch(step(sent, DispatchState::Delivered)).await.expect("noted");

    let unknown = hold(Held::Message(MessageId(Uuid::nil())));
    assert!(matches!(store.put_legal_hold(unknown, act()).await, Err(StoreError::NotFound)));
    let on_message = hold(Held::Message(follows));
    store.put_legal_hold(on_message.clone(), act()).await.expect("held");
    for (message, is_held) in [(held, true), (other, false), (follows, true), (refused, false)] {
        assert_eq!(store.is_held(message).await.expect("read"), is_held, "{message}");
    }
    assert_eq!(purge(&*store).await, (2, 2), "the other referral, and what was refused");
    assert_eq!(messages_left(&*store).await, [follows, held]);
    assert_eq!(events_left(&*store).await.len(), 2);
    assert_eq!(store.purge_dispatches(at(OLD), 10).await.expect("asked"), 0, "what was told of it stays too");

    // Of a patient: what is there, and what comes.
    let on_patient = hold(Held::Patient(TWO));
    store.put_legal_hold(on_patient.clone(), act()).await.expect("held");
    assert_eq!(store.legal_holds().await.expect("read"), [on_message.clone(), on_patient.clone()]);
    let comes = admitted(&*store, self::refused("M5", &[TWO])).await;
    assert_eq!(purge(&*store).await, (0, 0));
    store.lift_legal_hold(on_message.id, act()).await.expect("lifted");
    assert!(matches!(store.lift_legal_hold(on_message.id, act()).await, Err(StoreError::NotFound)));
    assert_eq!(store.purge_dispatches(at(OLD), 10).await.expect("purged"), 1);
    assert_eq!(purge(&*store).await, (2, 2));
    assert_eq!(messages_left(&*store).await, [comes]);
    store.lift_legal_hold(on_patient.id, act()).await.expect("lifted");
    assert_eq!(purge(&*store).await, (1, 1));
    let acts: Vec<(String, String)> = store
        .audit_log(0, 10)
        .await
        .expect("read")
        .into_iter()
        .map(|entry| (entry.act, entry.subject.rsplit(" on ").next().unwrap_or_default().to_owned()))
        .collect();
    let told = |act: &str, on: &str| (act.to_owned(), on.to_owned());
    let message = format!("message {follows}");
    assert_eq!(
        acts,
        [
            told("put legal hold", &message),
            told("put legal hold", "a patient"),
            told("lift legal hold", &message),
            told("lift legal hold", "a patient"),
        ]
    );
    drop(store);
    home.prove().await;
}

pub(crate) async fn what_older_versions_stored_is_unread_until_it_was_read(home: &dyn Home) {
    let store = home.open().await;
    let first = admitted(&*store, about("M1", &[])).await;
    arrives(&*store, &[local("r1")]).await;
    assert_eq!(store.unread_messages(0, 10).await.expect("read"), [], "also what mentions nobody was read");
    home.tamper("DELETE FROM mention").await;
    let unread = store.unread_messages(0, 10).await.expect("read");
    assert_eq!((unread.len(), unread[0].id), (2, first));
    assert_eq!(store.unread_messages(unread[0].number, 10).await.expect("read"), unread[1..]);
    store.note_mentions(first, vec![ONE]).await.expect("noted");
    store.note_mentions(first, vec![ONE]).await.expect("known");
    store.note_mentions(unread[1].id, Vec::new()).await.expect("noted");
    assert_eq!(store.unread_messages(0, 10).await.expect("read"), []);
    assert_eq!(found(&*store, ONE).await, [first]);
    assert!(matches!(store.note_mentions(MessageId(Uuid::nil()), vec![ONE]).await, Err(StoreError::NotFound)));
}
