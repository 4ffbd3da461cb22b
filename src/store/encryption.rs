//! What a gateway and people do about encryption at rest: keys looked at and changed, what is stored sealed anew.
//!
//! A change of the master key: everything is wrapped with the new one beside the old, a new data key takes over, instances
//! take the new master key one by one, what is stored is sealed anew in the background, and then the old one is let go.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use super::vault::WrappedKey;
use super::vault::ring::ROOT;
use crate::keys::{Fingerprint, Keys};

/// How a store is encrypted.
#[derive(Clone, Debug, Serialize)]
pub struct EncryptionView {
    /// What is written is sealed.
    pub seals: bool,
    /// With this data key.
    pub current: Option<u32>,
    pub keys: Vec<DataKeyView>,
    /// Master keys that open it: two while one takes the place of the other.
    pub masters: usize,
    /// Something may stand in clear, or be sealed with a data key that is to go.
    pub renewing: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct DataKeyView {
    pub number: u32,
    pub made_at: Timestamp,
    pub used_from: Timestamp,
    pub retired: bool,
    pub seals: u64,
}

/// What one step sealed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Rows that were looked at.
    pub rows: u64,
    /// Values that were in clear, or sealed with an older key.
    pub values: u64,
    /// Everything is sealed with the newest key.
    pub ended: bool,
}

/// Rows of one step.
pub const RENEWED_AT_ONCE: usize = 100;

#[async_trait]
pub trait EncryptionStore: Send + Sync {
    /// Those of its digests, and its master key; `None` if it was opened without.
    fn keys(&self) -> Option<Keys>;
    async fn encryption(&self) -> Result<EncryptionView>;
    /// Takes in data keys that were made, and makes the next one when one has served. To be asked every
    /// [`LOOK_EVERY`](super::LOOK_EVERY), with the master key that opens it now.
    async fn look_at_keys(&self, master: &Keys) -> Result<()>;
    /// Another master key opens the store as well, and a new data key takes over. A second time it does nothing.
    async fn add_master(&self, next: &Keys) -> Result<()>;
    /// Only this master key opens the store from now on; data keys stay. `Outdated` as long as something is sealed with a data
    /// key that the others know, and for the master key that is to go.
    async fn keep_only(&self, master: Fingerprint) -> Result<()>;
    /// Seals a few rows anew that are in clear or sealed with a data key that is to go, in one bounded transaction, and
    /// goes on behind them the next time. `None` if there is nothing to do.
    async fn renew(&self) -> Result<Option<Renewed>>;
}

/// What the rows say. `renewed`: everything is sealed with this data key or a later one.
pub(super) fn view(rows: &[WrappedKey], current: Option<u32>, renewed: u32) -> EncryptionView {
    let mut masters: Vec<Fingerprint> = rows.iter().map(|row| row.master).collect();
    masters.sort_unstable();
    masters.dedup();
    let mut keys: Vec<DataKeyView> = rows
        .iter()
        .filter(|row| row.number != ROOT)
        .map(|row| DataKeyView {
            number: row.number,
            made_at: row.made_at,
            used_from: row.used_from,
            retired: row.retired,
            seals: row.seals,
        })
        .collect();
    keys.sort_by_key(|key| key.number);
    keys.dedup_by_key(|key| key.number);
    EncryptionView {
        seals: current.is_some(),
        current,
        renewing: !rows.is_empty() && is_due(rows, renewed),
        keys,
        masters: masters.len(),
    }
}

/// True if something may be in clear or sealed with a key that is to go.
pub(super) fn is_due(rows: &[WrappedKey], renewed: u32) -> bool {
    renewed == 0 || rows.iter().any(|row| row.retired && row.number >= renewed)
}
