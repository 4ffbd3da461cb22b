//! A day's counts.

use jiff::Timestamp;
use serde_json::json;

use super::Home;
use super::given::{
    admitted, at, attempt, claimed, command, ends, event, failed, finished, into_state, local, message, progress,
};
use crate::command::{State, Verdict};
use crate::store::{DayCounts, NewEvent, Progress, Store};

async fn day(store: &dyn Store, from: i64, to: i64) -> crate::store::Day {
    store.day(at(from), at(to)).await.expect("counted")
}

fn told_of(name: &str, subject: impl std::fmt::Display) -> NewEvent {
    NewEvent { subject: subject.to_string(), ..event(name) }
}

pub(crate) async fn a_day_is_counted_from_both_sides(home: &dyn Home) {
    let store = home.open().await;
    admitted(&*store, message("before").received(-3_600).with(command(&[local("r0")]))).await;
    admitted(&*store, message("after").received(7_200).with(command(&[local("r9")]))).await;
    let mut refused = message("refused");
    refused.verdict = Verdict::Rejected;
    refused.message.problems = json!([{ "location": "RF1-2", "code": 103, "text": "no row" }]);
    refused.events.push(told_of("MessageRejected", refused.message.id));
    let acknowledged = admitted(&*store, refused).await;
    let mut untold = message("untold");
    untold.verdict = Verdict::Rejected;
    admitted(&*store, untold).await;
    let mut notice = message("notice").from("eastvale");
    notice.verdict = Verdict::Notice;
    admitted(&*store, notice).await;
    let two = message("two").received(60).with(command(&[local("r1")])).with(command(&[local("r2")]));
    let (first, second) = (two.commands[0].id, two.commands[1].id);
    admitted(&*store, two).await;
    store.acknowledged(vec![(acknowledged, at(1))]).await.expect("noted");
    for running in claimed(&*store, 10).await {
        if running.id != first && running.id != second {
            continue;
        }
        let write = attempt(true);
        let mut sent = progress(&running);
        sent.started = Some(write.clone());
        store.record(sent).await.expect("recorded");
        let mut done = progress(&running);
        done.finished = Some(finished(&write));
        store.record(done).await.expect("recorded");
        if running.id == first {
            let mut completed = into_state(&running, State::Completed);
            completed.events.push(told_of("ReferralCreated", running.id));
            store.record(completed).await.expect("recorded");
        } else {
            ends(&*store, &running, failed()).await;
        }
    }
    let counted = day(&*store, -60, 3_600).await;
    assert!(counted.events_are_kept);
    let northmoor = &counted.sources["northmoor"];
    let DayCounts { received, answered, made, written, written_and_open, untold, .. } = northmoor;
    assert_eq!((*received, *answered, *made, *written, *written_and_open), (3, 1, 2, 2, 1));
    assert_eq!(
        (untold.rejected, untold.failed, untold.completed),
        (1, 1, 0),
        "the store itself publishes nothing here"
    );
    let verdicts: Vec<_> = northmoor.verdicts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(verdicts, [("accepted", 1), ("rejected", 2)]);
    let states: Vec<_> = northmoor.states.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(states, [("completed", 1), ("failed", 1)]);
    assert_eq!(counted.sources["eastvale"].verdicts.get("notice"), Some(&1));
    let causes: Vec<_> = counted.causes.iter().map(|(cause, count)| (cause.state.as_str(), *count)).collect();
    assert_eq!(causes.len(), 3, "{causes:?}");
    assert!(causes.contains(&("failed", 1)) && causes.contains(&("rejected", 1)));
    assert_eq!(day(&*store, 100_000, 200_000).await.sources.len(), 0);
    let all = day(&*store, -86_400, 86_400).await.sources;
    assert_eq!((all["northmoor"].received, all["northmoor"].made), (5, 4));
}

/// Of the day are four commands: one fails later and is told of, one fails untold, one was told of on its way and completes
/// untold, one completes and nothing ever tells of it.
pub(crate) async fn what_ends_days_later_is_told_then(home: &dyn Home) {
    const HOUR: i64 = 3_600;
    let store = home.open().await;
    for number in 0..4 {
        admitted(&*store, message(&format!("M{number}")).with(command(&[local(&format!("r{number}"))]))).await;
    }
    let running = claimed(&*store, 10).await;
    let told =
        |name: &str, number: usize, hours: i64| NewEvent { at: at(hours * HOUR), ..told_of(name, running[number].id) };
    for command in &running[2..] {
        let write = attempt(true);
        let mut sent = progress(command);
        sent.started = Some(write.clone());
        store.record(sent).await.expect("recorded");
        let mut done = progress(command);
        done.finished = Some(finished(&write));
        store.record(done).await.expect("recorded");
    }
    let on_its_way = Progress { events: vec![told("CommandInDoubt", 2, 50)], ..progress(&running[2]) };
    store.record(Progress { at: at(50 * HOUR), ..on_its_way }).await.expect("recorded");
    for (number, hours, state, event) in [
        (0, 70, failed(), Some("CommandFailed")),
        (1, 80, failed(), None),
        (2, 90, State::Completed, None),
        (3, 100, State::Completed, None),
    ] {
        let events = event.map(|name| told(name, number, hours)).into_iter().collect();
        let ended = Progress { at: at(hours * HOUR), events, ..into_state(&running[number], state) };
        store.record(ended).await.expect("recorded");
        // Others are told of meanwhile.
        let mut other = message(&format!("later {number}")).received(hours * HOUR);
        other.events.push(NewEvent { at: at(hours * HOUR), ..told_of("MessageRejected", other.message.id) });
        admitted(&*store, other).await;
    }
    let untold = day(&*store, -60, HOUR).await.sources["northmoor"].untold;
    assert_eq!((untold.rejected, untold.failed, untold.completed), (0, 1, 1));
}

pub(crate) async fn a_day_is_told_once(home: &dyn Home) {
    let store = home.open().await;
    let report = || NewEvent { at: Timestamp::UNIX_EPOCH, ..told_of("DayReconciled", "2026-03-16") };
    assert!(!store.is_report_published("2026-03-16").await.expect("read"));
    assert!(store.publish_report("2026-03-16".into(), report()).await.expect("published"));
    assert!(!store.publish_report("2026-03-16".into(), report()).await.expect("known"));
    drop(store);
    let store = home.open().await;
    assert!(store.is_report_published("2026-03-16").await.expect("read"));
    assert!(store.publish_report("2026-03-17".into(), report()).await.expect("another day"));
    let events = store.unconfirmed(0, 10).await.expect("read");
    let told: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.sequence)).collect();
    assert_eq!(told, [("DayReconciled", 1), ("DayReconciled", 1)]);
    store.verify().await.expect("whole");
}
