//! Data keys: rows of the database, read and written, by several gateways that may have different master keys.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::{GenericClient, Row};

use super::columns::{self, micros};
use super::migrations;
use crate::keys::{Fingerprint, Keys};
use crate::store::encryption::is_due;
use crate::store::vault::ring::{self, ROOT};
use crate::store::vault::{Sealing, Vault, WrappedKey, locked};
use crate::store::{Result, StoreError, damaged};

/// Everything is sealed with this data key or a later one.
const RENEWED: &str = "renewed_to_key";
/// Who changes keys, one at a time.
const LOCK: &str = "LOCK TABLE data_key IN SHARE ROW EXCLUSIVE MODE";

pub(super) async fn rows(client: &impl GenericClient) -> Result<Vec<WrappedKey>> {
    let sql = "SELECT number, master, wrapped, made_at, used_from, retired, seals FROM data_key ORDER BY number";
    let key = |row: &Row| {
        let number: i32 = row.try_get(0)?;
        let master: &[u8] = row.try_get(1)?;
        Ok(WrappedKey {
            number: u32::try_from(number).map_err(|_| damaged("a data key has a negative number"))?,
            master: master.try_into().map_err(|_| damaged("the name of a master key is not of 8 bytes"))?,
            wrapped: row.try_get(2)?,
            made_at: columns::time(row, 3)?,
            used_from: columns::time(row, 4)?,
            retired: row.try_get(5)?,
            seals: columns::count(row, 6)?,
        })
    };
    client.query(sql, &[]).await?.iter().map(key).collect()
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

async fn insert(client: &impl GenericClient, keys: &[WrappedKey]) -> Result<()> {
    let sql = "INSERT INTO data_key (number, master, wrapped, made_at, used_from, retired, seals)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    for key in keys {
        let (made_at, used_from) = (micros(key.made_at), micros(key.used_from));
        let seals = columns::signed(key.seals);
        client
            .execute(
                sql,
                &[&small(key.number), &&key.master[..], &key.wrapped, &made_at, &used_from, &key.retired, &seals],
            )
            .await?;
    }
    Ok(())
}

/// Runs in a transaction in which nobody else changes keys.
macro_rules! alone {
    ($client:expr, $work:expr) => {{
        $client.batch_execute("BEGIN").await?;
        let worked: Result<_> = async {
            $client.batch_execute(LOCK).await?;
            $work.await
        }
        .await;
        $client.batch_execute(if worked.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        worked
    }};
}

/// Unlocks a store that was just opened: a new one gets its first keys from a gateway. Returns the keys of its digests.
pub(super) async fn unlock(
    client: &tokio_postgres::Client,
    vault: &Vault,
    sealing: Option<&Sealing>,
    now: Timestamp,
) -> Result<Option<Keys>> {
    let Some(Sealing { keys, encrypt, .. }) = sealing else {
        return if rows(client).await?.is_empty() { Ok(None) } else { Err(locked()) };
    };
    alone!(client, async {
        if rows(client).await?.is_empty() {
            insert(client, &ring::first(keys, now)).await?;
        }
        Ok(())
    })?;
    let opened = take(client, vault, keys).await?;
    vault.seal_from_now_on(*encrypt && migrations::may_seal(client).await?);
    Ok(opened)
}

/// For somebody who looks and acts: without a first key.
pub(super) async fn unlock_to_look(
    client: &tokio_postgres::Client,
    vault: &Vault,
    keys: Option<&Keys>,
) -> Result<Option<Keys>> {
    let Some(keys) = keys else {
        return if rows(client).await?.is_empty() { Ok(None) } else { Err(locked()) };
    };
    let opened = take(client, vault, keys).await?;
    vault.seal_from_now_on(opened.is_some() && migrations::may_seal(client).await?);
    Ok(opened.or_else(|| Some(keys.clone())))
}

/// Takes what the store has by now. `None`: it has no keys yet.
async fn take(client: &impl GenericClient, vault: &Vault, keys: &Keys) -> Result<Option<Keys>> {
    let Some((ring, keys)) = ring::open(&rows(client).await?, keys)? else { return Ok(None) };
    vault.take(ring);
    Ok(Some(keys))
}

pub(super) async fn renewed(client: &impl GenericClient) -> Result<u32> {
    let row = client.query_opt("SELECT value FROM meta WHERE name = $1", &[&RENEWED]).await?;
    let renewed = row.map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or(0);
    u32::try_from(renewed).map_err(|_| damaged("a data key has a negative number"))
}

pub(super) async fn note_renewed(client: &impl GenericClient, number: u32) -> Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    client.execute(sql, &[&RENEWED, &i64::from(number)]).await?;
    Ok(())
}

/// Counts what was sealed, makes the next key when one has served, and takes in what others made.
pub(super) async fn look(
    client: &ClientWrapper,
    vault: &Vault,
    (keys, encrypt): (&Keys, bool),
    now: Timestamp,
) -> Result<()> {
    let sealed = vault.take_count();
    if let Some(current) = vault.current().filter(|_| sealed > 0) {
        let sql = "UPDATE data_key SET seals = seals + $2 WHERE number = $1";
        client.execute(sql, &[&small(current), &columns::signed(sealed)]).await?;
    }
    let known = rows(&**client).await?;
    if is_alone(&known, keys) && vault.is_sealing() && ring::is_worn(&known, now) {
        alone!(client, async {
            let known = rows(&**client).await?;
            if is_alone(&known, keys) && ring::is_worn(&known, now) {
                insert(&**client, &ring::next(&known, &[keys], now)).await?;
            }
            Ok(())
        })?;
    }
    take(&**client, vault, keys).await?;
    if !encrypt {
        // What is written in clear from now on is sealed once that is wanted again.
        client.execute("DELETE FROM meta WHERE name = $1", &[&RENEWED]).await?;
    }
    vault.seal_from_now_on(encrypt && migrations::may_seal(&**client).await?);
    Ok(())
}

/// While two master keys open the store, one of which is not known here, nobody makes another data key.
fn is_alone(rows: &[WrappedKey], keys: &Keys) -> bool {
    rows.iter().all(|row| row.master == keys.fingerprint())
}

/// Another master key opens the store as well, and a new data key takes over from those that there are.
pub(super) async fn add_master(client: &ClientWrapper, keys: &Keys, next: &Keys, now: Timestamp) -> Result<()> {
    alone!(client, async {
        let before = rows(&**client).await?;
        if before.iter().any(|row| row.master == next.fingerprint()) {
            return Ok(());
        }
        ring::refuse_second_change(&before, keys)?;
        let more = ring::rewrapped(&before, keys, next)?.into_iter();
        let more: Vec<_> = more.map(|row| WrappedKey { retired: row.number != ROOT, ..row }).collect();
        // The root as well, under the key that is to go: so it is known which one that is.
        client.execute("UPDATE data_key SET retired = true", &[]).await?;
        insert(&**client, &more).await?;
        insert(&**client, &ring::next(&[before, more].concat(), &[keys, next], now)).await
    })
}

/// Lets go of all other master keys. Data keys stay: whatever names one still opens.
pub(super) async fn keep_only(client: &ClientWrapper, master: Fingerprint) -> Result<()> {
    alone!(client, async {
        let (rows, renewed) = (rows(&**client).await?, renewed(&**client).await?);
        if is_due(&rows, renewed) {
            return Err(StoreError::Outdated("not everything is sealed with the new data key yet".into()));
        }
        ring::refuse_to_keep_the_old(&rows, master)?;
        client.execute("DELETE FROM data_key WHERE master <> $1", &[&&master[..]]).await?;
        Ok(())
    })
}
