//! Bulk replays: their rows, the items that they came to, and what they would come to.

use std::collections::BTreeMap;

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::audit;
use super::columns::{self, micros, storable};
use super::failure::Failed;
use crate::command::{CommandId, MessageId};
use crate::environment::Environment;
use crate::store::bulk::subject;
use crate::store::{
    Act, BulkReplay, NewBulkReplay, Noted, ReplayCandidate, ReplayCandidates, ReplayItem, ReplayOf, ReplayOutcome,
    ReplayStanding, Result, Share, StoreError, damaged,
};

/// Of one reason.
const WHY_CHARS_MAX: usize = 300;

const INSERT: &str = "INSERT INTO bulk_replay (id, filter, share, overtaken, standing, by, place, why, created_at,
       changed_at, at)
     VALUES ($1, $2, $3, $4, 'running', $5, $6, $7, $8, $8, 0)";

/// The item of a command, with its act.
pub(super) const REPLAYED: &str = "INSERT INTO replay_item (replay, subject, message, command, made, outcome, why, at)
     SELECT $1::uuid, c.id, c.message, c.id, NULL, 'sent', '', $3::bigint FROM command c
     WHERE c.id = $2::uuid ON CONFLICT DO NOTHING";

const NOTE: &str = "INSERT INTO replay_item (replay, subject, message, command, made, outcome, why, at)
     SELECT $1::uuid, u.subject, u.message, u.command, u.made, u.outcome, u.why, $8::bigint
     FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[])
       AS u (subject, message, command, made, outcome, why)
     ON CONFLICT DO NOTHING";

const SETTLE: &str =
    "UPDATE replay_item i SET outcome = u.outcome FROM unnest($2::uuid[], $3::text[]) AS u (subject, outcome)
     WHERE i.replay = $1 AND i.subject = u.subject AND i.outcome IN ('sent', 'in_doubt')";

pub(super) async fn begin(
    client: &ClientWrapper,
    replay: &NewBulkReplay,
    act: &Act,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    client.batch_execute("BEGIN").await?;
    let share = i32::try_from(replay.share.thousandths()).unwrap_or(i32::MAX);
    client
        .execute(
            INSERT,
            &[
                &replay.id,
                &columns::text(&replay.filter),
                &share,
                &replay.overtaken,
                &storable(&act.by),
                &storable(&act.place),
                &storable(&act.why),
                &micros(act.at),
            ],
        )
        .await?;
    let noted = Noted { act: NewBulkReplay::BEGUN, subject: subject(replay.id), by: act.clone() };
    audit::add(client, noted, environment).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

pub(super) async fn stand(
    client: &ClientWrapper,
    id: Uuid,
    to: ReplayStanding,
    act: &Act,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    client.batch_execute("BEGIN").await?;
    let row = client.query_opt("SELECT standing FROM bulk_replay WHERE id = $1 FOR UPDATE", &[&id]).await?;
    let from = named(row.ok_or(StoreError::NotFound)?.try_get(0)?)?;
    if !from.may_become(to) {
        let why = format!("it is {}, so it cannot be {}", from.name(), to.name());
        client.batch_execute("ROLLBACK").await?;
        return Err(StoreError::Outdated(why).into());
    }
    let update = "UPDATE bulk_replay SET standing = $2, changed_at = $3 WHERE id = $1";
    client.execute(update, &[&id, &to.name(), &micros(act.at)]).await?;
    let noted = Noted { act: to.act(), subject: subject(id), by: act.clone() };
    audit::add(client, noted, environment).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

/// Held until the commit of the act: it does not end meanwhile.
pub(super) async fn require_running(client: &ClientWrapper, id: Uuid) -> Result<()> {
    let statement = client.prepare_cached("SELECT standing FROM bulk_replay WHERE id = $1 FOR SHARE").await?;
    let row = client.query_opt(&statement, &[&id]).await?;
    match named(row.ok_or(StoreError::NotFound)?.try_get(0)?)? {
        ReplayStanding::Running => Ok(()),
        _ => Err(StoreError::Outdated("the bulk replay does not run any more".into())),
    }
}

fn named(name: &str) -> Result<ReplayStanding> {
    let found = ReplayStanding::ALL.into_iter().find(|standing| standing.name() == name);
    found.ok_or_else(|| damaged("an unknown standing of a replay"))
}

pub(super) async fn note(client: &ClientWrapper, id: Uuid, items: &[ReplayItem], at: Timestamp) -> Result<()> {
    let subjects: Vec<Uuid> = items.iter().map(ReplayItem::subject).collect();
    let messages: Vec<Uuid> = items.iter().map(|item| item.message.0).collect();
    let commands: Vec<Option<Uuid>> = items.iter().map(|item| item.command.map(|command| command.0)).collect();
    let made: Vec<Option<Uuid>> = items.iter().map(|item| item.made.map(|made| made.0)).collect();
    let outcomes: Vec<&str> = items.iter().map(|item| item.outcome.name()).collect();
    let why = |item: &ReplayItem| storable(&item.why).chars().take(WHY_CHARS_MAX).collect();
    let whys: Vec<String> = items.iter().map(why).collect();
    let note = client.prepare_cached(NOTE).await?;
    client.execute(&note, &[&id, &subjects, &messages, &commands, &made, &outcomes, &whys, &micros(at)]).await?;
    Ok(())
}

pub(super) async fn settle(client: &ClientWrapper, id: Uuid, settled: &[(Uuid, ReplayOutcome)]) -> Result<()> {
    let (subjects, outcomes): (Vec<Uuid>, Vec<&str>) =
        settled.iter().map(|(subject, outcome)| (*subject, outcome.name())).unzip();
    let settle = client.prepare_cached(SETTLE).await?;
    client.execute(&settle, &[&id, &subjects, &outcomes]).await?;
    Ok(())
}

pub(super) async fn advance(client: &ClientWrapper, id: Uuid, at: u64) -> Result<()> {
    let sql = "UPDATE bulk_replay SET at = greatest(at, $2) WHERE id = $1";
    client.execute(&client.prepare_cached(sql).await?, &[&id, &columns::signed(at)]).await?;
    Ok(())
}

/// Those that have ended before a time, with their items.
pub(super) const FORGET_ITEMS: &str = "DELETE FROM replay_item WHERE replay IN (
     SELECT id FROM bulk_replay WHERE standing IN ('done', 'cancelled') AND changed_at < $1)";
pub(super) const FORGET_REPLAYS: &str =
    "DELETE FROM bulk_replay WHERE standing IN ('done', 'cancelled') AND changed_at < $1";

macro_rules! replay_columns {
    () => {
        "id, filter, share, overtaken, standing, by, place, why, created_at, changed_at, at"
    };
}

pub(super) async fn bulk_replay(client: &ClientWrapper, id: Uuid) -> Result<Option<BulkReplay>> {
    let sql = concat!("SELECT ", replay_columns!(), " FROM bulk_replay WHERE id = $1");
    match client.query_opt(&client.prepare_cached(sql).await?, &[&id]).await? {
        Some(row) => Ok(Some(view(client, &row).await?)),
        None => Ok(None),
    }
}

pub(super) async fn bulk_replays(
    client: &ClientWrapper,
    only: Option<ReplayStanding>,
    max: usize,
) -> Result<Vec<BulkReplay>> {
    let sql = concat!(
        "SELECT ",
        replay_columns!(),
        " FROM bulk_replay WHERE $1::text IS NULL OR standing = $1 ORDER BY created_at DESC, id LIMIT $2"
    );
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[&only.map(ReplayStanding::name), &columns::signed(max as u64)]).await?;
    let mut replays = Vec::with_capacity(rows.len());
    for row in &rows {
        replays.push(view(client, row).await?);
    }
    Ok(replays)
}

async fn view(client: &ClientWrapper, row: &Row) -> Result<BulkReplay> {
    let id: Uuid = row.try_get(0)?;
    let sql = "SELECT outcome, count(*) FROM replay_item WHERE replay = $1 GROUP BY outcome";
    let mut counts = BTreeMap::new();
    for row in client.query(&client.prepare_cached(sql).await?, &[&id]).await? {
        counts.insert(ReplayOutcome::named(row.try_get(0)?)?, columns::count(&row, 1)?);
    }
    Ok(BulkReplay {
        id,
        filter: columns::read(row.try_get(1)?)?,
        share: Share::of_row(row.try_get::<_, i32>(2)?.into())?,
        overtaken: row.try_get(3)?,
        standing: named(row.try_get(4)?)?,
        by: row.try_get(5)?,
        place: row.try_get(6)?,
        why: row.try_get(7)?,
        created_at: columns::time(row, 8)?,
        changed_at: columns::time(row, 9)?,
        at: columns::count(row, 10)?,
        counts,
    })
}

pub(super) async fn on_their_way(client: &ClientWrapper, id: Uuid, max: usize) -> Result<Vec<ReplayItem>> {
    let sql = "SELECT message, command, made, outcome, why FROM replay_item
         WHERE replay = $1 AND outcome IN ('sent', 'in_doubt') ORDER BY subject LIMIT $2";
    let rows = client.query(&client.prepare_cached(sql).await?, &[&id, &columns::signed(max as u64)]).await?;
    rows.iter().map(item).collect()
}

pub(super) async fn replay_items(
    client: &ClientWrapper,
    id: Uuid,
    after: Option<Uuid>,
    max: usize,
) -> Result<Vec<ReplayItem>> {
    let sql = "SELECT message, command, made, outcome, why FROM replay_item
         WHERE replay = $1 AND subject > $2 ORDER BY subject LIMIT $3";
    let (after, max) = (after.unwrap_or_default(), columns::signed(max as u64));
    let rows = client.query(&client.prepare_cached(sql).await?, &[&id, &after, &max]).await?;
    rows.iter().map(item).collect()
}

fn item(row: &Row) -> Result<ReplayItem> {
    Ok(ReplayItem {
        message: MessageId(row.try_get(0)?),
        command: row.try_get::<_, Option<Uuid>>(1)?.map(CommandId),
        made: row.try_get::<_, Option<Uuid>>(2)?.map(MessageId),
        outcome: ReplayOutcome::named(row.try_get(3)?)?,
        why: row.try_get(4)?,
    })
}

const OF_COMMANDS: &str = "SELECT c.number, c.message, c.id, c.name, c.mapping_set,
       EXISTS (SELECT 1 FROM command l WHERE l.thread = c.thread AND l.standing = 7 AND l.number > c.number),
       EXISTS (SELECT 1 FROM attempt a
               WHERE a.command = c.number AND a.is_write AND a.status >= 200 AND a.status < 300)";
const OF_MESSAGES: &str = "SELECT m.number, m.id, NULL::uuid, m.kind, '', false, false";
/// The parts of every question: `x` is `c` or `m`.
const BOUNDS: &str = "x.number > $1 AND ($2::bigint IS NULL OR x.became_at <= $2)
     AND ($3::text IS NULL OR x.source = (SELECT number FROM source WHERE name = $3))
     AND ($4::bigint IS NULL OR x.received_at >= $4) AND ($5::bigint IS NULL OR x.received_at < $5)
     AND NOT EXISTS (SELECT 1 FROM replay_item i WHERE i.replay = $6::uuid AND i.subject = x.id)";

fn bounds(of: &str, became_at: &str) -> String {
    BOUNDS.replace("x.", of).replace("became_at", became_at)
}

/// Place by place from the index, or from that of the cause: what is finished is never passed.
pub(super) async fn candidates(client: &ClientWrapper, asked: &ReplayCandidates) -> Result<Vec<ReplayCandidate>> {
    let filter = &asked.filter;
    let (of_commands, of_messages) = (bounds("c.", "changed_at"), bounds("m.", "received_at"));
    let sql = match filter.of {
        ReplayOf::Failed if filter.cause.is_some() => format!(
            "{OF_COMMANDS} FROM command c
             WHERE c.cause = $9::bigint AND c.cause IS NOT NULL AND c.standing IN (3, 4, 5, 6) AND c.standing = 6
               AND {of_commands} AND ($8::text IS NULL OR c.name = $8) ORDER BY c.number LIMIT $7"
        ),
        ReplayOf::Failed => format!(
            "{OF_COMMANDS} FROM (
               SELECT class, source FROM tally WHERE standing = 6 AND $9::bigint IS NULL
               GROUP BY 1, 2 HAVING sum(count) > 0
             ) p CROSS JOIN LATERAL (
               SELECT c.* FROM command c
               WHERE c.standing = 6 AND c.standing <> 7 AND c.class = p.class AND c.source = p.source
                 AND {of_commands} AND ($8::text IS NULL OR c.name = $8) ORDER BY c.number LIMIT $7
             ) c ORDER BY c.number LIMIT $7"
        ),
        ReplayOf::Rejected if filter.cause.is_some() => format!(
            "{OF_MESSAGES} FROM blame b JOIN message m ON m.number = b.message
             WHERE b.cause = $9::bigint AND b.message > $1 AND {of_messages} AND $8::text IS NOT DISTINCT FROM $8
             ORDER BY b.message LIMIT $7"
        ),
        ReplayOf::Rejected => format!(
            "{OF_MESSAGES} FROM source s CROSS JOIN LATERAL (
               SELECT m.number, m.id, m.kind FROM message m
               WHERE m.source = s.number AND m.verdict = 'rejected' AND {of_messages}
                 AND EXISTS (SELECT 1 FROM blame b WHERE b.message = m.number) ORDER BY m.number LIMIT $7
             ) m WHERE $8::text IS NOT DISTINCT FROM $8 AND $9::bigint IS NULL ORDER BY m.number LIMIT $7"
        ),
    };
    let statement = client.prepare_cached(&sql).await?;
    let (after, became, max) =
        (columns::signed(asked.after), asked.until.map(micros), columns::signed(asked.max as u64));
    let (since, until) = (filter.since.map(micros), filter.until.map(micros));
    let cause = filter.cause.map(|cause| cause.number());
    let parameters: [&(dyn ToSql + Sync); 9] =
        [&after, &became, &filter.source, &since, &until, &asked.except, &max, &filter.command, &cause];
    client.query(&statement, &parameters).await?.iter().map(candidate).collect()
}

fn candidate(row: &Row) -> Result<ReplayCandidate> {
    Ok(ReplayCandidate {
        number: columns::count(row, 0)?,
        message: MessageId(row.try_get(1)?),
        command: row.try_get::<_, Option<Uuid>>(2)?.map(CommandId),
        name: row.try_get(3)?,
        mapping_set: row.try_get(4)?,
        overtaken: row.try_get(5)?,
        begun: row.try_get(6)?,
    })
}
