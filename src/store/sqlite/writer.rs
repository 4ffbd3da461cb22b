//! The one writer: takes intentions as they come and commits them in groups.
//!
//! Enters: intentions. Leaves: each one's outcome, after the transaction that it shared is on disk.
//! Guarantees: no outcome is released before its commit succeeded; a failed commit fails all of its
//! group with `Unavailable` and the writer goes on; an intention that fails takes no neighbour with it.
//!
//! There is no thread that waits: whoever brings work when nobody is writing starts the writing, which
//! ends when nothing is left. So an idle store costs nothing, and a group is what came in while the
//! one before it was being synced: no artificial wait. More than 64 in
//! a group gains little and costs latency (measured: p99 of 31 to 41 ms at 256).

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::books::Books;
use super::checkpoints::Checkpoints;
use crate::environment::Environment;
use crate::store::{Result, Signals, StoreError};

/// Intentions in one transaction.
const GROUP_MAX: usize = 64;
/// Content in one transaction, so that letters don't make their neighbours wait for long.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Intentions that may wait. More is back-pressure: the caller waits before its intention is taken.
const WAITING_MAX: usize = 2048;

pub(super) struct Writer {
    queue: Mutex<Queue>,
    books: Mutex<Books>,
    room: Arc<Semaphore>,
    checkpoints: Arc<Checkpoints>,
    environment: Environment,
    runtime: Handle,
    signals: Signals,
    commits: IntCounter,
    /// Held as long as anything may still be written.
    _lock: File,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<dyn Intention>>,
    /// Somebody is writing and will see what is added.
    writing: bool,
}

/// Something to be carried out in a transaction, perhaps twice: what a failing neighbour spoils is done again.
trait Intention: Send {
    /// True if it was refused or failed.
    fn attempt(&mut self, books: &mut Books) -> bool;
    /// Tells the caller. `failure`: why the transaction was not committed.
    fn release(self: Box<Self>, failure: Option<&str>);
    /// Bytes of content that it writes.
    fn weight(&self) -> usize;
}

struct Pending<T, F> {
    act: F,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
    weight: usize,
    _place: OwnedSemaphorePermit,
}

impl<T, F> Intention for Pending<T, F>
where
    T: Send,
    F: FnMut(&mut Books) -> Result<T> + Send,
{
    fn attempt(&mut self, books: &mut Books) -> bool {
        self.outcome.insert((self.act)(books)).is_err()
    }

    fn release(self: Box<Self>, failure: Option<&str>) {
        let outcome = match (self.outcome, failure) {
            (Some(outcome), None) => outcome,
            (_, failure) => Err(StoreError::Unavailable(failure.unwrap_or("nothing was tried").to_owned())),
        };
        // A caller that went away loses the answer, not the row.
        let _ = self.answer.send(outcome);
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

impl Writer {
    pub(super) fn new(
        books: Books,
        checkpoints: Arc<Checkpoints>,
        runtime: Handle,
        signals: Signals,
        lock: File,
    ) -> Self {
        let environment = books.environment.clone();
        let commits = IntCounter::new("gateway_store_commits_total", "Transactions that the store committed")
            .expect("the name is a metric's");
        Self {
            queue: Mutex::default(),
            books: Mutex::new(books),
            room: Arc::new(Semaphore::new(WAITING_MAX)),
            checkpoints,
            environment,
            runtime,
            signals,
            commits,
            _lock: lock,
        }
    }

    pub(super) fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.checkpoints
    }

    pub(super) fn commits(&self) -> &IntCounter {
        &self.commits
    }

    /// Carries out `act` durably. `weight`: bytes of content that it writes.
    pub(super) async fn write<T, F>(self: &Arc<Self>, weight: usize, act: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Books) -> Result<T> + Send + 'static,
    {
        let place = Arc::clone(&self.room).acquire_owned().await.expect("nobody closes it");
        let (answer, answered) = oneshot::channel();
        self.submit(Box::new(Pending { act, outcome: None, answer, weight, _place: place }));
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer was stopped".into())))
    }

    fn submit(self: &Arc<Self>, intention: Box<dyn Intention>) {
        let mut queue = self.queue.lock();
        queue.waiting.push_back(intention);
        if !queue.writing {
            queue.writing = true;
            drop(queue);
            let writer = Arc::clone(self);
            self.environment.spawn_blocking_on(&self.runtime, move || writer.write_until_done());
        }
    }

    /// Writes group after group until nothing waits.
    fn write_until_done(self: Arc<Self>) {
        let mut books = self.books.lock();
        while let Some(group) = self.next_group() {
            let bytes = group.iter().map(|intention| intention.weight()).sum();
            // A panic is a bug of one intention; the callers of its group see the store as unavailable.
            let written = catch_unwind(AssertUnwindSafe(|| self.write_group(&mut books, group)));
            if written.is_err() {
                tracing::error!("writing a group panicked; its callers were told that the store is unavailable");
                abandon(&mut books);
            }
            self.checkpoints.after_commit(&books.connection, bytes, &self.environment, &self.runtime);
        }
    }

    fn next_group(&self) -> Option<Vec<Box<dyn Intention>>> {
        let mut queue = self.queue.lock();
        let mut group = Vec::with_capacity(queue.waiting.len().min(GROUP_MAX));
        let mut bytes = 0;
        while group.len() < GROUP_MAX && (group.is_empty() || bytes < GROUP_BYTES_MAX) {
            let Some(intention) = queue.waiting.pop_front() else { break };
            bytes += intention.weight();
            group.push(intention);
        }
        queue.writing = !group.is_empty();
        queue.writing.then_some(group)
    }

    fn write_group(&self, books: &mut Books, mut group: Vec<Box<dyn Intention>>) {
        match carry_out(books, &mut group) {
            Carried::Committed => {
                self.commits.inc();
                self.release(books, group, None);
            }
            Carried::Failed(why) => self.release(books, group, Some(&why)),
            // One of them failed after it had written something. Rare enough to do each again on its own.
            Carried::Spoiled => {
                for intention in group {
                    let mut alone = vec![intention];
                    match carry_out(books, &mut alone) {
                        Carried::Committed | Carried::Spoiled => self.release(books, alone, None),
                        Carried::Failed(why) => self.release(books, alone, Some(&why)),
                    }
                }
            }
        }
    }

    fn release(&self, books: &mut Books, group: Vec<Box<dyn Intention>>, failure: Option<&str>) {
        books.take_bells().ring(&self.signals);
        if let Some(why) = failure {
            tracing::error!(intentions = group.len(), why, "a commit failed; nothing of it was acknowledged");
        }
        for intention in group {
            intention.release(failure);
        }
    }
}

enum Carried {
    Committed,
    /// Nothing was committed: the file cannot be written now.
    Failed(String),
    /// Nothing was committed: one of the intentions failed halfway.
    Spoiled,
}

/// One transaction around all of `group`. Costs less than a savepoint for each: nearly every refusal is
/// decided before anything is written, and then there is nothing to undo.
fn carry_out(books: &mut Books, group: &mut [Box<dyn Intention>]) -> Carried {
    if let Err(error) = books.know_what_is_committed() {
        return Carried::Failed(error.to_string());
    }
    if let Err(error) = books.connection.execute_batch("BEGIN IMMEDIATE") {
        return Carried::Failed(error.to_string());
    }
    for intention in group {
        let before = books.connection.total_changes();
        let failed = intention.attempt(books);
        if failed && (books.connection.total_changes() != before || books.connection.is_autocommit()) {
            abandon(books);
            return Carried::Spoiled;
        }
    }
    let committed =
        books.write_counts().and_then(|()| books.connection.execute_batch("COMMIT").map_err(StoreError::from));
    match committed {
        Ok(()) => Carried::Committed,
        Err(error) => {
            abandon(books);
            Carried::Failed(error.to_string())
        }
    }
}

/// Rolls back what is open and reads again what is committed.
fn abandon(books: &mut Books) {
    if !books.connection.is_autocommit()
        && let Err(error) = books.connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
    books.forget();
}
