//! Where a scenario's store is, and rows that come there faster than by intake.
//!
//! Enters: numbers. Leaves: messages with their commands, threads, control ids and events, as the gateway would
//! have written them. Everything of a row follows from its number, so that it can be asked for again.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::super::exit::CliError;
use super::sqlite_rows;
use crate::command::{Class, CommandId, MessageId};
use crate::environment::Environment;
use crate::store::sqlite::SqliteStore;
use crate::store::{Alias, AliasKind, Store};

pub(super) const SOURCES: [&str; 4] = ["northmoor", "eastvale", "southbeck", "westmere"];
/// Bytes of a message as received.
pub(super) const RAW: usize = 1_600;
/// 1 January 2025; messages come once in 26 seconds, which is 100,000 in 30 days.
const BEGAN: i64 = 1_735_689_600;
const SECONDS_APART: i64 = 26;
/// Rows between two looks at whether somebody wants it to stop.
const PORTION: u64 = 20_000;

/// What became of the filled messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// Nine of ten commands are queued, one waits for a time that is far away.
    Waiting,
    /// Carried out: one call, one event that is confirmed.
    Finished,
}

/// One store.
#[derive(Clone)]
pub(super) enum Ground {
    Sqlite(PathBuf),
}

impl Ground {
    pub fn sqlite(file: &Path) -> Self {
        Self::Sqlite(file.to_owned())
    }

    pub async fn open(&self) -> Result<Arc<dyn Store>, CliError> {
        match self {
            Self::Sqlite(file) => match SqliteStore::open(file, &Environment::system()).await {
                Ok(store) => Ok(Arc::new(store)),
                Err(error) => Err(CliError::unavailable(file.display(), error)),
            },
        }
    }

    /// Adds rows to a store that nobody has open. The store may end between two portions.
    pub async fn fill(&self, numbers: Range<u64>, filled: Filled) -> Result<(), CliError> {
        drop(self.open().await?);
        let mut from = numbers.start;
        while from < numbers.end {
            let to = (from + PORTION).min(numbers.end);
            match self {
                Self::Sqlite(file) => sqlite_rows::write(file, from..to, filled)
                    .map_err(|error| CliError::unavailable(file.display(), error))?,
            }
            from = to;
            tokio::task::yield_now().await;
        }
        match self {
            // Otherwise gigabytes would be on their way to the disk while something is measured.
            Self::Sqlite(file) => std::fs::File::open(file)
                .and_then(|file| file.sync_all())
                .map_err(|error| CliError::unavailable(file.display(), error)),
        }
    }
}

/// A message with one command.
pub(super) struct Row {
    pub number: u64,
    pub source: usize,
    pub class: Class,
    pub received_at: Timestamp,
}

impl Row {
    pub fn of(number: u64) -> Self {
        // Most are routine; every class and every source has its share.
        let class = match number % 20 {
            0 => Class::TwoWeekWait,
            1 | 2 => Class::Urgent,
            3 => Class::Bulk,
            _ => Class::Routine,
        };
        let source = usize::try_from(number / 3).unwrap_or(0) % SOURCES.len();
        Self { number, source, class, received_at: received_at(number) }
    }

    pub fn message(&self) -> MessageId {
        MessageId(identifier(self.number, 1))
    }

    pub fn command(&self) -> CommandId {
        CommandId(identifier(self.number, 2))
    }

    pub fn event(&self) -> Uuid {
        identifier(self.number, 3)
    }

    pub fn attempt(&self) -> Uuid {
        identifier(self.number, 4)
    }

    pub fn control_id(&self) -> String {
        format!("EV{:010}", self.number)
    }

    pub fn alias(&self) -> Alias {
        Alias { kind: AliasKind::LocalId, digest: Sha256::digest(self.number.to_be_bytes()).into() }
    }
}

pub(super) fn received_at(number: u64) -> Timestamp {
    let seconds = BEGAN + SECONDS_APART * i64::try_from(number).unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// A UUID version 7 of that time, different for every number and kind.
fn identifier(number: u64, kind: u8) -> Uuid {
    let millis = u64::try_from(received_at(number).as_millisecond()).unwrap_or(0);
    let digest = Sha256::digest([&number.to_be_bytes()[..], &[kind]].concat());
    let random: [u8; 10] = std::array::from_fn(|index| digest[index]);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_filled_in_is_a_store_like_any_other() {
        for filled in [Filled::Finished, Filled::Waiting] {
            let folder = tempfile::TempDir::new().expect("a temporary folder");
            let file = folder.path().join("store.db");
            let ground = Ground::sqlite(&file);
            for numbers in [0..30, 30..100] {
                ground.fill(numbers, filled).await.expect("filled");
            }
            let store = SqliteStore::open(&file, &Environment::system()).await.expect("opened");
            store.verify().await.expect("whole");
            let store: Arc<dyn Store> = Arc::new(store);
            for number in [0, 42, 99] {
                let row = Row::of(number);
                let message = store.message(row.message()).await.expect("read").expect("there");
                assert_eq!((message.control_id, message.received_at), (Some(row.control_id()), row.received_at));
                let command = store.command(row.command()).await.expect("read").expect("there");
                assert_eq!(command.state.is_final(), filled == Filled::Finished);
                assert!(store.find_thread(&row.alias()).await.expect("read").is_some());
            }
        }
    }
}
