//! What must survive: messages, commands, threads, plans, attempts, events, tokens and the audit log.
//!
//! Enters: intentions, each carried out in one durable transaction. Leaves: rows, and [`Stored`], the
//! proof that a transaction is on disk. Guarantees: a method that changes something returns only after
//! fsync (or a committed PostgreSQL transaction); state and events commit together; a thread's commands
//! become claimable one at a time, in arrival order.
//!
//! One small trait a room. `Store` is all of them; every implementation passes the same `suite`.

mod act;
mod audit_chain;
mod bulk;
mod cause;
mod contradictions;
pub mod copy;
mod dispatch;
pub mod encryption;
mod fetched;
mod kept_document;
mod mode;
mod open;
mod own_message;
mod partition_key;
mod pass;
mod patient;
mod pieces;
pub mod postgres;
mod queue;
pub mod quota;
mod records;
mod report;
mod scan;
pub mod sqlite;
mod standing;
#[cfg(test)]
pub(crate) mod suite;
mod unreadable;
mod urgency;
mod vault;
mod waiting;
mod watching;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use prometheus::core::Collector;
use tokio::sync::{Notify, broadcast};

pub use act::*;
pub use audit_chain::{Chain, ChainBroken};
pub use bulk::{
    BulkReplay, BulkReplayStore, NewBulkReplay, ReplayCandidate, ReplayCandidates, ReplayFilter, ReplayItem, ReplayOf,
    ReplayOutcome, ReplayStanding, Share,
};
pub use cause::{Cause, CauseId, OF_MESSAGES, Problem, ProblemExample, ProblemFilter};
pub use dispatch::*;
pub use encryption::{EncryptionStore, EncryptionView, Renewed};
pub use fetched::{FETCHED_CHUNK, FetchedStore};
pub use kept_document::{FoundDocument, KeptDocument, document_at, place_of_document};
pub use mode::{ModeStore, Switch, SwitchKind, Switched};
pub use open::{OpenError, StorePlace, open, open_beside, open_to_act};
pub use pass::pass;
pub use patient::{Held, LegalHold, PatientDigest, PatientStore, PlacedMessage};
pub use queue::*;
pub use records::*;
pub use report::{Day, DayCounts, ReportStore, Untold};
pub use scan::{Scanned, scan};
pub use unreadable::why_unreadable;
pub use urgency::OLDEST_EVERY;
pub use vault::Sealing;
pub use vault::ring::LOOK_EVERY;
pub use waiting::{Confirmed, WaitingStore, Word};
pub use watching::*;

use crate::command::{CommandId, Failure, MessageId, ThreadId};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, the file is locked or the server is away. Nothing was written; try again later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What the caller holds is out of date: another instance took over (fencing), or a person acted.
    #[error("the store refused an outdated step: {0}")]
    Outdated(String),
    #[error("not found")]
    NotFound,
    /// The file or a row cannot be read. For a person.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It is encrypted, and not with the key that was given, if any was. For who set it up.
    #[error("{0}")]
    Locked(String),
}

pub type Result<T> = std::result::Result<T, StoreError>;

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

/// Code of a command that repeats an earlier one of its thread and says something else.
const RESENT_WITH_A_CHANGE: &str = "RESENT_WITH_A_CHANGE";
/// Nothing can be decided about a command of which is not known how far it came.
const UNREADABLE_IS_DISCARDED: &str =
    "how far the command came cannot be read: look in e-RS, do the rest by hand, and discard it";
/// Why a copy that was stopped in the middle is refused.
const UNFINISHED_COPY: &str = "this is an unfinished copy of another store: finish it with `store copy`, or remove it";
/// Who acts when no person does.
const GATEWAY: &str = "gateway";

/// How events name a thread.
pub fn thread_of_events(thread: ThreadId) -> String {
    partition_key::partition_key(thread.0.into_bytes())
}

/// Writes a copy of one committed moment of a file to another, synced when this returns. A gateway may run meanwhile.
pub fn back_up_file(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    sqlite::back_up(from, to)
}

/// Proof that a message is committed to disk. Only a store can make one.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    id: MessageId,
}

impl Stored {
    fn committed(id: MessageId) -> Self {
        Self { id }
    }

    pub fn id(&self) -> MessageId {
        self.id
    }
}

/// What intake needs.
#[async_trait]
pub trait IntakeStore: Send + Sync {
    /// Message, verdict, acknowledgement, commands, documents, aliases and events in one commit.
    /// Decides inside the transaction whether the message is a resend (see [`Admitted`]).
    async fn admit(&self, admission: Admission) -> Result<Admitted>;

    /// The thread that an alias belongs to, if any message brought it.
    async fn find_thread(&self, alias: &Alias) -> Result<Option<ThreadView>>;

    /// Notes when senders got their acknowledgement (promise 6: tracked apart from the command). The first note
    /// of a message stays; a message that is not stored is passed over.
    async fn acknowledged(&self, messages: Vec<(MessageId, Timestamp)>) -> Result<()>;
    /// Commands about these patients (NHS numbers, or local ids) that are not finished, whatever they wait for, oldest
    /// first.
    async fn open_for_patients(&self, ids: Vec<String>) -> Result<Vec<OpenCommand>>;
    /// What has not begun to be sent fails with this reason, and is told (`CommandFailed`); it holds its thread until a
    /// person acts. `Outdated` if it runs, or is at rest.
    async fn hold(&self, command: CommandId, why: Failure, act: Act) -> Result<()>;

    /// Remembers a piece of a message until its continuation comes. One with the same pointer is forgotten.
    async fn hold_piece(&self, piece: HeldPiece) -> Result<()>;
    async fn held_piece(&self, source: &str, pointer: [u8; 32]) -> Result<Option<HeldPiece>>;
    /// The oldest first.
    async fn held_pieces(&self, max: usize) -> Result<Vec<HeldPiece>>;
    /// Forgets pieces, those that others took the place of left alone.
    async fn let_go_of_pieces(&self, pieces: Vec<HeldPiece>) -> Result<()>;

    /// The sequence number that a source must send next; `None` if none is known.
    async fn expected_number(&self, source: &str) -> Result<Option<u64>>;
    /// Changes it. False if it is not `known` any more.
    async fn expect_number(&self, source: &str, known: Option<u64>, next: u64, at: Timestamp) -> Result<bool>;
}

/// What delivery needs.
#[async_trait]
pub trait DeliveryStore: Send + Sync {
    /// Leases up to `max` commands that are due: `queued` heads of their thread and `waiting` ones whose
    /// time has come, most urgent class first, oldest first within it. They are `running` afterwards.
    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedCommand>>;

    /// Everything that one step of a command changes, in one commit. `Outdated` if the lease was lost.
    async fn record(&self, progress: Progress) -> Result<()>;

    /// After a start: what an earlier process left `running`. A write about to be sent becomes
    /// `in_doubt` (with its event), everything else `queued`. Returns how many of each.
    async fn recover(&self, now: Timestamp) -> Result<Recovered>;

    /// When the earliest `waiting` command is due.
    async fn next_due(&self) -> Result<Option<Timestamp>>;
}

/// Letters and raw messages, read in pieces.
#[async_trait]
pub trait ContentStore: Send + Sync {
    /// Bytes of a message exactly as received; `range` is clipped to its size.
    async fn read_message(&self, message: MessageId, range: Range<u64>) -> Result<Bytes>;
    /// Bytes of a document that intake made from a message (generated or unescaped text).
    async fn read_document(&self, message: MessageId, number: u32, range: Range<u64>) -> Result<Bytes>;
}

/// What the outbox publisher and the feed need.
#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Events not yet confirmed by the broker, in commit order, after `position`.
    async fn unconfirmed(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>>;
    async fn confirm(&self, positions: Vec<u64>, at: Timestamp) -> Result<()>;
    /// All events after `position`, confirmed or not, for the feed.
    async fn events_after(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>>;
    /// The position of the newest event.
    async fn last_position(&self) -> Result<u64>;
}

/// What people and metrics look at.
#[async_trait]
pub trait SearchStore: Send + Sync {
    async fn message(&self, id: MessageId) -> Result<Option<MessageView>>;
    async fn messages(&self, filter: MessageFilter) -> Result<Vec<MessageView>>;
    async fn command(&self, id: CommandId) -> Result<Option<CommandView>>;
    async fn commands_of(&self, message: MessageId) -> Result<Vec<CommandView>>;
    async fn transitions(&self, command: CommandId) -> Result<Vec<TransitionView>>;
    async fn attempts(&self, command: CommandId) -> Result<Vec<AttemptView>>;
    /// Commands that wait for a person or a time and hold others: those that hold a cancellation first, then the most
    /// urgent, then the oldest.
    async fn holds(&self, max: usize) -> Result<Vec<Hold>>;
    /// Number and oldest arrival per state and class of what is not final, and the counts of what is.
    async fn depths(&self) -> Result<Vec<Depth>>;
    async fn outbox_depth(&self) -> Result<OutboxDepth>;
    /// What waits to be carried out and what is in hand: all of it counted, the oldest of each place told one by one,
    /// `max` together at most, so that it takes no longer for a million.
    async fn queue(&self, max: u64) -> Result<Queue>;
    /// What is refused or does not get on, grouped by its cause: what a person has to see to first.
    async fn problems(&self, filter: ProblemFilter) -> Result<Vec<Problem>>;
}

/// What a person may do to a command. Each act is a transition and an audit row in one commit.
#[async_trait]
pub trait OperatorStore: Send + Sync {
    /// A failed command goes back to the queue at the step where it stopped; what is known done is skipped.
    async fn replay(&self, command: CommandId, act: Act) -> Result<()>;
    async fn discard(&self, command: CommandId, act: Act) -> Result<()>;
    /// An unauthorised command goes back to the queue, now that there is a session.
    async fn release(&self, command: CommandId, act: Act) -> Result<()>;
    /// Says of a command in doubt whether its write was done. `Outdated` if it is in no doubt.
    async fn decide(&self, command: CommandId, finding: Finding, act: Act) -> Result<()>;
}

/// The log of acts.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Of an act that changes nothing else in the store: somebody looked, searched, or changed settings.
    async fn note(&self, noted: Noted) -> Result<()>;
    /// The oldest first.
    async fn audit_log(&self, after: u64, max: usize) -> Result<Vec<AuditEntry>>;
    /// How many entries there ever were, counted beside them: more than the newest one's number if the end was cut off.
    async fn audit_written(&self) -> Result<u64>;
    /// The newest entry of such an act by this actor.
    async fn last_noted(&self, act: &str, by: &str) -> Result<Option<AuditEntry>>;
    /// Removes what people typed as reasons of acts before a time, the oldest first, at most so many; the chain holds.
    /// The first call that finds some says so in the log, in the same commit. Returns how many.
    async fn forget_reasons(&self, before: Timestamp, max: usize, act: Act) -> Result<u64>;
}

/// What is finished and old.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Removes messages received before a time whose commands are all final, oldest first, with their commands,
    /// transitions, attempts, letters and acknowledgements; and events that old. One bounded transaction, so that
    /// other work goes on in between: a round of calls, each with the `next` of the one before, until it is `None`.
    /// What is not finished is passed over once a round.
    ///
    /// What recognises resends and repeated referrals stays: control ids with their digests, threads, aliases, and
    /// which command made a referral, with its digest. Only the control id of a message that was refused goes with
    /// it: nothing came of that message, so when it comes again it is new. The audit log stays, and what a legal hold keeps.
    async fn purge(&self, purge: Purge) -> Result<Purged>;
}

/// Secrets of connections, sealed before they come here.
#[async_trait]
pub trait SessionStore: Send + Sync {
    async fn load_secret(&self, connection: &str, kind: &str) -> Result<Option<SealedSecret>>;
    /// Replaces the secret only if the stored one is still `expected` (its version); a refresh token is
    /// single-use, so two writers must not both believe they hold the successor.
    async fn save_secret(&self, secret: SealedSecret, expected: Option<u64>) -> Result<()>;
    /// Those of a connection whose kind begins so.
    async fn secrets(&self, connection: &str, prefix: &str) -> Result<Vec<SealedSecret>>;
    /// Removes the secret if the stored one is still `expected`. `Outdated` says that another was quicker: what may be used
    /// once is used by whoever removes it.
    async fn remove_secret(&self, connection: &str, kind: &str, expected: u64) -> Result<()>;
}

/// Mapping sets by digest, so that a plan finds the set it was made with after a restart.
#[async_trait]
pub trait MappingStore: Send + Sync {
    /// Keeps a set's files (an archive made by `mapping`), if not known yet.
    async fn register_set(&self, digest: &str, archive: Bytes, at: Timestamp) -> Result<()>;
    async fn load_set(&self, digest: &str) -> Result<Option<Bytes>>;
    /// Keeps a set that `instance` read from its files, and makes it the newest, unless the same instance announced
    /// the same set last: a restart is no change of mind. Returns the newest set, which all instances use.
    async fn announce_set(&self, announcement: SetAnnouncement) -> Result<String>;
    /// The newest set that any instance announced.
    async fn newest_set(&self) -> Result<Option<String>>;
    /// An older version uses the store, or may again: it could not read a set that only this version understands.
    async fn has_older_versions(&self) -> Result<bool> {
        Ok(false)
    }
}

/// What instances that share a store know of each other, and what only one of them does at a time.
///
/// Times are of the store's clock, so that the clocks of machines need not agree.
#[async_trait]
pub trait InstanceStore: Send + Sync {
    /// This instance is alive.
    async fn beat(&self, beat: Beat) -> Result<()>;
    /// Those that were alive within the last day, by name.
    async fn instances(&self) -> Result<Vec<InstanceView>>;
    /// Takes or renews a duty that one instance has at a time, for `hold` from now: until the returned time, or `None`
    /// while another has it.
    async fn take_duty(&self, duty: &str, instance: &str, hold: Duration) -> Result<Option<Timestamp>>;
    /// Lets go of a duty that was taken until then, so that another need not wait for its end. One that was taken
    /// anew stays, however late this is carried out.
    async fn leave_duty(&self, duty: &str, instance: &str, until: Timestamp) -> Result<()>;
}

/// The quota of an application at e-RS, where several instances share it.
#[async_trait]
pub trait SharedQuota: Send + Sync {
    /// Reserves up to `ask.calls` departures, at least one. Each is how long after this was answered the call may
    /// leave. What is reserved and not used is lost, so that an instance that dies can never exceed the quota.
    async fn reserve(&self, ask: QuotaAsk) -> Result<Vec<Duration>>;
    /// Calls a second that all instances together may make now.
    async fn rate(&self, application: &str, per_second: f64) -> Result<f64>;
    /// e-RS said 429: all instances call slower, and slowly come back to `per_second`.
    async fn throttled(&self, application: &str, per_second: f64) -> Result<()>;
}

#[async_trait]
pub trait Store:
    IntakeStore
    + DeliveryStore
    + ContentStore
    + FetchedStore
    + OutboxStore
    + SearchStore
    + OperatorStore
    + BulkReplayStore
    + ReportStore
    + AuditStore
    + RetentionStore
    + PatientStore
    + SessionStore
    + MappingStore
    + InstanceStore
    + DispatchStore
    + WatchStore
    + WaitingStore
    + ModeStore
    + EncryptionStore
{
    /// Rings when something was committed that another room may wait for.
    fn signals(&self) -> &Signals;
    /// The quota that the instances of this store share; `None` where one process has the store to itself.
    fn shared_quota(&self) -> Option<Arc<dyn SharedQuota>>;
    /// `Unavailable` while it refuses messages for want of room, though everything else goes on.
    fn takes_messages(&self) -> Result<()> {
        Ok(())
    }
    /// Metrics of the store itself.
    fn collectors(&self) -> Vec<Box<dyn Collector>>;
    /// Proves the store whole: references, order of threads, audit chain, counts. Takes as long as it is large.
    async fn verify(&self) -> Result<()>;
}

/// Bells rung after a commit, so that nobody polls a quiet store. Missing one costs only a poll interval.
#[derive(Clone)]
pub struct Signals {
    /// A command may be claimable.
    pub commands: Arc<Notify>,
    /// An event entered the outbox.
    pub outbox: Arc<Notify>,
    /// A message to a hospital system waits, or an answer is owed.
    pub dispatches: Arc<Notify>,
    /// A command reached a state that a waiting sender may be told about.
    pub settled: broadcast::Sender<Settled>,
}

/// A command that came to rest (final, failed, in doubt or unauthorised).
#[derive(Clone, Debug)]
pub struct Settled {
    pub message: MessageId,
    pub command: CommandId,
}

impl Default for Signals {
    fn default() -> Self {
        let (settled, _) = broadcast::channel(4096);
        Self {
            commands: Arc::new(Notify::new()),
            outbox: Arc::new(Notify::new()),
            dispatches: Arc::new(Notify::new()),
            settled,
        }
    }
}
