//! Bugs planted on purpose, each in a layer that misbehaves in exactly one way, and the tests that they are found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ers_gateway::command::AttemptId;
use ers_gateway::environment::Environment;
use ers_gateway::ers::{Body, Request, Response, Transport, TransportError};
use ers_gateway::store::sqlite::SqliteStore;
use ers_gateway::store::{
    Admission, Admitted, Alias, AliasKind, IntakeStore as _, NewAttempt, Progress, Result, Sealing, Store,
};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::before_store::{Before, Layer};
use super::gateway::FIXED;
use super::wire::whole;
use super::{Run, run};
use crate::history::Broken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    AcknowledgesBeforeCommit,
    RetriesAfterTimeout,
    EventOutsideTransaction,
    FollowerOvertakes,
    WriteNotAnnounced,
}

#[derive(Clone, Copy)]
pub struct Planted(pub Bug);

/// A commit that was promised comes so much later.
const COMMITS_AFTER: Duration = Duration::from_millis(150);

impl Planted {
    pub async fn before(self, store: Arc<dyn Store>, environment: &Environment) -> Arc<dyn Store> {
        let environment = environment.clone();
        match self.0 {
            Bug::AcknowledgesBeforeCommit => {
                let folder = tempfile::tempdir().expect("a folder for a small database");
                let path = folder.path().join("elsewhere.db");
                std::fs::write(&path, &FIXED.empty).expect("there is room for a small database");
                let elsewhere = SqliteStore::open_with(path, Some(Sealing::with(FIXED.keys.clone())), &environment)
                    .await
                    .expect("a store");
                Before::put(store, AcknowledgesBeforeCommit { elsewhere, environment, _folder: folder })
            }
            Bug::RetriesAfterTimeout => store,
            Bug::EventOutsideTransaction => Before::put(store, EventOutsideTransaction),
            Bug::FollowerOvertakes => Before::put(store, FollowerOvertakes { environment }),
            Bug::WriteNotAnnounced => Before::put(store, WriteNotAnnounced { kept_back: Mutex::default() }),
        }
    }

    pub fn wire(self, wire: Arc<dyn Transport>) -> Arc<dyn Transport> {
        match self.0 {
            Bug::RetriesAfterTimeout => Arc::new(RetriesAfterTimeout { wire }),
            _ => wire,
        }
    }
}

/// The proof of a commit is that of another store; the gateway's own follows when there is time.
struct AcknowledgesBeforeCommit {
    elsewhere: SqliteStore,
    environment: Environment,
    _folder: TempDir,
}

#[async_trait]
impl Layer for AcknowledgesBeforeCommit {
    async fn admit(&self, store: &Arc<dyn Store>, admission: Admission) -> Result<Admitted> {
        let (store, environment, later) = (store.clone(), self.environment.clone(), admission.clone());
        self.environment.spawn(async move {
            environment.sleep(COMMITS_AFTER).await;
            store.admit(later).await
        });
        self.elsewhere.admit(admission).await
    }
}

/// What was not answered is simply sent again.
struct RetriesAfterTimeout {
    wire: Arc<dyn Transport>,
}

#[async_trait]
impl Transport for RetriesAfterTimeout {
    async fn send(&self, request: Request) -> std::result::Result<Response, TransportError> {
        let request = whole(request).await?;
        match self.wire.send(copy(&request)).await {
            Err(TransportError::Unanswered(_)) => self.wire.send(request).await,
            answer => answer,
        }
    }
}

fn copy(request: &Request) -> Request {
    let body = match &request.body {
        Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Body::Empty | Body::Stream { .. } => Body::Empty,
    };
    let (method, url, headers) = (request.method.clone(), request.url.clone(), request.headers.clone());
    Request { method, url, headers, body, timeout: request.timeout }
}

/// Events are committed, and then what they tell of.
struct EventOutsideTransaction;

#[async_trait]
impl Layer for EventOutsideTransaction {
    async fn record(&self, store: &Arc<dyn Store>, mut progress: Progress) -> Result<()> {
        let events = std::mem::take(&mut progress.events);
        if !events.is_empty() {
            let alone = Progress::of(progress.command, progress.fence, progress.at);
            store.record(Progress { events, ..alone }).await?;
        }
        store.record(progress).await
    }
}

/// A command that names a referral that is known is not put behind what the referral has to wait for.
struct FollowerOvertakes {
    environment: Environment,
}

#[async_trait]
impl Layer for FollowerOvertakes {
    async fn admit(&self, store: &Arc<dyn Store>, mut admission: Admission) -> Result<Admitted> {
        for command in &mut admission.commands {
            let Some(thread) = store.find_thread(&command.aliases[0]).await? else { continue };
            let Some(ubrn) = thread.known.get("ubrn") else { continue };
            command.body["ubrn"] = ubrn.clone();
            let mut digest = [0; 32];
            self.environment.fill_random(&mut digest);
            command.aliases = vec![Alias { kind: AliasKind::Command, digest }];
        }
        store.admit(admission).await
    }
}

/// "About to send" is written with the result.
struct WriteNotAnnounced {
    kept_back: Mutex<BTreeMap<AttemptId, NewAttempt>>,
}

#[async_trait]
impl Layer for WriteNotAnnounced {
    async fn record(&self, store: &Arc<dyn Store>, mut progress: Progress) -> Result<()> {
        let begun = progress.finished.as_ref().and_then(|finished| self.kept_back.lock().remove(&finished.id));
        if let Some(begun) = begun {
            let alone = Progress::of(progress.command, progress.fence, progress.at);
            store.record(Progress { started: Some(begun), ..alone }).await?;
        }
        let ends_now = |begun: &NewAttempt| progress.finished.as_ref().is_some_and(|ended| ended.id == begun.id);
        if let Some(begun) = progress.started.take_if(|begun| begun.is_write && !ends_now(begun)) {
            self.kept_back.lock().insert(begun.id, begun);
        }
        store.record(progress).await
    }
}

/// In so many worlds each of them is found.
const WORLDS_MAX: u64 = 400;

/// The first world in which the bug breaks one of these promises, which is the same world when it is made again.
fn is_found(bug: Bug, promises: &[Broken]) {
    let found = (1..=WORLDS_MAX).map(|seed| run(seed, Some(bug))).find(|run| breaks(run, promises));
    let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in {WORLDS_MAX} worlds"));
    eprintln!("{bug:?} is found with seed {}: {}", found.seed, found.violations[0]);
    let again = run(found.seed, Some(bug));
    assert_eq!(found.story, again.story, "the same seed tells the same story");
    assert_eq!(found.violations, again.violations);
    let without = run(found.seed, None);
    assert_eq!(without.violations, [], "without the bug nothing is broken");
}

fn breaks(run: &Run, promises: &[Broken]) -> bool {
    run.violations.iter().any(|violation| promises.contains(&violation.broken))
}

#[test]
fn an_acknowledgement_before_its_commit_is_found() {
    is_found(Bug::AcknowledgesBeforeCommit, &[Broken::Missing]);
}

#[test]
fn a_retry_after_a_timeout_is_found() {
    is_found(Bug::RetriesAfterTimeout, &[Broken::Twice]);
}

#[test]
fn an_event_outside_its_transaction_is_found() {
    is_found(Bug::EventOutsideTransaction, &[Broken::Unmatched]);
}

#[test]
fn a_follower_that_overtakes_is_found() {
    is_found(Bug::FollowerOvertakes, &[Broken::Overtaken]);
}

#[test]
fn a_write_that_was_not_announced_is_found() {
    is_found(Bug::WriteNotAnnounced, &[Broken::Unannounced]);
}
