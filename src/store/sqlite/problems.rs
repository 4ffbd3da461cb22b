//! Why what is refused or does not get on is so, grouped: written with what it is about, read from its indexes.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::books::Books;
use super::columns;
use crate::command::{CommandId, MessageId};
use crate::store::cause::{EXAMPLES, in_order};
use crate::store::{Cause, CauseId, Problem, ProblemExample, ProblemFilter, Result};

/// A cause's row is written again once a day.
const DAY: i64 = 86_400_000_000;

impl Books {
    /// The number of a cause, which has a row from now on.
    pub(super) fn note_cause(&self, cause: &Cause, at: Timestamp) -> Result<i64> {
        self.connection
            .prepare_cached(
                "INSERT INTO cause (id, source, kind, state, code, place, text, seen_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at WHERE seen_at < excluded.seen_at - ?9",
            )?
            .execute((
                cause.id.number(),
                &cause.source,
                &cause.kind,
                &cause.state,
                &cause.code,
                &cause.place,
                &cause.text,
                at.as_microsecond(),
                DAY,
            ))?;
        Ok(cause.id.number())
    }

    pub(super) fn blame(&self, message: i64, causes: &[Cause], at: Timestamp) -> Result<()> {
        for cause in causes {
            let cause = self.note_cause(cause, at)?;
            self.connection
                .prepare_cached("INSERT INTO blame (message, cause) VALUES (?1, ?2)")?
                .execute((message, cause))?;
        }
        Ok(())
    }

    /// What was wrong with it is so no longer.
    pub(super) fn absolve(&self, message: MessageId) -> Result<()> {
        self.connection
            .prepare_cached("DELETE FROM blame WHERE message = (SELECT number FROM message WHERE id = ?1)")?
            .execute([message.0.into_bytes()])?;
        Ok(())
    }

    /// Causes that nothing has any more, and had not for as long.
    pub(super) fn forget_causes(&self, before: Timestamp) -> Result<()> {
        self.connection
            .prepare_cached(
                "DELETE FROM cause WHERE seen_at < ?1 AND NOT EXISTS (SELECT 1 FROM blame b WHERE b.cause = cause.id)
                   AND NOT EXISTS (
                     SELECT 1 FROM command c
                     WHERE c.cause = cause.id AND c.cause IS NOT NULL AND c.standing IN (3, 4, 5, 6)
                   )",
            )?
            .execute([before.as_microsecond().saturating_sub(DAY)])?;
        Ok(())
    }
}

/// How many there are of each cause, and the lowest and highest number: from the indexes alone.
const COUNTED: &str = "WITH counted (cause, of_commands, count, first, last) AS (
       SELECT cause, 1, count(*), min(number), max(number) FROM command INDEXED BY command_cause
       WHERE cause IS NOT NULL AND standing IN (3, 4, 5, 6) AND (?1 IS NULL OR cause = ?1) GROUP BY cause
       UNION ALL
       SELECT cause, 0, count(*), min(message), max(message) FROM blame INDEXED BY blame_cause
       WHERE ?1 IS NULL OR cause = ?1 GROUP BY cause
     )
     SELECT c.id, c.source, c.kind, c.state, c.code, c.place, c.text, n.of_commands, n.count,
       iif(n.of_commands, (SELECT changed_at FROM command WHERE number = n.first),
                          (SELECT received_at FROM message WHERE number = n.first)),
       iif(n.of_commands, (SELECT changed_at FROM command WHERE number = n.last),
                          (SELECT received_at FROM message WHERE number = n.last))
     FROM counted n JOIN cause c ON c.id = n.cause WHERE ?2 IS NULL OR c.source = ?2";

pub(super) fn problems(connection: &Connection, filter: &ProblemFilter) -> Result<Vec<Problem>> {
    let mut statement = connection.prepare_cached(COUNTED)?;
    let mut rows = statement.query((filter.cause.map(CauseId::number), &filter.source))?;
    let mut problems = Vec::new();
    while let Some(row) = rows.next()? {
        let problem = problem(row)?;
        if filter.since.is_none_or(|since| problem.last >= since) {
            problems.push(problem);
        }
    }
    in_order(&mut problems);
    problems.truncate(filter.max);
    for problem in &mut problems {
        problem.examples = examples(connection, problem.cause.id)?;
    }
    Ok(problems)
}

fn problem(row: &Row<'_>) -> Result<Problem> {
    Ok(Problem {
        cause: Cause {
            id: CauseId::of_row(row.get(0)?),
            source: row.get(1)?,
            kind: row.get(2)?,
            state: row.get(3)?,
            code: row.get(4)?,
            place: row.get(5)?,
            text: row.get(6)?,
        },
        count: columns::count(row, 8)?,
        first: columns::time(row, 9)?,
        last: columns::time(row, 10)?,
        examples: Vec::new(),
    })
}

fn examples(connection: &Connection, cause: CauseId) -> Result<Vec<ProblemExample>> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM (
           SELECT message, id FROM command INDEXED BY command_cause
           WHERE cause = ?1 AND cause IS NOT NULL AND standing IN (3, 4, 5, 6) ORDER BY number DESC LIMIT ?2
         ) UNION ALL SELECT * FROM (
           SELECT m.id, NULL FROM blame b CROSS JOIN message m ON m.number = b.message
           WHERE b.cause = ?1 ORDER BY b.message DESC LIMIT ?2
         )",
    )?;
    let mut rows = statement.query((cause.number(), EXAMPLES))?;
    let mut examples = Vec::new();
    while let Some(row) = rows.next()? {
        let command: Option<[u8; 16]> = row.get(1)?;
        examples.push(ProblemExample {
            message: MessageId(columns::uuid(row, 0)?),
            command: command.map(|id| CommandId(uuid::Uuid::from_bytes(id))),
        });
    }
    Ok(examples)
}

/// Whether a message is refused for it, or one of its commands does not get on for it.
pub(super) fn has(connection: &Connection, message: i64, cause: CauseId) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM blame WHERE message = ?1 AND cause = ?2
         UNION ALL SELECT 1 FROM message m CROSS JOIN command c
           ON c.number >= m.first_command AND c.number < m.first_command + m.commands
         WHERE m.number = ?1 AND c.cause = ?2 AND c.standing IN (3, 4, 5, 6)",
    )?;
    Ok(statement.exists((message, cause.number()))?)
}

/// Messages with that cause under a number, downwards.
pub(super) fn refused(connection: &Connection, cause: CauseId, below: i64, max: i64) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT message FROM blame INDEXED BY blame_cause WHERE cause = ?1 AND message < ?2
         ORDER BY message DESC LIMIT ?3",
    )?;
    let numbers = statement.query_map((cause.number(), below, max), |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}

/// Commands with that cause under a number, downwards.
pub(super) fn halted(connection: &Connection, cause: CauseId, below: i64, max: i64) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT number FROM command INDEXED BY command_cause
         WHERE cause = ?1 AND cause IS NOT NULL AND standing IN (3, 4, 5, 6) AND number < ?2
         ORDER BY number DESC LIMIT ?3",
    )?;
    let numbers = statement.query_map((cause.number(), below, max), |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}
