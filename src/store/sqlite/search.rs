//! What people and metrics look at: single messages and commands, their history, and how much waits where.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::columns;
use crate::command::{AttemptId, Class, CommandId, MessageId, ThreadId};
use crate::store::patient::is_about;
use crate::store::standing::Standing;
use crate::store::{AttemptView, CommandView, Depth, MessageView, OpenCommand, Result, TransitionView};

/// Attempts or transitions in one answer.
const HISTORY_MAX: i64 = 10_000;

/// Columns of a `MessageView`, from `message m`.
pub(super) const MESSAGE_COLUMNS: &str =
    "m.id, (SELECT name FROM source WHERE number = m.source), m.transport, m.control_id, m.kind, m.received_at,
     (SELECT at FROM acknowledged WHERE message = m.number), m.verdict, m.size, m.charset, m.problems,
     opened_if_whole('message.acknowledgement', m.id, m.acknowledgement), m.number";

pub(super) fn message_view(row: &Row<'_>) -> Result<MessageView> {
    Ok(MessageView {
        id: MessageId(columns::uuid(row, 0)?),
        source: row.get(1)?,
        transport: columns::transport(row, 2)?,
        control_id: row.get(3)?,
        kind: row.get(4)?,
        received_at: columns::time(row, 5)?,
        acknowledged_at: columns::optional_time(row, 6)?,
        verdict: columns::verdict(row, 7)?,
        size: columns::count(row, 8)?,
        charset: row.get(9)?,
        problems: columns::json(row, 10)?,
        acknowledgement: row.get::<_, Option<Vec<u8>>>(11)?.unwrap_or_default().into(),
    })
}

pub(super) fn message(connection: &Connection, id: MessageId) -> Result<Option<MessageView>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {MESSAGE_COLUMNS} FROM message m WHERE m.id = ?1"))?;
    let mut rows = statement.query([id.0.into_bytes()])?;
    rows.next()?.map(message_view).transpose()
}

/// Columns of a `CommandView`, from `command c` and its `thread t`.
pub(super) const COMMAND_COLUMNS: &str =
    "c.id, c.message, (SELECT name FROM source WHERE number = c.source), c.name, c.state,
     c.class, t.id, c.received_at, c.changed_at, c.mapping_set, opened_json('command.body', c.id, c.body),
     opened_json('command.plan', c.id, c.plan), opened_json('thread.known', t.id, t.known), c.standing, t.number, c.not_after";

pub(super) fn command(connection: &Connection, id: CommandId) -> Result<Option<CommandView>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COMMAND_COLUMNS} FROM command c JOIN thread t ON t.number = c.thread WHERE c.id = ?1"
    ))?;
    let mut rows = statement.query([id.0.into_bytes()])?;
    rows.next()?.map(|row| command_view(connection, row)).transpose()
}

pub(super) fn commands_of(connection: &Connection, message: MessageId) -> Result<Vec<CommandView>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COMMAND_COLUMNS} FROM message m
         JOIN command c ON c.number >= m.first_command AND c.number < m.first_command + m.commands
         JOIN thread t ON t.number = c.thread
         WHERE m.id = ?1 ORDER BY c.number"
    ))?;
    let mut rows = statement.query([message.0.into_bytes()])?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        views.push(command_view(connection, row)?);
    }
    Ok(views)
}

pub(super) fn open_for_patients(connection: &Connection, ids: &[String]) -> Result<Vec<OpenCommand>> {
    let mut statement = connection.prepare_cached(
        "SELECT c.id, t.id, c.name, opened_json('command.body', c.id, c.body)
         FROM command c JOIN thread t ON t.number = c.thread
         WHERE c.standing IN (0, 1, 2, 3, 4, 5, 6) AND c.standing <> 7 ORDER BY c.number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if !is_about(&columns::sealed_json(row, 3)?, ids) {
            continue;
        }
        found.push(OpenCommand {
            id: CommandId(columns::uuid(row, 0)?),
            thread: ThreadId(columns::uuid(row, 1)?),
            name: row.get(2)?,
        });
    }
    Ok(found)
}

pub(super) fn command_view(connection: &Connection, row: &Row<'_>) -> Result<CommandView> {
    let held_by = match Standing::from_code(row.get(13)?)? {
        Standing::Held => holder(connection, row.get(14)?)?,
        _ => None,
    };
    Ok(CommandView {
        id: CommandId(columns::uuid(row, 0)?),
        message: MessageId(columns::uuid(row, 1)?),
        source: row.get(2)?,
        name: row.get(3)?,
        state: columns::state(row, 4)?,
        class: columns::class(row, 5)?,
        thread: ThreadId(columns::uuid(row, 6)?),
        held_by,
        received_at: columns::time(row, 7)?,
        changed_at: columns::time(row, 8)?,
        not_after: columns::optional_time(row, 15)?,
        mapping_set: row.get(9)?,
        body: columns::sealed_json(row, 10)?,
        plan: columns::sealed_json(row, 11)?,
        known: columns::sealed_json(row, 12)?,
    })
}

/// What holds the others of a thread: the one that runs, or else the first that is not held itself.
fn holder(connection: &Connection, thread: i64) -> Result<Option<CommandId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM command WHERE thread = ?1 AND standing IN (0, 2, 3, 4, 5, 6)
         ORDER BY standing <> 2, number LIMIT 1",
    )?;
    let mut rows = statement.query([thread])?;
    rows.next()?.map(|row| Ok(CommandId(columns::uuid(row, 0)?))).transpose()
}

/// Every change of a command's state, its arrival first.
pub(super) fn transitions(connection: &Connection, command: CommandId) -> Result<Vec<TransitionView>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.at, t.from_state, t.to_state, t.why, t.by FROM command c JOIN transition t ON t.command = c.number
         WHERE c.id = ?1 ORDER BY t.number LIMIT ?2",
    )?;
    let mut rows = statement.query((command.0.into_bytes(), HISTORY_MAX))?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        views.push(TransitionView {
            at: columns::time(row, 0)?,
            from: row.get(1)?,
            to: row.get(2)?,
            why: row.get(3)?,
            by: row.get(4)?,
        });
    }
    if views.first().is_none_or(|first| first.from.is_some())
        && let Some(arrival) = arrival(connection, command, views.first().and_then(|first| first.from.clone()))?
    {
        views.insert(0, arrival);
    }
    Ok(views)
}

/// An arrival without a row of its own: at the time and into the state that the command's row tells.
fn arrival(connection: &Connection, command: CommandId, into: Option<String>) -> Result<Option<TransitionView>> {
    let mut statement = connection.prepare_cached("SELECT received_at, standing FROM command WHERE id = ?1")?;
    let mut rows = statement.query([command.0.into_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let now = Standing::from_code(row.get(1)?)?.state_name();
    Ok(Some(TransitionView {
        at: columns::time(row, 0)?,
        from: None,
        to: into.unwrap_or_else(|| now.to_owned()),
        why: "received".into(),
        by: crate::store::GATEWAY.into(),
    }))
}

pub(super) fn attempts(connection: &Connection, command: CommandId) -> Result<Vec<AttemptView>> {
    let mut statement = connection.prepare_cached(
        "SELECT a.id, a.step, a.call, a.is_write, a.correlation_id, a.started_at, a.finished_at, a.status, a.outcome,
                a.duration_ms, opened_json('attempt.request', a.id, a.request), opened_json('attempt.response', a.id, a.response)
         FROM command c JOIN attempt a ON a.command = c.number WHERE c.id = ?1 ORDER BY a.number LIMIT ?2",
    )?;
    let mut rows = statement.query((command.0.into_bytes(), HISTORY_MAX))?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        views.push(AttemptView {
            id: AttemptId(columns::uuid(row, 0)?),
            step: row.get(1)?,
            call: row.get(2)?,
            is_write: row.get(3)?,
            correlation_id: row.get(4)?,
            started_at: columns::time(row, 5)?,
            finished_at: columns::optional_time(row, 6)?,
            status: row.get(7)?,
            outcome: row.get(8)?,
            duration_ms: row.get::<_, Option<i64>>(9)?.and_then(|ms| u64::try_from(ms).ok()),
            request: columns::sealed_json(row, 10)?,
            response: columns::sealed_json(row, 11)?,
        });
    }
    Ok(views)
}

/// From the tally, and one probe of an index for each place: flat, however much is finished or waits.
pub(super) fn depths(connection: &Connection) -> Result<Vec<Depth>> {
    let mut statement = connection.prepare_cached(
        "SELECT standing, class, count,
                iif(standing < 7, (
                  SELECT received_at FROM command INDEXED BY command_queue
                  WHERE standing = tally.standing AND standing <> 7 AND class = tally.class
                    AND source = tally.source
                  ORDER BY number LIMIT 1
                ), NULL)
         FROM tally WHERE count > 0",
    )?;
    let mut rows = statement.query([])?;
    let mut depths: BTreeMap<(&str, Class), Depth> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let state = Standing::from_code(row.get(0)?)?.state_name();
        let class = columns::class(row, 1)?;
        let depth =
            depths.entry((state, class)).or_insert(Depth { state: state.to_owned(), class, count: 0, oldest: None });
        depth.count += columns::count(row, 2)?;
        let oldest = columns::optional_time(row, 3)?;
        depth.oldest = match (depth.oldest, oldest) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    Ok(depths.into_values().collect())
}
