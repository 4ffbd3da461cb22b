//! The data keys of a store, as its rows have them and as they are used.
//!
//! Number 0 is the root of digests; the others seal. Each is wrapped with a master key, or with two while one takes the
//! place of the other. A new key is used some time after it was made, so that every instance has met it by then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;

use crate::keys::{Cipher, Fingerprint, Keys, SecretKey};
use crate::store::{Result, StoreError};

pub(in crate::store) const ROOT: u32 = 0;
/// How often instances look for new keys.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// From its making to its first use.
pub(in crate::store) const KNOWN_BY_THEN: SignedDuration = SignedDuration::from_secs(20);
/// A data key serves so long, or for so many values: far below the 2^32 that random nonces allow (SP 800-38D 8.3).
pub(in crate::store) const SERVES_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);
pub(in crate::store) const SEALS_MAX: u64 = 1 << 30;

/// One data key under one master key, as a store's row.
#[derive(Clone, Debug)]
pub(in crate::store) struct WrappedKey {
    pub(in crate::store) number: u32,
    pub(in crate::store) master: Fingerprint,
    pub(in crate::store) wrapped: Vec<u8>,
    pub(in crate::store) made_at: Timestamp,
    pub(in crate::store) used_from: Timestamp,
    /// Its values are sealed anew; it stays, for whatever still names it. Of the root: under a master key that is to go.
    pub(in crate::store) retired: bool,
    /// How many values it sealed.
    pub(in crate::store) seals: u64,
}

pub(super) struct DataKey {
    pub(super) cipher: Cipher,
    pub(super) used_from: Timestamp,
}

/// What opens a store, and what seals in it.
#[derive(Default)]
pub(in crate::store) struct Ring {
    pub(super) keys: BTreeMap<u32, Arc<DataKey>>,
}

impl Ring {
    /// The newest that may be used by now.
    pub(super) fn sealing(&self, now: Timestamp) -> Option<(u32, &Arc<DataKey>)> {
        let usable = self.keys.iter().rev().find(|(_, key)| key.used_from <= now);
        usable.or_else(|| self.keys.first_key_value()).map(|(number, key)| (*number, key))
    }
}

fn name(number: u32) -> String {
    format!("data key {number}")
}

/// Unwraps what a store has. `None` if it has nothing yet.
pub(in crate::store) fn open(rows: &[WrappedKey], keys: &Keys) -> Result<Option<(Ring, Keys)>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let (mut ring, mut root) = (Ring::default(), None);
    for row in rows.iter().filter(|row| row.master == keys.fingerprint()) {
        let key = keys.unwrap(&name(row.number), &row.wrapped).map_err(|_| {
            StoreError::Damaged(format!("data key {} does not open with the master key that it names", row.number))
        })?;
        if row.number == ROOT {
            root = Some(key);
        } else {
            let cipher = Cipher::new(key.expose_secret());
            let key = DataKey { cipher, used_from: row.used_from };
            ring.keys.insert(row.number, Arc::new(key));
        }
    }
    let root = root.ok_or_else(|| {
        StoreError::Locked(
            "the store is encrypted with another master key than the one that was given: restore the key file that \
             belongs to it, or name that as key_file in the settings"
                .into(),
        )
    })?;
    Ok(Some((ring, keys.with_root(&root))))
}

/// The root and the first data key of a store that has none.
pub(in crate::store) fn first(keys: &Keys, now: Timestamp) -> Vec<WrappedKey> {
    vec![wrapped(keys, ROOT, &keys.first_root(), now, now), wrapped(keys, ROOT + 1, &keys.new_key(), now, now)]
}

/// One more data key, wrapped with each of the master keys.
pub(in crate::store) fn next(rows: &[WrappedKey], masters: &[&Keys], now: Timestamp) -> Vec<WrappedKey> {
    let Some((first, number)) = masters.first().zip(rows.iter().map(|row| row.number).max()) else { return Vec::new() };
    let key = first.new_key();
    masters.iter().map(|keys| wrapped(keys, number + 1, &key, now, now + KNOWN_BY_THEN)).collect()
}

/// Everything that `from` opens, wrapped with `to` as well.
pub(in crate::store) fn rewrapped(rows: &[WrappedKey], from: &Keys, to: &Keys) -> Result<Vec<WrappedKey>> {
    let mut more = Vec::new();
    for row in rows.iter().filter(|row| row.master == from.fingerprint()) {
        if rows.iter().any(|other| other.number == row.number && other.master == to.fingerprint()) {
            continue;
        }
        let key = from
            .unwrap(&name(row.number), &row.wrapped)
            .map_err(|_| StoreError::Damaged(format!("data key {} does not open", row.number)))?;
        let wrapped = to.wrap(&name(row.number), &key);
        more.push(WrappedKey { master: to.fingerprint(), wrapped, ..row.clone() });
    }
    Ok(more)
}

/// One change at a time: whoever knows only the first key would seal with what the third does not know.
pub(in crate::store) fn refuse_second_change(rows: &[WrappedKey], keys: &Keys) -> Result<()> {
    match rows.iter().all(|row| row.master == keys.fingerprint()) {
        true => Ok(()),
        false => Err(StoreError::Outdated(
            "the master key is being changed already: finish that first (keys rotate --finish)".into(),
        )),
    }
}

/// Of two master keys the one that was there first is to go, and the one that took its place stays.
pub(in crate::store) fn refuse_to_keep_the_old(rows: &[WrappedKey], master: Fingerprint) -> Result<()> {
    let root = rows.iter().find(|row| row.number == ROOT && row.master == master);
    let root =
        root.ok_or_else(|| StoreError::Damaged("the master key that is to stay does not open the store".into()))?;
    let is_changing = rows.iter().any(|row| row.master != master);
    match root.retired && is_changing {
        true => Err(StoreError::Outdated(
            "the settings here still name the key that is to go: put the new key file in its place, then finish".into(),
        )),
        false => Ok(()),
    }
}

fn wrapped(keys: &Keys, number: u32, key: &SecretKey, made_at: Timestamp, used_from: Timestamp) -> WrappedKey {
    let wrapped = keys.wrap(&name(number), key);
    WrappedKey { number, master: keys.fingerprint(), wrapped, made_at, used_from, retired: false, seals: 0 }
}

/// True if another data key is to take the place of the newest.
pub(in crate::store) fn is_worn(rows: &[WrappedKey], now: Timestamp) -> bool {
    let newest = rows.iter().filter(|row| row.number != ROOT).max_by_key(|row| row.number);
    newest.is_some_and(|newest| newest.made_at + SERVES_FOR <= now || newest.seals >= SEALS_MAX)
}
