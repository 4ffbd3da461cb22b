//! A document on its way from e-RS to the store.
//!
//! Enters: an answer's bytes as they come. Leaves: chunks in the store, and what the document is. Guarantees: no more than one
//! chunk is in memory; an answer whose document is not wholly on disk counts as none.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::engine::Shared;
use crate::command::{AttemptId, CommandId};
use crate::ers::{TakesDocument, TransportError};
use crate::mapping::{Document, hex};
use crate::store::{FETCHED_CHUNK, StoreError};

/// A store that is away is asked again for so long; e-RS is asked once more afterwards.
const STORE_AWAY_MAX: u32 = 50;
const STORE_WAIT: Duration = Duration::from_millis(100);

pub(super) struct Keeping {
    shared: Arc<Shared>,
    command: CommandId,
    attempt: AttemptId,
    /// Every good answer is a document, whatever its type.
    is_file: bool,
    waiting: BytesMut,
    chunks: u32,
    bytes: u64,
    digest: Sha256,
}

impl Keeping {
    pub(super) fn new(shared: Arc<Shared>, command: CommandId, attempt: AttemptId, is_file: bool) -> Self {
        Self { shared, command, attempt, is_file, waiting: BytesMut::new(), chunks: 0, bytes: 0, digest: Sha256::new() }
    }

    /// Nothing if nothing came.
    pub(super) async fn finish(mut self, content_type: Option<&str>) -> Result<Option<Document>, TransportError> {
        if self.bytes == 0 {
            return Ok(None);
        }
        if !self.waiting.is_empty() {
            let last = self.waiting.split().freeze();
            self.keep(last).await?;
        }
        let content_type = plain_type(content_type);
        Ok(Some(Document { content_type, bytes: self.bytes, sha256: hex(&self.digest.finalize()) }))
    }

    async fn keep(&mut self, chunk: Bytes) -> Result<(), TransportError> {
        let unkept = |why: &str| TransportError::Unanswered(format!("its document could not be kept: {why}"));
        for _ in 0..STORE_AWAY_MAX {
            match self.shared.store.keep_fetched(self.command, self.attempt, self.chunks, chunk.clone()).await {
                Ok(()) => {
                    self.chunks += 1;
                    return Ok(());
                }
                Err(StoreError::Unavailable(_)) => self.shared.environment.sleep(STORE_WAIT).await,
                Err(error) => return Err(unkept(&error.to_string())),
            }
        }
        Err(unkept("the store is away"))
    }
}

#[async_trait]
impl TakesDocument for Keeping {
    /// What has another type than text and JSON, and says so. Without a type it may be JSON all the same.
    fn wants(&self, status: u16, content_type: Option<&str>) -> bool {
        let plain = plain_type(content_type);
        status / 100 == 2 && (self.is_file || !is_text(&plain) && plain != UNKNOWN_TYPE)
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), TransportError> {
        self.digest.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.waiting.extend_from_slice(&bytes);
        while self.waiting.len() >= FETCHED_CHUNK {
            let chunk = self.waiting.split_to(FETCHED_CHUNK).freeze();
            self.keep(chunk).await?;
        }
        Ok(())
    }
}

const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Text or JSON, that of the retired interface (`application/json+fhir`) as well.
pub(super) fn is_text(plain_type: &str) -> bool {
    plain_type.starts_with("text/") || plain_type.ends_with("json") || plain_type == "application/json+fhir"
}

/// Without parameters.
pub(super) fn plain_type(content_type: Option<&str>) -> String {
    content_type.unwrap_or(UNKNOWN_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
