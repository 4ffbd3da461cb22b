//! Events: read in commit order, confirmed in batches.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::acts::COMMON_DESK;
use super::columns;
use super::flight::Flight;
use super::write::{ADD_TO_TALLY, UNCONFIRMED};
use crate::command::EventId;
use crate::store::partition_key::partition_key;
use crate::store::vault::{Column, Vault};
use crate::store::{OutboxDepth, Result, StoredEvent};

/// Events in one answer.
const EVENTS_MAX: usize = 10_000;

pub(super) const UNCONFIRMED_EVENTS: &str =
    "SELECT position, id, name, at, source, subject, thread, sequence, data FROM outbox
     WHERE confirmed_at IS NULL AND position > $1 ORDER BY position LIMIT $2";

pub(super) const EVENTS_AFTER: &str =
    "SELECT position, id, name, at, source, subject, thread, sequence, data FROM outbox
     WHERE position > $1 ORDER BY position LIMIT $2";

pub(super) async fn events(
    client: &ClientWrapper,
    vault: &Vault,
    sql: &str,
    after: u64,
    max: usize,
) -> Result<Vec<StoredEvent>> {
    let statement = client.prepare_cached(sql).await?;
    let limit = columns::signed(max.min(EVENTS_MAX) as u64);
    let rows = client.query(&statement, &[&columns::signed(after), &limit]).await?;
    rows.iter().map(|row| event(row, vault)).collect()
}

fn event(row: &Row, vault: &Vault) -> Result<StoredEvent> {
    let id = row.try_get(1)?;
    Ok(StoredEvent {
        position: columns::count(row, 0)?,
        id: EventId(id),
        name: row.try_get(2)?,
        at: columns::time(row, 3)?,
        source: row.try_get(4)?,
        subject: row.try_get(5)?,
        thread: partition_key(row.try_get::<_, uuid::Uuid>(6)?.into_bytes()),
        sequence: columns::count(row, 7)?,
        data: columns::sealed_json(row, 8, vault, Column::EventData.of_id(id))?,
    })
}

/// Notes that the broker has these. Those confirmed before stay as they are. A note that a crash of the database
/// loses costs a repetition, which consumers know by its id, so it does not wait for the disk.
pub(super) async fn confirm(client: &ClientWrapper, positions: &[u64], at: Timestamp) -> Result<()> {
    let confirm = client
        .prepare_cached(
            "UPDATE outbox SET confirmed_at = $2 WHERE position = ANY ($1) AND confirmed_at IS NULL RETURNING 1",
        )
        .await?;
    let count = client.prepare_cached(ADD_TO_TALLY).await?;
    let mut positions: Vec<i64> = positions.iter().map(|position| columns::signed(*position)).collect();
    positions.sort_unstable();
    let at = at.as_microsecond();
    let mut flight = Flight::of(client);
    flight.run("BEGIN; SET LOCAL synchronous_commit = off");
    flight.send(&confirm, [&positions, &at]);
    let [_, confirmed] = flight.land_all().await?;
    let confirmed = columns::signed(confirmed.len() as u64);
    if confirmed > 0 {
        let (standings, zeros) = (vec![UNCONFIRMED], vec![0_i16]);
        let (sources, counts) = (vec![0_i32], vec![-confirmed]);
        client.execute(&count, &[&COMMON_DESK, &standings, &zeros, &sources, &counts]).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

pub(super) async fn last_position(client: &ClientWrapper) -> Result<u64> {
    let statement = client.prepare_cached("SELECT greatest((SELECT max(position) FROM outbox), (SELECT value FROM meta WHERE name = 'purged_position'), 0)").await?;
    columns::count(&client.query_one(&statement, &[]).await?, 0)
}

pub(super) async fn depth(client: &ClientWrapper) -> Result<OutboxDepth> {
    let statement = client
        .prepare_cached(
            "SELECT greatest(coalesce((SELECT sum(count) FROM tally WHERE standing = -1), 0), 0)::bigint,
                    (SELECT at FROM outbox WHERE confirmed_at IS NULL ORDER BY position LIMIT 1)",
        )
        .await?;
    let row = client.query_one(&statement, &[]).await?;
    Ok(OutboxDepth { count: columns::count(&row, 0)?, oldest: columns::optional_time(&row, 1)? })
}
