//! A file, read and written by a copy. Nobody else has it open.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params_from_iter};

use super::cell::{Cell, Row};
use super::tables::{STEP, Table};
use super::{Batch, Highest, Limits, Place};
use crate::environment::Environment;
use crate::store::sqlite::{MAKE_MENTIONS, Stopped, prove};
use crate::store::{Result, damaged};

#[derive(Clone)]
pub(super) struct SqliteEnd {
    connection: Arc<Mutex<Connection>>,
    /// Held as long as anything may still be done.
    _lock: Arc<File>,
    environment: Environment,
}

impl SqliteEnd {
    pub(super) async fn open(path: &Path, make: bool, environment: &Environment) -> Result<Self> {
        let (path, now) = (path.to_path_buf(), environment.now());
        let opening = move || if make { Stopped::make(&path, now) } else { Stopped::open(&path) };
        let opened = environment.spawn_blocking_on(&tokio::runtime::Handle::current(), opening).await;
        let Stopped { connection, lock } = opened.map_err(|_| damaged("opening was stopped"))??;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            _lock: Arc::new(lock),
            environment: environment.clone(),
        })
    }

    /// On a thread that may block. What was begun is carried out, even if nobody waits for it any more.
    async fn ask<T, F>(&self, question: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let (connection, lock) = (Arc::clone(&self.connection), Arc::clone(&self._lock));
        let asked = move || {
            let _lock = lock;
            question(&mut connection.lock())
        };
        let answered = self.environment.spawn_blocking_on(&tokio::runtime::Handle::current(), asked).await;
        answered.unwrap_or_else(|_| Err(damaged("the question was stopped")))
    }

    /// Makes what a gateway makes later, and notes where messages begin, so that numbers of commands can be told.
    pub(super) async fn ready_to_read(&self) -> Result<()> {
        self.ask(|connection| {
            let made: i64 =
                connection.query_row("SELECT coalesce(max(message), 0) FROM mention", [], |row| row.get(0))?;
            connection.execute(MAKE_MENTIONS, [made])?;
            Ok(connection.execute_batch(
                "DROP TABLE IF EXISTS temp.numbered;
                 CREATE TEMP TABLE numbered (
                   first_command INTEGER, number INTEGER, PRIMARY KEY (first_command, number)
                 ) WITHOUT ROWID;
                 INSERT INTO temp.numbered SELECT first_command, number FROM main.message;",
            )?)
        })
        .await
    }

    pub(super) async fn count(&self, table: &'static Table) -> Result<u64> {
        self.ask(|connection| {
            let sql = format!("SELECT count(*) FROM {}", table.name);
            Ok(connection.query_row(&sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
        })
        .await
    }

    pub(super) async fn read(&self, table: &'static Table, after: Option<Row>, limits: Limits) -> Result<Batch> {
        self.ask(move |connection| {
            let mut statement = connection.prepare_cached(&table.select_sqlite(after.is_some()))?;
            let mut rows = statement.query(params_from_iter(after.into_iter().flatten()))?;
            let mut batch = Batch::default();
            let rows_max = table.rows_max.min(limits.rows);
            while batch.rows.len() < rows_max && batch.bytes < limits.bytes {
                let Some(row) = rows.next()? else { break };
                let cells: Row = (0..table.key.len() + table.columns.len())
                    .map(|column| cell(row.get_ref(column)?))
                    .collect::<Result<_>>()?;
                batch.add(table.key.len(), cells);
            }
            Ok(batch)
        })
        .await
    }

    pub(super) async fn write(&self, table: &'static Table, rows: Vec<Row>, place: Place) -> Result<()> {
        self.ask(move |connection| {
            let transaction = connection.transaction()?;
            {
                let mut insert = transaction.prepare_cached(&table.insert_sqlite())?;
                // A last column that SQLite does not keep is not bound.
                let bound = insert.parameter_count();
                for row in rows {
                    insert.execute(params_from_iter(row.into_iter().take(bound)))?;
                }
            }
            note(&transaction, &place)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// The unfinished copy that this is: of what, and how far.
    pub(super) async fn begun(&self) -> Result<Option<(String, Place)>> {
        self.ask(|connection| {
            if !connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'copying'")?.exists([])? {
                return Ok(None);
            }
            let row = connection
                .query_row("SELECT source, tables, key, rows FROM copying", [], |row| {
                    let place = Place { tables: row.get(1)?, key: row.get(2)?, rows: row.get(3)? };
                    Ok((row.get(0)?, place))
                })
                .optional()?;
            row.map(Some).ok_or_else(|| damaged("the row of an unfinished copy is missing"))
        })
        .await
    }

    pub(super) async fn begin(&self, source: String) -> Result<()> {
        self.ask(move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(
                "CREATE TABLE IF NOT EXISTS copying (
                   source TEXT NOT NULL, tables INTEGER NOT NULL, key TEXT, rows INTEGER NOT NULL
                 ) STRICT",
            )?;
            transaction.execute("INSERT INTO copying (source, tables, rows) VALUES (?1, 0, 0)", [source])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    pub(super) async fn highest(&self) -> Result<Highest> {
        self.ask(|connection| {
            let number = |sql: &str| -> Result<i64> { Ok(connection.query_row(sql, [], |row| row.get(0))?) };
            Ok(Highest {
                messages: STEP
                    * number(
                        "SELECT max(coalesce((SELECT max(number) FROM message), 0),
                                    coalesce((SELECT value FROM meta WHERE name = 'messages_numbered'), 0))",
                    )?,
                events: number("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)")?,
                acts: number("SELECT coalesce((SELECT value FROM meta WHERE name = 'audit_entries'), 0)")?,
            })
        })
        .await
    }

    /// Counts, and numbers that are never given again.
    pub(super) async fn conclude(&self, highest: Highest) -> Result<()> {
        self.ask(move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(
                "DELETE FROM tally;
                 INSERT INTO tally (standing, class, source, count)
                   SELECT standing, class, source, count(*) FROM command GROUP BY 1, 2, 3;
                 DELETE FROM sqlite_sequence WHERE name = 'outbox';",
            )?;
            transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?1)", [highest.events])?;
            let unconfirmed: i64 =
                transaction
                    .query_row("SELECT count(*) FROM outbox WHERE confirmed_at IS NULL", [], |row| row.get(0))?;
            for (name, value) in [
                ("unconfirmed_events", unconfirmed),
                ("messages_numbered", highest.messages / STEP),
                ("audit_entries", highest.acts),
                ("commands_numbered", if highest.messages == 0 { 0 } else { highest.messages + STEP - 1 }),
            ] {
                transaction.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", (name, value))?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    pub(super) async fn prove(&self) -> Result<()> {
        self.ask(|connection| prove(connection)).await
    }

    pub(super) async fn end(&self) -> Result<()> {
        self.ask(|connection| {
            connection.execute_batch("DROP TABLE copying; DROP TABLE IF EXISTS temp.numbered;")?;
            Ok(connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?)
        })
        .await
    }
}

fn note(connection: &Connection, place: &Place) -> Result<()> {
    let noted = connection.prepare_cached("UPDATE copying SET tables = ?1, key = ?2, rows = ?3")?.execute((
        place.tables,
        &place.key,
        place.rows,
    ))?;
    if noted == 1 { Ok(()) } else { Err(damaged("the row of an unfinished copy is missing")) }
}

fn cell(value: ValueRef<'_>) -> Result<Cell> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Text(text) => Cell::text(std::str::from_utf8(text).map_err(|_| damaged("a text is not UTF-8"))?),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(damaged("a value is a fraction")),
    })
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Int(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::copy::tables::TABLES;

    #[test]
    fn every_statement_fits_the_tables_of_a_new_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("store.db");
        let stopped = Stopped::make(&path, jiff::Timestamp::UNIX_EPOCH).expect("made");
        let numbered = "CREATE TEMP TABLE numbered (first_command, number)";
        stopped.connection.execute_batch(numbered).expect("made");
        for table in &TABLES {
            for sql in [table.select_sqlite(false), table.select_sqlite(true), table.insert_sqlite()] {
                stopped.connection.prepare(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        }
    }
}
