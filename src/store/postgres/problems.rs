//! Why what is refused or does not get on is so, grouped: written with what it is about, read from its indexes.

use std::collections::BTreeMap;

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::columns::{self, micros, storable};
use crate::command::{CommandId, MessageId};
use crate::store::cause::{EXAMPLES, in_order};
use crate::store::{Cause, CauseId, Problem, ProblemExample, ProblemFilter, Result};

/// A cause's row is written again once a day (in microseconds): nobody waits for another's.
pub(super) const NOTE_CAUSES: &str = "INSERT INTO cause (id, source, kind, state, code, place, text, seen_at)
     SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
       $8::bigint[])
     ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at WHERE cause.seen_at < excluded.seen_at - 86400000000";

pub(super) const BLAME: &str =
    "INSERT INTO blame (message, cause) SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING";

/// `$1`: identifiers of messages. What was wrong with them is so no longer.
pub(super) const ABSOLVE: &str = "DELETE FROM blame WHERE message IN (SELECT number FROM message WHERE id = ANY ($1))";

/// Causes that nothing has any more, and had not for as long.
pub(super) const FORGET_CAUSES: &str = "DELETE FROM cause k WHERE seen_at < $1 - 86400000000
     AND NOT EXISTS (SELECT 1 FROM blame b WHERE b.cause = k.id)
     AND NOT EXISTS (
       SELECT 1 FROM command c WHERE c.cause = k.id AND c.cause IS NOT NULL AND c.standing IN (3, 4, 5, 6)
     )";

/// Parameters of [`NOTE_CAUSES`], in the order of their numbers: two transactions never wait for each other in a circle.
#[derive(Default)]
pub(super) struct Causes {
    ids: Vec<i64>,
    sources: Vec<String>,
    kinds: Vec<String>,
    states: Vec<String>,
    codes: Vec<String>,
    places: Vec<Option<String>>,
    texts: Vec<String>,
    seen_at: Vec<i64>,
}

impl Causes {
    pub(super) fn of(causes: impl Iterator<Item = (Cause, Timestamp)>) -> Self {
        let distinct: BTreeMap<i64, (Cause, Timestamp)> =
            causes.map(|(cause, at)| (cause.id.number(), (cause, at))).collect();
        let mut columns = Self::default();
        let kept = |text: &str| storable(text).into_owned();
        for (id, (cause, at)) in distinct {
            columns.ids.push(id);
            columns.sources.push(kept(&cause.source));
            columns.kinds.push(kept(&cause.kind));
            columns.states.push(cause.state);
            columns.codes.push(kept(&cause.code));
            columns.places.push(cause.place.as_deref().map(kept));
            columns.texts.push(kept(&cause.text));
            columns.seen_at.push(micros(at));
        }
        columns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 8] {
        [&self.ids, &self.sources, &self.kinds, &self.states, &self.codes, &self.places, &self.texts, &self.seen_at]
    }
}

/// How many there are of each cause, and the lowest and highest number: from the indexes alone.
const COUNTED: &str = "WITH counted (cause, of_commands, count, first, last) AS (
       SELECT cause, true, count(*), min(number), max(number) FROM command
       WHERE cause IS NOT NULL AND standing IN (3, 4, 5, 6) AND ($1::bigint IS NULL OR cause = $1) GROUP BY cause
       UNION ALL
       SELECT cause, false, count(*), min(message), max(message) FROM blame
       WHERE $1::bigint IS NULL OR cause = $1 GROUP BY cause
     )
     SELECT k.id, k.source, k.kind, k.state, k.code, k.place, k.text, n.count,
       coalesce((SELECT changed_at FROM command WHERE n.of_commands AND number = n.first),
                (SELECT received_at FROM message WHERE NOT n.of_commands AND number = n.first)),
       coalesce((SELECT changed_at FROM command WHERE n.of_commands AND number = n.last),
                (SELECT received_at FROM message WHERE NOT n.of_commands AND number = n.last))
     FROM counted n JOIN cause k ON k.id = n.cause WHERE $2::text IS NULL OR k.source = $2";

pub(super) async fn problems(client: &ClientWrapper, filter: &ProblemFilter) -> Result<Vec<Problem>> {
    let counted = client.prepare_cached(COUNTED).await?;
    let rows = client.query(&counted, &[&filter.cause.map(CauseId::number), &filter.source]).await?;
    let mut problems = Vec::new();
    for row in &rows {
        let problem = problem(row)?;
        if filter.since.is_none_or(|since| problem.last >= since) {
            problems.push(problem);
        }
    }
    in_order(&mut problems);
    problems.truncate(filter.max);
    for problem in &mut problems {
        problem.examples = examples(client, problem.cause.id).await?;
    }
    Ok(problems)
}

fn problem(row: &Row) -> Result<Problem> {
    Ok(Problem {
        cause: Cause {
            id: CauseId::of_row(row.try_get(0)?),
            source: row.try_get(1)?,
            kind: row.try_get(2)?,
            state: row.try_get(3)?,
            code: row.try_get(4)?,
            place: row.try_get(5)?,
            text: row.try_get(6)?,
        },
        count: columns::count(row, 7)?,
        first: columns::time(row, 8)?,
        last: columns::time(row, 9)?,
        examples: Vec::new(),
    })
}

async fn examples(client: &ClientWrapper, cause: CauseId) -> Result<Vec<ProblemExample>> {
    let statement = client
        .prepare_cached(
            "(SELECT message, id FROM command
              WHERE cause = $1 AND cause IS NOT NULL AND standing IN (3, 4, 5, 6) ORDER BY number DESC LIMIT $2)
             UNION ALL
             (SELECT m.id, NULL FROM blame b JOIN message m ON m.number = b.message
              WHERE b.cause = $1 ORDER BY b.message DESC LIMIT $2)",
        )
        .await?;
    let rows = client.query(&statement, &[&cause.number(), &EXAMPLES]).await?;
    let example = |row: &Row| {
        let command: Option<uuid::Uuid> = row.try_get(1)?;
        Ok(ProblemExample { message: MessageId(row.try_get(0)?), command: command.map(CommandId) })
    };
    rows.iter().map(example).collect()
}

/// Those of them that are refused for it, or have a command that does not get on for it; newest first.
pub(super) async fn having(client: &ClientWrapper, messages: Vec<i64>, cause: CauseId) -> Result<Vec<i64>> {
    let statement = client
        .prepare_cached(
            "SELECT m.number FROM message m WHERE m.number = ANY ($1) AND (
               EXISTS (SELECT 1 FROM blame b WHERE b.message = m.number AND b.cause = $2)
               OR EXISTS (
                 SELECT 1 FROM command c WHERE c.number > m.number AND c.number <= m.number + m.commands
                   AND c.cause = $2 AND c.standing IN (3, 4, 5, 6)
               )
             ) ORDER BY m.number DESC",
        )
        .await?;
    let rows = client.query(&statement, &[&messages, &cause.number()]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Messages with that cause, or with a command that has it, under a number, downwards.
pub(super) async fn messages(client: &ClientWrapper, cause: CauseId, below: i64, limit: i64) -> Result<Vec<i64>> {
    let statement = client
        .prepare_cached(
            "SELECT DISTINCT number FROM (
               (SELECT number / 4096 * 4096 AS number FROM command
                WHERE cause = $1 AND cause IS NOT NULL AND standing IN (3, 4, 5, 6) AND number < $2
                ORDER BY command.number DESC LIMIT $3)
               UNION ALL
               (SELECT message FROM blame WHERE cause = $1 AND message < $2 ORDER BY message DESC LIMIT $3)
             ) either ORDER BY number DESC LIMIT $3",
        )
        .await?;
    let rows = client.query(&statement, &[&cause.number(), &below, &limit]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
