//! A PostgreSQL on this machine, and schemas of our own in it.
//!
//! Enters: a URL. Leaves: schemas that are dropped with their owner. Guarantees: a server elsewhere is refused, and
//! nothing but these schemas is touched.

pub(super) mod bare_loop;
pub(super) mod rows;

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Config, NoTls};

use super::super::exit::CliError;
use super::process;
use crate::store::postgres::stays_on_this_machine;

/// Tables and indexes of a schema, with what is out of line.
const SIZE: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";

pub(super) struct Server {
    url: String,
    config: Config,
}

impl Server {
    /// A database elsewhere is somebody's: millions of rows are not for it.
    pub fn parse(url: &str) -> Result<Self, CliError> {
        let usage = |why: &str| CliError::Usage(format!("--postgres {why}: postgres://user@127.0.0.1:PORT/database"));
        let config: Config = url.parse().map_err(|_| usage("cannot be read"))?;
        if !stays_on_this_machine(&config) {
            return Err(usage("takes a server on this machine only"));
        }
        if url.contains('?') || !url.contains("://") {
            return Err(usage("takes a URL without parameters"));
        }
        Ok(Self { url: url.to_owned(), config })
    }

    async fn connect(&self) -> Result<Client, CliError> {
        connect(&self.config).await
    }

    pub async fn new_schema(&self) -> Result<Arc<Schema>, CliError> {
        let name = format!("ers_gateway_bench_{}", uuid::Uuid::new_v4().simple());
        self.connect().await?.batch_execute(&format!("CREATE SCHEMA {name}")).await.map_err(failed)?;
        let url = format!("{}?options=-c%20search_path%3D{name}", self.url);
        let config = url.parse().map_err(failed)?;
        Ok(Arc::new(Schema { url, name, config }))
    }

    /// Time on processors of all the server's processes so far.
    pub async fn processor_time(&self) -> Result<Duration, CliError> {
        let row = self.connect().await?.query_one("SELECT pg_backend_pid()", &[]).await.map_err(failed)?;
        let backend: i32 = row.get(0);
        Ok(process::family_time(u32::try_from(backend).unwrap_or(0)))
    }
}

/// A schema, dropped with its owner.
pub(super) struct Schema {
    /// Where a gateway finds it.
    pub url: String,
    name: String,
    config: Config,
}

impl Schema {
    pub async fn connect(&self) -> Result<Client, CliError> {
        connect(&self.config).await
    }

    /// Bytes of tables and indexes.
    pub async fn size(&self) -> Result<f64, CliError> {
        let row = self.connect().await?.query_one(SIZE, &[&self.name]).await.map_err(failed)?;
        Ok(row.get::<_, i64>(0) as f64)
    }

    /// Bytes of write-ahead log that the whole server has written.
    pub async fn log_written(&self) -> Result<f64, CliError> {
        let row = self.connect().await?.query_one("SELECT pg_current_wal_lsn()", &[]).await.map_err(failed)?;
        Ok(u64::from(row.get::<_, PgLsn>(0)) as f64)
    }

    /// As a store that has been there for long: planned with statistics, nothing on its way to the disk.
    pub async fn settle(&self) -> Result<(), CliError> {
        let client = self.connect().await?;
        let tables = client
            .query("SELECT tablename::text FROM pg_tables WHERE schemaname = $1", &[&self.name])
            .await
            .map_err(failed)?;
        for table in &tables {
            let table: &str = table.get(0);
            client.batch_execute(&format!("VACUUM (ANALYZE) {table}")).await.map_err(failed)?;
        }
        if let Err(error) = client.batch_execute("CHECKPOINT").await {
            eprintln!("figures include rows on their way to the disk: this user may make no checkpoint ({error})");
        }
        Ok(())
    }
}

impl Drop for Schema {
    /// On a thread of its own: what drops it may be in the middle of asynchronous work.
    fn drop(&mut self) {
        let (config, name) = (self.config.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || -> Result<(), CliError> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| CliError::unavailable("a runtime", error))?;
            runtime.block_on(async {
                let client = connect(&config).await?;
                // Gateways of a measurement that was broken off may still be in the middle of something.
                client
                    .batch_execute(&format!("SET lock_timeout = '20s'; DROP SCHEMA {name} CASCADE"))
                    .await
                    .map_err(failed)
            })
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            eprintln!("the schema {} could not be dropped: DROP SCHEMA {} CASCADE", self.name, self.name);
        }
    }
}

async fn connect(config: &Config) -> Result<Client, CliError> {
    let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

pub(super) fn failed(error: tokio_postgres::Error) -> CliError {
    let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
    CliError::Unavailable(format!("PostgreSQL: {error}{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_on_this_machine_is_taken() {
        for (url, is_taken) in [
            ("postgres://gateway@127.0.0.1:5432/ers", true),
            ("postgres://gateway:secret@localhost/ers", true),
            ("postgres://gateway@db.trust.nhs.uk/ers", false),
            ("postgres://gateway@127.0.0.1,db.trust.nhs.uk/ers", false),
            ("postgres://gateway@127.0.0.1.example.com/ers", false),
            ("postgres://gateway@127.0.0.1/ers?options=-c%20search_path%3Dlive", false),
            ("host=127.0.0.1 hostaddr=10.1.2.3 user=gateway dbname=ers", false),
            ("host=127.0.0.1 user=gateway dbname=ers", false),
            ("postgres:///ers", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(Server::parse(url).is_ok(), is_taken, "{url}");
        }
    }
}
