//! When the write-ahead log goes back into the file.
//!
//! SQLite would do it inside a commit, which then takes tens of milliseconds (measured p99 at groups of
//! 256: 31 to 41 ms). So most of it is done beside the writer, by a connection of its own; the writer only
//! copies the little that came since, which lets the log start again from its beginning.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::environment::Environment;

/// Time between two checkpoints while the writer is busy.
const EVERY: Duration = Duration::from_secs(1);
/// Commits between two checkpoints when less time passed (a burst, or a clock that stands still).
const COMMITS_MAX: u64 = 1_000;
/// What a commit writes beside the content of what it is for: pages of indexes, and of rows that others share.
const COMMIT_BYTES: u64 = 64 * 1024;

pub(super) struct Checkpoints {
    connection: Mutex<Connection>,
    under_way: AtomicBool,
    /// The checkpoint beside the writer has ended; the rest is the writer's.
    rest: AtomicBool,
    commits: AtomicU64,
    last: Mutex<Option<Instant>>,
    /// Bytes of the log that the file did not have when it was last copied.
    uncopied: AtomicU64,
    /// Bytes that went into the log since then, as they are reckoned.
    written: AtomicU64,
    log: PathBuf,
}

impl Checkpoints {
    /// `connection`: for this alone, on this file.
    pub(super) fn new(connection: Connection, file: &Path) -> Self {
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        Self {
            connection: Mutex::new(connection),
            under_way: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            last: Mutex::new(None),
            uncopied: AtomicU64::new(0),
            written: AtomicU64::new(0),
            log: log.into(),
        }
    }

    /// Called by the writer between two transactions. `bytes`: of content, that the last one wrote.
    pub(super) fn after_commit(
        self: &Arc<Self>,
        writer: &Connection,
        bytes: usize,
        environment: &Environment,
        runtime: &Handle,
    ) {
        // Content grows by a third where it is sealed text, and stands in pages.
        self.written.fetch_add(2 * bytes as u64 + COMMIT_BYTES, Ordering::Relaxed);
        if self.rest.swap(false, Ordering::AcqRel) {
            self.copy(writer);
            return;
        }
        let commits = self.commits.fetch_add(1, Ordering::AcqRel);
        let now = environment.instant();
        let mut last = self.last.lock();
        let due = last.is_none_or(|last| now.duration_since(last) >= EVERY) || commits >= COMMITS_MAX;
        if !due || self.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        *last = Some(now);
        self.begin(environment, runtime);
    }

    /// Also while nobody writes, because there is no room.
    pub(super) fn now(self: &Arc<Self>, environment: &Environment, runtime: &Handle) {
        if !self.under_way.swap(true, Ordering::AcqRel) {
            self.begin(environment, runtime);
        }
    }

    /// By how much the file may have to grow for what is in the log: as of the last copy, or by what came since, which is no
    /// more than the log is long.
    pub(super) fn uncopied_bytes(&self) -> u64 {
        let length = || std::fs::metadata(&self.log).map(|log| log.len()).unwrap_or_default();
        let since = self.written.load(Ordering::Relaxed).min(length());
        self.uncopied.load(Ordering::Relaxed).max(since)
    }

    fn begin(self: &Arc<Self>, environment: &Environment, runtime: &Handle) {
        self.commits.store(0, Ordering::Release);
        let checkpoints = Arc::clone(self);
        environment.spawn_blocking_on(runtime, move || {
            let copied = checkpoints.copy(&checkpoints.connection.lock());
            checkpoints.rest.store(copied, Ordering::Release);
            checkpoints.under_way.store(false, Ordering::Release);
        });
    }

    /// Copies what no reader still needs, waiting for nobody. False if it could not.
    fn copy(&self, connection: &Connection) -> bool {
        let before = self.written.load(Ordering::Relaxed);
        match passive(connection) {
            Ok(uncopied) => {
                self.uncopied.store(uncopied, Ordering::Relaxed);
                self.written.fetch_sub(before, Ordering::Relaxed);
                true
            }
            Err(error) => {
                // The log only grows; the next attempt copies it.
                tracing::warn!(%error, "a checkpoint of the store failed");
                false
            }
        }
    }
}

/// Bytes of the log that were left, because a reader needs what they would overwrite.
fn passive(connection: &Connection) -> rusqlite::Result<u64> {
    let (pages, copied) = connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok(u64::try_from((pages - copied).saturating_mul(page)).unwrap_or_default())
}
