//! The audit log: rows chained by their hashes, so that none can be changed or taken out unseen.

use rusqlite::{Connection, OptionalExtension, Row};

use super::books::Books;
use super::columns;
use crate::store::audit_chain::{Hash, chain};
use crate::store::{Act, AuditEntry, Result, StoreError};

/// Entries in one answer.
const ENTRIES_MAX: usize = 10_000;

impl Books {
    pub(super) fn note_act(&mut self, name: &str, subject: &str, act: &Act) -> Result<()> {
        let previous: Option<(i64, Hash)> = self
            .connection
            .prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (last, previous) = previous.unwrap_or((0, [0; 32]));
        let (number, at) = (last + 1, act.at.as_microsecond());
        let hash = chain(&previous, number, at, [&act.by, name, subject, &act.why]);
        self.connection
            .prepare_cached(
                "INSERT INTO audit (number, at, by, act, subject, why, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((number, at, &act.by, name, subject, &act.why, hash))?;
        Ok(())
    }
}

pub(super) fn entries(connection: &Connection, after: u64, max: usize) -> Result<Vec<AuditEntry>> {
    let mut statement = connection.prepare_cached(
        "SELECT number, at, by, act, subject, why, hash FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let mut rows = statement.query((columns::signed(after), columns::signed(max.min(ENTRIES_MAX) as u64)))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
}

fn entry(row: &Row<'_>) -> Result<AuditEntry> {
    let hash: Hash = row.get(6)?;
    Ok(AuditEntry {
        number: columns::count(row, 0)?,
        at: columns::time(row, 1)?,
        by: row.get(2)?,
        act: row.get(3)?,
        subject: row.get(4)?,
        why: row.get(5)?,
        hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Walks the chain from its first row.
pub(super) fn verify(connection: &Connection) -> Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT number, at, by, act, subject, why, hash FROM audit ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut previous: Hash = [0; 32];
    let mut last = 0;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let texts: [String; 4] = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        let hash = chain(&previous, number, row.get(1)?, texts.each_ref().map(String::as_str));
        if number != last + 1 || hash != row.get::<_, Hash>(6)? {
            return Err(StoreError::Damaged(format!("the audit log was changed at or before entry {number}")));
        }
        (previous, last) = (hash, number);
    }
    Ok(())
}
