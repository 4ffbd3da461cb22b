use jiff::{SignedDuration, Timestamp};

use super::form::{MARK, OVERHEAD, open_size};
use super::ring::{self, KNOWN_BY_THEN};
use super::*;
use crate::keys::Keys;

const TEXT: &str = r#"{"patient": {"family": "ZÖLLNER"}}"#;

fn keys(seed: u64) -> Keys {
    let environment = Environment::simulated(seed, Timestamp::UNIX_EPOCH);
    let folder = tempfile::tempdir().expect("a folder for the test");
    Keys::load_or_create(&folder.path().join("gateway.key"), &environment).expect("a new key file")
}

fn open(rows: &[WrappedKey], keys: &Keys) -> Ring {
    ring::open(rows, keys).expect("they open").expect("there are some").0
}

fn vault(rows: &[WrappedKey], keys: &Keys, now: Timestamp) -> Vault {
    let vault = Vault::closed(&Environment::simulated(7, now));
    vault.take(open(rows, keys));
    vault.seal_from_now_on(true);
    vault
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn place(id: u8) -> Place {
    Column::MessageRaw.of([id; 16])
}

#[tokio::test]
async fn a_value_opens_only_in_its_own_place() {
    let keys = keys(1);
    let vault = vault(&ring::first(&keys, at(0)), &keys, at(0));
    let sealed = vault.sealer().bytes(place(1), TEXT.as_bytes()).into_owned();
    assert!(!sealed.windows(4).any(|window| window == b"LLNE"));
    assert_eq!(sealed.len(), TEXT.len() + OVERHEAD);
    assert_eq!(open_size(&sealed), TEXT.len());
    assert_eq!(vault.open(place(1), sealed.clone()).expect("its place"), TEXT.as_bytes());
    let elsewhere = [
        place(2),
        Column::MessageAcknowledgement.of([1; 16]),
        Column::MessageRaw.chunk([1; 16], 1, 0),
        Column::MessageRaw.chunk([1; 16], 0, 1),
    ];
    for elsewhere in elsewhere {
        assert!(matches!(vault.open(elsewhere, sealed.clone()), Err(StoreError::Damaged(_))), "{elsewhere:?}");
    }
    for changed in 0..sealed.len() {
        let mut other = sealed.clone();
        other[changed] ^= 1;
        let opened = vault.open(place(1), other.clone());
        assert!(opened.is_err() || changed < MARK.len() && opened.expect("in clear") == other, "byte {changed}");
    }
    for cut in MARK.len() + 4..sealed.len() {
        assert!(vault.open(place(1), sealed[..cut].to_vec()).is_err(), "{cut} bytes");
    }
    let text = vault.seal_text(Column::CommandBody.of([1; 16]), TEXT.to_owned());
    assert!(text.is_ascii() && !text.contains("LLNE"));
    assert_eq!(vault.open_text(Column::CommandBody.of([1; 16]), &text).expect("its place"), TEXT);
    assert!(vault.open_text(Column::CommandPlan.of([1; 16]), &text).is_err());
    assert_eq!(form::number_of_text(&text), Some(1));
}

#[tokio::test]
async fn what_is_in_clear_is_read_as_it_stands_even_if_it_looks_sealed() {
    let closed = Vault::closed(&Environment::simulated(7, at(0)));
    let looks_sealed = [&MARK[..], b"0123 and more"].concat();
    for clear in [&b""[..], b"MSH|^~\\&|", &looks_sealed] {
        let stored = closed.sealer().bytes(place(1), clear).into_owned();
        assert_eq!(closed.open(place(1), stored.clone()).expect("in clear"), clear);
        assert_eq!(open_size(&stored), clear.len());
    }
    for clear in ["", "{}", "sealed:", "sealed:AAAAAQ"] {
        let stored = closed.seal_text(place(1), clear.to_owned());
        assert_eq!(closed.open_text(place(1), &stored).expect("in clear"), clear);
    }
}

#[tokio::test]
async fn without_a_key_nothing_opens_and_with_another_one_the_store_does_not() {
    let (one, other) = (keys(1), keys(2));
    let rows = ring::first(&one, at(0));
    let sealed = vault(&rows, &one, at(0)).sealer().bytes(place(1), b"MSH|").into_owned();
    let closed = Vault::closed(&Environment::simulated(7, at(0)));
    assert!(matches!(closed.open(place(1), sealed), Err(StoreError::Locked(_))));
    assert!(matches!(ring::open(&rows, &other), Err(StoreError::Locked(_))));
    assert!(ring::open(&[], &other).expect("nothing to open").is_none());
}

#[tokio::test]
async fn a_new_data_key_is_used_once_every_instance_has_met_it() {
    let keys = keys(1);
    let mut rows = ring::first(&keys, at(0));
    rows.extend(ring::next(&rows, &[&keys], at(100)));
    let ready = at(100) + KNOWN_BY_THEN;
    for (now, number) in [(at(100), 1), (ready - SignedDuration::from_secs(1), 1), (ready, 2)] {
        assert_eq!(vault(&rows, &keys, now).current(), Some(number), "{now}");
    }
    let old = vault(&rows, &keys, at(100));
    let sealed = old.sealer().bytes(place(1), b"MSH|").into_owned();
    let new = vault(&rows, &keys, ready);
    let renewed = new.renewed(place(1), &sealed).expect("it opens").expect("it was of the old key");
    assert_eq!(form::number_of(&renewed), Some(2));
    assert_eq!(new.open(place(1), renewed.clone()).expect("it opens"), b"MSH|");
    assert!(new.renewed(place(1), &renewed).expect("it opens").is_none());
    assert_eq!(form::number_of(&new.renewed(place(1), b"MSH|").expect("clear").expect("sealed")), Some(2));
}

#[tokio::test]
async fn a_change_of_the_master_key_keeps_data_and_digests() {
    let (old, new) = (keys(1), keys(2));
    let mut rows = ring::first(&old, at(0));
    let sealed = vault(&rows, &old, at(0)).sealer().bytes(place(1), b"MSH|").into_owned();
    rows.extend(ring::rewrapped(&rows, &old, &new).expect("they open"));
    assert!(ring::rewrapped(&rows, &old, &new).expect("they open").is_empty(), "a second time does nothing");
    rows.extend(ring::next(&rows, &[&old, &new], at(0)));
    for keys in [&old, &new] {
        assert_eq!(vault(&rows, keys, at(1000)).open(place(1), sealed.clone()).expect("it opens"), b"MSH|");
        assert_eq!(vault(&rows, keys, at(1000)).current(), Some(2));
    }
    rows.retain(|row| row.master == new.fingerprint());
    assert!(ring::open(&rows, &old).is_err());
    let (_, after) = ring::open(&rows, &new).expect("they open").expect("there are some");
    assert_eq!(after.given_digest(&["a"]), old.given_digest(&["a"]));
    assert_ne!(new.given_digest(&["a"]), old.given_digest(&["a"]));
}
