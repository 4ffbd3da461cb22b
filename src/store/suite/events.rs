//! The outbox and the feed.

use std::collections::BTreeMap;

use super::Home;
use super::given::{admitted, arrives, at, claimed, command, event, local, message, progress, the_claimed, ubrn};
use crate::store::Progress;

pub(crate) async fn events_have_one_order_and_one_sequence_a_thread(home: &dyn Home) {
    let store = home.open().await;
    for thread in ["r1", "r2"] {
        arrives(&*store, &[local(thread)]).await;
    }
    let running = claimed(&*store, 2).await;
    for names in [["One", "Two"], ["Three", "Four"]] {
        for command in &running {
            let events = names.iter().map(|name| event(name)).collect();
            store.record(Progress { events, ..progress(command) }).await.expect("recorded");
        }
    }
    let events = store.unconfirmed(0, 100).await.expect("read");
    assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
    let mut threads: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for event in events {
        threads.entry(event.thread).or_default().push((event.name, event.sequence));
    }
    assert_eq!(threads.len(), 2);
    for told in threads.into_values() {
        assert_eq!(told, [("One".into(), 1), ("Two".into(), 2), ("Three".into(), 3), ("Four".into(), 4)]);
    }
}

pub(crate) async fn confirmed_events_leave_the_outbox_and_stay_in_the_feed(home: &dyn Home) {
    let store = home.open().await;
    for number in 0..5 {
        admitted(&*store, message(&format!("M{number}")).with_event("Notice").with_event("Other")).await;
    }
    let depth = store.outbox_depth().await.expect("read");
    assert_eq!((depth.count, depth.oldest), (10, Some(at(0))));
    let positions: Vec<u64> = store.unconfirmed(0, 4).await.expect("read").iter().map(|event| event.position).collect();
    assert_eq!(positions.len(), 4);
    store.confirm(positions[1..].to_vec(), at(5)).await.expect("confirmed");
    store.confirm(positions[1..].to_vec(), at(6)).await.expect("a second time changes nothing");
    drop(store);

    let store = home.open().await;
    assert_eq!(store.outbox_depth().await.expect("read").count, 7);
    let left = store.unconfirmed(0, 100).await.expect("read");
    assert_eq!((left.len(), left[0].position), (7, positions[0]));
    assert_eq!(store.unconfirmed(positions[3], 100).await.expect("read").len(), 6);
    assert_eq!(store.events_after(0, 100).await.expect("read").len(), 10);
    assert_eq!(store.events_after(positions[3], 2).await.expect("read").len(), 2);
    assert_eq!(store.last_position().await.expect("read"), left.last().expect("seven").position);
}

pub(crate) async fn a_rejected_message_has_its_event_without_a_command(home: &dyn Home) {
    let store = home.open().await;
    let mut rejected = message("M1").with_event("MessageRejected");
    rejected.verdict = crate::command::Verdict::Rejected;
    rejected.message.problems = serde_json::json!([{"location": "PID-3", "code": "101", "text": "missing"}]);
    let id = admitted(&*store, rejected).await;
    let view = store.message(id).await.expect("read").expect("there");
    assert_eq!(view.problems[0]["location"], "PID-3");
    let events = store.unconfirmed(0, 10).await.expect("read");
    assert_eq!((events[0].name.as_str(), events[0].sequence), ("MessageRejected", 1));
    assert!(!events[0].thread.is_empty());
    assert_eq!(events[0].data["name"], "MessageRejected");
}

pub(crate) async fn a_merged_thread_goes_on_with_its_sequence(home: &dyn Home) {
    let store = home.open().await;
    admitted(&*store, message("").with(command(&[local("r1")])).with_event("A")).await;
    let running = the_claimed(&*store).await;
    let busy = message("").with(command(&[ubrn("u1")])).with_event("B").with_event("C").with_event("D");
    admitted(&*store, busy).await;
    let learnt = Progress { aliases: vec![ubrn("u1")], events: vec![event("E")], ..progress(&running) };
    store.record(learnt).await.expect("recorded");
    let events = store.events_after(0, 100).await.expect("read");
    let of_survivor: Vec<(&str, u64)> = events
        .iter()
        .filter(|event| event.thread == events[0].thread)
        .map(|event| (event.name.as_str(), event.sequence))
        .collect();
    assert_eq!(of_survivor, [("A", 1), ("E", 4)], "past the highest of either");
}
