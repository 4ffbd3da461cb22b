//! A lane: intentions of one kind, committed in groups over one connection.
//!
//! Enters: intentions as they come. Leaves: each one's outcome, after the transaction that it shared is committed.
//! Guarantees: no outcome is released before its commit is known to have happened; one that fails takes no neighbour
//! with it; what was in the way of another transaction is done again; a database that is away means `Unavailable`
//! until it is back, and never a restart.
//!
//! When the answer to a commit is lost, nobody is told anything until it is known: every group leaves its number in
//! its desk's row, which is read over the next connection. The row's lock waits for the old transaction, should the
//! server still work on it. Meanwhile newcomers are told that the store is not available.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Pool};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::bells::{Bells, Ringer};
use super::failure::Failed;
use super::write::Signature;
use crate::environment::Environment;
use crate::store::{Result, StoreError};

/// Intentions in one transaction.
const GROUP_MAX: usize = 64;
/// Content in one transaction, so that letters don't make their neighbours wait for long.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Intentions that may wait. More is back-pressure: the caller waits before its intention is taken.
const WAITING_MAX: usize = 2048;
/// How often a group is done again that another transaction was in the way of.
const AGAIN_MAX: u32 = 8;
/// A group that takes longer is given up, and what became of it is asked.
const GROUP_TIME_MAX: Duration = Duration::from_secs(20);
/// Between two questions what became of a group.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A lane's statements find rows by their keys, however many there are. So they are planned once, and always by an
/// index: left to itself PostgreSQL plans small groups anew, which takes longer than to carry them out, and reads a
/// table from end to end that was small when it planned.
const PLAN_ONCE: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
     SET enable_mergejoin = off";

/// Intentions of one kind, and how a group of them is carried out.
pub(super) trait Batch: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Outcome: Send + 'static;
    /// What is to be written.
    type Changes: Send + Sync;

    /// Bytes of content that it writes.
    fn weight(item: &Self::Item) -> usize;

    /// Begins a transaction, reads under locks and decides. One outcome for each item; those that are refused change
    /// nothing.
    fn decide(
        &self,
        client: &ClientWrapper,
        items: &[&Self::Item],
    ) -> impl Future<Output = std::result::Result<Decided<Self>, Failed>> + Send;

    /// Writes and commits.
    fn commit(
        &self,
        client: &ClientWrapper,
        items: &[&Self::Item],
        changes: &Self::Changes,
        signature: Signature,
    ) -> impl Future<Output = std::result::Result<(), Failed>> + Send;
}

pub(super) struct Decided<B: Batch + ?Sized> {
    pub(super) outcomes: Vec<Result<B::Outcome>>,
    pub(super) changes: B::Changes,
    pub(super) bells: Bells,
}

pub(super) struct Lane<B: Batch> {
    batch: B,
    pool: Pool,
    ringer: Arc<Ringer>,
    environment: Environment,
    runtime: Handle,
    commits: IntCounter,
    room: Arc<Semaphore>,
    queue: Mutex<Queue<B>>,
    desk: tokio::sync::Mutex<Desk>,
    /// What became of a group is not known yet.
    asking: AtomicBool,
}

struct Queue<B: Batch> {
    waiting: VecDeque<Pending<B>>,
    /// Somebody is writing and will see what is added.
    writing: bool,
}

struct Pending<B: Batch> {
    item: B::Item,
    answer: oneshot::Sender<Result<B::Outcome>>,
    _place: OwnedSemaphorePermit,
}

/// What commits leave their number at.
struct Desk {
    number: i32,
    last_group: i64,
    /// Taken out of the pool for good: whatever ends it, nobody else gets it in the middle of a transaction.
    connection: Option<ClientWrapper>,
}

/// What a lane is made of.
pub(super) struct LaneParts {
    pub(super) pool: Pool,
    pub(super) ringer: Arc<Ringer>,
    pub(super) environment: Environment,
    pub(super) runtime: Handle,
    pub(super) commits: IntCounter,
    pub(super) desk: i32,
    pub(super) last_group: i64,
}

impl<B: Batch> Lane<B> {
    pub(super) fn new(batch: B, parts: LaneParts) -> Arc<Self> {
        let LaneParts { pool, ringer, environment, runtime, commits, desk, last_group } = parts;
        Arc::new(Self {
            batch,
            pool,
            ringer,
            environment,
            runtime,
            commits,
            room: Arc::new(Semaphore::new(WAITING_MAX)),
            queue: Mutex::new(Queue { waiting: VecDeque::new(), writing: false }),
            desk: tokio::sync::Mutex::new(Desk { number: desk, last_group, connection: None }),
            asking: AtomicBool::new(false),
        })
    }

    /// Carries out `item` durably.
    pub(super) async fn write(self: &Arc<Self>, item: B::Item) -> Result<B::Outcome> {
        if self.asking.load(Ordering::Acquire) {
            return Err(away());
        }
        let place = Arc::clone(&self.room).acquire_owned().await.expect("nobody closes it");
        let (answer, answered) = oneshot::channel();
        self.submit(Pending { item, answer, _place: place });
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer was stopped".into())))
    }

    fn submit(self: &Arc<Self>, pending: Pending<B>) {
        let mut queue = self.queue.lock();
        queue.waiting.push_back(pending);
        if !std::mem::replace(&mut queue.writing, true) {
            drop(queue);
            let lane = Arc::clone(self);
            self.environment.spawn_on(&self.runtime, async move { lane.write_until_done().await });
        }
    }

    /// Writes group after group until nothing waits.
    async fn write_until_done(self: Arc<Self>) {
        let mut desk = self.desk.lock().await;
        while let Some(group) = self.next_group() {
            // A panic is a bug of one intention; the callers of its group see the store as unavailable.
            if AssertUnwindSafe(self.write_group(&mut desk, group)).catch_unwind().await.is_err() {
                tracing::error!("writing a group panicked; its callers were told that the store is unavailable");
                self.asking.store(false, Ordering::Release);
            }
        }
    }

    fn next_group(&self) -> Option<Vec<Pending<B>>> {
        let mut queue = self.queue.lock();
        let mut group = Vec::with_capacity(queue.waiting.len().min(GROUP_MAX));
        let mut bytes = 0;
        while group.len() < GROUP_MAX && (group.is_empty() || bytes < GROUP_BYTES_MAX) {
            let Some(pending) = queue.waiting.pop_front() else { break };
            bytes += B::weight(&pending.item);
            group.push(pending);
        }
        queue.writing = !group.is_empty();
        queue.writing.then_some(group)
    }

    async fn write_group(&self, desk: &mut Desk, group: Vec<Pending<B>>) {
        match self.carry_out(desk, &group).await {
            Ok(outcomes) => release(group, outcomes),
            Err(error @ StoreError::Unavailable(_)) => self.refuse(group, &error),
            Err(error) if group.len() == 1 => release(group, vec![Err(error)]),
            // One of them cannot be done. Rare enough to do each on its own.
            Err(_) => {
                for pending in group {
                    let alone = vec![pending];
                    match self.carry_out(desk, &alone).await {
                        Ok(outcomes) => release(alone, outcomes),
                        Err(error) => release(alone, vec![Err(error)]),
                    }
                }
            }
        }
    }

    /// One transaction, done again while another is in the way.
    async fn carry_out(&self, desk: &mut Desk, group: &[Pending<B>]) -> Result<Vec<Result<B::Outcome>>> {
        let items: Vec<&B::Item> = group.iter().map(|pending| &pending.item).collect();
        let mut tries = 1;
        loop {
            match self.attempt(desk, &items).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(StillOpen::Again(_)) if tries < AGAIN_MAX => {
                    tries += 1;
                    self.environment.sleep(Duration::from_millis(5).mul_f64(self.environment.fraction())).await;
                }
                Err(StillOpen::Again(error) | StillOpen::Not(error)) => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        desk: &mut Desk,
        items: &[&B::Item],
    ) -> std::result::Result<Vec<Result<B::Outcome>>, StillOpen> {
        let connection = match desk.connection.take() {
            Some(connection) => connection,
            None => self.connect().await.map_err(StillOpen::Not)?,
        };
        let decided = in_time(self.batch.decide(&connection, items)).await;
        let Decided { outcomes, changes, bells } = match decided {
            Ok(decided) => decided,
            Err(failed) => return Err(abandon(desk, connection, failed).await),
        };
        if outcomes.iter().all(Result::is_err) {
            // Nothing changed.
            keep_if_clean(desk, connection).await;
            return Ok(outcomes);
        }
        let group = desk.last_group + 1;
        let signature = Signature { desk: desk.number, group: Some(group) };
        match in_time(self.batch.commit(&connection, items, &changes, signature)).await {
            Ok(()) => desk.connection = Some(connection),
            Err(Failed::Lost(why)) => {
                drop(connection);
                if !self.was_committed(desk, group, &why).await {
                    return Err(StillOpen::Not(StoreError::Unavailable(why)));
                }
            }
            Err(failed) => return Err(abandon(desk, connection, failed).await),
        }
        desk.last_group = group;
        self.commits.inc();
        self.ringer.ring(bells);
        Ok(outcomes)
    }

    async fn connect(&self) -> Result<ClientWrapper> {
        let connection = Object::take(self.pool.get().await?);
        connection.batch_execute(PLAN_ONCE).await?;
        Ok(connection)
    }

    /// Asks until it is known, and tells newcomers meanwhile that the store is not available.
    async fn was_committed(&self, desk: &Desk, group: i64, why: &str) -> bool {
        tracing::warn!(why, "the answer to a commit was lost: asking the database what became of it");
        self.asking.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        self.refuse(waiting.into(), &away());
        let committed = loop {
            match self.last_group(desk.number).await {
                Ok(last) => break last >= group,
                Err(error) => tracing::debug!(%error, "the database cannot be asked yet"),
            }
            tokio::select! {
                () = self.environment.sleep(ASK_AGAIN) => {}
                // Whoever waits is told that it is not known to have happened, which is never a positive answer.
                () = self.environment.shutdown().cancelled() => break false,
            }
        };
        self.asking.store(false, Ordering::Release);
        tracing::warn!(committed, "what became of a commit is known");
        committed
    }

    async fn last_group(&self, desk: i32) -> Result<i64> {
        let ask = async {
            let client = self.pool.get().await?;
            let row = client.query_one("SELECT last_group FROM desk WHERE number = $1 FOR UPDATE", &[&desk]).await?;
            Ok(row.try_get(0)?)
        };
        ask.await
    }

    fn refuse(&self, group: Vec<Pending<B>>, error: &StoreError) {
        if group.is_empty() {
            return;
        }
        tracing::error!(intentions = group.len(), %error, "a commit failed; nothing of it was acknowledged");
        let outcomes = group.iter().map(|_| Err(StoreError::Unavailable(error.to_string()))).collect();
        release(group, outcomes);
    }
}

/// Nothing was committed.
enum StillOpen {
    Again(StoreError),
    Not(StoreError),
}

fn away() -> StoreError {
    StoreError::Unavailable("the database is away".into())
}

async fn in_time<T>(work: impl Future<Output = std::result::Result<T, Failed>>) -> std::result::Result<T, Failed> {
    tokio::time::timeout(GROUP_TIME_MAX, work)
        .await
        .unwrap_or_else(|_| Err(Failed::Lost(format!("no answer within {} s", GROUP_TIME_MAX.as_secs()))))
}

/// Ends a transaction that did not come to its commit.
async fn abandon(desk: &mut Desk, connection: ClientWrapper, failed: Failed) -> StillOpen {
    let still_open = match failed {
        Failed::Lost(why) => {
            drop(connection);
            return StillOpen::Not(StoreError::Unavailable(why));
        }
        Failed::Again(error) => StillOpen::Again(error),
        Failed::Not(error) => StillOpen::Not(error),
    };
    keep_if_clean(desk, connection).await;
    still_open
}

async fn keep_if_clean(desk: &mut Desk, connection: ClientWrapper) {
    let rolled_back = in_time(async { Ok(connection.batch_execute("ROLLBACK").await?) });
    match rolled_back.await {
        Ok(()) => desk.connection = Some(connection),
        Err(_) => drop(connection),
    }
}

/// A caller that went away loses the answer, not the row.
fn release<B: Batch>(group: Vec<Pending<B>>, outcomes: Vec<Result<B::Outcome>>) {
    for (pending, outcome) in group.into_iter().zip(outcomes) {
        let _ = pending.answer.send(outcome);
    }
}
