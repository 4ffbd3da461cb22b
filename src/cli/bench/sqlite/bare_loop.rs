//! The yardstick of the store: one thread that writes the very rows that the gateway wrote, with the same
//! indexes and group sizes, and does nothing else.
//!
//! Enters: a store that messages were admitted to, nobody writing. Leaves: messages a second. What differs from
//! the gateway's work is what has to be decided: rows are read into memory before, none is looked up.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Statement, params_from_iter};

/// Tables in the order in which one message is written, and how its rows are found: by the message's number, its
/// first command's number, or that command's thread.
const TABLES: [(&str, &str); 6] = [
    (
        "dedup",
        "SELECT d.* FROM message m JOIN dedup d ON d.source = m.source AND d.control_id = m.control_id
         WHERE m.number = ?1",
    ),
    (
        "thread",
        "SELECT t.* FROM message m JOIN command c ON c.number = m.first_command
         JOIN thread t ON t.number = c.thread WHERE m.number = ?1",
    ),
    (
        "alias",
        "SELECT a.digest, a.kind, a.thread FROM message m JOIN command c ON c.number = m.first_command
         JOIN temp.alias_of a ON a.thread = c.thread WHERE m.number = ?1",
    ),
    ("command", "SELECT c.* FROM message m JOIN command c ON c.number = m.first_command WHERE m.number = ?1"),
    ("message", "SELECT * FROM message WHERE number = ?1"),
    ("acknowledged", "SELECT * FROM acknowledged WHERE message = ?1"),
];

type Row = Vec<Value>;

/// What messages wrote, message by message.
pub struct Rows {
    /// Tables and indexes as the gateway makes them.
    schema: Vec<String>,
    sources: Vec<Row>,
    messages: Vec<[Vec<Row>; TABLES.len()]>,
}

impl Rows {
    /// Those of the newest `max` messages.
    pub fn read(store: &Path, max: u32) -> rusqlite::Result<Self> {
        let connection = Connection::open(store)?;
        // Nothing finds an alias by its thread.
        connection.execute_batch(
            "CREATE TEMP TABLE alias_of AS SELECT thread, digest, kind FROM alias;
             CREATE INDEX temp.alias_of_thread ON alias_of (thread);",
        )?;
        let mut schema =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")?;
        let schema = schema.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let sources = all(&mut connection.prepare("SELECT * FROM source")?, [])?;
        let mut statements = TABLES.iter().map(|(_, sql)| connection.prepare(sql)).collect::<Result<Vec<_>, _>>()?;
        let first: i64 = connection
            .query_row("SELECT number FROM message ORDER BY number DESC LIMIT 1 OFFSET ?1", [max], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        let numbers = all(&mut connection.prepare("SELECT number FROM message WHERE number > ?1")?, [first])?;
        let mut messages = Vec::with_capacity(numbers.len());
        for number in numbers {
            let mut message = [const { Vec::new() }; TABLES.len()];
            for (rows, statement) in message.iter_mut().zip(&mut statements) {
                *rows = all(statement, params_from_iter(&number))?;
            }
            messages.push(message);
        }
        Ok(Self { schema, sources, messages })
    }
}

fn all(statement: &mut Statement<'_>, parameters: impl rusqlite::Params) -> rusqlite::Result<Vec<Row>> {
    let columns = statement.column_count();
    statement.query_map(parameters, |row| (0..columns).map(|column| row.get(column)).collect())?.collect()
}

/// Writes them to a new file for at most `limit`, `group` messages in a transaction; messages a second.
pub fn write(rows: &Rows, file: &Path, group: usize, limit: Duration) -> rusqlite::Result<f64> {
    let connection = Connection::open(file)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32000;")?;
    for sql in &rows.schema {
        connection.execute_batch(sql)?;
    }
    for source in &rows.sources {
        connection.execute("INSERT INTO source VALUES (?1, ?2)", params_from_iter(source))?;
    }
    let mut statements = Vec::new();
    for (table, _) in TABLES {
        let columns = connection.prepare(&format!("SELECT * FROM {table}"))?.column_count();
        let places: Vec<String> = (1..=columns).map(|place| format!("?{place}")).collect();
        statements.push(connection.prepare(&format!("INSERT INTO {table} VALUES ({})", places.join(", ")))?);
    }
    let (began, mut written) = (Instant::now(), 0);
    for group in rows.messages.chunks(group.max(1)) {
        if began.elapsed() > limit {
            break;
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for message in group {
            for (rows, statement) in message.iter().zip(&mut statements) {
                for row in rows {
                    statement.execute(params_from_iter(row))?;
                }
            }
        }
        connection.execute_batch("COMMIT")?;
        written += group.len();
    }
    Ok(written as f64 / began.elapsed().as_secs_f64())
}
