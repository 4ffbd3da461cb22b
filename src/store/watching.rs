//! What is remembered of worklists: how they were when they were last looked at, and how often that was today.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::Result;
use crate::command::CommandId;

/// A list as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub watch: String,
    /// Empty where the list is not asked for by service.
    pub service: String,
    /// Grows with each comparison.
    pub version: u64,
    /// The command that looked.
    pub by: CommandId,
    pub at: Timestamp,
    /// Opaque to the store.
    pub content: Bytes,
}

/// One call of those that e-RS allows in a day.
#[derive(Clone, Debug)]
pub struct Spending {
    /// The client id at e-RS.
    pub application: String,
    pub call: String,
    /// What it counts for: a service.
    pub counts_for: String,
    /// Day in the place of e-RS, such as 2026-03-16.
    pub day: String,
    pub per_day: u32,
}

/// What delivery needs where worklists are watched.
#[async_trait]
pub trait WatchStore: Send + Sync {
    async fn snapshot(&self, watch: &str, service: &str) -> Result<Option<Snapshot>>;
    /// Puts it in the place of the one with the version before; of version 1, in the place of none. False if there is
    /// another.
    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<bool>;
    /// Counts one more. False if all of the day are spent.
    async fn spend(&self, spending: Spending) -> Result<bool>;
    /// One that was counted and never left.
    async fn unspend(&self, spending: Spending) -> Result<()>;
    /// Forgets lists that nobody looked at since. Returns how many.
    async fn purge_snapshots(&self, before: Timestamp) -> Result<u64>;
}
