//! A day's counts, from the rows of the messages that were received then and of their commands.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::books::Books;
use super::columns;
use super::listing::{DISORDER, first_received_at};
use super::outbox::EventText;
use crate::store::standing::Standing;
use crate::store::{Cause, CauseId, Day, NewEvent, Result};

impl Books {
    pub(super) fn publish_report(&mut self, day: &str, event: &NewEvent, text: &EventText) -> Result<bool> {
        let is_new = self
            .connection
            .prepare_cached("INSERT INTO day_report (day, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute((day, event.at.as_microsecond()))?;
        if is_new == 0 {
            return Ok(false);
        }
        let thread = self.begin_thread(event.id.0)?;
        self.publish(thread, event, text)?;
        Ok(true)
    }
}

pub(super) fn is_published(connection: &Connection, day: &str) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM day_report WHERE day = ?1")?.exists([day])?)
}

/// Messages in a row, and from when to when.
struct Span {
    first: i64,
    end: i64,
    from: i64,
    to: i64,
}

impl Span {
    fn parameters(&self) -> (i64, i64, i64, i64) {
        (self.first, self.end, self.from, self.to)
    }
}

/// Identifiers of what events tell of, from the first event of then on.
const TOLD: &str = "WITH told (id, name) AS MATERIALIZED (
       SELECT unhex(replace(subject, '-', '')), name FROM outbox
       WHERE position >= ?5 AND unhex(replace(subject, '-', '')) IS NOT NULL
     )";

pub(super) fn day(connection: &Connection, from: Timestamp, to: Timestamp) -> Result<Day> {
    let (from, to) = (from.as_microsecond(), to.as_microsecond());
    let first = first_received_at(connection, from.saturating_sub(DISORDER))?;
    let end = first_received_at(connection, to.saturating_add(DISORDER))?;
    let span = Span { first, end, from, to };
    let (events_from, events_are_kept) = events_from(connection, from)?;
    let mut day = Day { events_are_kept, ..Day::default() };
    messages(connection, &span, events_from, &mut day)?;
    commands(connection, &span, events_from, &mut day)?;
    day.causes = causes(connection, &span)?;
    Ok(day)
}

/// The first event of then, and whether those before it are still there.
fn events_from(connection: &Connection, from: i64) -> Result<(i64, bool)> {
    let first: Option<(i64, i64)> = connection
        .prepare_cached("SELECT position, at FROM outbox ORDER BY position LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((lowest, at)) = first else { return Ok((0, true)) };
    let (mut low, mut high): (i64, i64) = (lowest, columns::signed(super::outbox::last_position(connection)?) + 1);
    let mut probe =
        connection.prepare_cached("SELECT position, at FROM outbox WHERE position >= ?1 ORDER BY position LIMIT 1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let next: Option<(i64, i64)> = probe.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match next {
            Some((position, at)) if at < from.saturating_sub(DISORDER) => low = position + 1,
            _ => high = middle,
        }
    }
    Ok((low, lowest <= 1 || at <= from))
}

fn messages(connection: &Connection, span: &Span, events_from: i64, day: &mut Day) -> Result<()> {
    const OF_SPAN: &str = "m.number >= ?1 AND m.number < ?2 AND m.received_at >= ?3 AND m.received_at < ?4";
    let (first, end, from, to) = span.parameters();
    let mut received = connection.prepare_cached(&format!(
        "SELECT s.name, count(*) FROM message m JOIN source s ON s.number = m.source WHERE {OF_SPAN} GROUP BY m.source"
    ))?;
    let mut rows = received.query((first, end, from, to))?;
    while let Some(row) = rows.next()? {
        day.sources.entry(row.get(0)?).or_default().received = columns::count(row, 1)?;
    }
    let mut decided = connection.prepare_cached(&format!(
        "{TOLD} SELECT s.name, m.verdict, count(*), sum(m.commands),
           count((SELECT at FROM acknowledged a WHERE a.message = m.number)),
           sum(m.verdict = 'rejected' AND m.id NOT IN (SELECT id FROM told WHERE name = 'MessageRejected'))
         FROM message m JOIN source s ON s.number = m.source WHERE {OF_SPAN} GROUP BY m.source, m.verdict"
    ))?;
    let mut rows = decided.query((first, end, from, to, events_from))?;
    while let Some(row) = rows.next()? {
        let counts = day.sources.entry(row.get(0)?).or_default();
        counts.verdicts.insert(row.get(1)?, columns::count(row, 2)?);
        counts.made += columns::count(row, 3)?;
        counts.answered += columns::count(row, 4)?;
        counts.untold.rejected += columns::count(row, 5)?;
    }
    Ok(())
}

fn commands(connection: &Connection, span: &Span, events_from: i64, day: &mut Day) -> Result<()> {
    let (first, end, from, to) = span.parameters();
    let mut statement = connection.prepare_cached(&format!(
        "{TOLD}, of_day (id, source, standing, wrote) AS (
           SELECT c.id, c.source, c.standing, EXISTS (
             SELECT 1 FROM attempt a WHERE a.command = c.number AND a.is_write AND a.status >= 200 AND a.status < 300)
           FROM command c
           WHERE c.number >= (SELECT coalesce(min(first_command), 0) FROM message WHERE number = (
                   SELECT min(number) FROM message WHERE number >= ?1))
             AND c.number < coalesce((SELECT first_command FROM message WHERE number >= ?2 ORDER BY number LIMIT 1),
                                     9223372036854775807)
             AND c.received_at >= ?3 AND c.received_at < ?4
         )
         SELECT s.name, d.standing, count(*), sum(d.wrote),
           sum(d.standing = 6 AND d.id NOT IN (SELECT id FROM told WHERE name = 'CommandFailed')),
           sum(d.standing = 7 AND d.wrote AND d.id NOT IN (SELECT id FROM told))
         FROM of_day d JOIN source s ON s.number = d.source GROUP BY d.source, d.standing"
    ))?;
    let mut rows = statement.query((first, end, from, to, events_from))?;
    while let Some(row) = rows.next()? {
        let standing = Standing::from_code(row.get(1)?)?;
        let counts = day.sources.entry(row.get(0)?).or_default();
        *counts.states.entry(standing.state_name().to_owned()).or_default() += columns::count(row, 2)?;
        let wrote = columns::count(row, 3)?;
        counts.written += wrote;
        if standing != Standing::Completed {
            counts.written_and_open += wrote;
        }
        counts.untold.failed += columns::count(row, 4)?;
        counts.untold.completed += columns::count(row, 5)?;
    }
    Ok(())
}

fn causes(connection: &Connection, span: &Span) -> Result<Vec<(Cause, u64)>> {
    let mut statement = connection.prepare_cached(
        "WITH counted (cause, count) AS (
           SELECT b.cause, count(*) FROM blame b CROSS JOIN message m ON m.number = b.message
           WHERE b.message >= ?1 AND b.message < ?2 AND m.received_at >= ?3 AND m.received_at < ?4 GROUP BY b.cause
           UNION ALL
           SELECT cause, count(*) FROM command INDEXED BY command_cause
           WHERE cause IS NOT NULL AND standing IN (3, 4, 5, 6) AND received_at >= ?3 AND received_at < ?4 GROUP BY cause
         )
         SELECT c.id, c.source, c.kind, c.state, c.code, c.place, c.text, n.count
         FROM counted n JOIN cause c ON c.id = n.cause ORDER BY n.count DESC, c.id",
    )?;
    let mut rows = statement.query(span.parameters())?;
    let mut causes = Vec::new();
    while let Some(row) = rows.next()? {
        causes.push((cause(row)?, columns::count(row, 7)?));
    }
    Ok(causes)
}

fn cause(row: &Row<'_>) -> Result<Cause> {
    Ok(Cause {
        id: CauseId::of_row(row.get(0)?),
        source: row.get(1)?,
        kind: row.get(2)?,
        state: row.get(3)?,
        code: row.get(4)?,
        place: row.get(5)?,
        text: row.get(6)?,
    })
}
