//! Worklists as they were, and how often they were looked at.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::books::Books;
use super::columns;
use crate::command::CommandId;
use crate::store::vault::Column;
use crate::store::{Result, Snapshot, Spending};

pub(super) fn snapshot(connection: &Connection, watch: &str, service: &str) -> Result<Option<Snapshot>> {
    let mut statement =
        connection.prepare_cached("SELECT version, by, at, opened('snapshot.content', named(watch, service), content) FROM snapshot WHERE watch = ?1 AND service = ?2")?;
    let mut rows = statement.query((watch, service))?;
    let read = |row: &Row<'_>| -> Result<Snapshot> {
        Ok(Snapshot {
            watch: watch.to_owned(),
            service: service.to_owned(),
            version: columns::count(row, 0)?,
            by: CommandId(columns::uuid(row, 1)?),
            at: columns::time(row, 2)?,
            content: row.get::<_, Vec<u8>>(3)?.into(),
        })
    };
    rows.next()?.map(read).transpose()
}

impl Books {
    pub(super) fn purge_snapshots(&mut self, before: Timestamp) -> Result<u64> {
        let removed =
            self.connection.prepare_cached("DELETE FROM snapshot WHERE at < ?1")?.execute([before.as_microsecond()])?;
        Ok(removed as u64)
    }

    pub(super) fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<bool> {
        let Snapshot { watch, service, version, by, at, content } = snapshot;
        let (by, at) = (by.0.into_bytes(), at.as_microsecond());
        let sealer = self.vault.sealer();
        let content = sealer.bytes(Column::Snapshot.named([watch, service]), content);
        let changed = match version {
            0 | 1 => self
                .connection
                .prepare_cached(
                    "INSERT INTO snapshot (watch, service, version, by, at, content) VALUES (?1, ?2, 1, ?3, ?4, ?5)
                     ON CONFLICT DO NOTHING",
                )?
                .execute((watch, service, by, at, &content[..]))?,
            _ => self
                .connection
                .prepare_cached(
                    "UPDATE snapshot SET version = ?3, by = ?4, at = ?5, content = ?6
                     WHERE watch = ?1 AND service = ?2 AND version = ?3 - 1",
                )?
                .execute((watch, service, columns::signed(*version), by, at, &content[..]))?,
        };
        Ok(changed == 1)
    }

    pub(super) fn spend(&mut self, spending: &Spending) -> Result<bool> {
        let Spending { application, call, counts_for, day, per_day } = spending;
        let calls: Option<i64> = self
            .connection
            .prepare_cached(
                "INSERT INTO spent (application, call, counts_for, day, calls) VALUES (?1, ?2, ?3, ?4, 1)
                 ON CONFLICT DO UPDATE SET calls = calls + 1 WHERE calls < ?5 RETURNING calls",
            )?
            .query_row((application, call, counts_for, day, per_day), |row| row.get(0))
            .optional()?;
        Ok(calls.is_some_and(|calls| calls <= i64::from(*per_day)))
    }

    pub(super) fn unspend(&mut self, spending: &Spending) -> Result<()> {
        let Spending { application, call, counts_for, day, .. } = spending;
        self.connection
            .prepare_cached(
                "UPDATE spent SET calls = calls - 1
                 WHERE application = ?1 AND call = ?2 AND counts_for = ?3 AND day = ?4 AND calls > 0",
            )?
            .execute((application, call, counts_for, day))?;
        Ok(())
    }
}
