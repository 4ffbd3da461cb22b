//! Lists of messages, newest first, by whatever filter: from an index that leads to what is wanted, never by
//! passing what is finished.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::columns;
use super::search::{MESSAGE_COLUMNS, message_view};
use crate::command::Verdict;
use crate::store::standing::Standing;
use crate::store::{MessageFilter, MessageView, Result};

/// Messages in one answer.
const MESSAGES_MAX: usize = 1_000;
/// Messages are numbered at their commit, so their times of receipt are in order but for this.
const DISORDER: i64 = 60_000_000;

/// Where to look for candidates: each yields message numbers downwards.
enum Candidates {
    /// All of a source, of a verdict, or simply all.
    Messages,
    /// All, of which those with a completed command match: the many, so that the newest are soon found.
    Completed,
    /// Those of commands that stand elsewhere.
    Commands(Vec<Standing>),
    /// The few that a control id names.
    Numbers(Vec<i64>),
}

/// The messages that match, newest first.
pub(super) fn messages(connection: &Connection, filter: &MessageFilter) -> Result<Vec<MessageView>> {
    let max = filter.max.min(MESSAGES_MAX);
    let Some(mut below) = upper_end(connection, filter)? else { return Ok(Vec::new()) };
    let above = lower_end(connection, filter)?;
    let candidates = Candidates::of(connection, filter)?;
    let mut found = Vec::new();
    while found.len() < max {
        let numbers = candidates.next(connection, filter, below, max)?;
        let Some(last) = numbers.last().copied() else { break };
        for number in numbers {
            if number < above || found.len() == max {
                return Ok(found);
            }
            if let Some(view) = load(connection, number)?
                && matches(&view, filter)
                && candidates.admits(connection, number)?
            {
                found.push(view);
            }
        }
        below = last;
    }
    Ok(found)
}

impl Candidates {
    fn of(connection: &Connection, filter: &MessageFilter) -> Result<Self> {
        if let Some(control_id) = &filter.control_id {
            return Ok(Self::Numbers(by_control_id(connection, control_id)?));
        }
        let Some(name) = filter.state.as_deref() else { return Ok(Self::Messages) };
        let standings: Vec<Standing> =
            Standing::ALL.into_iter().filter(|standing| standing.state_name() == name).collect();
        Ok(match standings[..] {
            [Standing::Completed] if is_anything_completed(connection)? => Self::Completed,
            [Standing::Completed] => Self::Numbers(Vec::new()),
            _ => Self::Commands(standings),
        })
    }

    /// Whether a candidate is one, where its number alone does not tell.
    fn admits(&self, connection: &Connection, message: i64) -> Result<bool> {
        if !matches!(self, Self::Completed) {
            return Ok(true);
        }
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM message m
             JOIN command c ON c.number >= m.first_command AND c.number < m.first_command + m.commands
             WHERE m.number = ?1 AND c.standing = ?2",
        )?;
        Ok(statement.exists((message, Standing::Completed.code()))?)
    }

    /// Up to `max` numbers under `below`, downwards.
    fn next(&self, connection: &Connection, filter: &MessageFilter, below: i64, max: usize) -> Result<Vec<i64>> {
        let max = columns::signed(max as u64);
        match self {
            Self::Numbers(numbers) => Ok(numbers.iter().copied().filter(|number| *number < below).collect()),
            Self::Commands(standings) => by_standing(connection, standings, filter.source.as_deref(), below, max),
            Self::Messages | Self::Completed => by_message(connection, filter, below, max),
        }
    }
}

fn by_message(connection: &Connection, filter: &MessageFilter, below: i64, max: i64) -> Result<Vec<i64>> {
    // What was not accepted is rare, so its index leads faster than a source's.
    let (sql, key): (_, Option<&str>) = match (filter.verdict, &filter.source) {
        (Some(verdict), _) if verdict != Verdict::Accepted => (
            "SELECT number FROM message INDEXED BY message_verdict
             WHERE verdict = ?1 AND verdict <> 'accepted' AND number < ?2 ORDER BY number DESC LIMIT ?3",
            Some(verdict.name()),
        ),
        (_, Some(source)) => (
            "SELECT number FROM message INDEXED BY message_source
             WHERE source = (SELECT number FROM source WHERE name = ?1) AND number < ?2
             ORDER BY number DESC LIMIT ?3",
            Some(source),
        ),
        _ => ("SELECT number FROM message WHERE ?1 IS NULL AND number < ?2 ORDER BY number DESC LIMIT ?3", None),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let numbers = statement.query_map((key, below, max), |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}

/// Messages of the newest commands at any of `standings`. A message's commands are numbered with it, so the
/// order of commands is the order of messages.
fn by_standing(
    connection: &Connection,
    standings: &[Standing],
    source: Option<&str>,
    below: i64,
    max: i64,
) -> Result<Vec<i64>> {
    let mut places = connection.prepare_cached(
        "SELECT class, source FROM tally WHERE standing = ?1 AND count > 0
           AND (?2 IS NULL OR source = (SELECT number FROM source WHERE name = ?2))",
    )?;
    let before: i64 = connection
        .prepare_cached("SELECT first_command FROM message WHERE number >= ?1 ORDER BY number LIMIT 1")?
        .query_row([below], |row| row.get(0))
        .optional()?
        .unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT number FROM command INDEXED BY command_queue
         WHERE standing = ?1 AND standing <> 7 AND class = ?2 AND source = ?3 AND number < ?4
         ORDER BY number DESC LIMIT ?5",
    )?;
    let mut commands: Vec<i64> = Vec::new();
    for standing in standings {
        let mut rows = places.query((standing.code(), source))?;
        while let Some(row) = rows.next()? {
            let (class, source): (i64, i64) = (row.get(0)?, row.get(1)?);
            let numbers =
                statement.query_map((standing.code(), class, source, before, max), |row| row.get::<_, i64>(0))?;
            for number in numbers {
                commands.push(number?);
            }
        }
    }
    commands.sort_unstable_by(|one, other| other.cmp(one));
    commands.truncate(usize::try_from(max).unwrap_or(0));
    let mut statement = connection
        .prepare_cached("SELECT m.number FROM command c JOIN message m ON m.id = c.message WHERE c.number = ?1")?;
    let mut numbers = Vec::with_capacity(commands.len());
    for command in commands {
        numbers.push(statement.query_row([command], |row| row.get::<_, i64>(0))?);
    }
    numbers.dedup();
    Ok(numbers)
}

fn is_anything_completed(connection: &Connection) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM tally WHERE standing = ?1 AND count > 0")?;
    Ok(statement.exists([Standing::Completed.code()])?)
}

/// A probe for each source: control ids are kept by source. (In SQLite, CROSS JOIN keeps this order of tables.)
fn by_control_id(connection: &Connection, control_id: &str) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT m.number FROM source s CROSS JOIN dedup d ON d.source = s.number AND d.control_id = ?1
         CROSS JOIN message m ON m.id = d.message ORDER BY m.number DESC",
    )?;
    let numbers = statement.query_map([control_id], |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}

fn load(connection: &Connection, number: i64) -> Result<Option<MessageView>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {MESSAGE_COLUMNS} FROM message m WHERE m.number = ?1"))?;
    let mut rows = statement.query([number])?;
    rows.next()?.map(message_view).transpose()
}

fn matches(view: &MessageView, filter: &MessageFilter) -> bool {
    filter.source.as_ref().is_none_or(|source| *source == view.source)
        && filter.verdict.is_none_or(|verdict| verdict == view.verdict)
        && filter.since.is_none_or(|since| view.received_at >= since)
        && filter.until.is_none_or(|until| view.received_at < until)
}

/// The number under which the list begins; `None` if the message to begin before is unknown.
fn upper_end(connection: &Connection, filter: &MessageFilter) -> Result<Option<i64>> {
    let mut below = i64::MAX;
    if let Some(before) = filter.before {
        let number = connection
            .prepare_cached("SELECT number FROM message WHERE id = ?1")?
            .query_row([before.0.into_bytes()], |row| row.get(0))
            .optional()?;
        let Some(number) = number else { return Ok(None) };
        below = number;
    }
    if let Some(until) = filter.until {
        below = below.min(first_received_at(connection, until.as_microsecond().saturating_add(DISORDER))?);
    }
    Ok(Some(below))
}

fn lower_end(connection: &Connection, filter: &MessageFilter) -> Result<i64> {
    filter.since.map_or(Ok(i64::MIN), |since: Timestamp| {
        first_received_at(connection, since.as_microsecond().saturating_sub(DISORDER))
    })
}

/// The number of the first message that came at `at` or later, by halving: times grow with numbers, so no
/// index of times is needed.
fn first_received_at(connection: &Connection, at: i64) -> Result<i64> {
    let (mut low, mut high): (i64, i64) = connection
        .prepare_cached(
            "SELECT coalesce((SELECT min(number) FROM message), 0),
                    coalesce((SELECT max(number) FROM message), 0) + 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut probe = connection
        .prepare_cached("SELECT number, received_at FROM message WHERE number >= ?1 ORDER BY number LIMIT 1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let next: Option<(i64, i64)> = probe.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match next {
            Some((number, received_at)) if received_at < at => low = number + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}
