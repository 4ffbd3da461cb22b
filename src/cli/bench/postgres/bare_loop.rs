//! The yardstick of the shared store: connections that write the very rows that gateways wrote, with the same
//! indexes and group sizes, and do nothing else.
//!
//! Enters: a schema that messages were admitted to, nobody writing. Leaves: messages a second. Guarantees: a group
//! is one transaction, sent at once, a statement for each table as in the gateway; nothing is looked up.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use futures_util::future::try_join_all;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::super::super::exit::CliError;
use super::{Schema, failed};

/// Tables in the order in which they are written, and which of their rows are of the messages of a group: those
/// numbered from $1 to $2. A message's commands have the numbers after its own, up to the next multiple.
const TABLES: [(&str, &str); 6] = [
    (
        "dedup",
        "SELECT d.* FROM message m JOIN dedup d ON d.source = m.source AND d.control_id = m.control_id
         WHERE m.number BETWEEN $1::bigint AND $2",
    ),
    ("message", "SELECT m.* FROM message m WHERE m.number BETWEEN $1::bigint AND $2"),
    (
        "thread",
        "SELECT t.* FROM command c JOIN thread t ON t.number = c.thread WHERE c.number BETWEEN $1::bigint AND $2::bigint + 4095",
    ),
    (
        "alias",
        "SELECT a.digest, a.kind, a.thread FROM command c JOIN alias_of a ON a.thread = c.thread
         WHERE c.number BETWEEN $1::bigint AND $2::bigint + 4095",
    ),
    ("command", "SELECT c.* FROM command c WHERE c.number BETWEEN $1::bigint AND $2::bigint + 4095"),
    ("acknowledged", "SELECT a.* FROM acknowledged a WHERE a.message BETWEEN $1::bigint AND $2"),
];

/// Nothing finds an alias by its thread.
const ALIAS_OF: &str = "CREATE TEMP TABLE alias_of AS SELECT digest, kind, thread FROM alias;
     CREATE INDEX alias_of_thread ON alias_of (thread); ANALYZE alias_of";

const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)
     FROM pg_attribute a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attnum";

/// Rows of one table and group: each column an array, as the server sends and takes it.
type Columns = Vec<Raw>;

pub(in crate::cli::bench) struct Rows {
    group: usize,
    groups: Vec<[Columns; TABLES.len()]>,
}

impl Rows {
    /// Those of the newest `max` messages, in groups.
    pub async fn read(schema: &Schema, max: i64, group: usize) -> Result<Self, CliError> {
        let client = schema.connect().await?;
        // Whatever the server does otherwise.
        client.batch_execute("SET plan_cache_mode = force_custom_plan").await.map_err(failed)?;
        client.batch_execute(ALIAS_OF).await.map_err(failed)?;
        let mut statements = Vec::new();
        for (table, rows) in TABLES {
            let columns: Vec<String> = columns(&client, table)
                .await?
                .iter()
                .map(|(name, kind)| format!("coalesce(array_agg(\"{name}\"), '{{}}')::{kind}[]"))
                .collect();
            let sql = format!("SELECT {} FROM ({rows}) r", columns.join(", "));
            statements.push(client.prepare(&sql).await.map_err(failed)?);
        }
        let newest = "SELECT number FROM (SELECT number FROM message ORDER BY number DESC LIMIT $1) n ORDER BY number";
        let numbers = client.query(newest, &[&max]).await.map_err(failed)?;
        let numbers: Vec<i64> = numbers.iter().map(|row| row.get(0)).collect();
        // A short run admits fewer than a group.
        let group = group.min(numbers.len()).max(1);
        let mut groups = Vec::new();
        for numbers in numbers.chunks_exact(group) {
            let (first, last) = (numbers[0], numbers[group - 1]);
            let mut tables = [const { Vec::new() }; TABLES.len()];
            for (columns, statement) in tables.iter_mut().zip(&statements) {
                let row = client.query_one(statement, &[&first, &last]).await.map_err(failed)?;
                *columns = (0..row.len()).map(|column| row.get(column)).collect();
            }
            groups.push(tables);
        }
        Ok(Self { group, groups })
    }
}

async fn columns(client: &Client, table: &str) -> Result<Vec<(String, String)>, CliError> {
    let columns = client.query(COLUMNS, &[&table]).await.map_err(failed)?;
    Ok(columns.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Writes them to an empty schema with the gateway's tables for at most `limit`, by so many connections at once;
/// messages a second.
pub(in crate::cli::bench) async fn write(
    rows: &Rows,
    schema: &Schema,
    connections: usize,
    limit: Duration,
) -> Result<f64, CliError> {
    let mut writers = Vec::new();
    for _ in 0..connections {
        writers.push(Writer::new(schema).await?);
    }
    if rows.groups.is_empty() {
        return Err(CliError::No("no message was admitted: there is nothing to write again".to_owned()));
    }
    let began = Instant::now();
    let share = rows.groups.len().div_ceil(connections);
    let written = writers.iter().zip(rows.groups.chunks(share)).map(|(writer, groups)| async move {
        let mut written = 0;
        for group in groups {
            if began.elapsed() > limit {
                break;
            }
            writer.write(group).await?;
            written += rows.group;
        }
        Ok::<_, CliError>(written)
    });
    let written: usize = try_join_all(written).await?.into_iter().sum();
    Ok(written as f64 / began.elapsed().as_secs_f64())
}

struct Writer {
    client: Client,
    inserts: Vec<Statement>,
}

impl Writer {
    async fn new(schema: &Schema) -> Result<Self, CliError> {
        let client = schema.connect().await?;
        // As the gateway's lanes.
        client.batch_execute("SET plan_cache_mode = force_generic_plan").await.map_err(failed)?;
        let mut inserts = Vec::new();
        for (table, _) in TABLES {
            let arrays: Vec<String> = columns(&client, table)
                .await?
                .iter()
                .enumerate()
                .map(|(place, (_, kind))| format!("${}::{kind}[]", place + 1))
                .collect();
            let sql = format!("INSERT INTO {table} SELECT * FROM unnest({})", arrays.join(", "));
            inserts.push(client.prepare(&sql).await.map_err(failed)?);
        }
        Ok(Self { client, inserts })
    }

    /// All in one go: the server works through them while the next are on their way.
    async fn write(&self, group: &[Columns; TABLES.len()]) -> Result<(), CliError> {
        let inserts = async {
            let inserts = self.inserts.iter().zip(group).map(|(insert, columns)| {
                self.client.execute_raw(insert, columns.iter().map(|column| column as &(dyn ToSql + Sync)))
            });
            try_join_all(inserts).await
        };
        let (begun, written, committed) =
            tokio::join!(self.client.batch_execute("BEGIN"), inserts, self.client.batch_execute("COMMIT"));
        begun.and(written.map(drop)).and(committed).map_err(failed)
    }
}

/// A value in the form in which it came and goes.
#[derive(Debug)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::ground::{Filled, Ground};
    use super::super::Server;
    use super::*;
    use crate::store::postgres::tests::server::Postgres;

    #[tokio::test]
    async fn a_few_messages_are_written_again_and_none_is_no_measurement() {
        let running = Postgres::shared();
        let server = Server::parse(&running.plain_url()).expect("on this machine");
        let (from, to) = (server.new_schema().await.expect("a schema"), server.new_schema().await.expect("a schema"));
        let (admitted, empty) = (Ground::Postgres(Arc::clone(&from)), Ground::Postgres(Arc::clone(&to)));
        drop((admitted.open().await.expect("tables"), empty.open().await.expect("tables")));
        let second = Duration::from_secs(1);
        let none = Rows::read(&from, 100, 64).await.expect("read");
        assert!(write(&none, &to, 2, second).await.is_err());

        admitted.fill(None, 0..3, Filled::Waiting).await.expect("filled");
        let few = Rows::read(&from, 100, 64).await.expect("read");
        assert!(write(&few, &to, 2, second).await.expect("written") > 0.0);
        let client = to.connect().await.expect("connected");
        let written = client.query_one("SELECT count(*) FROM message", &[]).await.expect("counted");
        assert_eq!(written.get::<_, i64>(0), 3);
    }
}
