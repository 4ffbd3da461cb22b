//! The embedded store: one SQLite file, one writer with group commit, a few readers.
//!
//! Enters: the intentions of [`super::Store`]. Leaves: rows in a file that operators can open with any
//! SQLite tool. Guarantees: what a method reports as done is on disk (`synchronous=FULL`); a full disk is
//! `Unavailable` and heals by itself; no queue is kept in memory.
//!
//! | File | Subject |
//! |---|---|
//! | `writer`, `books`, `checkpoints` | groups of intentions, one transaction each |
//! | `intake`, `content` | messages, commands, letters |
//! | `threads`, `order` | aliases and merges; which command is claimable |
//! | `claims`, `progress`, `recovery`, `transitions` | delivery |
//! | `outbox` | events |
//! | `operator`, `bulk`, `audit`, `people`, `modes`, `kept` | people's acts, secrets, mapping sets |
//! | `search`, `listing`, `problems`, `report`, `readers` | looking |
//! | `retention`, `patient` | what is finished and old leaves; what is held |
//! | `sealed`, `keyring`, `renewal` | what is encrypted: in statements, its keys, sealed anew |
//! | `files`, `room`, `migrations`, `upkeep`, `stopped` | the file itself, and its disk |

mod audit;
mod books;
mod bulk;
mod checkpoints;
mod claims;
mod columns;
mod content;
mod dispatch;
mod failure;
mod files;
mod holding;
mod intake;
mod kept;
mod keyring;
mod links;
mod listing;
mod migrations;
mod modes;
mod operator;
mod order;
mod outbox;
mod patient;
mod people;
mod problems;
mod progress;
mod queue;
mod readers;
mod recovery;
mod renewal;
mod report;
mod retention;
mod room;
mod rooms;
mod sealed;
mod search;
mod stopped;
#[cfg(test)]
mod tests;
mod threads;
mod transitions;
mod upkeep;
mod waiting;
mod watching;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::runtime::Handle;

use self::books::Books;
use self::checkpoints::Checkpoints;
pub(super) use self::patient::MAKE_MENTIONS;
use self::readers::Readers;
use self::room::Room;
pub(super) use self::stopped::{Stopped, prove};
use self::writer::Writer;
use super::vault::{self, Sealing, Vault};
use super::{Beat, Result, Signals, StoreError};
use crate::environment::Environment;
use crate::keys::Keys;

/// The writer's page cache in KiB. Larger ones cost more than they save: a commit that split a page goes through the whole of it
/// (`sqlite3PcacheTruncate`), 2 % of the processor's time of intake at 32 MB.
const WRITER_CACHE_KIB: i64 = 8_000;
/// The write-ahead log is cut to this when it starts again.
const LOG_BYTES_MAX: i64 = 64 << 20;
/// Kept free on the disk beside what the log needs to be copied back, unless the settings say otherwise.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// One file, open for reading and writing, which one process at a time may; or for reading alone.
pub struct SqliteStore {
    path: PathBuf,
    writer: Option<Arc<Writer>>,
    readers: Readers,
    room: Room,
    signals: Signals,
    environment: Environment,
    runtime: Handle,
    /// What this instance last said of itself, and when.
    beat: Mutex<Option<(Beat, Timestamp)>>,
    newest_set: Mutex<Option<String>>,
    vault: Vault,
    /// With which it was opened, if it was.
    keys: Option<Keys>,
}

impl SqliteStore {
    /// Opens or creates the file and brings it up to date. Its threads are those of the runtime that it is
    /// opened on, which must outlive it. Reads only small tables, however much waits.
    ///
    /// Without keys: one that has none.
    pub async fn open(path: impl AsRef<Path>, environment: &Environment) -> Result<Self> {
        Self::open_with(path, None, environment).await
    }

    /// The same, with what seals and opens its content.
    pub async fn open_with(
        path: impl AsRef<Path>,
        sealing: Option<Sealing>,
        environment: &Environment,
    ) -> Result<Self> {
        let runtime = Handle::current();
        let path = path.as_ref().to_path_buf();
        let signals = Signals::default();
        let vault = Vault::closed(environment);
        let opening = {
            let (path, environment, runtime) = (path.clone(), environment.clone(), runtime.clone());
            let (signals, vault) = (signals.clone(), vault.clone());
            move || open_writer(&path, (vault, sealing), environment, runtime, signals)
        };
        let (writer, keys) = environment
            .spawn_blocking_on(&runtime, opening)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("opening was stopped".into())))?;
        let readers = Readers::new(path.clone(), vault.clone(), environment.clone(), runtime.clone());
        let writer = Some(Arc::new(writer));
        Ok(Self::with(path, writer, readers, signals, (vault, keys), environment, runtime))
    }

    /// Refuses messages when no more than this is free on its disk.
    pub fn reserving(self, bytes: u64) -> Self {
        Self { room: Room::new(&self.path, bytes), ..self }
    }

    /// Opens a file that a gateway may be using, to look at it: whatever would change something is
    /// `Unavailable`, and no bell rings.
    /// One that has keys needs its master key.
    pub async fn open_to_read(path: impl AsRef<Path>, keys: Option<&Keys>, environment: &Environment) -> Result<Self> {
        let (runtime, path) = (Handle::current(), path.as_ref().to_path_buf());
        let vault = Vault::closed(environment);
        let readers = Readers::new(path.clone(), vault.clone(), environment.clone(), runtime.clone());
        readers.read(migrations::require_newest).await?;
        readers.read(stopped::refuse_unfinished).await?;
        let keys = match keys.cloned() {
            Some(keys) => {
                let vault = vault.clone();
                let opened = readers.read({
                    let keys = keys.clone();
                    move |connection| keyring::take(connection, &vault, &keys)
                });
                opened.await?.or(Some(keys))
            }
            None if readers.read(keyring::rows).await?.is_empty() => None,
            None => return Err(vault::locked()),
        };
        let signals = Signals::default();
        Ok(Self::with(path, None, readers, signals, (vault, keys), environment, runtime))
    }

    fn with(
        path: PathBuf,
        writer: Option<Arc<Writer>>,
        readers: Readers,
        signals: Signals,
        (vault, keys): (Vault, Option<Keys>),
        environment: &Environment,
        runtime: Handle,
    ) -> Self {
        let environment = environment.clone();
        Self {
            room: Room::new(&path, RESERVE_BYTES),
            path,
            writer,
            readers,
            signals,
            environment,
            runtime,
            beat: Mutex::default(),
            newest_set: Mutex::default(),
            vault,
            keys,
        }
    }

    fn writer(&self) -> Result<&Arc<Writer>> {
        self.writer.as_ref().ok_or_else(|| StoreError::Unavailable("it was opened to be read".into()))
    }

    /// Runs statements as if they were an intention.
    #[cfg(test)]
    async fn write_raw(&self, sql: &'static str) -> Result<()> {
        self.writer()?.write(0, move |books| Ok(books.connection.execute_batch(sql)?)).await
    }

    /// Proves the file whole: pages, references, audit chain, counts. Takes as long as the file is large.
    pub async fn verify(&self) -> Result<()> {
        self.readers
            .read(|connection| {
                upkeep::verify(connection)?;
                renewal::prove(connection)
            })
            .await
    }

    /// With a connection of its own, beside whoever writes: for the rows of keys, which nobody else keeps in memory.
    async fn beside<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let path = self.path.clone();
        let worked = self.environment.spawn_blocking_on(&self.runtime, move || {
            let mut connection = Connection::open(path)?;
            connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")?;
            work(&mut connection)
        });
        worked.await.unwrap_or_else(|_| Err(StoreError::Unavailable("a change of keys was stopped".into())))
    }

    /// Copies one committed moment to a new file, while everything goes on.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (self.path.clone(), to.as_ref().to_path_buf());
        self.environment
            .spawn_blocking_on(&self.runtime, move || upkeep::backup(&from, &to))
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the backup was stopped".into())))
    }
}

pub(super) fn back_up(from: &Path, to: &Path) -> Result<()> {
    upkeep::backup(from, to)
}

/// A statement keeps the plan that it was prepared with. Without this, one that binds a value to a column of a
/// partial index is prepared anew for every other value (a tenth of the time of delivery went there).
fn keep_plans(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn open_writer(
    path: &Path,
    (vault, sealing): (Vault, Option<Sealing>),
    environment: Environment,
    runtime: Handle,
    signals: Signals,
) -> Result<(Writer, Option<Keys>)> {
    let lock: File = files::lock(path)?;
    files::create_private(path)?;
    let mut connection = Connection::open(path)?;
    keep_plans(&connection)?;
    // The log is copied back by `checkpoints`, not inside a commit.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA busy_timeout = 5000;
         PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -{WRITER_CACHE_KIB};
         PRAGMA journal_size_limit = {LOG_BYTES_MAX};"
    ))?;
    stopped::refuse_unfinished(&connection)?;
    migrations::migrate(&mut connection, environment.now())?;
    sealed::teach(&connection, &vault)?;
    let keys = keyring::unlock(&mut connection, &vault, sealing.as_ref(), environment.now())?;
    let copying = Connection::open(path)?;
    copying.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
    let books = Books::open(connection, environment, vault)?;
    Ok((Writer::new(books, Arc::new(Checkpoints::new(copying, path)), runtime, signals, lock), keys))
}
