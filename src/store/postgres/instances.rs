//! Who shares the store: places of instances, their signs of life, duties that one has at a time, quotas.
//!
//! All times are of the database's clock.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::GenericClient;

use super::columns;
use super::failure::Failed;
use super::flight::Flight;
use crate::store::quota::QuotaState;
use crate::store::{Beat, InstanceStanding, InstanceView, QuotaAsk, Result, StoreError};

/// Who gave no sign of life for so long is not counted on. Three beats, and a pause of the database.
pub(super) const ALIVE_FOR: Duration = Duration::from_secs(20);
/// An older version that was seen within so long may be started again: what it needs stays.
const MAY_COME_BACK_FOR: Duration = Duration::from_secs(600);
/// Desks of one instance.
pub(super) const DESKS: i32 = 8;
/// Who was not seen for so long is forgotten, and its place given to another.
const FORGOTTEN_AFTER_DAYS: i64 = 30;
const SHOWN_FOR: i64 = 86_400_000_000;

macro_rules! clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}

/// Gives an instance the lowest place that is free, or the one that it has. Returns the number of the place.
pub(super) async fn take_place(client: &tokio_postgres::Client, beat: &Beat, schema: i32) -> Result<i32> {
    client
        .execute(
            concat!("DELETE FROM instance WHERE seen_at < ", clock!(), " - $1"),
            &[&(FORGOTTEN_AFTER_DAYS * SHOWN_FOR)],
        )
        .await?;
    let row = client
        .query_one(
            concat!(
                "INSERT INTO instance (name, slot, version, schema, mapping_set, started_at, seen_at, standing, holds)
                 SELECT $1, (SELECT min(free) FROM generate_series(1, 1 + (SELECT count(*) FROM instance)) free
                             WHERE NOT EXISTS (SELECT 1 FROM instance WHERE slot = free)),
                        $2, $3, $4, $5, ",
                clock!(),
                ", 'serving', 0
                 ON CONFLICT (name) DO UPDATE SET version = excluded.version, schema = excluded.schema,
                   started_at = excluded.started_at, seen_at = excluded.seen_at, standing = 'serving', holds = 0
                 RETURNING slot"
            ),
            &[&beat.instance, &beat.version, &schema, &beat.mapping_set, &beat.started_at.as_microsecond()],
        )
        .await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn beat(client: &ClientWrapper, beat: &Beat, schema: i32) -> Result<()> {
    let statement = client
        .prepare_cached(concat!(
            "UPDATE instance SET version = $2, schema = $3, mapping_set = $4, started_at = $5, seen_at = ",
            clock!(),
            ", standing = $6, holds = $7 WHERE name = $1 RETURNING 1"
        ))
        .await?;
    let (started_at, holds) = (beat.started_at.as_microsecond(), columns::signed(beat.holds));
    let standing = beat.standing.name();
    let mut flight = Flight::of(client);
    flight.run("BEGIN; SET LOCAL synchronous_commit = off");
    flight
        .send(&statement, [&beat.instance, &beat.version, &schema, &beat.mapping_set, &started_at, &standing, &holds]);
    flight.run("COMMIT");
    let [_, beaten, _] = flight.land_all().await?;
    if beaten.is_empty() {
        return Err(StoreError::Outdated(format!("instance {} has no place in the store", beat.instance)));
    }
    Ok(())
}

pub(super) async fn instances(client: &ClientWrapper) -> Result<Vec<InstanceView>> {
    let statement = client
        .prepare_cached(concat!(
            "SELECT name, version, mapping_set, started_at, seen_at, standing, holds, seen_at > ",
            clock!(),
            " - $1,
             ARRAY(SELECT name FROM duty WHERE instance = i.name AND until > ",
            clock!(),
            " ORDER BY name)
             FROM instance i WHERE seen_at > ",
            clock!(),
            " - $2 ORDER BY name"
        ))
        .await?;
    let rows = client.query(&statement, &[&micros(ALIVE_FOR), &SHOWN_FOR]).await?;
    rows.iter()
        .map(|row| {
            let standing = columns::instance_standing(row, 5)?;
            Ok(InstanceView {
                instance: row.try_get(0)?,
                version: row.try_get(1)?,
                mapping_set: row.try_get(2)?,
                started_at: columns::time(row, 3)?,
                seen_at: columns::time(row, 4)?,
                standing,
                holds: columns::count(row, 6)?,
                alive: standing != InstanceStanding::Stopped && row.try_get(7)?,
                duties: row.try_get(8)?,
            })
        })
        .collect()
}

/// The newest migration that the oldest instance knows which may still come back: one that was seen lately, stopped
/// or not.
pub(super) async fn oldest_schema(client: &impl GenericClient) -> Result<Option<i32>> {
    let row = client
        .query_one(
            concat!("SELECT min(schema) FROM instance WHERE seen_at > ", clock!(), " - $1"),
            &[&micros(MAY_COME_BACK_FOR)],
        )
        .await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn take_duty(
    client: &ClientWrapper,
    duty: &str,
    instance: &str,
    hold: Duration,
) -> Result<Option<Timestamp>> {
    let statement = client
        .prepare_cached(concat!(
            "INSERT INTO duty (name, instance, until) VALUES ($1, $2, ",
            clock!(),
            " + $3)
             ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, until = excluded.until
             WHERE duty.instance = excluded.instance OR duty.until < ",
            clock!(),
            " RETURNING until"
        ))
        .await?;
    let taken = client.query_opt(&statement, &[&duty, &instance, &micros(hold)]).await?;
    taken.map(|row| columns::time(&row, 0)).transpose()
}

pub(super) async fn leave_duty(client: &ClientWrapper, duty: &str, instance: &str, until: Timestamp) -> Result<()> {
    let leave = "DELETE FROM duty WHERE name = $1 AND instance = $2 AND until = $3";
    client.execute(leave, &[&duty, &instance, &until.as_microsecond()]).await?;
    Ok(())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

const QUOTA: &str = "SELECT clock, last, rate, rate_since FROM quota WHERE application = $1 FOR UPDATE";

/// Reserves departures, one question of all instances after the other. What a crash of the database loses is less
/// than the time that it takes to come back, so nobody waits for the disk.
pub(super) async fn reserve(client: &ClientWrapper, ask: QuotaAsk) -> std::result::Result<Vec<Duration>, Failed> {
    let change = |quota: &mut QuotaState, now: i64| {
        let departures = quota.reserve(now, &ask);
        departures.into_iter().map(|at| Duration::from_micros(u64::try_from(at - now).unwrap_or(0))).collect()
    };
    change_quota(client, &ask.application, ask.per_second, change).await
}

pub(super) async fn rate(
    client: &ClientWrapper,
    application: String,
    per_second: f64,
) -> std::result::Result<f64, Failed> {
    change_quota(client, &application, per_second, |quota, now| quota.rate_at(now, per_second)).await
}

pub(super) async fn throttled(
    client: &ClientWrapper,
    application: String,
    per_second: f64,
) -> std::result::Result<(), Failed> {
    change_quota(client, &application, per_second, |quota, now| quota.throttled(now, per_second)).await.map(|_fell| ())
}

async fn change_quota<T>(
    client: &ClientWrapper,
    application: &str,
    per_second: f64,
    change: impl FnOnce(&mut QuotaState, i64) -> T,
) -> std::result::Result<T, Failed> {
    let begin = client.prepare_cached(concat!(
        "INSERT INTO quota (application, clock, last, rate, rate_since) VALUES ($1, 0, 0, $2, ",
        clock!(),
        ") ON CONFLICT DO NOTHING"
    ));
    let begin = begin.await?;
    let read = client.prepare_cached(QUOTA).await?;
    let write = client
        .prepare_cached("UPDATE quota SET clock = $2, last = $3, rate = $4, rate_since = $5 WHERE application = $1")
        .await?;
    let clock = client.prepare_cached(super::read::CLOCK).await?;
    let mut flight = Flight::of(client);
    flight.run("BEGIN; SET LOCAL synchronous_commit = off");
    flight.send(&begin, [&application, &per_second]);
    flight.send(&read, [&application]);
    // The clock last: the row may have been waited for.
    flight.send(&clock, []);
    let [_, _, rows, clock] = flight.land_all().await?;
    let (Some(row), Some(now)) = (rows.first(), clock.first()) else {
        return Err(crate::store::damaged("the row of a quota is missing").into());
    };
    let mut quota = QuotaState {
        clock: row.try_get(0)?,
        last: row.try_get(1)?,
        rate: row.try_get(2)?,
        rate_since: row.try_get(3)?,
    };
    let changed = change(&mut quota, now.try_get(0)?);
    let mut flight = Flight::of(client);
    flight.send(&write, [&application, &quota.clock, &quota.last, &quota.rate, &quota.rate_since]);
    flight.run("COMMIT");
    flight.land().await?;
    Ok(changed)
}
