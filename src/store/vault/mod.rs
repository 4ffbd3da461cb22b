//! Encryption at rest: values are sealed where a store writes them, and opened where it reads them.
//!
//! Enters: a value and its place. Leaves: the value as it is written, or as it was. Guarantees: what is sealed opens only
//! in its own place, with a key that hangs from the master key; a value in clear is recognised, so a store from before the
//! encryption can be read; whoever has no key reads nothing that is sealed and writes nothing in clear beside it.
//!
//! | File | Subject |
//! |---|---|
//! | `form` | columns, places, and how a sealed value looks |
//! | `ring` | data keys, wrapped with a master key |

pub(in crate::store) mod form;
pub(in crate::store) mod ring;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

pub(in crate::store) use self::form::{Column, Place};
use self::ring::DataKey;
pub(in crate::store) use self::ring::{Ring, WrappedKey};
use super::{Result, StoreError};
use crate::environment::Environment;
use crate::keys::{Keys, NONCE_BYTES};

/// So many data keys may be made elsewhere before this process hears of the first.
const AHEAD_MAX: u32 = 16;

/// With what a store is opened. What is sealed is opened in any case.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// The master key.
    pub keys: Keys,
    /// What is written is sealed.
    pub encrypt: bool,
    /// A store that has no data keys gets them, and can be opened with this master key alone from then on: a gateway's act.
    pub begins: bool,
}

impl Sealing {
    /// A gateway's, as its settings are by default.
    pub fn with(keys: Keys) -> Self {
        Self { keys, encrypt: true, begins: true }
    }

    /// A person's, who acts on a store as it is.
    pub fn to_act(keys: Keys) -> Self {
        Self { keys, encrypt: true, begins: false }
    }
}

/// Seals and opens the values of one store. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Vault(Arc<Inner>);

struct Inner {
    ring: RwLock<Ring>,
    /// Off by the settings, without keys, or as long as an older version may read what is written.
    seals: AtomicBool,
    /// How often the keys were read, and as of when numbers beyond the newest were missed.
    rings: AtomicU64,
    missed: Mutex<BTreeMap<u32, u64>>,
    /// Sealed since that was last asked.
    sealed: AtomicU64,
    environment: Environment,
}

/// The data key of one intention: all that it writes is sealed with the same.
pub(in crate::store) struct Sealer<'v> {
    vault: &'v Vault,
    key: Option<(u32, Arc<DataKey>)>,
}

impl Vault {
    /// Seals nothing, and opens only what is in clear.
    pub(in crate::store) fn closed(environment: &Environment) -> Self {
        Self(Arc::new(Inner {
            ring: RwLock::default(),
            seals: AtomicBool::new(false),
            rings: AtomicU64::new(0),
            missed: Mutex::default(),
            sealed: AtomicU64::new(0),
            environment: environment.clone(),
        }))
    }

    /// From now on with these keys.
    pub(in crate::store) fn take(&self, ring: Ring) {
        *self.0.ring.write() = ring;
        self.0.rings.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether what is written is sealed from now on.
    pub(in crate::store) fn seal_from_now_on(&self, seals: bool) {
        self.0.seals.store(seals, Ordering::Release);
    }

    pub(in crate::store) fn is_sealing(&self) -> bool {
        self.0.seals.load(Ordering::Acquire)
    }

    /// How many values were sealed since this was last asked.
    pub(in crate::store) fn take_count(&self) -> u64 {
        self.0.sealed.swap(0, Ordering::AcqRel)
    }

    /// The number of the key that seals now.
    pub(in crate::store) fn current(&self) -> Option<u32> {
        self.sealer().key.map(|(number, _)| number)
    }

    pub(in crate::store) fn sealer(&self) -> Sealer<'_> {
        let key = self.is_sealing().then(|| {
            let ring = self.0.ring.read();
            ring.sealing(self.0.environment.now()).map(|(number, key)| (number, Arc::clone(key)))
        });
        Sealer { vault: self, key: key.flatten() }
    }

    pub(in crate::store) fn seal_text(&self, place: Place, clear: String) -> String {
        self.sealer().text(place, clear)
    }

    /// The value as it was.
    pub(in crate::store) fn open(&self, place: Place, stored: Vec<u8>) -> Result<Vec<u8>> {
        let Some(number) = form::number_of(&stored) else { return Ok(stored) };
        if number == form::CLEAR {
            return form::out_of_clear(&stored).ok_or_else(|| does_not_open(number));
        }
        let key = self.0.ring.read().keys.get(&number).cloned();
        let Some(key) = key else { return Err(self.lacks(number)) };
        key.cipher.open(form::HEADER, &place.as_bytes(), stored).ok_or_else(|| does_not_open(number))
    }

    pub(in crate::store) fn open_text<'t>(&self, place: Place, stored: &'t str) -> Result<Cow<'t, str>> {
        if !stored.starts_with(form::TEXT_MARK) {
            return Ok(Cow::Borrowed(stored));
        }
        let sealed =
            form::from_text(stored).ok_or_else(|| StoreError::Damaged("a sealed text cannot be read".into()))?;
        let clear = self.open(place, sealed)?;
        String::from_utf8(clear).map(Cow::Owned).map_err(|_| StoreError::Damaged("a sealed text is no text".into()))
    }

    /// The value sealed with the current key, if it is not yet: in clear, or with another one.
    pub(in crate::store) fn renewed(&self, place: Place, stored: &[u8]) -> Result<Option<Vec<u8>>> {
        let sealer = self.sealer();
        let Some(current) = sealer.number() else { return Ok(None) };
        if form::number_of(stored).is_some_and(|number| number >= current) {
            return Ok(None);
        }
        let clear = self.open(place, stored.to_vec())?;
        Ok(Some(sealer.bytes(place, &clear).into_owned()))
    }

    pub(in crate::store) fn renewed_text(&self, place: Place, stored: &str) -> Result<Option<String>> {
        let sealer = self.sealer();
        let Some(current) = sealer.number() else { return Ok(None) };
        if form::number_of_text(stored).is_some_and(|number| number >= current) {
            return Ok(None);
        }
        let clear = self.open_text(place, stored)?.into_owned();
        Ok(Some(sealer.text(place, clear)))
    }

    fn lacks(&self, number: u32) -> StoreError {
        let newest = self.0.ring.read().keys.keys().max().copied();
        let Some(newest) = newest else { return locked() };
        // Keys have numbers in their order, and are known here before they are used.
        let rings = self.0.rings.load(Ordering::Acquire);
        let is_ahead = (newest..newest.saturating_add(AHEAD_MAX)).contains(&number)
            // Read again since, and still not there.
            && *self.0.missed.lock().entry(number).or_insert(rings) + 1 >= rings;
        if !is_ahead {
            return StoreError::Damaged(format!("a value is sealed with data key {number}, which is not in the store"));
        }
        StoreError::Unavailable(format!("something is sealed with data key {number}, which is not known here yet"))
    }
}

/// It is encrypted, and nobody said with which key.
pub(in crate::store) fn locked() -> StoreError {
    StoreError::Locked(
        "the store is encrypted: name its key file, as key_file in the settings, with --key-file, or as \
         ERS_GATEWAY_KEY_FILE"
            .into(),
    )
}

fn does_not_open(number: u32) -> StoreError {
    StoreError::Damaged(format!("a value sealed with data key {number} does not open in its place"))
}

impl Sealer<'_> {
    /// What it is given does not stay as it is.
    pub(in crate::store) fn seals(&self) -> bool {
        self.key.is_some()
    }

    fn number(&self) -> Option<u32> {
        self.key.as_ref().map(|(number, _)| *number)
    }

    pub(in crate::store) fn bytes<'c>(&self, place: Place, clear: &'c [u8]) -> Cow<'c, [u8]> {
        let Some((number, key)) = &self.key else {
            return match form::number_of(clear) {
                None => Cow::Borrowed(clear),
                Some(_) => Cow::Owned(form::clear_beside(clear)),
            };
        };
        self.vault.0.sealed.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; NONCE_BYTES];
        self.vault.0.environment.fill_random(&mut nonce);
        Cow::Owned(key.cipher.seal(&form::header(*number), nonce, &place.as_bytes(), clear))
    }

    /// Without a copy where nothing is sealed.
    pub(in crate::store) fn shared(&self, place: Place, clear: Bytes) -> Bytes {
        match self.bytes(place, &clear) {
            Cow::Borrowed(_) => clear,
            Cow::Owned(sealed) => sealed.into(),
        }
    }

    /// A text of another column that stands in clear where this seals nothing.
    pub(in crate::store) fn text(&self, place: Place, clear: String) -> String {
        if self.key.is_none() && !clear.starts_with(form::TEXT_MARK) {
            return clear;
        }
        match self.bytes(place, clear.as_bytes()) {
            Cow::Owned(sealed) => form::as_text(&sealed),
            Cow::Borrowed(_) => form::as_text(&form::clear_beside(clear.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests;
