//! What is in clear, or sealed with a data key that is to go, sealed anew: a few rows at a time, table after table.
//!
//! Guarantees: a crash repeats at most one step, which then finds nothing to do.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::books::Books;
use super::keyring;
use crate::store::encryption::{RENEWED_AT_ONCE, Renewed, is_due};
use crate::store::unreadable::if_whole;
use crate::store::vault::form::{Column, name_digest};
use crate::store::vault::{Place, Vault};
use crate::store::{Result, StoreError, damaged};

/// Bytes that one step reads.
const BYTES_MAX: usize = 2 << 20;
/// The table that is walked, and the row up to which it was.
const TABLE: &str = "renewal_table";
const ROW: &str = "renewal_row";
/// For which data key it is walked: for another, everything is looked at anew.
const KEY: &str = "renewal_key";

/// A table with sealed columns. `id`, `part` and `position`: of what each value is, from `t` and what is joined.
struct Walk {
    table: &'static str,
    id: &'static str,
    chunk: Option<(&'static str, &'static str)>,
    columns: &'static [(&'static str, Column)],
}

const fn walk(table: &'static str, columns: &'static [(&'static str, Column)]) -> Walk {
    Walk { table, id: "t.id", chunk: None, columns }
}

const OF_MESSAGE: &str = "(SELECT id FROM message m WHERE m.number = t.message)";

/// All have a `rowid`, which is their number where they have one.
const WALKS: [Walk; 9] = [
    walk("message", &[("raw", Column::MessageRaw), ("acknowledgement", Column::MessageAcknowledgement)]),
    Walk {
        id: OF_MESSAGE,
        chunk: Some(("0", "t.position")),
        ..walk("message_chunk", &[("bytes", Column::MessageChunk)])
    },
    Walk {
        id: OF_MESSAGE,
        chunk: Some(("t.number", "t.position")),
        ..walk("document", &[("bytes", Column::Document)])
    },
    walk("thread", &[("known", Column::ThreadKnown)]),
    walk(
        "command",
        &[("body", Column::CommandBody), ("plan", Column::CommandPlan), ("local_id", Column::CommandLocalId)],
    ),
    walk("attempt", &[("request", Column::AttemptRequest), ("response", Column::AttemptResponse)]),
    Walk { id: "t.attempt", chunk: Some(("0", "t.position")), ..walk("fetched", &[("bytes", Column::Fetched)]) },
    walk("outbox", &[("data", Column::EventData)]),
    walk("dispatch", &[("content", Column::DispatchContent)]),
];

/// Small tables without a `rowid`, done at once: their names, their key and the column.
const NAMED: [(&str, [&str; 2], &str, Column); 2] = [
    ("snapshot", ["watch", "service"], "content", Column::Snapshot),
    ("secret", ["connection", "kind"], "sealed", Column::Secret),
];

/// Opens everything that is sealed.
pub(super) fn prove(connection: &Connection) -> Result<()> {
    let name = |of: &Column| Column::ALL.iter().find(|(column, _)| column == of).map_or("", |(_, name)| *name);
    for walk in &WALKS {
        let (part, position) = walk.chunk.unwrap_or(("0", "0"));
        for (column, of) in walk.columns {
            let opened = format!("opened('{}', {}, t.{column}, {part}, {position})", name(of), walk.id);
            prove_column(connection, &format!("SELECT count({opened}) FROM {} t", walk.table), name(of))?;
        }
    }
    for (table, [one, other], column, of) in NAMED {
        let opened = format!("opened('{}', named({one}, {other}), {column})", name(&of));
        prove_column(connection, &format!("SELECT count({opened}) FROM {table}"), name(&of))?;
    }
    Ok(())
}

fn prove_column(connection: &Connection, sql: &str, name: &str) -> Result<()> {
    let proved: Result<i64> = connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::from);
    match proved {
        Err(StoreError::Damaged(why)) => Err(StoreError::Damaged(format!("{name}: {why}"))),
        proved => proved.map(drop),
    }
}

fn noted(connection: &Connection, name: &str) -> Result<i64> {
    let value = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

impl Books {
    pub(super) fn renew(&mut self) -> Result<Option<Renewed>> {
        let Some(current) = self.vault.current() else { return Ok(None) };
        let keys = keyring::rows(&self.connection)?;
        let newest = keys.iter().map(|key| key.number).max();
        // A key that was just made is used in a moment: what is sealed until then would have to be sealed again.
        if !is_due(&keys, keyring::renewed(&self.connection)?) || newest != Some(current) {
            return Ok(None);
        }
        // Nothing of what stood there before is left in pages that are free.
        self.connection.execute_batch("PRAGMA secure_delete = ON")?;
        let renewed = self.renew_step(current);
        self.connection.execute_batch("PRAGMA secure_delete = OFF")?;
        renewed.map(Some)
    }

    fn renew_step(&self, current: u32) -> Result<Renewed> {
        if noted(&self.connection, KEY)? != i64::from(current) {
            for (name, value) in [(KEY, i64::from(current)), (TABLE, 0), (ROW, 0)] {
                self.note(name, value)?;
            }
        }
        let table = usize::try_from(noted(&self.connection, TABLE)?).unwrap_or(0);
        let mut renewed = Renewed::default();
        let Some(walk) = WALKS.get(table) else {
            for (table, key, column, sealed) in NAMED {
                self.renew_named(table, key, (column, sealed), &mut renewed)?;
            }
            self.note_renewed(current)?;
            self.note(TABLE, 0)?;
            self.note(ROW, 0)?;
            return Ok(Renewed { ended: true, ..renewed });
        };
        match self.renew_rows(walk, noted(&self.connection, ROW)?, &mut renewed)? {
            Some(row) => self.note(ROW, row)?,
            None => {
                self.note(TABLE, table as i64 + 1)?;
                self.note(ROW, 0)?;
            }
        }
        Ok(renewed)
    }

    /// Returns the last row that was looked at; `None` behind the last of the table.
    fn renew_rows(&self, walk: &Walk, after: i64, renewed: &mut Renewed) -> Result<Option<i64>> {
        let columns: Vec<String> = walk.columns.iter().map(|(name, _)| format!("t.{name}")).collect();
        let (part, position) = walk.chunk.unwrap_or(("0", "0"));
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT t.rowid, {}, {part}, {position}, {} FROM {} t WHERE t.rowid > ?1 ORDER BY t.rowid LIMIT ?2",
            walk.id,
            columns.join(", "),
            walk.table
        ))?;
        let assignments: Vec<String> =
            walk.columns.iter().enumerate().map(|(at, (name, _))| format!("{name} = ?{}", at + 2)).collect();
        let mut update = self.connection.prepare_cached(&format!(
            "UPDATE {} SET {} WHERE rowid = ?1",
            walk.table,
            assignments.join(", ")
        ))?;
        let (mut last, mut bytes) = (None, 0);
        let mut rows = select.query((after, RENEWED_AT_ONCE as i64))?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let id: Option<[u8; 16]> = row.get(1)?;
            let id = id.ok_or_else(|| damaged("content of a message that is missing"))?;
            let (part, position): (u32, u32) = (row.get(2)?, row.get(3)?);
            let mut values = vec![Value::Integer(number)];
            let mut changed = 0;
            for (at, (_, column)) in walk.columns.iter().enumerate() {
                let place = column.chunk(id, part, position);
                let value: Value = row.get(at + 4)?;
                bytes += size(&value);
                match anew(&self.vault, place, &value)? {
                    Some(sealed) => {
                        changed += 1;
                        values.push(sealed);
                    }
                    None => values.push(value),
                }
            }
            if changed > 0 {
                update.execute(params_from_iter(values))?;
            }
            renewed.rows += 1;
            renewed.values += changed;
            last = Some(number);
            if bytes >= BYTES_MAX {
                break;
            }
        }
        Ok(last)
    }

    fn renew_named(
        &self,
        table: &str,
        key: [&str; 2],
        (column, sealed): (&str, Column),
        renewed: &mut Renewed,
    ) -> Result<()> {
        let [one, other] = key;
        let mut select = self.connection.prepare_cached(&format!("SELECT {one}, {other}, {column} FROM {table}"))?;
        let mut update = self
            .connection
            .prepare_cached(&format!("UPDATE {table} SET {column} = ?3 WHERE {one} = ?1 AND {other} = ?2"))?;
        let all = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let all: Vec<(String, String, Value)> = all.collect::<rusqlite::Result<_>>()?;
        for (one, other, value) in all {
            renewed.rows += 1;
            let place = sealed.of(name_digest([&one, &other]));
            if let Some(value) = anew(&self.vault, place, &value)? {
                renewed.values += 1;
                update.execute((one, other, value))?;
            }
        }
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Blob(bytes) => bytes.len(),
        Value::Text(text) => text.len(),
        _ => 0,
    }
}

fn anew(vault: &Vault, place: Place, value: &Value) -> Result<Option<Value>> {
    let renewed = match value {
        Value::Blob(bytes) => vault.renewed(place, bytes).map(|renewed| renewed.map(Value::Blob)),
        Value::Text(text) => vault.renewed_text(place, text).map(|renewed| renewed.map(Value::Text)),
        _ => Ok(None),
    };
    // What does not open stays as it is, for `prove` to find.
    Ok(if_whole(renewed)?.flatten())
}
