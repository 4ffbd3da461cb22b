//! Documents that e-RS answered with: chunks beside the attempt that fetched them.
//!
//! Guarantees: what an attempt says that it fetched is whole; what an exchange left that broke off is read by nobody, and goes
//! with its command.

use async_trait::async_trait;
use bytes::Bytes;

use super::Result;
use crate::command::{AttemptId, CommandId};

/// Bytes of every chunk but the last.
pub const FETCHED_CHUNK: usize = 256 << 10;

#[async_trait]
pub trait FetchedStore: Send + Sync {
    /// The next chunk, from 0. One that is there stays as it is.
    async fn keep_fetched(&self, command: CommandId, attempt: AttemptId, position: u32, chunk: Bytes) -> Result<()>;
    /// `None` behind the last.
    async fn fetched(&self, command: CommandId, attempt: AttemptId, position: u32) -> Result<Option<Bytes>>;
}
