//! The real store with steps that take long, as on a disk that hangs or in a process that stands still.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use prometheus::core::Collector;
use tokio::time::Instant;

use crate::command::{AttemptId, CommandId, DispatchId, Failure, MessageId};
use crate::environment::Environment;
use crate::keys::{Fingerprint, Keys};
use crate::store::sqlite::SqliteStore;
use crate::store::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Halts {
    /// "About to send" is on disk late.
    Before,
    /// It is on disk at once, and nobody hears of it.
    After,
}

/// Until some time, "about to send" halts and renewals of leases fail.
pub struct HaltingStore {
    store: Arc<SqliteStore>,
    environment: Environment,
    halts: Halts,
    until: Instant,
    pub quota: Option<Arc<dyn SharedQuota>>,
}

impl HaltingStore {
    pub fn new(store: &Arc<SqliteStore>, environment: &Environment, halts: Halts, long: Duration) -> Self {
        let (store, environment) = (store.clone(), environment.clone());
        let until = environment.instant() + long;
        Self { store, environment, halts, until, quota: None }
    }
}

#[async_trait]
impl DeliveryStore for HaltingStore {
    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedCommand>> {
        self.store.claim(claim).await
    }
    async fn record(&self, progress: Progress) -> Result<()> {
        let left = self.until.saturating_duration_since(self.environment.instant());
        if left.is_zero() {
            return self.store.record(progress).await;
        }
        if progress.started.is_none() {
            return Err(StoreError::Unavailable("halted".into()));
        }
        if self.halts == Halts::Before {
            self.environment.sleep(left).await;
        }
        let recorded = self.store.record(progress).await;
        if self.halts == Halts::After {
            self.environment.sleep(left).await;
        }
        recorded
    }
    async fn recover(&self, now: Timestamp) -> Result<Recovered> {
        self.store.recover(now).await
    }
    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.store.next_due().await
    }
}

#[async_trait]
impl Store for HaltingStore {
    fn signals(&self) -> &Signals {
        self.store.signals()
    }
    fn shared_quota(&self) -> Option<Arc<dyn SharedQuota>> {
        self.quota.clone()
    }
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.store.collectors()
    }
    async fn verify(&self) -> Result<()> {
        self.store.verify().await
    }
}

/// Writes the methods that only pass on what they are asked.
macro_rules! passes_on {
    ($room:ident { $(fn $method:ident($($name:ident: $kind:ty),*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl $room for HaltingStore {
            $(async fn $method(&self, $($name: $kind),*) -> Result<$answer> {
                self.store.$method($($name),*).await
            })*
        }
    };
}

passes_on!(IntakeStore {
    fn admit(admission: Admission) -> Admitted;
    fn find_thread(alias: &Alias) -> Option<ThreadView>;
    fn acknowledged(messages: Vec<(MessageId, Timestamp)>) -> ();
    fn open_for_patients(ids: Vec<String>) -> Vec<OpenCommand>;
    fn hold(command: CommandId, why: Failure, act: Act) -> ();
    fn hold_piece(piece: HeldPiece) -> ();
    fn held_piece(source: &str, pointer: [u8; 32]) -> Option<HeldPiece>;
    fn held_pieces(max: usize) -> Vec<HeldPiece>;
    fn let_go_of_pieces(pieces: Vec<HeldPiece>) -> ();
    fn expected_number(source: &str) -> Option<u64>;
    fn expect_number(source: &str, known: Option<u64>, next: u64, at: Timestamp) -> bool;
});

passes_on!(ContentStore {
    fn read_message(message: MessageId, range: Range<u64>) -> Bytes;
    fn read_document(message: MessageId, number: u32, range: Range<u64>) -> Bytes;
});

passes_on!(FetchedStore {
    fn keep_fetched(command: CommandId, attempt: AttemptId, position: u32, chunk: Bytes) -> ();
    fn fetched(command: CommandId, attempt: AttemptId, position: u32) -> Option<Bytes>;
});

passes_on!(OutboxStore {
    fn unconfirmed(after: u64, max: usize) -> Vec<StoredEvent>;
    fn confirm(positions: Vec<u64>, at: Timestamp) -> ();
    fn events_after(after: u64, max: usize) -> Vec<StoredEvent>;
    fn last_position() -> u64;
});

passes_on!(SearchStore {
    fn message(id: MessageId) -> Option<MessageView>;
    fn messages(filter: MessageFilter) -> Vec<MessageView>;
    fn command(id: CommandId) -> Option<CommandView>;
    fn commands_of(message: MessageId) -> Vec<CommandView>;
    fn transitions(command: CommandId) -> Vec<TransitionView>;
    fn attempts(command: CommandId) -> Vec<AttemptView>;
    fn holds(max: usize) -> Vec<Hold>;
    fn problems(filter: ProblemFilter) -> Vec<Problem>;
    fn depths() -> Vec<Depth>;
    fn outbox_depth() -> OutboxDepth;
    fn queue(max: u64) -> Queue;
});

passes_on!(OperatorStore {
    fn replay(command: CommandId, act: Act) -> ();
    fn discard(command: CommandId, act: Act) -> ();
    fn release(command: CommandId, act: Act) -> ();
    fn decide(command: CommandId, finding: Finding, act: Act) -> ();
});

passes_on!(BulkReplayStore {
    fn begin_replay(replay: NewBulkReplay, act: Act) -> ();
    fn bulk_replay(id: uuid::Uuid) -> Option<BulkReplay>;
    fn bulk_replays(only: Option<ReplayStanding>, max: usize) -> Vec<BulkReplay>;
    fn replay_candidates(asked: ReplayCandidates) -> Vec<ReplayCandidate>;
    fn replay_in_bulk(id: uuid::Uuid, candidate: ReplayCandidate, act: Act) -> ();
    fn note_replayed(id: uuid::Uuid, items: Vec<ReplayItem>, at: Timestamp) -> ();
    fn replays_on_their_way(id: uuid::Uuid, max: usize) -> Vec<ReplayItem>;
    fn settle_replayed(id: uuid::Uuid, settled: Vec<(uuid::Uuid, ReplayOutcome)>) -> ();
    fn advance_replay(id: uuid::Uuid, at: u64) -> ();
    fn stand_replay(id: uuid::Uuid, to: ReplayStanding, act: Act) -> ();
    fn replay_items(id: uuid::Uuid, after: Option<uuid::Uuid>, max: usize) -> Vec<ReplayItem>;
});

passes_on!(ReportStore {
    fn day(from: Timestamp, to: Timestamp) -> Day;
    fn publish_report(day: String, event: NewEvent) -> bool;
    fn is_report_published(day: &str) -> bool;
});

passes_on!(AuditStore {
    fn note(noted: Noted) -> ();
    fn audit_log(after: u64, max: usize) -> Vec<AuditEntry>;
    fn audit_written() -> u64;
    fn last_noted(act: &str, by: &str) -> Option<AuditEntry>;
    fn forget_reasons(before: Timestamp, max: usize, act: Act) -> u64;
});

passes_on!(PatientStore {
    fn messages_of_patient(patient: PatientDigest, after: u64, max: usize) -> Vec<PlacedMessage>;
    fn unread_messages(after: u64, max: usize) -> Vec<PlacedMessage>;
    fn note_mentions(message: MessageId, patients: Vec<PatientDigest>) -> ();
    fn put_legal_hold(hold: LegalHold, act: Act) -> ();
    fn lift_legal_hold(id: uuid::Uuid, act: Act) -> ();
    fn legal_holds() -> Vec<LegalHold>;
    fn is_held(message: MessageId) -> bool;
});

passes_on!(SessionStore {
    fn load_secret(connection: &str, kind: &str) -> Option<SealedSecret>;
    fn save_secret(secret: SealedSecret, expected: Option<u64>) -> ();
    fn secrets(connection: &str, prefix: &str) -> Vec<SealedSecret>;
    fn remove_secret(connection: &str, kind: &str, expected: u64) -> ();
});

passes_on!(MappingStore {
    fn register_set(digest: &str, archive: Bytes, at: Timestamp) -> ();
    fn load_set(digest: &str) -> Option<Bytes>;
    fn announce_set(announcement: SetAnnouncement) -> String;
    fn newest_set() -> Option<String>;
});

passes_on!(InstanceStore {
    fn beat(beat: Beat) -> ();
    fn instances() -> Vec<InstanceView>;
    fn take_duty(duty: &str, instance: &str, hold: Duration) -> Option<Timestamp>;
    fn leave_duty(duty: &str, instance: &str, until: Timestamp) -> ();
});

passes_on!(RetentionStore {
    fn purge(purge: Purge) -> Purged;
});

passes_on!(DispatchStore {
    fn owe_answer(owed: OwedAnswer) -> ();
    fn answers_due(max: usize) -> Vec<OwedAnswer>;
    fn settle_answer(message: MessageId, answer: Option<NewDispatch>, at: Timestamp) -> bool;
    fn told_up_to(destination: &str) -> Option<u64>;
    fn told() -> Vec<ToldPlace>;
    fn leave_told(destination: &str, at: Timestamp) -> ();
    fn tell(destination: &str, from: Option<u64>, to: u64, dispatches: Vec<NewDispatch>) -> bool;
    fn due_dispatches(destination: &str, max: usize) -> Vec<DueDispatch>;
    fn make_dispatch(id: DispatchId, content: DispatchContent) -> ();
    fn step_dispatch(step: DispatchStep) -> ();
    fn was_dispatched(destination: &str, control_id: &str) -> bool;
    fn dispatch(id: DispatchId) -> Option<DispatchView>;
    fn dispatches(filter: DispatchFilter) -> Vec<DispatchView>;
    fn dispatch_content(id: DispatchId) -> Bytes;
    fn dispatch_depths() -> Vec<DispatchDepth>;
    fn replay_dispatch(id: DispatchId, act: Act) -> ();
    fn discard_dispatch(id: DispatchId, act: Act) -> ();
    fn purge_dispatches(before: Timestamp, max: usize) -> u64;
});

passes_on!(WatchStore {
    fn snapshot(watch: &str, service: &str) -> Option<Snapshot>;
    fn save_snapshot(snapshot: Snapshot) -> bool;
    fn spend(spending: Spending) -> bool;
    fn unspend(spending: Spending) -> ();
    fn purge_snapshots(before: Timestamp) -> u64;
});

passes_on!(ModeStore {
    fn switched() -> Vec<Switched>;
    fn switch(switched: Switched, noted: Noted) -> ();
});

passes_on!(WaitingStore {
    fn waiting(max: usize) -> Vec<CommandView>;
    fn behind(command: CommandId) -> Vec<OpenCommand>;
    fn say(command: CommandId, word: Word, act: Act) -> ();
});

#[async_trait]
impl EncryptionStore for HaltingStore {
    fn keys(&self) -> Option<Keys> {
        self.store.keys()
    }
    async fn encryption(&self) -> Result<EncryptionView> {
        self.store.encryption().await
    }
    async fn look_at_keys(&self, master: &Keys) -> Result<()> {
        self.store.look_at_keys(master).await
    }
    async fn add_master(&self, next: &Keys) -> Result<()> {
        self.store.add_master(next).await
    }
    async fn keep_only(&self, master: Fingerprint) -> Result<()> {
        self.store.keep_only(master).await
    }
    async fn renew(&self) -> Result<Option<Renewed>> {
        self.store.renew().await
    }
}
