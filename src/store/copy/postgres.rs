//! A database, read and written by a copy. No gateway has it open.

use deadpool_postgres::Object;
use futures_util::{StreamExt as _, pin_mut};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::cell::{Cell, Row};
use super::tables::{TABLES, Table};
use super::{Batch, Highest, Limits, Place};
use crate::environment::Environment;
use crate::store::postgres::{Address, alone};
use crate::store::{Result, damaged};

pub(super) struct PostgresEnd {
    client: Object,
}

impl PostgresEnd {
    pub(super) async fn open(address: &Address, make: bool, environment: &Environment) -> Result<Self> {
        Ok(Self { client: alone::open(address, make.then_some(environment)).await? })
    }

    /// Of the same database name there may be several.
    pub(super) async fn schema(&self) -> Result<String> {
        Ok(self.client.query_one("SELECT current_schema()::text", &[]).await?.try_get(0)?)
    }

    pub(super) async fn count(&self, table: &Table) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        Ok(self.client.query_one(&sql, &[]).await?.try_get::<_, i64>(0)?.unsigned_abs())
    }

    pub(super) async fn read(&self, table: &Table, after: Option<Row>, limits: Limits) -> Result<Batch> {
        let statement = self.client.prepare_cached(&table.select_postgres(after.is_some())).await?;
        let rows = self.client.query_raw(&statement, after.unwrap_or_default()).await?;
        pin_mut!(rows);
        let mut batch = Batch::default();
        let rows_max = table.rows_max.min(limits.rows);
        while batch.rows.len() < rows_max && batch.bytes < limits.bytes {
            let Some(row) = rows.next().await.transpose()? else { break };
            let cells: Row = (0..row.len()).map(|column| Ok(row.try_get::<_, Cell>(column)?)).collect::<Result<_>>()?;
            batch.add(table.key.len(), cells);
        }
        Ok(batch)
    }

    pub(super) async fn write(&self, table: &Table, rows: Vec<Row>, place: Place) -> Result<()> {
        let columns = table.columns.join(", ");
        let shape = self.client.prepare_cached(&format!("SELECT {columns} FROM {}", table.name)).await?;
        let types: Vec<Type> = shape.columns().iter().map(|column| column.type_().clone()).collect();
        self.client.batch_execute("BEGIN").await?;
        let sink = self.client.copy_in(&format!("COPY {} ({columns}) FROM STDIN BINARY", table.name)).await?;
        let writer = BinaryCopyInWriter::new(sink, &types);
        pin_mut!(writer);
        for row in &rows {
            let cells: Vec<&(dyn ToSql + Sync)> = row.iter().map(|cell| cell as &(dyn ToSql + Sync)).collect();
            writer.as_mut().write(&cells).await?;
        }
        writer.finish().await?;
        let noted = self
            .client
            .execute("UPDATE copying SET tables = $1, key = $2, rows = $3", &[&place.tables, &place.key, &place.rows])
            .await?;
        if noted != 1 {
            return Err(damaged("the row of an unfinished copy is missing"));
        }
        Ok(self.client.batch_execute("COMMIT").await?)
    }

    /// The unfinished copy that this is: of what, and how far.
    pub(super) async fn begun(&self) -> Result<Option<(String, Place)>> {
        if !alone::is_unfinished(&self.client).await? {
            return Ok(None);
        }
        let row = self.client.query_opt("SELECT source, tables, key, rows FROM copying", &[]).await?;
        let row = row.ok_or_else(|| damaged("the row of an unfinished copy is missing"))?;
        let place = Place { tables: row.try_get(1)?, key: row.try_get(2)?, rows: row.try_get(3)? };
        Ok(Some((row.try_get(0)?, place)))
    }

    pub(super) async fn begin(&self, source: String) -> Result<()> {
        self.client
            .batch_execute(
                "BEGIN; CREATE TABLE IF NOT EXISTS copying (
                   source text NOT NULL, tables bigint NOT NULL, key text, rows bigint NOT NULL
                 )",
            )
            .await?;
        self.client.execute("INSERT INTO copying (source, tables, rows) VALUES ($1, 0, 0)", &[&source]).await?;
        Ok(self.client.batch_execute("COMMIT").await?)
    }

    pub(super) async fn highest(&self) -> Result<Highest> {
        let given = async |sequence: &str| -> Result<i64> {
            let sql = format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}");
            Ok(self.client.query_one(&sql, &[]).await?.try_get(0)?)
        };
        let acts = "SELECT coalesce((SELECT value FROM meta WHERE name = 'audit_entries'), 0)";
        Ok(Highest {
            messages: given("message_number").await?,
            events: given("outbox_position").await?,
            acts: self.client.query_one(acts, &[]).await?.try_get(0)?,
        })
    }

    /// Counts, and numbers that are never given again.
    pub(super) async fn conclude(&self, highest: Highest) -> Result<()> {
        let Highest { messages, events, acts } = highest;
        let set = |sequence: &str, highest: String, first: i64| {
            format!("SELECT setval({sequence}, greatest({highest}, {first}), {highest} > 0);")
        };
        let highest_of = |table: &str| format!("(SELECT coalesce(max(number), 0) FROM {table})");
        let identity = |table: &str| format!("pg_get_serial_sequence('{table}', 'number')");
        let mut sql = "BEGIN; DELETE FROM tally;
             INSERT INTO tally (desk, standing, class, source, count)
               SELECT 0, standing, class, source, count(*) FROM command GROUP BY 2, 3, 4
               UNION ALL SELECT 0, -1, 0, 0, count(*) FROM outbox WHERE confirmed_at IS NULL;"
            .to_owned();
        sql += &set("'message_number'", messages.to_string(), super::tables::STEP);
        sql += &set("'outbox_position'", events.to_string(), 1);
        sql += &format!(
            "INSERT INTO meta (name, value) VALUES ('purged_position', {events}), ('audit_entries', {acts})
               ON CONFLICT (name) DO UPDATE SET value = excluded.value;"
        );
        sql += &set("'thread_number'", highest_of("thread"), 1);
        sql += &set(&identity("attempt"), highest_of("attempt"), 1);
        sql += &set(&identity("source"), highest_of("source"), 1);
        sql += &set(&identity("dispatch"), highest_of("dispatch"), 1);
        sql += "COMMIT;";
        self.client.batch_execute(&sql).await?;
        let tables: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        Ok(self.client.batch_execute(&format!("ANALYZE {}", tables.join(", "))).await?)
    }

    pub(super) async fn prove(&self) -> Result<()> {
        alone::prove(&self.client).await
    }

    pub(super) async fn end(&self) -> Result<()> {
        Ok(self.client.batch_execute("DROP TABLE copying").await?)
    }
}
