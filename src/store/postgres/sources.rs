//! Sources by number, remembered: they are few and never go away.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::Pool;
use parking_lot::RwLock;

use crate::store::Result;

#[derive(Default)]
pub(super) struct Sources {
    numbers: HashMap<String, i32>,
    names: HashMap<i32, String>,
}

impl Sources {
    pub(super) fn number(&self, name: &str) -> Option<i32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn names(&self) -> &HashMap<i32, String> {
        &self.names
    }

    fn learn(&mut self, number: i32, name: String) {
        self.numbers.insert(name.clone(), number);
        self.names.insert(number, name);
    }
}

/// Reads those that are stored: another instance may have added some.
pub(super) async fn read_all(pool: &Pool, sources: &RwLock<Sources>) -> Result<()> {
    let client = pool.get().await?;
    let statement = client.prepare_cached("SELECT number, name FROM source").await?;
    for row in client.query(&statement, &[]).await? {
        sources.write().learn(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(())
}

/// The number of a source, given to it when its first message comes.
pub(super) async fn number_of(pool: &Pool, sources: &Arc<RwLock<Sources>>, name: &str) -> Result<i32> {
    if let Some(number) = sources.read().number(name) {
        return Ok(number);
    }
    {
        let client = pool.get().await?;
        client.execute("INSERT INTO source (name) VALUES ($1) ON CONFLICT DO NOTHING", &[&name]).await?;
    }
    read_all(pool, sources).await?;
    let number = sources.read().number(name);
    number.ok_or_else(|| crate::store::damaged("a source that was added is not there"))
}
