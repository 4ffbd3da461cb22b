//! A few connections that only read, so that a search never waits for the writer, nor the writer for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::sealed;
use crate::environment::Environment;
use crate::store::vault::Vault;
use crate::store::{Result, StoreError};

/// Reads at once; more wait.
const CONNECTIONS: usize = 4;
const PREPARED_STATEMENTS: usize = 64;

pub(super) struct Readers {
    path: PathBuf,
    vault: Vault,
    idle: Arc<Mutex<Vec<Connection>>>,
    room: Arc<Semaphore>,
    environment: Environment,
    runtime: Handle,
}

impl Readers {
    pub(super) fn new(path: PathBuf, vault: Vault, environment: Environment, runtime: Handle) -> Self {
        Self { path, vault, idle: Arc::default(), room: Arc::new(Semaphore::new(CONNECTIONS)), environment, runtime }
    }

    /// Runs `question` in one read transaction, off the async threads.
    pub(super) async fn read<T, F>(&self, question: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let place = Arc::clone(&self.room).acquire_owned().await.expect("nobody closes it");
        let (idle, path, vault) = (Arc::clone(&self.idle), self.path.clone(), self.vault.clone());
        let answered = self.environment.spawn_blocking_on(&self.runtime, move || {
            let _place = place;
            let kept = idle.lock().pop();
            let connection = kept.map_or_else(|| open(&path, &vault), Ok)?;
            // All statements of one question see the same commit.
            let transaction = connection.unchecked_transaction()?;
            let answer = question(&transaction);
            transaction.finish()?;
            idle.lock().push(connection);
            answer
        });
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("a read was stopped".into())))
    }
}

fn open(path: &Path, vault: &Vault) -> Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    super::keep_plans(&connection)?;
    sealed::teach(&connection, vault)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -4000;")?;
    Ok(connection)
}
