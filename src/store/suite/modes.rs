//! What people switch.

use super::Home;
use super::given::{act, at};
use crate::config::Mode;
use crate::store::{Noted, StoreError, Switch, SwitchKind, Switched};

fn switched(version: u64, mode: Mode) -> Switched {
    let of = |service: Option<&str>, mode| Switch {
        service: service.map(str::to_owned),
        mode,
        from: at(10),
        by: "j.smith".into(),
        why: "Zoë asked".into(),
        at: at(5),
    };
    let switches = vec![of(None, mode), of(Some("11014"), Mode::Live)];
    Switched { kind: SwitchKind::Source, name: "northmoor".into(), version, switches }
}

fn noted() -> Noted {
    Noted { act: "switch mode", subject: "source northmoor".into(), by: act() }
}

pub(crate) async fn a_mode_is_switched_by_who_knows_how_it_stood(home: &dyn Home) {
    let store = home.open().await;
    assert_eq!(store.switched().await.expect("read"), []);
    let late = store.switch(switched(2, Mode::Live), noted()).await;
    assert!(matches!(late, Err(StoreError::Outdated(_))), "there was no first: {late:?}");
    store.switch(switched(1, Mode::Shadow), noted()).await.expect("switched");
    let other = store.switch(switched(1, Mode::Live), noted()).await;
    assert!(matches!(other, Err(StoreError::Outdated(_))), "there is a first: {other:?}");
    let paused = Switched {
        kind: SwitchKind::Destination,
        switches: vec![Switch { service: None, ..switched(1, Mode::Paused).switches.remove(0) }],
        ..switched(1, Mode::Paused)
    };
    store.switch(paused.clone(), noted()).await.expect("another target of the same name");
    drop(store);
    let store = home.open().await;
    assert_eq!(store.switched().await.expect("read"), [paused.clone(), switched(1, Mode::Shadow)]);
    store.switch(switched(2, Mode::Paused), noted()).await.expect("switched");
    let none = Switched { switches: Vec::new(), ..switched(3, Mode::Live) };
    store.switch(none.clone(), noted()).await.expect("taken back");
    assert_eq!(store.switched().await.expect("read"), [paused, none]);
    let log = store.audit_log(0, 10).await.expect("read");
    assert_eq!(log.len(), 4, "what was refused is no act: {log:?}");
    assert!(log.iter().all(|entry| (entry.act.as_str(), entry.by.as_str()) == ("switch mode", "j.smith")), "{log:?}");
}
