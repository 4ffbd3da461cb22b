//! The connection that stands: it hears the bells of other instances, holds this one's name, and sees to migrations.
//!
//! Guarantees: of two gateways with one name the second does not start; one whose connection was lost takes its name
//! again as soon as the database is back, and claims nothing while another has it. When it comes back, everybody
//! looks, for bells were missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Pool;
use futures_util::future::poll_fn;
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::CancellationToken;

use super::bells::Ringer;
use super::connect::Address;
use super::sources::{self, Sources};
use super::{alone, instances, migrations};
use crate::environment::Environment;
use crate::store::{Result, StoreError};

/// The lock of a name; the other half of the key is schema and name.
const NAME_LOCK: i32 = 0x6572_7304;
/// How long a start waits for the process before it to be gone.
const NAME_PATIENCE: Duration = Duration::from_secs(3);
const NAME_RETRY: Duration = Duration::from_millis(50);
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Between two looks whether an older version is still alive, and which sources there are.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const NOTIFICATIONS_MAX: usize = 1024;

/// A connection with what it hears. Whoever drops it, closes it.
pub(super) struct Line {
    pub(super) client: Client,
    heard: mpsc::Receiver<String>,
}

/// Opens a line, driven on `runtime`.
pub(super) async fn open_line(address: &Address, environment: &Environment, runtime: &Handle) -> Result<Line> {
    let (client, mut connection) = address.connect().await?;
    let (tell, heard) = mpsc::channel(NOTIFICATIONS_MAX);
    environment.spawn_on(runtime, async move {
        // Ends when the client is dropped, or the connection lost.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                // Full: whoever looks, looks for all of them.
                let _ = tell.try_send(notification.payload().to_owned());
            }
        }
    });
    Ok(Line { client, heard })
}

/// Takes the name of an instance for as long as the line is open.
pub(super) async fn take_name(line: &Line, instance: &str, environment: &Environment) -> Result<()> {
    let mut waited = Duration::ZERO;
    while !try_name(line, instance).await? {
        if waited >= NAME_PATIENCE {
            return Err(StoreError::Unavailable(format!(
                "another gateway named {instance} uses this store: give each its own `instance`"
            )));
        }
        environment.sleep(NAME_RETRY).await;
        waited += NAME_RETRY;
    }
    Ok(())
}

async fn try_name(line: &Line, instance: &str) -> Result<bool> {
    let sql = format!("SELECT pg_try_advisory_lock({NAME_LOCK}, hashtext(current_schema() || '/' || $1))");
    Ok(line.client.query_one(&sql, &[&instance]).await?.try_get(0)?)
}

pub(super) struct Keeper {
    pub(super) address: Address,
    pub(super) pool: Pool,
    pub(super) ringer: Arc<Ringer>,
    pub(super) sources: Arc<RwLock<Sources>>,
    pub(super) environment: Environment,
    pub(super) runtime: Handle,
    pub(super) instance: String,
    /// The store is closed.
    pub(super) closing: CancellationToken,
    /// Another gateway took the name while this one was away.
    pub(super) displaced: Arc<AtomicBool>,
}

impl Keeper {
    /// Keeps a line open until the store is closed.
    pub(super) async fn keep(self, line: Line) {
        let mut line = Some(line);
        let mut pause = RECONNECT_FIRST;
        loop {
            let opened = match line.take() {
                Some(line) => Ok(line),
                None => self.open_again().await,
            };
            match opened {
                Ok(opened) => {
                    pause = RECONNECT_FIRST;
                    if self.listen(opened).await {
                        return;
                    }
                    tracing::warn!("the line to the database was lost: opening it again");
                }
                Err(error) => tracing::debug!(%error, "the line to the database cannot be opened yet"),
            }
            tokio::select! {
                () = self.environment.sleep(pause) => pause = (pause * 2).min(RECONNECT_MAX),
                () = self.closing.cancelled() => return,
            }
        }
    }

    async fn open_again(&self) -> Result<Line> {
        let line = open_line(&self.address, &self.environment, &self.runtime).await?;
        alone::share(&line.client).await?;
        let has_name = try_name(&line, &self.instance).await?;
        if !has_name && !self.displaced.swap(true, Ordering::AcqRel) {
            tracing::error!(
                instance = self.instance,
                "another gateway has the name of this one: it claims nothing until that has ended"
            );
        }
        if !has_name {
            return Err(StoreError::Unavailable("another gateway has the name of this one".into()));
        }
        self.displaced.store(false, Ordering::Release);
        tracing::info!("the line to the database is open again");
        Ok(line)
    }

    /// Hears until the line is lost (false) or the store is closed (true).
    async fn listen(&self, mut line: Line) -> bool {
        // Quoted: a schema may be named in any way.
        let channel = self.ringer.channel().replace('"', "\"\"");
        if line.client.batch_execute(&format!("LISTEN \"{channel}\"")).await.is_err() {
            return false;
        }
        self.ringer.ring_all();
        loop {
            tokio::select! {
                heard = line.heard.recv() => match heard {
                    Some(text) => self.ringer.hear(&text),
                    None => return false,
                },
                () = self.environment.sleep(LOOK_EVERY) => {
                    if let Err(error) = self.look(&line).await {
                        tracing::warn!(%error, "the store could not be looked after");
                    }
                }
                () = self.closing.cancelled() => return true,
            }
        }
    }

    async fn look(&self, line: &Line) -> Result<()> {
        sources::read_all(&self.pool, &self.sources).await?;
        let client = self.pool.get().await?;
        if let Some(oldest) = instances::oldest_schema(&**client).await? {
            migrations::contract(&line.client, oldest, self.environment.now()).await?;
        }
        Ok(())
    }
}
