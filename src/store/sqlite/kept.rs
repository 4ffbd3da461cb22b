//! What is kept by name: sealed secrets of connections, archives of mapping sets. Small rows, replaced or added whole.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::books::Books;
use super::columns;
use crate::store::damaged;
use crate::store::vault::Column;
use crate::store::{Result, SealedSecret, StoreError};

pub(super) fn load_secret(connection: &Connection, of: &str, kind: &str) -> Result<Option<SealedSecret>> {
    let secret = connection
        .prepare_cached(
            "SELECT version, opened('secret.sealed', named(connection, kind), sealed), at FROM secret
             WHERE connection = ?1 AND kind = ?2",
        )?
        .query_row((of, kind), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?)))
        .optional()?;
    let Some((version, sealed, at)) = secret else { return Ok(None) };
    Ok(Some(SealedSecret {
        connection: of.to_owned(),
        kind: kind.to_owned(),
        version: u64::try_from(version).map_err(|_| damaged("a secret of negative version"))?,
        sealed: sealed.into(),
        at: columns::timestamp(at)?,
    }))
}

pub(super) fn secrets(connection: &Connection, of: &str, prefix: &str) -> Result<Vec<SealedSecret>> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, version, opened('secret.sealed', named(connection, kind), sealed), at FROM secret WHERE connection = ?1 AND substr(kind, 1, length(?2)) = ?2
         ORDER BY kind",
    )?;
    let mut rows = statement.query((of, prefix))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(SealedSecret {
            connection: of.to_owned(),
            kind: row.get(0)?,
            version: columns::count(row, 1)?,
            sealed: row.get::<_, Vec<u8>>(2)?.into(),
            at: columns::time(row, 3)?,
        });
    }
    Ok(found)
}

impl Books {
    pub(super) fn remove_secret(&mut self, connection: &str, kind: &str, expected: u64) -> Result<()> {
        let removed = self
            .connection
            .prepare_cached("DELETE FROM secret WHERE connection = ?1 AND kind = ?2 AND version = ?3")?
            .execute((connection, kind, columns::signed(expected)))?;
        match removed {
            0 => Err(StoreError::Outdated(format!("a secret of connection {connection} was removed or replaced"))),
            _ => Ok(()),
        }
    }

    pub(super) fn save_secret(&mut self, secret: &SealedSecret, expected: Option<u64>) -> Result<()> {
        let version = columns::signed(secret.version);
        let at = secret.at.as_microsecond();
        let sealer = self.vault.sealer();
        let sealed = sealer.bytes(Column::Secret.named([&secret.connection, &secret.kind]), &secret.sealed);
        let saved = match expected {
            None => self
                .connection
                .prepare_cached(
                    "INSERT INTO secret (connection, kind, version, sealed, at) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (connection, kind) DO NOTHING",
                )?
                .execute((&secret.connection, &secret.kind, version, &sealed[..], at))?,
            Some(expected) => self
                .connection
                .prepare_cached(
                    "UPDATE secret SET version = ?3, sealed = ?4, at = ?5
                     WHERE connection = ?1 AND kind = ?2 AND version = ?6",
                )?
                .execute((&secret.connection, &secret.kind, version, &sealed[..], at, columns::signed(expected)))?,
        };
        if saved == 0 {
            return Err(StoreError::Outdated(format!(
                "the {} of connection {} was replaced by another writer",
                secret.kind, secret.connection
            )));
        }
        Ok(())
    }

    pub(super) fn register_set(&mut self, digest: &str, archive: &[u8], at: Timestamp) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO mapping_set (digest, registered_at, archive) VALUES (?1, ?2, ?3)
                 ON CONFLICT (digest) DO NOTHING",
            )?
            .execute((digest, at.as_microsecond(), archive))?;
        Ok(())
    }
}

pub(super) fn load_set(connection: &Connection, digest: &str) -> Result<Option<Bytes>> {
    let archive: Option<Vec<u8>> = connection
        .prepare_cached("SELECT archive FROM mapping_set WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    Ok(archive.map(Bytes::from))
}
