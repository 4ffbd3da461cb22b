//! The audit log: rows chained by their hashes, so that none can be changed or taken out unseen.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::books::Books;
use super::columns;
use crate::store::audit_chain::{self, Chain, FORGET_REASONS, hex, unhex};
use crate::store::{Act, AuditEntry, AuditHead, Noted, Result, StoreError};

/// Entries in one answer.
const ENTRIES_MAX: usize = 10_000;
/// Beside the entries: how many there ever were.
const WRITTEN: &str = "audit_entries";

macro_rules! entry_columns {
    () => {
        "number, at, by, kind, place, act, subject, why, why_salt, why_digest, hash"
    };
}

impl Books {
    pub(super) fn note_act(&mut self, noted: &Noted) -> Result<()> {
        let head = self
            .connection
            .prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?)))
            .optional()?;
        let head = head.map_or_else(AuditHead::start, |(number, hash)| AuditHead {
            number: number.unsigned_abs(),
            hash: hex(&hash),
        });
        let entry = audit_chain::following(&head, noted, self.environment.random_id());
        let number = columns::signed(entry.number);
        self.connection
            .prepare_cached(concat!(
                "INSERT INTO audit (",
                entry_columns!(),
                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ))?
            .execute(params![
                number,
                entry.at.as_microsecond(),
                entry.by,
                entry.kind,
                entry.place,
                entry.act,
                entry.subject,
                entry.why,
                entry.why_salt,
                entry.why_digest,
                unhex(&entry.hash),
            ])?;
        self.note(WRITTEN, number)
    }

    pub(super) fn forget_reasons(&mut self, before: Timestamp, max: usize, act: &Act) -> Result<u64> {
        let forgotten = self
            .connection
            .prepare_cached(
                "UPDATE audit SET why = '', why_salt = NULL WHERE number IN (
                   SELECT number FROM audit WHERE why_salt IS NOT NULL AND at < ?1 ORDER BY at LIMIT ?2
                 )",
            )?
            .execute((before.as_microsecond(), columns::signed(max as u64)))?;
        let subject = audit_chain::forgotten_before(before);
        if forgotten > 0
            && last_noted(&self.connection, FORGET_REASONS, &act.by)?.is_none_or(|last| last.subject != subject)
        {
            self.note_act(&Noted { act: FORGET_REASONS, subject, by: act.clone() })?;
        }
        Ok(forgotten as u64)
    }
}

pub(super) fn entries(connection: &Connection, after: u64, max: usize) -> Result<Vec<AuditEntry>> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        entry_columns!(),
        " FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2"
    ))?;
    let mut rows = statement.query((columns::signed(after), columns::signed(max.min(ENTRIES_MAX) as u64)))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
}

pub(super) fn last_noted(connection: &Connection, act: &str, by: &str) -> Result<Option<AuditEntry>> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        entry_columns!(),
        " FROM audit WHERE act = ?1 AND by = ?2 ORDER BY number DESC LIMIT 1"
    ))?;
    let mut rows = statement.query((act, by))?;
    rows.next()?.map(entry).transpose()
}

pub(super) fn written(connection: &Connection) -> Result<u64> {
    let written: Option<i64> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([WRITTEN], |row| row.get(0))
        .optional()?;
    Ok(written.unwrap_or_default().unsigned_abs())
}

fn entry(row: &Row<'_>) -> Result<AuditEntry> {
    let (why, why_salt, why_digest): (String, Option<String>, Option<String>) = (row.get(7)?, row.get(8)?, row.get(9)?);
    let hash: Vec<u8> = row.get(10)?;
    Ok(AuditEntry {
        number: columns::count(row, 0)?,
        at: columns::time(row, 1)?,
        by: row.get(2)?,
        kind: row.get(3)?,
        place: row.get(4)?,
        act: row.get(5)?,
        subject: row.get(6)?,
        why: Some(why).filter(|_| why_salt.is_some() || why_digest.is_none()),
        why_salt,
        why_digest,
        hash: hex(&hash),
    })
}

/// Walks the chain from its first row.
pub(super) fn verify(connection: &Connection) -> Result<()> {
    let damaged = |broken: audit_chain::ChainBroken| StoreError::Damaged(broken.to_string());
    // First, for others may go on writing.
    let written = written(connection)?;
    let mut statement =
        connection.prepare_cached(concat!("SELECT ", entry_columns!(), " FROM audit ORDER BY number"))?;
    let mut rows = statement.query([])?;
    let mut chain = Chain::new(None);
    while let Some(row) = rows.next()? {
        chain.take(&entry(row)?).map_err(damaged)?;
    }
    chain.end(written).map_err(damaged)
}
