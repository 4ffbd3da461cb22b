//! Lists of messages, newest first, by whatever filter: from an index that leads to what is wanted, never by
//! passing what is finished.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::columns;
use super::patient;
use super::problems;
use super::search::{MESSAGE_COLUMNS, message_view};
use super::threads;
use crate::command::Verdict;
use crate::store::standing::Standing;
use crate::store::{Alias, CauseId, MessageFilter, MessageView, PatientDigest, Result};

/// Messages in one answer.
const MESSAGES_MAX: usize = 1_000;
/// Messages are numbered at their commit, so their times of receipt are in order but for this.
pub(super) const DISORDER: i64 = 60_000_000;

/// Messages of one referral that are found.
const OF_ONE_REFERRAL_MAX: i64 = 10_000;

/// Where to look for candidates: each yields message numbers downwards.
enum Candidates {
    /// All of a source, of a verdict, or simply all.
    Messages,
    /// Those of commands that stand there.
    Commands(Vec<Standing>),
    /// Refused for a cause, or with a command that does not get on for it.
    Cause(CauseId),
    Patient(PatientDigest),
    /// The few that a control id names, or that are of one referral.
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
                && has_all(connection, number, filter, &candidates)?
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
        if let Some(referral) = &filter.referral {
            return Ok(Self::Numbers(of_referral(connection, referral)?));
        }
        if let Some(patient) = filter.patient {
            return Ok(Self::Patient(patient));
        }
        if let Some(cause) = filter.cause {
            return Ok(Self::Cause(cause));
        }
        Ok(filter.state.as_deref().map_or(Self::Messages, |name| Self::Commands(standings_of(name))))
    }

    /// Up to `max` numbers under `below`, downwards.
    fn next(&self, connection: &Connection, filter: &MessageFilter, below: i64, max: usize) -> Result<Vec<i64>> {
        let max = columns::signed(max as u64);
        match self {
            Self::Numbers(numbers) => Ok(numbers.iter().copied().filter(|number| *number < below).collect()),
            Self::Commands(standings) => by_standing(connection, standings, filter.source.as_deref(), below, max),
            Self::Messages => by_message(connection, filter, below, max),
            Self::Patient(patient) => patient::messages_before(connection, patient, below, max),
            Self::Cause(cause) => {
                let mut numbers = problems::refused(connection, *cause, below, max)?;
                let before = first_command_from(connection, below)?;
                numbers.extend(of_commands(connection, problems::halted(connection, *cause, before, max)?)?);
                Ok(newest(numbers, max))
            }
        }
    }
}

/// Messages of every source and verdict that is asked for, each from its own place in the index.
fn by_message(connection: &Connection, filter: &MessageFilter, below: i64, max: i64) -> Result<Vec<i64>> {
    if filter.source.is_none() && filter.verdict.is_none() {
        let mut statement =
            connection.prepare_cached("SELECT number FROM message WHERE number < ?1 ORDER BY number DESC LIMIT ?2")?;
        let numbers = statement.query_map((below, max), |row| row.get(0))?;
        return Ok(numbers.collect::<rusqlite::Result<_>>()?);
    }
    let mut sources = connection.prepare_cached("SELECT number FROM source WHERE ?1 IS NULL OR name = ?1")?;
    let sources: Vec<i64> = sources.query_map([&filter.source], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare_cached(
        "SELECT number FROM message INDEXED BY message_place
         WHERE source = ?1 AND verdict = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4",
    )?;
    let mut numbers: Vec<i64> = Vec::new();
    for source in sources {
        for verdict in Verdict::ALL.into_iter().filter(|verdict| filter.verdict.is_none_or(|asked| asked == *verdict)) {
            for number in statement.query_map((source, verdict.name(), below, max), |row| row.get(0))? {
                numbers.push(number?);
            }
        }
    }
    Ok(newest(numbers, max))
}

/// The `max` highest, downwards.
fn newest(mut numbers: Vec<i64>, max: i64) -> Vec<i64> {
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    numbers.truncate(usize::try_from(max).unwrap_or(0));
    numbers
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
    let before = first_command_from(connection, below)?;
    let mut commands: Vec<i64> = Vec::new();
    for standing in standings {
        // A partial index is only used where its condition stands in the query.
        let mut statement = connection.prepare_cached(match standing {
            Standing::Completed => {
                "SELECT number FROM command INDEXED BY command_completed
                 WHERE standing = 7 AND ?1 = 7 AND class = ?2 AND source = ?3 AND number < ?4
                 ORDER BY number DESC LIMIT ?5"
            }
            _ => {
                "SELECT number FROM command INDEXED BY command_queue
                 WHERE standing = ?1 AND standing <> 7 AND class = ?2 AND source = ?3 AND number < ?4
                 ORDER BY number DESC LIMIT ?5"
            }
        })?;
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
    of_commands(connection, newest(commands, max))
}

/// The first command of that message, or of the first one behind it.
fn first_command_from(connection: &Connection, message: i64) -> Result<i64> {
    let first = connection
        .prepare_cached("SELECT first_command FROM message WHERE number >= ?1 ORDER BY number LIMIT 1")?
        .query_row([message], |row| row.get(0))
        .optional()?;
    Ok(first.unwrap_or(i64::MAX))
}

/// Their messages, each once.
fn of_commands(connection: &Connection, commands: Vec<i64>) -> Result<Vec<i64>> {
    let mut statement = connection
        .prepare_cached("SELECT m.number FROM command c JOIN message m ON m.id = c.message WHERE c.number = ?1")?;
    let mut numbers = Vec::with_capacity(commands.len());
    for command in commands {
        numbers.push(statement.query_row([command], |row| row.get::<_, i64>(0))?);
    }
    numbers.dedup();
    Ok(numbers)
}

fn standings_of(state: &str) -> Vec<Standing> {
    Standing::ALL.into_iter().filter(|standing| standing.state_name() == state).collect()
}

/// What the candidates were not found by.
fn has_all(connection: &Connection, message: i64, filter: &MessageFilter, by: &Candidates) -> Result<bool> {
    if let (Some(state), false) = (&filter.state, matches!(by, Candidates::Commands(_))) {
        let standings: Vec<i64> = standings_of(state).into_iter().map(Standing::code).collect();
        let mut of_state = connection.prepare_cached(
            "SELECT 1 FROM message m JOIN command c
               ON c.number >= m.first_command AND c.number < m.first_command + m.commands
             WHERE m.number = ?1 AND c.standing IN (SELECT value FROM json_each(?2))",
        )?;
        if !of_state.exists((message, columns::text(&standings)))? {
            return Ok(false);
        }
    }
    match (filter.cause, by) {
        (Some(cause), Candidates::Numbers(_) | Candidates::Patient(_)) => problems::has(connection, message, cause),
        _ => Ok(true),
    }
}

/// Newest first.
fn of_referral(connection: &Connection, referral: &Alias) -> Result<Vec<i64>> {
    let Some(thread) = threads::find(connection, referral)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT m.number FROM command c CROSS JOIN message m ON m.id = c.message
         WHERE c.thread = ?1 ORDER BY m.number DESC LIMIT ?2",
    )?;
    let numbers = statement.query_map((thread, OF_ONE_REFERRAL_MAX), |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
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
pub(super) fn first_received_at(connection: &Connection, at: i64) -> Result<i64> {
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
