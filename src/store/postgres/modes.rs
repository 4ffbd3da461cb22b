//! What people have switched.

use async_trait::async_trait;
use deadpool_postgres::ClientWrapper;

use super::columns::{self, micros, storable};
use super::failure::Failed;
use super::{PostgresStore, again, audit};
use crate::environment::Environment;
use crate::store::mode::decided_meanwhile;
use crate::store::{ModeStore, Noted, Result, Switch, SwitchKind, Switched};

#[async_trait]
impl ModeStore for PostgresStore {
    async fn switched(&self) -> Result<Vec<Switched>> {
        self.ask(|inner| async move { read(&*inner.client().await?).await }).await
    }

    async fn switch(&self, switched: Switched, noted: Noted) -> Result<()> {
        self.ask(|inner| async move {
            again(&inner, |client| {
                let (switched, noted, environment) = (switched.clone(), noted.clone(), inner.environment.clone());
                Box::pin(async move { switch(client, &switched, noted, &environment).await })
            })
            .await
        })
        .await
    }
}

async fn read(client: &ClientWrapper) -> Result<Vec<Switched>> {
    let sql = "SELECT kind, name, version, switches FROM switched ORDER BY kind, name";
    let mut switched = Vec::new();
    for row in client.query(&client.prepare_cached(sql).await?, &[]).await? {
        switched.push(Switched {
            kind: SwitchKind::named(row.try_get(0)?)?,
            name: row.try_get(1)?,
            version: columns::count(&row, 2)?,
            switches: columns::read::<Vec<Switch>>(row.try_get(3)?)?,
        });
    }
    Ok(switched)
}

async fn switch(
    client: &ClientWrapper,
    switched: &Switched,
    noted: Noted,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    client.batch_execute("BEGIN").await?;
    let (kind, name, version) = (switched.kind.name(), storable(&switched.name), columns::signed(switched.version));
    let (switches, at) = (columns::text(&switched.switches), micros(noted.by.at));
    let changed = if switched.version == 1 {
        let sql = "INSERT INTO switched (kind, name, version, switches, at) VALUES ($1, $2, 1, $3, $4)
                   ON CONFLICT DO NOTHING";
        client.execute(sql, &[&kind, &name, &switches, &at]).await?
    } else {
        let sql = "UPDATE switched SET version = $3::bigint, switches = $4, at = $5
                   WHERE kind = $1 AND name = $2 AND version = $3::bigint - 1";
        client.execute(sql, &[&kind, &name, &version, &switches, &at]).await?
    };
    if changed != 1 {
        client.batch_execute("ROLLBACK").await?;
        return Err(decided_meanwhile(switched).into());
    }
    audit::add(client, noted, environment).await?;
    Ok(client.batch_execute("COMMIT").await?)
}
