//! The outbox as publishers and followers read it where events have their documents with them.
//!
//! Enters: events, whose documents say where they are. Leaves: the same events, each document in base64 beside its `href`, or
//! `notInline`, which says why not. Guarantees: the outbox stays as small as it is; no more than a few megabytes are read at once,
//! what follows is read when it is asked for next; nothing is left out in silence.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::store::{OutboxStore, Result, Store, StoredEvent, document_at};

/// Base64 of documents that one look has.
const LOOK_BYTES_MAX: usize = 16 * 1024 * 1024;

pub struct InlineDocuments {
    store: Arc<dyn Store>,
    /// Of one event, before base64.
    bytes_max: usize,
}

impl InlineDocuments {
    pub fn new(store: Arc<dyn Store>, bytes_max: usize) -> Self {
        Self { store, bytes_max }
    }

    async fn with_documents(&self, mut events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
        let mut read = 0;
        for index in 0..events.len() {
            read += self.put_into(&mut events[index].data).await?;
            if read >= LOOK_BYTES_MAX {
                events.truncate(index + 1);
                break;
            }
        }
        Ok(events)
    }

    /// How many bytes were put in. Documents have their room in their order; a small one may follow one that is too large.
    async fn put_into(&self, data: &mut Value) -> Result<usize> {
        let (mut room, mut put) = (self.bytes_max, 0);
        for document in documents_of(data) {
            let Some(href) = document.get("href").and_then(Value::as_str) else { continue };
            let size = document.get("bytes").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
            let found = match size {
                Some(size) if size > room => Err("it is too large to stand in an event: fetch it from its href"),
                _ => document_at(self.store.as_ref(), href).await?,
            };
            match found {
                Ok(found) => {
                    room = room.saturating_sub(found.bytes.len());
                    let base64 = found.base64();
                    put += base64.len();
                    document.insert("base64".into(), base64.into());
                }
                Err(why) => {
                    document.insert("notInline".into(), why.into());
                }
            }
        }
        Ok(put)
    }
}

/// Where an event has documents.
fn documents_of(data: &mut Value) -> Vec<&mut Map<String, Value>> {
    let Value::Object(members) = data else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in members {
        match (name.as_str(), value) {
            ("documents", Value::Array(listed)) => found.extend(listed.iter_mut().filter_map(Value::as_object_mut)),
            ("clinicalInformation", Value::Object(one)) => found.push(one),
            _ => {}
        }
    }
    found
}

#[async_trait]
impl OutboxStore for InlineDocuments {
    async fn unconfirmed(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        self.with_documents(self.store.unconfirmed(after, max).await?).await
    }

    async fn confirm(&self, positions: Vec<u64>, at: Timestamp) -> Result<()> {
        self.store.confirm(positions, at).await
    }

    async fn events_after(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        self.with_documents(self.store.events_after(after, max).await?).await
    }

    async fn last_position(&self) -> Result<u64> {
        self.store.last_position().await
    }
}
