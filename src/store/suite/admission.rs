//! Resends, and admissions that share a commit.

use futures_util::future::join_all;

use super::Home;
use super::given::{admitted, at, claimed_ids, command, local, message};
use crate::store::{Admitted, MessageFilter, StoreError};

pub(crate) async fn a_resend_gets_the_first_answer(home: &dyn Home) {
    let store = home.open().await;
    let first = admitted(&*store, message("M1").with(command(&[local("r1")]))).await;
    drop(store);
    let store = home.open().await;
    let mut again = message("M1").with(command(&[local("r1")]));
    again.acknowledgement = "made anew".into();
    match store.admit(again).await.expect("answered") {
        Admitted::Resend { stored, acknowledgement, message } => {
            assert_eq!(acknowledgement, "MSA|AA|M1");
            assert_eq!((stored.id(), message), (first, first));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.messages(MessageFilter { max: 10, ..MessageFilter::default() }).await.expect("listed").len(), 1);
    assert_eq!(claimed_ids(&*store, 10).await.len(), 1);
    // The same control id of another source is another message.
    admitted(&*store, message("M1").from("eastvale")).await;
}

pub(crate) async fn a_control_id_with_other_content_stores_nothing(home: &dyn Home) {
    let store = home.open().await;
    let first = admitted(&*store, message("M1")).await;
    let mut other = message("M1").with(command(&[local("r1")])).with_event("Notice");
    other.message.sha256 = [8; 32];
    match store.admit(other).await.expect("answered") {
        Admitted::ControlIdReused { message } => assert_eq!(message, first),
        other => panic!("{other:?}"),
    }
    assert!(claimed_ids(&*store, 10).await.is_empty());
    assert_eq!(store.last_position().await.expect("read"), 0);
    assert!(store.find_thread(&local("r1")).await.expect("read").is_none());
}

pub(crate) async fn without_a_control_id_nothing_is_a_resend(home: &dyn Home) {
    let store = home.open().await;
    let (one, two) = (admitted(&*store, message("")).await, admitted(&*store, message("")).await);
    assert_ne!(one, two);
}

pub(crate) async fn one_failing_admission_spoils_no_neighbour(home: &dyn Home) {
    let store = home.open().await;
    let taken = admitted(&*store, message("taken")).await;
    let admissions = (0..40).map(|number| {
        let mut admission = message(&format!("M{number}")).with(command(&[local(&format!("r{number}"))]));
        if number % 10 == 3 {
            // Fails halfway: its commands are written before its message, whose identifier is taken.
            admission.message.id = taken;
        }
        store.admit(admission)
    });
    for (number, outcome) in join_all(admissions).await.into_iter().enumerate() {
        match (number % 10, outcome) {
            (3, Err(StoreError::Outdated(_))) | (0..=2 | 4..=9, Ok(Admitted::New { .. })) => {}
            (_, outcome) => panic!("{number}: {outcome:?}"),
        }
    }
    assert_eq!(claimed_ids(&*store, 100).await.len(), 36);
    let listed = store.messages(MessageFilter { max: 100, ..MessageFilter::default() }).await.expect("listed");
    assert_eq!(listed.len(), 37);
    // What failed left nothing behind: it can be sent again.
    admitted(&*store, message("M3").with(command(&[local("r3")]))).await;
}

pub(crate) async fn that_a_sender_got_its_answer_is_noted_once(home: &dyn Home) {
    let store = home.open().await;
    let id = admitted(&*store, message("M1")).await;
    assert_eq!(store.message(id).await.expect("read").expect("there").acknowledged_at, None);
    store.acknowledged(vec![(id, at(3))]).await.expect("noted");
    let unknown = crate::command::MessageId(super::given::new_id());
    store.acknowledged(vec![(unknown, at(8)), (id, at(9))]).await.expect("noted before");
    assert_eq!(store.message(id).await.expect("read").expect("there").acknowledged_at, Some(at(3)));
}
