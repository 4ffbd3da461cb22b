//! Where a scenario's store is, and rows that come there faster than by intake.
//!
//! Enters: numbers. Leaves: messages with their commands, threads, control ids and events, as the gateway would
//! have written them. Everything of a row follows from its number, so that it can be asked for again.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::super::exit::CliError;
use super::postgres::{self, Schema, Server};
use super::sqlite;
use crate::command::{Class, CommandId, MessageId};
use crate::config::StoreUrl;
use crate::environment::Environment;
use crate::keys::Keys;
use crate::store::sqlite::RESERVE_BYTES;
use crate::store::{self, Alias, AliasKind, Sealing, Store, StorePlace};

/// By which a store is opened here.
const INSTANCE: &str = "bench";
pub(super) const SOURCES: [&str; 4] = ["northmoor", "eastvale", "southbeck", "westmere"];
/// Bytes of a message as received.
pub(super) const RAW: usize = 1_600;
/// 1 January 2025; messages come once in 26 seconds, which is 100,000 in 30 days.
const BEGAN: i64 = 1_735_689_600;
const SECONDS_APART: i64 = 26;
/// Rows between two looks at whether somebody wants it to stop.
const PORTION: u64 = 20_000;

/// Standings of `command`, in both stores.
const READY: i16 = 0;
const WAITING: i16 = 3;
pub(super) const COMPLETED: i16 = 7;
/// Long after everything, in microseconds.
const FAR_AWAY: i64 = 4_000_000_000_000_000;

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
    Postgres(Arc<Schema>),
}

impl Ground {
    /// A new store: a file in a folder, or a schema of a server if there is one.
    pub async fn new_in(folder: &Path, server: Option<&Server>) -> Result<Self, CliError> {
        match server {
            None => Ok(Self::Sqlite(folder.join(format!("{}.db", Uuid::new_v4())))),
            Some(server) => Ok(Self::Postgres(server.new_schema().await?)),
        }
    }

    /// Of the engine, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// As in the settings.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::Postgres(schema) => schema.url.clone(),
        }
    }

    pub async fn open(&self) -> Result<Arc<dyn Store>, CliError> {
        self.open_with(None).await
    }

    /// One that a gateway with this key file has had; what is written here is in clear, and counts as from before.
    pub async fn open_with(&self, key: Option<&Path>) -> Result<Arc<dyn Store>, CliError> {
        let url = StoreUrl(self.url());
        let keys = key.map(|key| Keys::load_or_create(key, &Environment::system())).transpose();
        let keys = keys.map_err(|error| CliError::unavailable("a key", error))?;
        let sealing = keys.map(|keys| Sealing { encrypt: false, ..Sealing::to_act(keys) });
        let place =
            StorePlace { url: &url, instance: INSTANCE, reserve_bytes: RESERVE_BYTES, sealing: sealing.as_ref() };
        store::open(place, &Environment::system()).await.map_err(|error| CliError::unavailable("a store", error))
    }

    /// Bytes of write-ahead log that its server has written, if it has one.
    pub async fn written(&self) -> Result<Option<f64>, CliError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(schema) => schema.log_written().await.map(Some),
        }
    }

    /// Bytes that it takes, in 10^6.
    pub async fn megabytes(&self) -> Result<f64, CliError> {
        match self {
            Self::Sqlite(file) => Ok(std::fs::metadata(file).map_or(0.0, |metadata| metadata.len() as f64 / 1e6)),
            Self::Postgres(schema) => Ok(schema.size().await? / 1e6),
        }
    }

    /// Adds rows to a store that nobody has open. The store may end between two portions.
    pub async fn fill(&self, key: Option<&Path>, numbers: Range<u64>, filled: Filled) -> Result<(), CliError> {
        drop(self.open_with(key).await?);
        let mut from = numbers.start;
        while from < numbers.end {
            let to = (from + PORTION).min(numbers.end);
            match self {
                Self::Sqlite(file) => sqlite::rows::write(file, from..to, filled)
                    .map_err(|error| CliError::unavailable(file.display(), error))?,
                Self::Postgres(schema) => postgres::rows::write(schema, from..to, filled).await?,
            }
            from = to;
            tokio::task::yield_now().await;
        }
        match self {
            // Otherwise gigabytes would be on their way to the disk while something is measured.
            Self::Sqlite(file) => std::fs::File::open(file)
                .and_then(|file| file.sync_all())
                .map_err(|error| CliError::unavailable(file.display(), error)),
            Self::Postgres(schema) => schema.settle().await,
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

    pub fn acknowledgement(&self) -> String {
        format!("MSH|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|||ACK|1|P|2.4\rMSA|AA|{}\r", self.control_id())
    }

    /// Of the command.
    pub fn standing(&self, filled: Filled) -> i16 {
        match filled {
            Filled::Finished => COMPLETED,
            Filled::Waiting if self.number % 10 == 9 => WAITING,
            Filled::Waiting => READY,
        }
    }

    /// Of a command of that standing, and when it is due.
    pub fn state(standing: i16) -> (&'static str, Option<i64>) {
        match standing {
            COMPLETED => (r#"{"state":"completed"}"#, None),
            WAITING => {
                (r#"{"state":"waiting","step":"create","until":"2096-10-02T07:06:40Z","why":"locked"}"#, Some(FAR_AWAY))
            }
            _ => (r#"{"state":"queued"}"#, None),
        }
    }

    /// Of the message, and of whatever else is known by a digest.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.number.to_be_bytes()).into()
    }

    /// What a thread and a plan know of a command that was carried out.
    pub const KNOWN: &str = r#"{"ubrn":"000000000000"}"#;
    pub const PLAN: &str = r#"{"done":["create"]}"#;

    /// Of the command.
    pub fn body() -> Value {
        json!({ "localId": "EV", "text": "x".repeat(1_100) })
    }

    /// Request or answer of the call.
    pub fn exchange() -> Value {
        json!({ "method": "POST", "body": "x".repeat(1_000) })
    }

    pub fn event_data(&self) -> Value {
        json!({ "command": self.command(), "commandName": "CreateReferral", "message": self.message(),
                "localId": "EV", "ubrn": "000000000000" })
    }

    pub fn alias(&self) -> Alias {
        Alias { kind: AliasKind::LocalId, digest: self.digest() }
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
    use crate::store::postgres::tests::server::Postgres;

    #[tokio::test]
    async fn what_is_filled_in_is_a_store_like_any_other() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let running = Postgres::shared();
        let server = Server::parse(&running.plain_url()).expect("on this machine");
        for (filled, server) in
            [Filled::Finished, Filled::Waiting].iter().flat_map(|filled| [(*filled, None), (*filled, Some(&server))])
        {
            let ground = Ground::new_in(folder.path(), server).await.expect("a new store");
            for numbers in [0..30, 30..100] {
                ground.fill(None, numbers, filled).await.expect("filled");
            }
            let store = ground.open().await.expect("opened");
            store.verify().await.expect("whole");
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
