//! Rows of a SQLite store written past its writer: a million in a minute. The file is whole only when this returns.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use rusqlite::{Connection, Statement, params};

use super::super::ground::{COMPLETED, Filled, RAW, Row, SOURCES};

pub(in crate::cli::bench) fn write(file: &Path, numbers: Range<u64>, filled: Filled) -> rusqlite::Result<()> {
    let mut connection = Connection::open(file)?;
    // A measurement that is interrupted here is begun anew.
    connection.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA foreign_keys = OFF;",
    )?;
    let transaction = connection.transaction()?;
    for (number, source) in (1_i64..).zip(SOURCES) {
        transaction.execute("INSERT OR IGNORE INTO source VALUES (?1, ?2)", (number, source))?;
    }
    let mut tally = BTreeMap::new();
    {
        let mut statements = Statements::prepare(&transaction)?;
        for number in numbers {
            let row = Row::of(number);
            let standing = row.standing(filled);
            statements.write(&row, standing)?;
            *tally.entry((standing, row.class.rank(), source_number(&row))).or_insert(0_i64) += 1;
        }
    }
    for ((standing, class, source), count) in tally {
        transaction.execute(
            "INSERT INTO tally VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (standing, class, source) DO UPDATE SET count = count + excluded.count",
            (standing, class, source, count),
        )?;
    }
    transaction.commit()
}

fn source_number(row: &Row) -> i64 {
    row.source as i64 + 1
}

struct Statements<'c> {
    message: Statement<'c>,
    acknowledged: Statement<'c>,
    dedup: Statement<'c>,
    thread: Statement<'c>,
    alias: Statement<'c>,
    command: Statement<'c>,
    transition: Statement<'c>,
    attempt: Statement<'c>,
    event: Statement<'c>,
    raw: Vec<u8>,
    body: String,
    exchange: String,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            message: connection.prepare(
                "INSERT INTO message VALUES (?1, ?2, ?3, 'mllp', ?4, 'REF^I12', 'UTF-8', ?5, 'accepted', ?6, ?7, NULL,
                   ?1, 1, ?8, ?9, NULL)",
            )?,
            acknowledged: connection.prepare("INSERT INTO acknowledged VALUES (?1, ?2)")?,
            dedup: connection.prepare("INSERT INTO dedup VALUES (?1, ?2, ?3, ?4)")?,
            thread: connection
                .prepare("INSERT INTO thread (number, id, sequence, created_by, known) VALUES (?1, ?2, 1, ?1, ?3)")?,
            alias: connection.prepare("INSERT INTO alias VALUES (?1, 1, ?2)")?,
            command: connection.prepare(
                "INSERT INTO command (number, id, message, source, thread, name, class, standing, state, received_at,
                   changed_at, due, deferrals, changes, fence, creates, mapping_set, body, plan)
                 VALUES (?1, ?2, ?3, ?4, ?1, 'CreateReferral', ?5, ?6, ?7, ?8, ?8, ?9, 0, 2, 1, ?10, 'set', ?11, ?12)",
            )?,
            transition: connection.prepare("INSERT INTO transition VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'bench')")?,
            attempt: connection.prepare(
                "INSERT INTO attempt (id, command, fence, step, call, is_write, correlation_id, started_at,
                   finished_at, status, outcome, duration_ms, request, response)
                 VALUES (?1, ?2, 1, 'create', 'A011', 1, 'correlation', ?3, ?3, 201, 'ok', 80, ?4, ?4)",
            )?,
            event: connection.prepare(
                "INSERT INTO outbox (id, name, at, source, subject, thread, sequence, confirmed_at, data)
                 VALUES (?1, 'ReferralCreated', ?2, ?3, ?4, ?5, 1, ?2, ?6)",
            )?,
            raw: vec![b'x'; RAW],
            body: Row::body().to_string(),
            exchange: Row::exchange().to_string(),
        })
    }

    fn write(&mut self, row: &Row, standing: i16) -> rusqlite::Result<()> {
        let number = i64::try_from(row.number).unwrap_or(i64::MAX - 1) + 1;
        let (message, command) = (row.message().0.into_bytes(), row.command().0.into_bytes());
        let (source, at) = (source_number(row), row.received_at.as_microsecond());
        let digest = row.digest();
        let is_finished = standing == COMPLETED;
        let (state, due) = Row::state(standing);
        self.thread.execute(params![number, command, is_finished.then_some(Row::KNOWN)])?;
        self.alias.execute(params![row.alias().digest, number])?;
        self.command.execute(params![
            number,
            command,
            message,
            source,
            row.class.rank(),
            standing,
            state,
            at,
            due,
            digest,
            self.body,
            is_finished.then_some(Row::PLAN),
        ])?;
        self.message.execute(params![
            number,
            message,
            source,
            row.control_id(),
            at,
            self.raw.len() as i64,
            digest,
            row.acknowledgement().as_bytes(),
            self.raw
        ])?;
        self.acknowledged.execute(params![number, at])?;
        self.dedup.execute(params![source, row.control_id(), digest, message])?;
        if is_finished {
            self.transition.execute(params![number, 1, at, "queued", "running", "claimed"])?;
            self.transition.execute(params![number, 2, at, "running", "completed", "done"])?;
            self.attempt.execute(params![row.attempt().into_bytes(), number, at, self.exchange])?;
            self.event.execute(params![
                row.event().into_bytes(),
                at,
                SOURCES[row.source],
                row.command().to_string(),
                command,
                row.event_data().to_string()
            ])?;
        }
        Ok(())
    }
}
