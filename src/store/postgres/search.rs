//! What people and metrics look at: single messages and commands, their history, and how much waits where.

use std::collections::BTreeMap;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::columns;
use super::read;
use super::workspace::Thread;
use crate::command::{AttemptId, Class, CommandId, MessageId, ThreadId};
use crate::store::patient::is_about;
use crate::store::standing::Standing;
use crate::store::unreadable::if_whole;
use crate::store::vault::{Column, Vault};
use crate::store::{
    Alias, AttemptView, CommandView, Depth, GATEWAY, MessageView, OpenCommand, Result, ThreadView, TransitionView,
    damaged,
};

/// Attempts or transitions in one answer.
const HISTORY_MAX: i64 = 10_000;
/// How often a thread may have been merged into another before it is damaged data.
const MERGES_MAX: usize = 10_000;

macro_rules! message_columns {
    () => {
        "m.id, (SELECT name FROM source WHERE number = m.source), m.transport, m.control_id, m.kind, m.received_at,
         (SELECT at FROM acknowledged WHERE message = m.number), m.verdict, m.size, m.charset, m.problems,
         m.acknowledgement, m.number"
    };
}
pub(super) use message_columns;

pub(super) fn message_view(row: &Row, vault: &Vault) -> Result<MessageView> {
    let id = row.try_get(0)?;
    Ok(MessageView {
        id: MessageId(id),
        source: row.try_get(1)?,
        transport: columns::transport(row, 2)?,
        control_id: row.try_get(3)?,
        kind: row.try_get(4)?,
        received_at: columns::time(row, 5)?,
        acknowledged_at: columns::optional_time(row, 6)?,
        verdict: columns::verdict(row, 7)?,
        size: columns::count(row, 8)?,
        charset: row.try_get(9)?,
        problems: columns::json(row, 10)?,
        acknowledgement: if_whole(columns::sealed_bytes(row, 11, vault, Column::MessageAcknowledgement.of_id(id)))?
            .unwrap_or_default()
            .into(),
    })
}

pub(super) async fn message(client: &ClientWrapper, vault: &Vault, id: MessageId) -> Result<Option<MessageView>> {
    let statement =
        client.prepare_cached(concat!("SELECT ", message_columns!(), " FROM message m WHERE m.id = $1")).await?;
    client.query_opt(&statement, &[&id.0]).await?.map(|row| message_view(&row, vault)).transpose()
}

macro_rules! command_columns {
    () => {
        "c.id, c.message, (SELECT name FROM source WHERE number = c.source), c.name, c.state, c.class, t.id,
         c.received_at, c.changed_at, c.mapping_set, c.body, c.plan, t.known,
         CASE c.standing WHEN 1 THEN (
           SELECT h.id FROM command h WHERE h.thread = c.thread AND h.standing IN (0, 2, 3, 4, 5, 6)
           ORDER BY h.standing <> 2, h.number LIMIT 1
         ) END, c.not_after"
    };
}
pub(super) use command_columns;

pub(super) async fn command(client: &ClientWrapper, vault: &Vault, id: CommandId) -> Result<Option<CommandView>> {
    let statement = client
        .prepare_cached(concat!(
            "SELECT ",
            command_columns!(),
            " FROM command c JOIN thread t ON t.number = c.thread WHERE c.id = $1"
        ))
        .await?;
    client.query_opt(&statement, &[&id.0]).await?.map(|row| command_view(&row, vault)).transpose()
}

pub(super) async fn commands_of(client: &ClientWrapper, vault: &Vault, message: MessageId) -> Result<Vec<CommandView>> {
    let statement = client
        .prepare_cached(concat!(
            "SELECT ",
            command_columns!(),
            " FROM message m JOIN command c ON c.number > m.number AND c.number <= m.number + m.commands
             JOIN thread t ON t.number = c.thread WHERE m.id = $1 ORDER BY c.number"
        ))
        .await?;
    client.query(&statement, &[&message.0]).await?.iter().map(|row| command_view(row, vault)).collect()
}

/// Bodies that are looked through at a time.
const BODIES_MAX: i64 = 1_000;

pub(super) async fn open_for_patients(
    client: &ClientWrapper,
    vault: &Vault,
    ids: &[String],
) -> Result<Vec<OpenCommand>> {
    let statement = client
        .prepare_cached(
            "SELECT c.id, t.id, c.name, c.body, c.number FROM command c JOIN thread t ON t.number = c.thread
             WHERE c.standing IN (0, 1, 2, 3, 4, 5, 6) AND c.number > $1 ORDER BY c.number LIMIT $2",
        )
        .await?;
    let (mut found, mut after) = (Vec::new(), 0_i64);
    loop {
        let rows = client.query(&statement, &[&after, &BODIES_MAX]).await?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = last.try_get(4)?;
        for row in &rows {
            let id = row.try_get(0)?;
            if is_about(&columns::sealed_json(row, 3, vault, Column::CommandBody.of_id(id))?, ids) {
                let (thread, name) = (ThreadId(row.try_get(1)?), row.try_get(2)?);
                found.push(OpenCommand { id: CommandId(id), thread, name });
            }
        }
    }
}

pub(super) fn command_view(row: &Row, vault: &Vault) -> Result<CommandView> {
    let (id, thread) = (row.try_get(0)?, row.try_get(6)?);
    Ok(CommandView {
        id: CommandId(id),
        message: MessageId(row.try_get(1)?),
        source: row.try_get(2)?,
        name: row.try_get(3)?,
        state: columns::read(row.try_get(4)?)?,
        class: columns::class(row, 5)?,
        thread: ThreadId(thread),
        // What holds the others of a thread: the one that runs, or else the first that is not held itself.
        held_by: row.try_get::<_, Option<uuid::Uuid>>(13)?.map(CommandId),
        received_at: columns::time(row, 7)?,
        changed_at: columns::time(row, 8)?,
        not_after: columns::optional_time(row, 14)?,
        mapping_set: row.try_get(9)?,
        body: columns::sealed_json(row, 10, vault, Column::CommandBody.of_id(id))?,
        plan: columns::sealed_json(row, 11, vault, Column::CommandPlan.of_id(id))?,
        known: columns::sealed_json(row, 12, vault, Column::ThreadKnown.of_id(thread))?,
    })
}

/// The thread that an alias leads to, merges followed.
pub(super) async fn find_thread(client: &ClientWrapper, vault: &Vault, alias: &Alias) -> Result<Option<ThreadView>> {
    match thread_of(client, alias).await? {
        Some(thread) => thread.view(vault).map(Some),
        None => Ok(None),
    }
}

pub(super) async fn thread_number(client: &ClientWrapper, alias: &Alias) -> Result<Option<i64>> {
    Ok(thread_of(client, alias).await?.map(|thread| thread.number))
}

/// Merges followed.
async fn thread_of(client: &ClientWrapper, alias: &Alias) -> Result<Option<Thread>> {
    let find = client.prepare_cached("SELECT thread FROM alias WHERE digest = $1 AND kind = $2").await?;
    let read =
        client.prepare_cached(concat!("SELECT ", read::thread_columns!(), " FROM thread WHERE number = $1")).await?;
    let found = client.query_opt(&find, &[&&alias.digest[..], &columns::alias_kind(alias.kind)]).await?;
    let Some(found) = found else { return Ok(None) };
    let mut number: i64 = found.try_get(0)?;
    for _ in 0..MERGES_MAX {
        let thread = read::thread(&client.query_one(&read, &[&number]).await?)?;
        match thread.merged_into {
            Some(into) => number = into,
            None => return Ok(Some(thread)),
        }
    }
    Err(damaged("threads are merged in a circle"))
}

/// Every change of a command's state, its arrival first.
pub(super) async fn transitions(client: &ClientWrapper, command: CommandId) -> Result<Vec<TransitionView>> {
    let statement = client
        .prepare_cached(
            "SELECT t.at, t.from_state, t.to_state, t.why, t.by FROM command c JOIN transition t ON t.command = c.number
             WHERE c.id = $1 ORDER BY t.number LIMIT $2",
        )
        .await?;
    let mut views = Vec::new();
    for row in client.query(&statement, &[&command.0, &HISTORY_MAX]).await? {
        views.push(TransitionView {
            at: columns::time(&row, 0)?,
            from: row.try_get(1)?,
            to: row.try_get(2)?,
            why: row.try_get(3)?,
            by: row.try_get(4)?,
        });
    }
    if views.first().is_none_or(|first| first.from.is_some())
        && let Some(arrival) = arrival(client, command, views.first().and_then(|first| first.from.clone())).await?
    {
        views.insert(0, arrival);
    }
    Ok(views)
}

/// An arrival without a row of its own: at the time and into the state that the command's row tells.
async fn arrival(client: &ClientWrapper, command: CommandId, into: Option<String>) -> Result<Option<TransitionView>> {
    let statement = client.prepare_cached("SELECT received_at, standing FROM command WHERE id = $1").await?;
    let Some(row) = client.query_opt(&statement, &[&command.0]).await? else { return Ok(None) };
    let now = columns::standing(&row, 1)?.state_name();
    Ok(Some(TransitionView {
        at: columns::time(&row, 0)?,
        from: None,
        to: into.unwrap_or_else(|| now.to_owned()),
        why: "received".into(),
        by: GATEWAY.into(),
    }))
}

pub(super) async fn attempts(client: &ClientWrapper, vault: &Vault, command: CommandId) -> Result<Vec<AttemptView>> {
    let statement = client
        .prepare_cached(
            "SELECT a.id, a.step, a.call, a.is_write, a.correlation_id, a.started_at, a.finished_at, a.status,
                    a.outcome, a.duration_ms, a.request, a.response
             FROM command c JOIN attempt a ON a.command = c.number WHERE c.id = $1 ORDER BY a.number LIMIT $2",
        )
        .await?;
    let rows = client.query(&statement, &[&command.0, &HISTORY_MAX]).await?;
    rows.iter()
        .map(|row| {
            let id = row.try_get(0)?;
            Ok(AttemptView {
                id: AttemptId(id),
                step: row.try_get(1)?,
                call: row.try_get(2)?,
                is_write: row.try_get(3)?,
                correlation_id: row.try_get(4)?,
                started_at: columns::time(row, 5)?,
                finished_at: columns::optional_time(row, 6)?,
                status: row.try_get::<_, Option<i32>>(7)?.and_then(|status| u16::try_from(status).ok()),
                outcome: row.try_get(8)?,
                duration_ms: row.try_get::<_, Option<i64>>(9)?.and_then(|ms| u64::try_from(ms).ok()),
                request: columns::sealed_json(row, 10, vault, Column::AttemptRequest.of_id(id))?,
                response: columns::sealed_json(row, 11, vault, Column::AttemptResponse.of_id(id))?,
            })
        })
        .collect()
}

/// From the tally, and one probe of an index for each place: flat, however much is finished or waits.
pub(super) async fn depths(client: &ClientWrapper) -> Result<Vec<Depth>> {
    let statement = client
        .prepare_cached(
            "SELECT p.standing, p.class, p.count, CASE WHEN p.standing < 7 THEN (
               SELECT received_at FROM command c
               WHERE c.standing = p.standing AND c.standing <> 7 AND c.class = p.class AND c.source = p.source
               ORDER BY c.number LIMIT 1
             ) END
             FROM (SELECT standing, class, source, sum(count)::bigint AS count FROM tally
                   WHERE standing >= 0 GROUP BY 1, 2, 3) p
             WHERE p.count > 0",
        )
        .await?;
    let mut depths: BTreeMap<(&str, Class), Depth> = BTreeMap::new();
    for row in client.query(&statement, &[]).await? {
        let state = Standing::state_name(columns::standing(&row, 0)?);
        let class = columns::class(&row, 1)?;
        let depth =
            depths.entry((state, class)).or_insert(Depth { state: state.to_owned(), class, count: 0, oldest: None });
        depth.count += columns::count(&row, 2)?;
        let oldest = columns::optional_time(&row, 3)?;
        depth.oldest = match (depth.oldest, oldest) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    Ok(depths.into_values().collect())
}
