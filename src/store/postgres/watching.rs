//! Worklists as they were, and how often they were looked at.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;

use super::columns::{self, micros};
use crate::command::CommandId;
use crate::store::vault::{Column, Vault};
use crate::store::{Result, Snapshot, Spending};

pub(super) async fn snapshot(
    client: &ClientWrapper,
    vault: &Vault,
    watch: &str,
    service: &str,
) -> Result<Option<Snapshot>> {
    let sql = "SELECT version, by, at, content FROM snapshot WHERE watch = $1 AND service = $2";
    let Some(row) = client.query_opt(sql, &[&watch, &service]).await? else { return Ok(None) };
    Ok(Some(Snapshot {
        watch: watch.to_owned(),
        service: service.to_owned(),
        version: columns::count(&row, 0)?,
        by: CommandId(row.try_get(1)?),
        at: columns::time(&row, 2)?,
        content: columns::sealed_bytes(&row, 3, vault, Column::Snapshot.named([watch, service]))?.into(),
    }))
}

pub(super) async fn save_snapshot(client: &ClientWrapper, vault: &Vault, snapshot: &Snapshot) -> Result<bool> {
    let Snapshot { watch, service, version, by, at, content } = snapshot;
    let sealer = vault.sealer();
    let content = sealer.bytes(Column::Snapshot.named([watch, service]), content);
    let (at, version) = (micros(*at), columns::signed(*version));
    let changed = if version <= 1 {
        let sql = "INSERT INTO snapshot (watch, service, version, by, at, content) VALUES ($1, $2, 1, $3, $4, $5)
                   ON CONFLICT DO NOTHING";
        client.execute(sql, &[watch, service, &by.0, &at, &&content[..]]).await?
    } else {
        let sql = "UPDATE snapshot SET version = $3::bigint, by = $4, at = $5, content = $6
                   WHERE watch = $1 AND service = $2 AND version = $3::bigint - 1";
        client.execute(sql, &[watch, service, &version, &by.0, &at, &&content[..]]).await?
    };
    Ok(changed == 1)
}

pub(super) async fn spend(client: &ClientWrapper, spending: &Spending) -> Result<bool> {
    let Spending { application, call, counts_for, day, per_day } = spending;
    let per_day = i64::from(*per_day);
    let sql = "INSERT INTO spent AS s (application, call, counts_for, day, calls) VALUES ($1, $2, $3, $4, 1)
               ON CONFLICT (application, call, counts_for, day) DO UPDATE SET calls = s.calls + 1 WHERE s.calls < $5
               RETURNING calls";
    let row = client.query_opt(sql, &[application, call, counts_for, day, &per_day]).await?;
    let calls: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(calls.is_some_and(|calls| calls <= per_day))
}

pub(super) async fn unspend(client: &ClientWrapper, spending: &Spending) -> Result<()> {
    let Spending { application, call, counts_for, day, .. } = spending;
    let sql = "UPDATE spent SET calls = calls - 1
               WHERE application = $1 AND call = $2 AND counts_for = $3 AND day = $4 AND calls > 0";
    client.execute(sql, &[application, call, counts_for, day]).await?;
    Ok(())
}

pub(super) async fn purge_snapshots(client: &ClientWrapper, before: Timestamp) -> Result<u64> {
    Ok(client.execute("DELETE FROM snapshot WHERE at < $1", &[&columns::micros(before)]).await?)
}
