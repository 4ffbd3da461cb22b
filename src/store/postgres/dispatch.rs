//! Messages to hospital systems: what is owed, what is due, what became of it.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::audit;
use super::columns::{self, micros, storable};
use super::content::open_size;
use super::failure::Failed;
use super::patient;
use crate::command::{DispatchId, MessageId};
use crate::environment::Environment;
use crate::store::patient::THREADS_OF_EVENTS;
use crate::store::unreadable::if_whole;
use crate::store::vault::{Column, Vault};
use crate::store::{
    Act, DispatchContent, DispatchDepth, DispatchFilter, DispatchState, DispatchStep, DispatchView, DueDispatch, Made,
    NewDispatch, Noted, OwedAnswer, Result, StoreError, ToldPlace, damaged,
};

macro_rules! view_columns {
    () => {
        concat!(
            "id, destination, kind, control_id, subject, state, created_at, changed_at, tries, why, coalesce(",
            open_size!("content"),
            ", 0)::bigint, number"
        )
    };
}

pub(super) async fn owe_answer(client: &ClientWrapper, owed: &OwedAnswer) -> Result<()> {
    client
        .execute(
            "INSERT INTO owed_answer (message, outcome_of, destination, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
            &[&owed.message.0, &owed.outcome_of.0, &owed.destination, &micros(owed.at)],
        )
        .await?;
    Ok(())
}

/// Undecided is what is queued, held, running, waiting, unauthorised or in doubt (`Standing`).
pub(super) async fn answers_due(client: &ClientWrapper, max: usize) -> Result<Vec<OwedAnswer>> {
    let statement = client
        .prepare_cached(
            "SELECT o.message, o.outcome_of, o.destination, o.at FROM owed_answer o
             WHERE o.settled_at IS NULL AND NOT EXISTS (
               SELECT 1 FROM message m JOIN command c ON c.number > m.number AND c.number <= m.number + m.commands
               WHERE m.id = o.outcome_of AND c.standing IN (0, 1, 2, 3, 4, 5)
             ) ORDER BY o.at LIMIT $1",
        )
        .await?;
    let rows = client.query(&statement, &[&columns::signed(max as u64)]).await?;
    let owed = |row: &Row| -> Result<OwedAnswer> {
        Ok(OwedAnswer {
            message: MessageId(row.try_get(0)?),
            outcome_of: MessageId(row.try_get(1)?),
            destination: row.try_get(2)?,
            at: columns::time(row, 3)?,
        })
    };
    rows.iter().map(owed).collect()
}

pub(super) async fn settle_answer(
    client: &ClientWrapper,
    vault: &Vault,
    message: MessageId,
    answer: Option<&NewDispatch>,
    at: Timestamp,
) -> std::result::Result<bool, Failed> {
    client.batch_execute("BEGIN").await?;
    let settled = client
        .query_opt(
            "UPDATE owed_answer SET settled_at = $2 WHERE message = $1 AND settled_at IS NULL RETURNING destination",
            &[&message.0, &micros(at)],
        )
        .await?;
    if let (Some(row), Some(answer)) = (&settled, answer) {
        add(client, vault, row.try_get(0)?, answer).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(settled.is_some())
}

pub(super) async fn told_up_to(client: &ClientWrapper, destination: &str) -> Result<Option<u64>> {
    let row = client.query_opt("SELECT position FROM told WHERE destination = $1", &[&destination]).await?;
    row.map(|row| columns::count(&row, 0)).transpose()
}

pub(super) async fn told(client: &ClientWrapper) -> Result<Vec<ToldPlace>> {
    let place = |row: &Row| -> Result<ToldPlace> {
        Ok(ToldPlace {
            destination: row.try_get(0)?,
            position: columns::count(row, 1)?,
            left_at: columns::optional_time(row, 2)?,
        })
    };
    let sql = "SELECT destination, position, left_at FROM told ORDER BY destination";
    client.query(sql, &[]).await?.iter().map(place).collect()
}

pub(super) async fn leave_told(client: &ClientWrapper, destination: &str, at: Timestamp) -> Result<()> {
    let sql = "UPDATE told SET left_at = $2 WHERE destination = $1 AND left_at IS NULL";
    client.execute(sql, &[&destination, &micros(at)]).await?;
    Ok(())
}

pub(super) async fn was_dispatched(client: &ClientWrapper, destination: &str, control_id: &str) -> Result<bool> {
    let statement = client
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM dispatch WHERE destination = $1 AND control_id = $2)")
        .await?;
    Ok(client.query_one(&statement, &[&destination, &control_id]).await?.try_get(0)?)
}

pub(super) async fn tell(
    client: &ClientWrapper,
    vault: &Vault,
    destination: &str,
    (from, to): (Option<u64>, u64),
    dispatches: &[NewDispatch],
) -> std::result::Result<bool, Failed> {
    let to = columns::signed(to);
    client.batch_execute("BEGIN").await?;
    let changed = match from {
        None => {
            let sql = "INSERT INTO told (destination, position) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            client.execute(sql, &[&destination, &to]).await?
        }
        Some(from) => {
            let sql = "UPDATE told SET position = $2, left_at = NULL WHERE destination = $1 AND position = $3";
            client.execute(sql, &[&destination, &to, &columns::signed(from)]).await?
        }
    };
    if changed == 1 {
        for dispatch in dispatches {
            add(client, vault, destination, dispatch).await?;
        }
    }
    client.batch_execute("COMMIT").await?;
    Ok(changed == 1)
}

async fn add(
    client: &ClientWrapper,
    vault: &Vault,
    destination: &str,
    dispatch: &NewDispatch,
) -> std::result::Result<(), Failed> {
    let (state, kind, control_id, why, content) = match &dispatch.made {
        Made::Message(content) => {
            (DispatchState::Waiting, &*content.kind, &*content.control_id, "", Some(&content.bytes[..]))
        }
        Made::Unmade(why) => (DispatchState::Unmade, "", "", &**why, None),
    };
    let sealer = vault.sealer();
    let content = content.map(|content| sealer.bytes(Column::DispatchContent.of_id(dispatch.id.0), content));
    let content = content.as_deref();
    let statement = client
        .prepare_cached(
            "INSERT INTO dispatch (id, destination, state, kind, control_id, subject, event, created_at, changed_at,
                                   tries, why, content)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 0, $9, $10)",
        )
        .await?;
    let event = dispatch.event.map(columns::signed);
    let (kind, control_id, why) = (storable(kind), storable(control_id), storable(why));
    client
        .execute(
            &statement,
            &[
                &dispatch.id.0,
                &destination,
                &state.name(),
                &kind,
                &control_id,
                &dispatch.subject,
                &event,
                &micros(dispatch.at),
                &why,
                &content,
            ],
        )
        .await?;
    Ok(())
}

pub(super) async fn due(
    client: &ClientWrapper,
    vault: &Vault,
    destination: &str,
    max: usize,
) -> Result<Vec<DueDispatch>> {
    let statement = client
        .prepare_cached(
            "SELECT id, event, tries, kind, control_id, content, put_off FROM dispatch
             WHERE destination = $1 AND state = 'waiting' ORDER BY number LIMIT $2",
        )
        .await?;
    let rows = client.query(&statement, &[&destination, &columns::signed(max as u64)]).await?;
    let due = |row: &Row| -> Result<DueDispatch> {
        let (id, content): (_, Option<Vec<u8>>) = (row.try_get(0)?, row.try_get(5)?);
        let content =
            content.map(|sealed| if_whole(vault.open(Column::DispatchContent.of_id(id), sealed))).transpose()?;
        let content = content.flatten();
        let (kind, control_id) = (row.try_get(3)?, row.try_get(4)?);
        Ok(DueDispatch {
            id: DispatchId(id),
            event: row.try_get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            tries: u32::try_from(row.try_get::<_, i32>(2)?).unwrap_or_default(),
            put_off: u32::try_from(row.try_get::<_, i32>(6)?).unwrap_or_default(),
            content: content.map(|bytes| DispatchContent { kind, control_id, bytes: bytes.into() }),
        })
    };
    rows.iter().map(due).collect()
}

pub(super) async fn make(
    client: &ClientWrapper,
    vault: &Vault,
    id: DispatchId,
    content: &DispatchContent,
) -> Result<()> {
    let sealer = vault.sealer();
    let bytes = sealer.bytes(Column::DispatchContent.of_id(id.0), &content.bytes);
    client
        .execute(
            "UPDATE dispatch SET kind = $2, control_id = $3, content = $4 WHERE id = $1 AND content IS NULL",
            &[&id.0, &content.kind, &content.control_id, &&bytes[..]],
        )
        .await?;
    Ok(())
}

pub(super) async fn step(client: &ClientWrapper, step: &DispatchStep) -> Result<()> {
    let statement = client
        .prepare_cached(
            "UPDATE dispatch SET state = $2, changed_at = $3, tries = $4, why = $5, put_off = $6
             WHERE id = $1 AND state = 'waiting'",
        )
        .await?;
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let (tries, put_off, why) = (count(step.tries), count(step.put_off), storable(&step.why));
    client.execute(&statement, &[&step.id.0, &step.state.name(), &micros(step.at), &tries, &why, &put_off]).await?;
    Ok(())
}

fn view(row: &Row) -> Result<DispatchView> {
    Ok(DispatchView {
        id: DispatchId(row.try_get(0)?),
        destination: row.try_get(1)?,
        kind: row.try_get(2)?,
        control_id: row.try_get(3)?,
        subject: row.try_get(4)?,
        state: state(row, 5)?,
        created_at: columns::time(row, 6)?,
        changed_at: columns::time(row, 7)?,
        tries: u32::try_from(row.try_get::<_, i32>(8)?).unwrap_or_default(),
        why: row.try_get(9)?,
        size: columns::count(row, 10)?,
        number: columns::count(row, 11)?,
    })
}

fn state(row: &Row, column: usize) -> Result<DispatchState> {
    DispatchState::named(row.try_get(column)?).ok_or_else(|| damaged("an unknown state of a dispatch"))
}

pub(super) async fn dispatch(client: &ClientWrapper, id: DispatchId) -> Result<Option<DispatchView>> {
    let sql = concat!("SELECT ", view_columns!(), " FROM dispatch WHERE id = $1");
    client.query_opt(sql, &[&id.0]).await?.as_ref().map(view).transpose()
}

pub(super) async fn dispatches(client: &ClientWrapper, filter: &DispatchFilter) -> Result<Vec<DispatchView>> {
    let before = match filter.before {
        None => u64::MAX,
        Some(id) => dispatch(client, id).await?.ok_or(StoreError::NotFound)?.number,
    };
    let (before, max) = (columns::signed(before), columns::signed(filter.max as u64));
    let state = filter.state.map(DispatchState::name);
    let mut sql = concat!("SELECT ", view_columns!(), " FROM dispatch WHERE number < $1").to_owned();
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&before];
    if let Some(destination) = &filter.destination {
        values.push(destination);
        sql += &format!(" AND destination = ${}", values.len());
    }
    if let Some(state) = &state {
        values.push(state);
        sql += &format!(" AND state = ${}", values.len());
    }
    values.push(&max);
    sql += &format!(" ORDER BY number DESC LIMIT ${}", values.len());
    client.query(&sql, &values).await?.iter().map(view).collect()
}

pub(super) async fn content(client: &ClientWrapper, vault: &Vault, id: DispatchId) -> Result<Vec<u8>> {
    let row = client.query_opt("SELECT content FROM dispatch WHERE id = $1", &[&id.0]).await?;
    let content: Option<Vec<u8>> = row.ok_or(StoreError::NotFound)?.try_get(0)?;
    vault.open(Column::DispatchContent.of_id(id.0), content.unwrap_or_default())
}

pub(super) async fn depths(client: &ClientWrapper) -> Result<Vec<DispatchDepth>> {
    let statement = client
        .prepare_cached(
            "SELECT destination, state, count(*), min(created_at) FROM dispatch
             WHERE state NOT IN ('delivered', 'discarded') GROUP BY state, destination",
        )
        .await?;
    let depth = |row: &Row| -> Result<DispatchDepth> {
        Ok(DispatchDepth {
            destination: row.try_get(0)?,
            state: state(row, 1)?,
            count: columns::count(row, 2)?,
            oldest: columns::optional_time(row, 3)?,
        })
    };
    client.query(&statement, &[]).await?.iter().map(depth).collect()
}

/// A person's decision: sent again, or given up.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Replay,
    Discard,
}

pub(super) async fn decide(
    client: &ClientWrapper,
    id: DispatchId,
    verdict: Verdict,
    act: &Act,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    client.batch_execute("BEGIN").await?;
    let row = client.query_opt("SELECT state FROM dispatch WHERE id = $1 FOR UPDATE", &[&id.0]).await?;
    let from = state(&row.ok_or(StoreError::NotFound)?, 0)?;
    let (name, to, may) = match verdict {
        Verdict::Replay => ("replay", DispatchState::Waiting, from.waits_for_a_person()),
        Verdict::Discard => {
            ("discard", DispatchState::Discarded, !matches!(from, DispatchState::Delivered | DispatchState::Discarded))
        }
    };
    if !may {
        return Err(StoreError::Outdated(format!("it is {}, so {name} is not possible", from.name())).into());
    }
    client
        .execute(
            "UPDATE dispatch SET state = $2, changed_at = $3, why = '',
                    tries = CASE WHEN $2::text = 'waiting' THEN 0 ELSE tries END,
                    put_off = CASE WHEN $2::text = 'waiting' THEN 0 ELSE put_off END WHERE id = $1",
            &[&id.0, &to.name(), &micros(act.at)],
        )
        .await?;
    let note = client.prepare_cached(audit::NOTE).await?;
    let noted = Noted { act: name, subject: format!("dispatch {id}"), by: act.clone() };
    let rows = audit::following(client, &[noted], environment).await?;
    client.execute(&note, &rows.parameters()).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

pub(super) async fn purge(client: &ClientWrapper, before: Timestamp, max: usize) -> Result<u64> {
    let (before, max) = (micros(before), columns::signed(max as u64));
    let (held, goes) = match patient::is_any_held(client).await? {
        true => {
            let is_held = format!("e.position = d.event AND e.thread IN ({THREADS_OF_EVENTS})");
            (patient::held(), format!("NOT EXISTS (SELECT 1 FROM outbox e WHERE {is_held})"))
        }
        false => (String::new(), "true".to_owned()),
    };
    let dispatches = client
        .execute(
            &format!(
                "{held} DELETE FROM dispatch WHERE number IN (
                   SELECT number FROM dispatch d
                   WHERE state IN ('delivered', 'discarded') AND changed_at < $1 AND {goes} ORDER BY changed_at LIMIT $2
                 )"
            ),
            &[&before, &max],
        )
        .await?;
    let answers = client
        .execute(
            "DELETE FROM owed_answer WHERE message IN (
               SELECT message FROM owed_answer WHERE settled_at < $1 LIMIT $2
             )",
            &[&before, &max],
        )
        .await?;
    Ok(dispatches + answers)
}
