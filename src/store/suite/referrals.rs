//! Referrals that are sent twice (`design.md` section 9, *resent with a change*).

use super::Home;
use super::given::{
    act, admitted, at, claimed, claimed_ids, command, ends, local, message, state_of, the_claimed, ubrn,
};
use crate::command::{State, Verdict};
use crate::events::EventSchemas;
use crate::store::{Admitted, Store, StoreError};

async fn verdict_of(store: &dyn Store, message: crate::command::MessageId) -> Verdict {
    store.message(message).await.expect("read").expect("there").verdict
}

pub(crate) async fn the_same_referral_under_a_new_control_id_is_a_duplicate(home: &dyn Home) {
    let store = home.open().await;
    let first = command(&[local("r1")]).creating(1);
    let first_id = first.id;
    admitted(&*store, message("M1").with(first)).await;
    for (control_id, is_finished) in [("M2", false), ("M3", true)] {
        if is_finished {
            let running = the_claimed(&*store).await;
            ends(&*store, &running, State::Completed).await;
        }
        match store.admit(message(control_id).with(command(&[local("r1")]).creating(1))).await.expect("admitted") {
            Admitted::New { stored, repeats } => {
                assert_eq!(repeats, Some(first_id));
                assert_eq!(verdict_of(&*store, stored.id()).await, Verdict::Duplicate);
                assert!(store.commands_of(stored.id()).await.expect("read").is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(claimed(&*store, 10).await.is_empty());
}

pub(crate) async fn a_changed_referral_waits_for_a_person(home: &dyn Home) {
    let store = home.open().await;
    let first = command(&[local("r1")]).creating(1);
    let first_id = first.id;
    admitted(&*store, message("M1").with(first)).await;
    let changed = command(&[local("r1")]).creating(2);
    let changed_id = changed.id;
    let id = admitted(&*store, message("M2").with(changed).received(5)).await;
    assert_eq!(verdict_of(&*store, id).await, Verdict::Accepted);
    match state_of(&*store, changed_id).await {
        State::Failed { why } => assert_eq!(why.code, "RESENT_WITH_A_CHANGE"),
        other => panic!("{other:?}"),
    }
    let transitions = store.transitions(changed_id).await.expect("read");
    assert_eq!(transitions.len(), 1);
    assert_eq!((transitions[0].from.as_deref(), transitions[0].to.as_str()), (None, "failed"));
    assert!(transitions[0].why.contains(&first_id.to_string()));
    let events = store.events_after(0, 10).await.expect("read");
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].name.as_str(), events[0].at), ("CommandFailed", at(5)));
    assert_eq!(events[0].data["code"], "RESENT_WITH_A_CHANGE");
    assert_eq!(EventSchemas::built_in().violations("CommandFailed", &events[0].data), []);
    assert_eq!(events[0].subject, changed_id.to_string());
    assert_eq!(claimed_ids(&*store, 10).await, [first_id]);
}

pub(crate) async fn a_discarded_referral_may_be_sent_again(home: &dyn Home) {
    let store = home.open().await;
    let first = command(&[local("r1")]).creating(1);
    let first_id = first.id;
    admitted(&*store, message("M1").with(first)).await;
    store.discard(first_id, act()).await.expect("discarded");
    let second = command(&[local("r1"), ubrn("u1")]).creating(1);
    let second_id = second.id;
    admitted(&*store, message("M2").with(second)).await;
    assert_eq!(claimed_ids(&*store, 10).await, [second_id]);
    let thread = store.find_thread(&local("r1")).await.expect("read").expect("there");
    assert_eq!(thread.created_by, Some(second_id));
}

pub(crate) async fn a_message_with_something_new_is_more_than_a_duplicate(home: &dyn Home) {
    let store = home.open().await;
    admitted(&*store, message("M1").with(command(&[local("r1")]).creating(1))).await;
    let letters = command(&[local("r1")]);
    let letters_id = letters.id;
    let again = message("M2").with(command(&[local("r1")]).creating(1)).with(letters);
    let id = admitted(&*store, again).await;
    assert_eq!(verdict_of(&*store, id).await, Verdict::Accepted);
    let commands = store.commands_of(id).await.expect("read");
    assert_eq!(commands.iter().map(|command| command.id).collect::<Vec<_>>(), [letters_id]);
}

pub(crate) async fn a_changed_referral_is_not_replayed_beside_the_first(home: &dyn Home) {
    let store = home.open().await;
    let first = command(&[local("r1")]).creating(1);
    let first_id = first.id;
    admitted(&*store, message("M1").with(first)).await;
    let changed = command(&[local("r1")]).creating(2);
    let changed_id = changed.id;
    admitted(&*store, message("M2").with(changed)).await;
    match store.replay(changed_id, act()).await {
        Err(StoreError::Outdated(why)) => assert!(why.contains(&first_id.to_string()), "{why}"),
        other => panic!("{other:?}"),
    }
    store.discard(first_id, act()).await.expect("discarded");
    store.replay(changed_id, act()).await.expect("replayed");
    assert_eq!(claimed_ids(&*store, 10).await, [changed_id]);
}

pub(crate) async fn a_referral_that_was_only_shadowed_is_made_when_it_comes_again(home: &dyn Home) {
    let store = home.open().await;
    admitted(&*store, message("M1").with(command(&[local("r1")]).creating(1))).await;
    let rehearsed = the_claimed(&*store).await;
    ends(&*store, &rehearsed, State::Shadowed).await;
    let at_once = command(&[local("r2")]).creating(2).in_state(State::Shadowed);
    admitted(&*store, message("M2").with(at_once)).await;
    for (control_id, name, digest) in [("M3", "r1", 1), ("M4", "r2", 2)] {
        let real = command(&[local(name)]).creating(digest);
        let real_id = real.id;
        admitted(&*store, message(control_id).with(real)).await;
        assert_eq!(claimed_ids(&*store, 10).await, [real_id], "{name}");
        let again = store.admit(message("").with(command(&[local(name)]).creating(digest))).await.expect("admitted");
        assert!(matches!(again, Admitted::New { repeats: Some(id), .. } if id == real_id), "{again:?}");
    }
}
