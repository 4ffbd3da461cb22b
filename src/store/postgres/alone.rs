//! A database for somebody alone: a copy, while no gateway has it.
//!
//! Guarantees: gateways hold a lock together as long as their line is open, so a copy that has it for itself meets
//! none, and none starts beside it. What a copy has not finished is opened by no gateway.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use tokio_postgres::Client;

use super::connect::Address;
use super::instances::ALIVE_FOR;
use super::{migrations, upkeep};
use crate::environment::Environment;
use crate::store::{Result, StoreError, UNFINISHED_COPY};

/// The lock's number; the other half of the key is the schema.
const LOCK: i32 = 0x6572_7305;

/// A gateway that has just ended is not gone yet for the server: 2 seconds are given to it.
const TRIES_MAX: u32 = 20;
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Opens a database that no gateway has. `makes`: brings it up to date first.
pub(in crate::store) async fn open(address: &Address, makes: Option<&Environment>) -> Result<Object> {
    let client = address.pool().get().await?;
    client
        .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .await?;
    let lock = format!("SELECT pg_try_advisory_lock({LOCK}, hashtext(current_schema()))");
    let mut tries = 1;
    while !client.query_one(&lock, &[]).await?.try_get::<_, bool>(0)? {
        if tries == TRIES_MAX {
            return Err(StoreError::Unavailable("a gateway or another copy has this database: stop it first".into()));
        }
        tries += 1;
        tokio::time::sleep(TRY_AGAIN).await;
    }
    match makes {
        Some(environment) => migrations::expand(&client, environment).await?,
        None => migrations::require_readable(&client).await?,
    }
    let silence = i64::try_from(ALIVE_FOR.as_micros()).unwrap_or(i64::MAX);
    let alive = client
        .query_opt(
            "SELECT name FROM instance WHERE standing <> 'stopped'
               AND seen_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1 LIMIT 1",
            &[&silence],
        )
        .await?;
    if let Some(alive) = alive {
        return Err(StoreError::Unavailable(format!(
            "gateway {} has this database, or had it {} seconds ago: stop it first",
            alive.try_get::<_, String>(0)?,
            ALIVE_FOR.as_secs()
        )));
    }
    Ok(client)
}

/// For a gateway: nobody has the database alone while this connection is open.
pub(super) async fn share(client: &Client) -> Result<()> {
    let lock = format!("SELECT pg_try_advisory_lock_shared({LOCK}, hashtext(current_schema()))");
    if !client.query_one(&lock, &[]).await?.try_get::<_, bool>(0)? {
        return Err(StoreError::Unavailable("the store is being copied".into()));
    }
    refuse_unfinished(client).await
}

pub(super) async fn refuse_unfinished(client: &Client) -> Result<()> {
    if is_unfinished(client).await? { Err(StoreError::Unavailable(UNFINISHED_COPY.into())) } else { Ok(()) }
}

pub(in crate::store) async fn is_unfinished(client: &Client) -> Result<bool> {
    Ok(client.query_one("SELECT to_regclass('copying') IS NOT NULL", &[]).await?.try_get(0)?)
}

pub(in crate::store) async fn prove(client: &ClientWrapper) -> Result<()> {
    upkeep::verify(client, None).await
}
