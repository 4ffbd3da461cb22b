//! A process that ends at any moment.

use super::Home;
use super::given::{
    admitted, arrives, at, attempt, claimed, claimed_ids, command, finished, local, message, progress, state_of,
    the_claimed,
};
use crate::command::State;
use crate::events::EventSchemas;
use crate::store::{Progress, StoreError};

pub(crate) async fn what_ran_before_a_crash_runs_again(home: &dyn Home) {
    let store = home.open().await;
    let (reads, writes) = (arrives(&*store, &[local("r1")]).await, arrives(&*store, &[local("r2")]).await);
    let follower = arrives(&*store, &[local("r1")]).await;
    let running = claimed(&*store, 2).await;
    let read = attempt(false);
    store.record(Progress { started: Some(read), ..progress(&running[0]) }).await.expect("recorded");
    // A write that was answered leaves no doubt.
    let write = attempt(true);
    store.record(Progress { started: Some(write.clone()), ..progress(&running[1]) }).await.expect("recorded");
    store.record(Progress { finished: Some(finished(&write)), ..progress(&running[1]) }).await.expect("recorded");
    drop(store);

    let store = home.open().await;
    let recovered = store.recover(at(10)).await.expect("recovered");
    assert_eq!((recovered.requeued, recovered.in_doubt), (2, 0));
    assert!(matches!(store.record(progress(&running[0])).await, Err(StoreError::Outdated(_))), "of the old process");
    assert_eq!(claimed_ids(&*store, 10).await, [reads, writes]);
    assert_eq!(state_of(&*store, follower).await, State::Queued);
    assert_eq!(store.last_position().await.expect("read"), 0);
}

pub(crate) async fn a_write_before_a_crash_is_in_doubt(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    let known = serde_json::json!({"ubrn": "000000070000"});
    let told = serde_json::json!({"inDoubt": [{"name": "PatientWithoutAppointment", "data": {"command": id}}]});
    let sending = Progress { started: Some(attempt(true)), known: Some(known), plan: Some(told), ..progress(&running) };
    store.record(sending).await.expect("recorded");
    drop(store);

    let store = home.open().await;
    let mut settled = store.signals().settled.subscribe();
    let recovered = store.recover(at(10)).await.expect("recovered");
    assert_eq!((recovered.requeued, recovered.in_doubt), (0, 1));
    assert_eq!(
        state_of(&*store, id).await,
        State::InDoubt { step: "create".into(), since: at(1), look_at: Some(at(10)) }
    );
    assert!(claimed(&*store, 10).await.is_empty(), "it holds what follows");
    let events = store.events_after(0, 10).await.expect("read");
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["PatientWithoutAppointment", "CommandInDoubt"], "what the plan tells besides goes first");
    assert_eq!(events[0].data, serde_json::json!({"command": id}));
    assert_eq!((events[0].source.as_str(), &events[0].subject), ("northmoor", &id.to_string()));
    let message = running.message;
    assert_eq!(
        events[1].data,
        serde_json::json!({
            "command": id, "commandName": "CreateReferral", "message": message, "ubrn": "000000070000",
            "call": "A011", "step": "create", "since": at(1),
        })
    );
    assert_eq!(EventSchemas::built_in().violations("CommandInDoubt", &events[1].data), []);
    assert_eq!(settled.recv().await.expect("told").command, id);
    let last = store.transitions(id).await.expect("read").pop().expect("there");
    assert_eq!((last.from.as_deref(), last.to.as_str(), last.by.as_str()), (Some("running"), "in_doubt", "gateway"));
    // Once is enough.
    assert_eq!(store.recover(at(20)).await.expect("recovered").in_doubt, 0);
}

pub(crate) async fn nothing_acknowledged_is_lost_by_a_crash(home: &dyn Home) {
    let mut told = Vec::new();
    for round in 0..5 {
        let store = home.open().await;
        for number in 0..20 {
            let command = command(&[local(&format!("r{round}-{number}"))]);
            let id = command.id;
            let message = admitted(&*store, message(&format!("M{round}-{number}")).with(command)).await;
            told.push((message, id));
        }
    }
    let store = home.open().await;
    for (message, command) in told {
        assert_eq!(store.commands_of(message).await.expect("read")[0].id, command);
    }
}
