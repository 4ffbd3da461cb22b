//! A day's counts, from the rows of the messages that were received then and of their commands.
//!
//! Guarantees: of events, those of the day are read, and those of the minutes in which something of it ended later; more only
//! before it is said that no event tells of something.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::books::Books;
use super::columns;
use super::listing::{DISORDER, first_received_at};
use super::outbox::EventText;
use crate::store::report::{Ending, Stretch, Unheard};
use crate::store::standing::Standing;
use crate::store::{Cause, CauseId, Day, NewEvent, Result, damaged};

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

/// Events in a row.
struct Events {
    first: i64,
    end: i64,
}

/// Identifiers of what events of the day tell of: `?5` is the first of them, `?6` the first behind them.
const TOLD: &str = "WITH told (id, name) AS MATERIALIZED (
       SELECT unhex(replace(subject, '-', '')), name FROM outbox
       WHERE position >= ?5 AND position < ?6 AND unhex(replace(subject, '-', '')) IS NOT NULL
     )";
const EVENTS: &str = "SELECT subject, name FROM outbox WHERE position >= ?1 AND position < ?2";

pub(super) fn day(connection: &Connection, from: Timestamp, to: Timestamp) -> Result<Day> {
    let (from, to) = (from.as_microsecond(), to.as_microsecond());
    let first = first_received_at(connection, from.saturating_sub(DISORDER))?;
    let end = first_received_at(connection, to.saturating_add(DISORDER))?;
    let span = Span { first, end, from, to };
    let mut day = Day { events_are_kept: are_events_kept(connection, from)?, ..Day::default() };
    let events = events(connection, (from.saturating_sub(DISORDER), to.saturating_add(DISORDER)))?;
    let mut unheard = Unheard::default();
    messages(connection, &span, &events, &mut day, &mut unheard)?;
    commands(connection, &span, &events, &mut day, &mut unheard)?;
    for stretch in unheard.endings() {
        hear(connection, stretch, &mut unheard)?;
    }
    if let Some(stretch) = unheard.everywhere(from) {
        hear(connection, stretch, &mut unheard)?;
    }
    unheard.count(&mut day);
    day.causes = causes(connection, &span)?;
    Ok(day)
}

fn are_events_kept(connection: &Connection, from: i64) -> Result<bool> {
    let first: Option<(i64, i64)> = connection
        .prepare_cached("SELECT position, at FROM outbox ORDER BY position LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(first.is_none_or(|(position, at)| position <= 1 || at <= from))
}

fn events(connection: &Connection, (from, to): Stretch) -> Result<Events> {
    Ok(Events { first: first_event_at(connection, from)?, end: first_event_at(connection, to.saturating_add(1))? })
}

/// The position of the first event of then or later, by halving, as [`first_received_at`].
fn first_event_at(connection: &Connection, at: i64) -> Result<i64> {
    let lowest = "SELECT coalesce((SELECT min(position) FROM outbox), 0)";
    let mut low: i64 = connection.prepare_cached(lowest)?.query_row([], |row| row.get(0))?;
    let mut high = columns::signed(super::outbox::last_position(connection)?) + 1;
    let mut probe =
        connection.prepare_cached("SELECT position, at FROM outbox WHERE position >= ?1 ORDER BY position LIMIT 1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let next: Option<(i64, i64)> = probe.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match next {
            Some((position, event_at)) if event_at < at => low = position + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

fn hear(connection: &Connection, stretch: Stretch, unheard: &mut Unheard) -> Result<()> {
    let Events { first, end } = events(connection, stretch)?;
    let mut statement = connection.prepare_cached(EVENTS)?;
    let mut rows = statement.query((first, end))?;
    while let Some(row) = rows.next()? {
        if let (Ok(subject), Ok(name)) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str()) {
            unheard.hear(subject, name);
        }
    }
    Ok(())
}

const RECEIVED: &str = "SELECT s.name, count(*) FROM message m JOIN source s ON s.number = m.source
     WHERE m.number >= ?1 AND m.number < ?2 AND m.received_at >= ?3 AND m.received_at < ?4 GROUP BY m.source";

fn decided_sql() -> String {
    format!(
        "{TOLD} SELECT s.name, m.verdict, count(*), sum(m.commands),
           count((SELECT at FROM acknowledged a WHERE a.message = m.number)),
           json_group_array(json_array(hex(m.id), m.received_at)) FILTER (
             WHERE m.verdict = 'rejected' AND m.id NOT IN (SELECT id FROM told WHERE name = 'MessageRejected'))
         FROM message m JOIN source s ON s.number = m.source
         WHERE m.number >= ?1 AND m.number < ?2 AND m.received_at >= ?3 AND m.received_at < ?4
         GROUP BY m.source, m.verdict"
    )
}

fn messages(connection: &Connection, span: &Span, events: &Events, day: &mut Day, unheard: &mut Unheard) -> Result<()> {
    let (first, end, from, to) = span.parameters();
    let mut received = connection.prepare_cached(RECEIVED)?;
    let mut rows = received.query((first, end, from, to))?;
    while let Some(row) = rows.next()? {
        day.sources.entry(row.get(0)?).or_default().received = columns::count(row, 1)?;
    }
    let mut decided = connection.prepare_cached(&decided_sql())?;
    let mut rows = decided.query((first, end, from, to, events.first, events.end))?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        add(row, 5, &name, Ending::Rejected, unheard)?;
        let counts = day.sources.entry(name).or_default();
        counts.verdicts.insert(row.get(1)?, columns::count(row, 2)?);
        counts.made += columns::count(row, 3)?;
        counts.answered += columns::count(row, 4)?;
    }
    Ok(())
}

/// A list of an identifier and a time each.
fn add(row: &Row<'_>, column: usize, source: &str, how: Ending, unheard: &mut Unheard) -> Result<()> {
    let list: Vec<(Uuid, i64)> =
        serde_json::from_str(&row.get::<_, String>(column)?).map_err(|_| damaged("an identifier"))?;
    for (id, at) in list {
        unheard.add(source, how, id, at);
    }
    Ok(())
}

fn commands_sql() -> String {
    format!(
        "{TOLD}, of_day (id, source, standing, changed_at, wrote) AS (
           SELECT c.id, c.source, c.standing, c.changed_at, EXISTS (
             SELECT 1 FROM attempt a WHERE a.command = c.number AND a.is_write AND a.status >= 200 AND a.status < 300)
           FROM command c
           WHERE c.number >= (SELECT coalesce(min(first_command), 0) FROM message WHERE number = (
                   SELECT min(number) FROM message WHERE number >= ?1))
             AND c.number < coalesce((SELECT first_command FROM message WHERE number >= ?2 ORDER BY number LIMIT 1),
                                     9223372036854775807)
             AND c.received_at >= ?3 AND c.received_at < ?4
         )
         SELECT s.name, d.standing, count(*), sum(d.wrote),
           json_group_array(json_array(hex(d.id), d.changed_at)) FILTER (
             WHERE d.standing = 6 AND d.id NOT IN (SELECT id FROM told WHERE name = 'CommandFailed')),
           json_group_array(json_array(hex(d.id), d.changed_at)) FILTER (
             WHERE d.standing = 7 AND d.wrote AND d.id NOT IN (SELECT id FROM told))
         FROM of_day d JOIN source s ON s.number = d.source GROUP BY d.source, d.standing"
    )
}

fn commands(connection: &Connection, span: &Span, events: &Events, day: &mut Day, unheard: &mut Unheard) -> Result<()> {
    let (first, end, from, to) = span.parameters();
    let mut statement = connection.prepare_cached(&commands_sql())?;
    let mut rows = statement.query((first, end, from, to, events.first, events.end))?;
    while let Some(row) = rows.next()? {
        let standing = Standing::from_code(row.get(1)?)?;
        let name: String = row.get(0)?;
        add(row, 4, &name, Ending::Failed, unheard)?;
        add(row, 5, &name, Ending::Completed, unheard)?;
        let counts = day.sources.entry(name).or_default();
        *counts.states.entry(standing.state_name().to_owned()).or_default() += columns::count(row, 2)?;
        let wrote = columns::count(row, 3)?;
        counts.written += wrote;
        if standing != Standing::Completed {
            counts.written_and_open += wrote;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::migrations;

    const DAY: i64 = 24 * 3_600 * 1_000_000;

    #[test]
    fn of_events_only_those_of_the_day_are_read_however_many_came_since() {
        let mut connection = Connection::open_in_memory().expect("memory is there");
        migrations::migrate(&mut connection, Timestamp::UNIX_EPOCH).expect("a new file");
        let day_of = |day: i64| (day * DAY, (day + 1) * DAY - 1);
        connection
            .execute(
                "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 3999)
                 INSERT INTO outbox (id, name, at, source, subject, thread, sequence, data)
                 SELECT x'00', 'ReferralCreated', n * ?1 / 40, 'northmoor', 's', x'00', 1, '{}' FROM n",
                [DAY],
            )
            .expect("filled");
        for day in [0, 50, 99] {
            let Events { first, end } = events(&connection, day_of(day)).expect("found");
            assert_eq!((first, end), (day * 40 + 1, day * 40 + 41), "{day}");
        }
        let read = |sql: &str| {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect(sql);
            let mut rows = plan.raw_query();
            let mut steps: Vec<String> = Vec::new();
            while let Some(row) = rows.next().expect("a step") {
                steps.push(row.get(3).expect("in words"));
            }
            steps
        };
        for sql in [decided_sql(), commands_sql(), EVENTS.to_owned()] {
            let of_events: Vec<String> = read(&sql).into_iter().filter(|step| step.contains("outbox")).collect();
            assert_eq!(of_events, ["SEARCH outbox USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"], "{sql}");
        }
    }
}
