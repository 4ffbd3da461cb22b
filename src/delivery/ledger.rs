//! What a run has done since its last commit, and the commit itself.
//!
//! A commit costs a sync, so what may share one does: the result of a call goes with the "about to send" of
//! the next, or with the end of the run, unless something has to be waited for in between.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::engine::Shared;
use super::lease::{Lease, Moment};
use crate::command::State;
use crate::store::{Alias, ClaimedCommand, FinishedAttempt, NewAttempt, NewEvent, Progress, StoreError};

/// First wait for a store that is away; doubles up to the longest.
const STORE_WAIT: Duration = Duration::from_millis(100);
const STORE_WAIT_MAX: Duration = Duration::from_secs(5);

/// The run cannot go on here: its lease is lost, its rows cannot be read, or the gateway stops while the
/// store is away. Whoever takes over finds the last commit.
#[derive(Debug)]
pub(super) struct Abandoned;

pub(super) struct Ledger {
    shared: Arc<Shared>,
    lease: Arc<Lease>,
    pending: Progress,
    dirty: bool,
}

impl Ledger {
    pub(super) fn new(shared: Arc<Shared>, command: &ClaimedCommand, lease: Arc<Lease>) -> Self {
        let pending = Progress::of(command.id, command.fence, shared.environment.now());
        Self { shared, lease, pending, dirty: false }
    }

    /// Whether nobody can have taken the command over.
    pub(super) fn holds_lease(&self) -> bool {
        self.lease.is_held()
    }

    pub(super) fn state(&mut self, state: State, why: String) {
        self.pending.state = Some((state, why));
        self.dirty = true;
    }

    pub(super) fn plan(&mut self, plan: Value) {
        self.pending.plan = Some(plan);
        self.dirty = true;
    }

    /// A commit takes one start: that of a read, which waited for its end, goes before another's.
    pub(super) async fn started(&mut self, attempt: NewAttempt) -> Result<(), Abandoned> {
        if self.pending.started.is_some() {
            self.commit().await?;
        }
        self.pending.started = Some(attempt);
        self.dirty = true;
        Ok(())
    }

    /// A read: its start is only told with its end.
    pub(super) fn read(&mut self, attempt: NewAttempt, finished: FinishedAttempt) {
        self.pending.started = Some(attempt);
        self.finished(finished);
    }

    pub(super) fn finished(&mut self, attempt: FinishedAttempt) {
        self.pending.finished = Some(attempt);
        self.dirty = true;
    }

    /// With what was learnt since the last commit.
    pub(super) fn learnt(&mut self, known: Map<String, Value>, aliases: Vec<Alias>) {
        let pending = self.pending.known.get_or_insert_with(|| Map::new().into());
        if let Some(members) = pending.as_object_mut() {
            members.extend(known);
        }
        self.pending.aliases.extend(aliases);
        self.dirty = true;
    }

    pub(super) fn event(&mut self, event: NewEvent) {
        self.pending.events.push(event);
        self.dirty = true;
    }

    /// On disk when this returns. A store that is away is waited for: what happened cannot unhappen.
    pub(super) async fn commit(&mut self) -> Result<(), Abandoned> {
        if !self.dirty {
            return Ok(());
        }
        let asked = Moment::now(&self.shared.environment);
        let now = asked.time();
        let next = Progress::of(self.pending.command, self.pending.fence, now);
        let mut progress = std::mem::replace(&mut self.pending, next);
        progress.at = now;
        self.dirty = false;
        let mut wait = STORE_WAIT;
        loop {
            // The store counts the lease from the time of the step, which stays when it is tried again.
            match self.shared.store.record(copy(&progress)).await {
                Ok(()) => {
                    self.lease.renewed(asked);
                    return Ok(());
                }
                Err(StoreError::Unavailable(why)) => {
                    self.shared.metrics.store_unavailable.inc();
                    tracing::error!(error = why, "the store is away: holding a result until it is back");
                    tokio::select! {
                        biased;
                        () = self.shared.environment.sleep(wait) => wait = (wait * 2).min(STORE_WAIT_MAX),
                        () = self.shared.environment.shutdown().cancelled() => return Err(Abandoned),
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a step could not be recorded: the command is left to who holds it");
                    return Err(Abandoned);
                }
            }
        }
    }
}

fn copy(progress: &Progress) -> Progress {
    Progress {
        command: progress.command,
        fence: progress.fence,
        at: progress.at,
        state: progress.state.clone(),
        plan: progress.plan.clone(),
        started: progress.started.clone(),
        finished: progress.finished.clone(),
        known: progress.known.clone(),
        aliases: progress.aliases.clone(),
        events: progress.events.clone(),
    }
}
