//! The log of acts: one chain that shows what was done to it.

use super::Home;
use super::given::{act, arrives, at, local};
use crate::store::{Act, ActorKind, AuditEntry, Chain, Noted, Store, StoreError};

async fn log(store: &dyn Store) -> Vec<AuditEntry> {
    store.audit_log(0, 100).await.expect("read")
}

async fn looks(store: &dyn Store, subject: &str, seconds: i64) {
    let by = Act { at: at(seconds), ..act() };
    store.note(Noted { act: "view", subject: subject.into(), by }).await.expect("noted");
}

pub(crate) async fn acts_are_chained_in_the_audit_log(home: &dyn Home) {
    let store = home.open().await;
    for number in 0..2 {
        let id = arrives(&*store, &[local(&format!("r{number}"))]).await;
        store.discard(id, act()).await.expect("discarded");
    }
    let own = Act { by: "gateway-1".into(), ..Act::of_gateway("start", at(200)) };
    store.note(Noted { act: "change settings", subject: "settings none to a".into(), by: own }).await.expect("noted");
    let log = log(&*store).await;
    assert_eq!(log.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2, 3]);
    let told = |entry: &AuditEntry| {
        let texts = [&entry.by, &entry.act, entry.kind.as_ref()?, entry.place.as_ref()?, entry.why.as_ref()?];
        Some((texts.map(Clone::clone), entry.at))
    };
    let person = ["j.smith", "discard", "person", "command line on ward-7", "asked by the ward"];
    assert_eq!(told(&log[0]), Some((person.map(str::to_owned), at(100))));
    let gateway = ["gateway-1", "change settings", ActorKind::Gateway.name(), "", "start"];
    assert_eq!(told(&log[2]), Some((gateway.map(str::to_owned), at(200))));
    assert_eq!(store.audit_log(1, 1).await.expect("read")[0], log[1]);
    assert_ne!(log[0].why_digest, log[1].why_digest, "the same reason cannot be told from its digest");
    // By act and actor, the newest.
    assert_eq!(store.last_noted("discard", "j.smith").await.expect("read").as_ref(), Some(&log[1]));
    assert_eq!(store.last_noted("discard", "gateway-1").await.expect("read"), None);
    // Who has the rows can prove them without the store, also after they were written down elsewhere.
    let exported = serde_json::to_string(&log).expect("JSON");
    let read: Vec<AuditEntry> = serde_json::from_str(&exported).expect("its own form");
    let mut chain = Chain::new(None);
    read.iter().try_for_each(|entry| chain.take(entry)).expect("whole");
    chain.end(store.audit_written().await.expect("read")).expect("nothing is cut off");
    store.verify().await.expect("whole");
}

pub(crate) async fn what_is_done_to_the_audit_log_is_named(home: &dyn Home) {
    for (tampering, told) in [
        ("UPDATE audit SET why = 'no reason' WHERE number = 2", "the reason of entry 2"),
        ("UPDATE audit SET by = 'a.jones' WHERE number = 2", "entry 2 of"),
        ("UPDATE audit SET place = '' WHERE number = 2", "entry 2 of"),
        ("UPDATE audit SET kind = NULL WHERE number = 2", "entry 2 of"),
        ("UPDATE audit SET at = at + 1 WHERE number = 2", "entry 2 of"),
        ("UPDATE audit SET why_digest = NULL, why_salt = NULL WHERE number = 2", "entry 2 of"),
        ("UPDATE audit SET why = '', why_salt = NULL WHERE number = 2", "the reason of entry 2"),
        ("UPDATE audit SET hash = (SELECT hash FROM audit WHERE number = 1) WHERE number = 2", "entry 2 of"),
        ("DELETE FROM audit WHERE number = 1", "lacks entry 1"),
        ("DELETE FROM audit WHERE number = 2", "lacks entry 2"),
        ("DELETE FROM audit WHERE number = 3", "cut off: 3 entries were written, the last one there is 2"),
        ("DELETE FROM audit", "cut off: 3 entries were written, the last one there is 0"),
    ] {
        home.begin_anew().await;
        let store = home.open().await;
        for seconds in 1..=3 {
            looks(&*store, "message 7", seconds).await;
        }
        store.verify().await.expect("whole");
        home.tamper(tampering).await;
        match store.verify().await {
            Err(StoreError::Damaged(what)) => assert!(what.contains(told), "{tampering}: {what}"),
            other => panic!("{tampering}: {other:?}"),
        }
    }
}

pub(crate) async fn reasons_are_forgotten_and_the_chain_holds(home: &dyn Home) {
    let store = home.open().await;
    for seconds in 1..=5 {
        looks(&*store, &format!("message {seconds}"), seconds).await;
    }
    let before = log(&*store).await;
    let forgets = || Act::of_gateway("older than the settings say", at(1_000));
    assert_eq!(store.forget_reasons(at(1), 10, forgets()).await.expect("asked"), 0);
    assert_eq!(log(&*store).await, before, "there was nothing, and nothing is said");
    assert_eq!(store.forget_reasons(at(4), 2, forgets()).await.expect("forgotten"), 2);
    assert_eq!(store.forget_reasons(at(4), 2, forgets()).await.expect("forgotten"), 1);
    assert_eq!(store.forget_reasons(at(4), 2, forgets()).await.expect("asked"), 0);
    let after = log(&*store).await;
    assert_eq!(after.len(), 6, "said once");
    assert_eq!(after[5].subject, format!("acts before {}", at(4)));
    for (old, new) in before.iter().zip(&after) {
        let goes = old.at < at(4);
        assert_eq!((new.why.is_none(), new.why_salt.is_none()), (goes, goes));
        let kept = AuditEntry { why: old.why.clone(), why_salt: old.why_salt.clone(), ..new.clone() };
        assert_eq!(kept, *old, "nothing else of it is changed");
    }
    looks(&*store, "message 6", 6).await;
    store.verify().await.expect("whole");
    drop(store);
    home.prove().await;
}
