//! What is remembered of worklists.

use bytes::Bytes;

use super::Home;
use super::given::{at, new_id};
use crate::command::CommandId;
use crate::store::{Snapshot, Spending};

fn snapshot(version: u64, content: &'static str) -> Snapshot {
    Snapshot {
        watch: "knee-clinic".into(),
        service: "20001".into(),
        version,
        by: CommandId(new_id()),
        at: at(1),
        content: Bytes::from_static(content.as_bytes()),
    }
}

pub(crate) async fn a_list_is_replaced_by_who_knows_how_it_was(home: &dyn Home) {
    let store = home.open().await;
    assert_eq!(store.snapshot("knee-clinic", "20001").await.expect("read"), None);
    let (first, second) = (snapshot(1, "one"), snapshot(2, "two"));
    assert!(!store.save_snapshot(second.clone()).await.expect("asked"), "there is no first");
    assert!(store.save_snapshot(first.clone()).await.expect("saved"));
    assert!(!store.save_snapshot(snapshot(1, "other")).await.expect("asked"), "there is a first");
    assert!(store.save_snapshot(second.clone()).await.expect("saved"));
    assert!(!store.save_snapshot(snapshot(2, "late")).await.expect("asked"), "another was faster");
    drop(store);
    let store = home.open().await;
    assert_eq!(store.snapshot("knee-clinic", "20001").await.expect("read"), Some(second));
    assert_eq!(store.snapshot("knee-clinic", "20002").await.expect("read"), None);
    // It was looked at at 1.
    assert_eq!(store.purge_snapshots(at(1)).await.expect("asked"), 0);
    assert_eq!(store.purge_snapshots(at(2)).await.expect("purged"), 1);
    assert_eq!(store.snapshot("knee-clinic", "20001").await.expect("read"), None);
}

pub(crate) async fn an_allowance_is_spent_once_a_day_and_thing(home: &dyn Home) {
    let spending = |counts_for: &str, day: &str| Spending {
        application: "application".into(),
        call: "A008".into(),
        counts_for: counts_for.into(),
        day: day.into(),
        per_day: 2,
    };
    let store = home.open().await;
    assert!(store.spend(spending("20001", "2026-03-16")).await.expect("asked"));
    drop(store);
    let store = home.open().await;
    let together = futures_util::future::join_all((0..5).map(|_| store.spend(spending("20001", "2026-03-16")))).await;
    let granted = together.into_iter().filter(|answer| matches!(answer, Ok(true))).count();
    assert_eq!(granted, 1, "one was left, however many ask at once");
    assert!(!store.spend(spending("20001", "2026-03-16")).await.expect("asked"));
    store.unspend(spending("20001", "2026-03-16")).await.expect("given back");
    assert!(store.spend(spending("20001", "2026-03-16")).await.expect("asked"), "one was given back");
    assert!(!store.spend(spending("20001", "2026-03-16")).await.expect("asked"));
    assert!(store.spend(spending("20002", "2026-03-16")).await.expect("asked"), "another service");
    assert!(store.spend(spending("20001", "2026-03-17")).await.expect("asked"), "another day");
}
