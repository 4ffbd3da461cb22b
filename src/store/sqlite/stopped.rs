//! A file for somebody alone: a copy, while no gateway has it.

use std::fs::File;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use super::{files, migrations, upkeep};
use crate::store::{Result, StoreError, UNFINISHED_COPY};

pub(in crate::store) struct Stopped {
    pub(in crate::store) connection: Connection,
    /// Nobody else opens the file as long as it is held.
    pub(in crate::store) lock: File,
}

impl Stopped {
    /// A file that is there, and up to date.
    pub(in crate::store) fn open(path: &Path) -> Result<Self> {
        let stopped = Self::with(path)?;
        migrations::require_newest(&stopped.connection)?;
        Ok(stopped)
    }

    /// Makes it, or brings it up to date.
    pub(in crate::store) fn make(path: &Path, now: Timestamp) -> Result<Self> {
        let mut stopped = Self::with(path)?;
        // References are proved at the end, when all rows are there.
        stopped.connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        migrations::migrate(&mut stopped.connection, now)?;
        Ok(stopped)
    }

    fn with(path: &Path) -> Result<Self> {
        let lock = files::lock(path)?;
        files::create_private(path)?;
        let connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA busy_timeout = 5000;")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { connection, lock })
    }
}

pub(in crate::store) fn prove(connection: &Connection) -> Result<()> {
    upkeep::verify(connection)
}

/// No gateway opens what a copy has not finished.
pub(super) fn refuse_unfinished(connection: &Connection) -> Result<()> {
    if connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'copying'")?.exists([])? {
        return Err(StoreError::Unavailable(UNFINISHED_COPY.into()));
    }
    Ok(())
}
