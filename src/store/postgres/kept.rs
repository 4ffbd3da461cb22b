//! What is kept by name: sealed secrets of connections, archives of mapping sets. Small rows, replaced or added whole.

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;

use super::columns;
use crate::store::vault::{Column, Vault};
use crate::store::{Result, SealedSecret, SetAnnouncement, StoreError, damaged};

pub(super) async fn load_secret(
    client: &ClientWrapper,
    vault: &Vault,
    of: &str,
    kind: &str,
) -> Result<Option<SealedSecret>> {
    let statement =
        client.prepare_cached("SELECT version, sealed, at FROM secret WHERE connection = $1 AND kind = $2").await?;
    let Some(row) = client.query_opt(&statement, &[&of, &kind]).await? else { return Ok(None) };
    Ok(Some(SealedSecret {
        connection: of.to_owned(),
        kind: kind.to_owned(),
        version: u64::try_from(row.try_get::<_, i64>(0)?).map_err(|_| damaged("a secret of negative version"))?,
        sealed: columns::sealed_bytes(&row, 1, vault, Column::Secret.named([of, kind]))?.into(),
        at: columns::time(&row, 2)?,
    }))
}

pub(super) async fn save_secret(
    client: &ClientWrapper,
    vault: &Vault,
    secret: &SealedSecret,
    expected: Option<u64>,
) -> Result<()> {
    let (version, at) = (columns::signed(secret.version), secret.at.as_microsecond());
    let place = Column::Secret.named([&secret.connection, &secret.kind]);
    let sealer = vault.sealer();
    let sealed = &*sealer.bytes(place, &secret.sealed);
    let saved = match expected {
        None => {
            client
                .execute(
                    "INSERT INTO secret (connection, kind, version, sealed, at) VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT DO NOTHING",
                    &[&secret.connection, &secret.kind, &version, &sealed, &at],
                )
                .await?
        }
        Some(expected) => {
            client
                .execute(
                    "UPDATE secret SET version = $3, sealed = $4, at = $5
                     WHERE connection = $1 AND kind = $2 AND version = $6",
                    &[&secret.connection, &secret.kind, &version, &sealed, &at, &columns::signed(expected)],
                )
                .await?
        }
    };
    if saved == 0 {
        return Err(StoreError::Outdated(format!(
            "the {} of connection {} was replaced by another writer",
            secret.kind, secret.connection
        )));
    }
    Ok(())
}

pub(super) async fn secrets(
    client: &ClientWrapper,
    vault: &Vault,
    of: &str,
    prefix: &str,
) -> Result<Vec<SealedSecret>> {
    let statement = client
        .prepare_cached(
            "SELECT kind, version, sealed, at FROM secret WHERE connection = $1 AND starts_with(kind, $2) ORDER BY kind",
        )
        .await?;
    let rows = client.query(&statement, &[&of, &prefix]).await?;
    let secret = |row: &tokio_postgres::Row| {
        let kind: String = row.try_get(0)?;
        Ok(SealedSecret {
            connection: of.to_owned(),
            version: columns::count(row, 1)?,
            sealed: columns::sealed_bytes(row, 2, vault, Column::Secret.named([of, &kind]))?.into(),
            kind,
            at: columns::time(row, 3)?,
        })
    };
    rows.iter().map(secret).collect()
}

pub(super) async fn remove_secret(client: &ClientWrapper, of: &str, kind: &str, expected: u64) -> Result<()> {
    let removed = client
        .execute(
            "DELETE FROM secret WHERE connection = $1 AND kind = $2 AND version = $3",
            &[&of, &kind, &columns::signed(expected)],
        )
        .await?;
    match removed {
        0 => Err(StoreError::Outdated(format!("a secret of connection {of} was removed or replaced"))),
        _ => Ok(()),
    }
}

pub(super) async fn register_set(client: &ClientWrapper, digest: &str, archive: &Bytes, at: Timestamp) -> Result<()> {
    client
        .execute(
            "INSERT INTO mapping_set (digest, registered_at, archive) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            &[&digest, &at.as_microsecond(), &&archive[..]],
        )
        .await?;
    Ok(())
}

pub(super) async fn load_set(client: &ClientWrapper, digest: &str) -> Result<Option<Bytes>> {
    let row = client.query_opt("SELECT archive FROM mapping_set WHERE digest = $1", &[&digest]).await?;
    row.map(|row| Ok(row.try_get::<_, Vec<u8>>(0)?.into())).transpose()
}

/// A set that an instance announces again is no news: it was only started again. What somebody asked for is.
pub(super) async fn announce_set(client: &ClientWrapper, announcement: &SetAnnouncement) -> Result<String> {
    let SetAnnouncement { digest, archive, instance, asked_for, at } = announcement;
    register_set(client, digest, archive, *at).await?;
    client
        .execute(
            "INSERT INTO announcement (digest, instance, at)
             SELECT $1::text, $2::text, $3::bigint WHERE $4 OR $1 IS DISTINCT FROM (
               SELECT digest FROM announcement WHERE instance = $2 ORDER BY number DESC LIMIT 1
             )",
            &[digest, instance, &at.as_microsecond(), asked_for],
        )
        .await?;
    Ok(newest_set(client).await?.unwrap_or_else(|| digest.clone()))
}

pub(super) async fn newest_set(client: &ClientWrapper) -> Result<Option<String>> {
    let statement = client.prepare_cached("SELECT digest FROM announcement ORDER BY number DESC LIMIT 1").await?;
    let row = client.query_opt(&statement, &[]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}
