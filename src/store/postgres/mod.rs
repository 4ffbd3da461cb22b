//! The store that several gateways share: PostgreSQL, with leases, fencing tokens and bells.
//!
//! Enters: the intentions of [`super::Store`]. Leaves: rows. Guarantees: what a method reports as done is committed;
//! of instances that do the same at once one succeeds and the others see it; a database that is away is
//! `Unavailable` and heals by itself; nobody is told of a commit whose outcome is not known.
//!
//! The row of a thread is the lock of everything about it. A transaction locks threads in the order of their numbers,
//! reads their commands, decides in memory (`workspace`), and writes and commits in one flight.
//!
//! | File | Subject |
//! |---|---|
//! | `connect`, `failure`, `clock`, `columns` | URL, TLS, limits; what errors mean; whose time; how values stand |
//! | `flight`, `lane` | statements sent together; groups of intentions, one transaction each; what became of a commit |
//! | `workspace`, `read`, `write` | threads and commands in memory: the rules of order; from rows and back |
//! | `intake`, `progress` | what the two lanes carry out |
//! | `claims`, `acts`, `modes` | leases, what others left running; people, and what they switch |
//! | `outbox`, `content`, `kept`, `search`, `listing` | events; letters; secrets and sets; looking |
//! | `instances`, `keeper`, `bells` | who shares the store; the line that hears the others |
//! | `migrations`, `retention`, `upkeep`, `sources` | the schema in two phases; what goes by age; proof; sources |
//! | `keyring`, `renewal` | data keys; what is sealed anew |
//! | `alone` | a database that no gateway has, for a copy |

mod acts;
pub(super) mod alone;
mod audit;
mod bells;
mod bulk;
mod claims;
mod clock;
mod columns;
mod connect;
mod content;
mod dispatch;
mod failure;
mod flight;
mod holding;
mod instances;
mod intake;
mod keeper;
mod kept;
mod keyring;
mod lane;
mod links;
mod listing;
mod migrations;
mod modes;
mod outbox;
mod patient;
mod people;
mod problems;
mod progress;
mod queue;
mod read;
mod renewal;
mod report;
mod retention;
mod rooms;
mod search;
mod sources;
#[cfg(test)]
pub(crate) mod tests;
mod upkeep;
mod waiting;
mod watching;
mod workspace;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Pool};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::RwLock;
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub(crate) use self::connect::stays_on_this_machine;
pub use self::connect::{Address, AddressError};

use self::acts::Deed;
use self::bells::Ringer;
use self::claims::Claims;
use self::failure::Failed;
use self::intake::Intake;
use self::keeper::{Keeper, Line};
use self::lane::{Lane, LaneParts};
use self::progress::Steps;
use self::sources::Sources;
use self::workspace::Workspace;
use super::vault::{Sealing, Vault};
use super::{Act, Beat, InstanceStanding, NewEvent, Result, Signals, StoreError};
use crate::command::CommandId;
use crate::environment::Environment;
use crate::keys::Keys;

/// Between two questions whether the database is there, when a gateway starts.
const START_RETRY: Duration = Duration::from_secs(1);
/// How often an act is done again that another transaction was in the way of.
const AGAIN_MAX: u32 = 8;

/// Desks of an instance, from the first of its place.
const INTAKE_DESK: i32 = 0;
const STEPS_DESK: i32 = 1;
const CLAIMS_DESK: i32 = 2;

/// A database, opened by an instance; or by somebody who looks and acts, but carries out nothing.
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    intake: Option<Arc<Lane<Intake>>>,
    steps: Option<Arc<Lane<Steps>>>,
    claims: tokio::sync::Mutex<ClaimDesk>,
    sources: Arc<RwLock<Sources>>,
    ringer: Arc<Ringer>,
    signals: Signals,
    environment: Environment,
    runtime: Handle,
    vault: Vault,
    /// With which it was opened, if it was.
    keys: Option<Keys>,
    /// By the settings.
    encrypt: bool,
    /// Name of this instance; `None` for who only looks.
    instance: Option<String>,
    displaced: Arc<AtomicBool>,
    commits: IntCounter,
    /// Ends the keeper with the store.
    _closes: DropGuard,
}

/// With what it was unlocked.
struct Opened {
    vault: Vault,
    keys: Option<Keys>,
    encrypt: bool,
}

/// As what a store is opened.
enum Role {
    Instance {
        name: String,
        intake: Arc<Lane<Intake>>,
        steps: Arc<Lane<Steps>>,
        claims_desk: i32,
    },
    /// Somebody who looks, and acts on commands.
    Looker,
}

/// Claims are made one at a time.
struct ClaimDesk {
    claims: Claims,
    leases_checked: Timestamp,
}

impl PostgresStore {
    /// Opens the store as an instance, and brings it up to date. A database that is not there yet is waited for; one
    /// that refuses this user is an error. Its tasks are those of the runtime that it is opened on.
    ///
    /// Without keys: one that has none.
    pub async fn open(address: &Address, instance: &str, environment: &Environment) -> Result<Self> {
        Self::open_with(address, instance, None, environment).await
    }

    /// The same, with what seals and opens its content.
    pub async fn open_with(
        address: &Address,
        instance: &str,
        sealing: Option<Sealing>,
        environment: &Environment,
    ) -> Result<Self> {
        let runtime = Handle::current();
        let line = wait_for(address, environment, &runtime).await?;
        alone::share(&line.client).await?;
        migrations::expand(&line.client, environment).await?;
        keeper::take_name(&line, instance, environment).await?;
        let place = take_place(&line, instance, environment).await?;
        // Nobody waits for older versions where there were none.
        if let Some(oldest) = instances::oldest_schema(&line.client).await? {
            migrations::contract(&line.client, oldest, environment.now()).await?;
        }
        let vault = Vault::closed(environment);
        let keys = keyring::unlock(&line.client, &vault, sealing.as_ref(), environment.now()).await?;
        let first_desk = place * instances::DESKS;
        let groups = open_desks(&line, first_desk, environment.now()).await?;
        let parts = Parts::new(address, environment, runtime.clone(), &line).await?;
        sources::read_all(&parts.pool, &parts.sources).await?;

        let lane = |desk: i32| LaneParts {
            pool: parts.pool.clone(),
            ringer: parts.ringer.clone(),
            environment: environment.clone(),
            runtime: runtime.clone(),
            commits: parts.commits.clone(),
            desk: first_desk + desk,
            last_group: groups,
        };
        let intake = Intake { vault: vault.clone(), environment: environment.clone(), sources: parts.sources.clone() };
        let steps = Steps { vault: vault.clone(), environment: environment.clone(), sources: parts.sources.clone() };
        let (intake, steps) = (Lane::new(intake, lane(INTAKE_DESK)), Lane::new(steps, lane(STEPS_DESK)));
        let displaced = Arc::new(AtomicBool::new(false));
        let closing = environment.shutdown().child_token();
        let keeper = Keeper {
            closing: closing.clone(),
            address: address.clone(),
            pool: parts.pool.clone(),
            ringer: parts.ringer.clone(),
            sources: parts.sources.clone(),
            environment: environment.clone(),
            runtime: runtime.clone(),
            instance: instance.to_owned(),
            displaced: displaced.clone(),
        };
        environment.spawn_on(&runtime, keeper.keep(line));
        let claims_desk = first_desk + CLAIMS_DESK;
        let role = Role::Instance { name: instance.to_owned(), intake, steps, claims_desk };
        let sealing = Opened { vault, keys, encrypt: sealing.is_some_and(|sealing| sealing.encrypt) };
        Ok(Self::with(parts, sealing, environment, runtime, role, displaced, closing))
    }

    /// Opens a store that gateways may be using, to look at it and to act on commands.
    /// One that has keys needs its master key.
    pub async fn open_to_look(address: &Address, keys: Option<&Keys>, environment: &Environment) -> Result<Self> {
        let runtime = Handle::current();
        let line = keeper::open_line(address, environment, &runtime).await?;
        migrations::require_readable(&line.client).await?;
        alone::refuse_unfinished(&line.client).await?;
        let vault = Vault::closed(environment);
        let keys = keyring::unlock_to_look(&line.client, &vault, keys).await?;
        let parts = Parts::new(address, environment, runtime.clone(), &line).await?;
        sources::read_all(&parts.pool, &parts.sources).await?;
        let displaced = Arc::new(AtomicBool::new(true));
        let closing = environment.shutdown().child_token();
        let sealing = Opened { encrypt: vault.is_sealing(), vault, keys };
        Ok(Self::with(parts, sealing, environment, runtime, Role::Looker, displaced, closing))
    }

    fn with(
        parts: Parts,
        sealing: Opened,
        environment: &Environment,
        runtime: Handle,
        role: Role,
        displaced: Arc<AtomicBool>,
        closing: CancellationToken,
    ) -> Self {
        let (instance, intake, steps, desk) = match role {
            Role::Instance { name, intake, steps, claims_desk } => (Some(name), Some(intake), Some(steps), claims_desk),
            Role::Looker => (None, None, None, acts::COMMON_DESK),
        };
        let claims = Claims {
            vault: sealing.vault.clone(),
            environment: environment.clone(),
            sources: parts.sources.clone(),
            desk,
            turns: 0,
        };
        let inner = Inner {
            pool: parts.pool,
            intake,
            steps,
            claims: tokio::sync::Mutex::new(ClaimDesk { claims, leases_checked: Timestamp::UNIX_EPOCH }),
            sources: parts.sources,
            ringer: parts.ringer,
            signals: parts.signals,
            environment: environment.clone(),
            runtime,
            vault: sealing.vault,
            keys: sealing.keys,
            encrypt: sealing.encrypt,
            instance,
            displaced,
            commits: parts.commits,
            _closes: closing.drop_guard(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Proves the store whole: references, order, audit chain, counts. Takes as long as the store is large.
    pub async fn verify(&self) -> Result<()> {
        self.ask(|inner| async move { upkeep::verify(&*inner.client().await?, Some(&inner.vault)).await }).await
    }

    /// Runs on the runtime of the store, whoever asks: its connections live there.
    async fn ask<T, F, A>(&self, question: F) -> Result<T>
    where
        F: FnOnce(Arc<Inner>) -> A,
        A: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let asked = question(Arc::clone(&self.inner));
        let answered = self.inner.environment.spawn_on(&self.inner.runtime, asked).await;
        answered.unwrap_or_else(|_| Err(StoreError::Unavailable("the question was stopped".into())))
    }
}

impl Inner {
    async fn client(&self) -> Result<Object> {
        Ok(self.pool.get().await?)
    }

    fn workspace(&self) -> Workspace {
        Workspace::new(&self.sources, &self.vault)
    }

    /// An act in a transaction of its own, done again while another is in the way.
    async fn act(&self, command: CommandId, deed: Deed, act: Act) -> Result<()> {
        sources::read_all(&self.pool, &self.sources).await?;
        let mut tries = 1;
        loop {
            let client = self.client().await?;
            match acts::act_on(&client, self.workspace(), command, &deed, &act, &self.environment).await {
                Ok(workspace) => {
                    self.ringer.ring(workspace.bells);
                    return Ok(());
                }
                Err(failed) => self.try_again(client, failed, &mut tries).await?,
            }
        }
    }

    async fn publish_report(&self, day: &str, event: &NewEvent) -> Result<bool> {
        let mut tries = 1;
        loop {
            let client = self.client().await?;
            match report::publish(&client, self.workspace(), day, event).await {
                Ok(Some(workspace)) => {
                    self.ringer.ring(workspace.bells);
                    return Ok(true);
                }
                Ok(None) => return Ok(false),
                Err(failed) => self.try_again(client, failed, &mut tries).await?,
            }
        }
    }

    /// After a failure: waits a moment if the same again may succeed, or says why it can't.
    async fn try_again(&self, client: Object, failed: Failed, tries: &mut u32) -> Result<()> {
        end(client, &failed).await;
        if !matches!(failed, Failed::Again(_)) || *tries >= AGAIN_MAX {
            return Err(failed.once());
        }
        *tries += 1;
        self.environment.sleep(Duration::from_millis(20).mul_f64(self.environment.fraction())).await;
        // Perhaps it was of a source that another instance met first.
        sources::read_all(&self.pool, &self.sources).await
    }
}

/// Ends what is open of a transaction that failed, so that the connection can be used again.
async fn end(client: Object, failed: &Failed) {
    let lost = matches!(failed, Failed::Lost(_)) || client.batch_execute("ROLLBACK").await.is_err();
    if lost {
        drop(Object::take(client));
    }
}

/// A transaction of its own, done again while another is in the way.
async fn again<T>(
    inner: &Inner,
    mut work: impl for<'c> FnMut(&'c ClientWrapper) -> BoxFuture<'c, std::result::Result<T, Failed>> + Send,
) -> Result<T> {
    let mut tries = 1;
    loop {
        let client = inner.client().await?;
        match work(&client).await {
            Ok(done) => return Ok(done),
            Err(failed) => inner.try_again(client, failed, &mut tries).await?,
        }
    }
}

/// What every opening has.
struct Parts {
    pool: Pool,
    sources: Arc<RwLock<Sources>>,
    ringer: Arc<Ringer>,
    signals: Signals,
    commits: IntCounter,
}

impl Parts {
    async fn new(address: &Address, environment: &Environment, runtime: Handle, line: &Line) -> Result<Self> {
        let schema: String = line.client.query_one("SELECT current_schema()::text", &[]).await?.try_get(0)?;
        let (pool, signals) = (address.pool(), Signals::default());
        let identity: Uuid = environment.random_id();
        let ringer = Ringer::new(signals.clone(), pool.clone(), environment.clone(), runtime, identity, &schema);
        let commits = IntCounter::new("gateway_store_commits_total", "Transactions that the store committed")
            .expect("the name is a metric's");
        Ok(Self { pool, sources: Arc::default(), ringer: Arc::new(ringer), signals, commits })
    }
}

/// Opens the first connection. What will pass by itself is waited for.
async fn wait_for(address: &Address, environment: &Environment, runtime: &Handle) -> Result<Line> {
    let mut told = false;
    loop {
        let error = match address.connect().await {
            Ok(_) => match keeper::open_line(address, environment, runtime).await {
                Ok(line) => return Ok(line),
                Err(error) => error,
            },
            Err(error) => {
                let refused = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
                    .iter()
                    .chain(&[SqlState::INVALID_CATALOG_NAME, SqlState::INSUFFICIENT_PRIVILEGE])
                    .any(|code| error.code() == Some(code));
                if refused {
                    return Err(error.into());
                }
                error.into()
            }
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, database = address.place(), "the database is not there yet: waiting for it");
        }
        tokio::select! {
            () = environment.sleep(START_RETRY) => {}
            () = environment.shutdown().cancelled() => return Err(error),
        }
    }
}

/// Two gateways that start at once may want the same place: the second asks again.
async fn take_place(line: &Line, instance: &str, environment: &Environment) -> Result<i32> {
    let beat = Beat {
        instance: instance.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mapping_set: String::new(),
        started_at: environment.now(),
        standing: InstanceStanding::Serving,
        holds: 0,
    };
    for _ in 0..AGAIN_MAX {
        match instances::take_place(&line.client, &beat, migrations::NEWEST).await {
            Err(StoreError::Outdated(_)) => environment.sleep(Duration::from_millis(20)).await,
            placed => return placed,
        }
    }
    Err(StoreError::Unavailable("no place among the instances could be had".into()))
}

/// Makes the rows of an instance's desks. Returns the number from which its groups are counted: later than any of
/// the process before it, whose last commit may still be under way.
async fn open_desks(line: &Line, first: i32, now: Timestamp) -> Result<i64> {
    let groups = line
        .client
        .query_one(
            "WITH desks AS (
               INSERT INTO desk (number, last_group) SELECT n, 0 FROM generate_series($1::integer, $2::integer) n
               ON CONFLICT (number) DO UPDATE SET last_group = desk.last_group RETURNING last_group
             ) SELECT max(last_group) FROM desks",
            &[&first, &(first + instances::DESKS - 1)],
        )
        .await?;
    Ok(groups.try_get::<_, i64>(0)?.max(now.as_microsecond()))
}
