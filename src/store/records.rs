//! The shapes that enter and leave the store. Plain data; no behaviour.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Act, CauseId, Noted, PatientDigest, Stored};
use crate::command::{AttemptId, Class, CommandId, EventId, Happened, MessageId, State, ThreadId, Verdict};

// --- intake

/// One inbound unit and everything that intake decided about it.
#[derive(Clone, Debug)]
pub struct Admission {
    pub message: NewMessage,
    pub verdict: Verdict,
    /// The answer to the sender, kept so that a resend gets the same bytes. Empty if none is given.
    pub acknowledgement: Bytes,
    pub commands: Vec<NewCommand>,
    pub documents: Vec<NewDocument>,
    /// Events of the message itself (`MessageRejected`, notices). They belong to the first command's
    /// thread, or to a thread of their own message if there is none.
    pub events: Vec<NewEvent>,
    /// Keyed digests of the patients whom the message mentions.
    pub patients: Vec<PatientDigest>,
    /// A person takes a message in once more, as this one: a row of the audit log in the same commit, if the
    /// message is new.
    pub taken_again: Option<TakenAgain>,
}

/// Which message was refused or given up, and who has it taken in once more.
#[derive(Clone, Debug)]
pub struct TakenAgain {
    pub first: MessageId,
    /// With a content that somebody changed; the first stays as it came.
    pub edited: bool,
    pub act: Act,
}

impl TakenAgain {
    pub(super) fn noted(&self) -> Noted {
        Noted {
            act: if self.edited { "edit" } else { "replay" },
            subject: format!("message {}", self.first),
            by: self.act.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct NewMessage {
    pub id: MessageId,
    pub source: String,
    pub transport: Transport,
    /// MSH-10 or `Idempotency-Key`; `None` switches deduplication off for this message.
    pub control_id: Option<String>,
    pub received_at: Timestamp,
    pub sha256: [u8; 32],
    /// WHATWG name of the encoding that turns `raw` into text (`UTF-8` when the bytes are the text).
    pub charset: String,
    /// `REF^I12` or the command's name; never content.
    pub kind: String,
    pub raw: Bytes,
    /// Why it was refused: `[{location, code, text}]`, no patient data.
    pub problems: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Mllp,
    Http,
    Amqp,
    Poll,
    Replay,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mllp => "mllp",
            Self::Http => "http",
            Self::Amqp => "amqp",
            Self::Poll => "poll",
            Self::Replay => "replay",
        }
    }
}

#[derive(Clone, Debug)]
pub struct NewCommand {
    pub id: CommandId,
    pub name: String,
    /// Valid against the command's schema. Letters are handles, not content.
    pub body: Value,
    pub class: Class,
    /// Names under which the thread is known. At least one; the store finds or makes the thread, and
    /// merges threads (in arrival order) when two of the aliases lead to different ones.
    pub aliases: Vec<Alias>,
    /// For commands that make a referral: the digest of what it says. A second one in the same thread
    /// with the same digest is not stored (the message becomes `duplicate`); with another digest it is
    /// stored as `failed` with the code `RESENT_WITH_A_CHANGE` and waits for a person.
    pub creates: Option<[u8; 32]>,
    pub mapping_set: String,
    /// `Queued`, or `Shadowed` when the source is in shadow mode, or `Failed` when it must wait for a person.
    pub state: State,
    /// What delivery finds at its first run: `Null`, or `{"shadow": true}` for what must never be sent.
    pub plan: Value,
    /// Past this a person decides before it is sent.
    pub not_after: Option<Timestamp>,
}

/// A name for a thread, as a keyed digest: the store never sees the identifier itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Alias {
    pub kind: AliasKind,
    pub digest: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AliasKind {
    /// (source, local id)
    LocalId,
    Ubrn,
    Appointment,
    Document,
    /// The command itself, when nothing else names its thread.
    Command,
}

impl AliasKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalId => "local_id",
            Self::Ubrn => "ubrn",
            Self::Appointment => "appointment",
            Self::Document => "document",
            Self::Command => "command",
        }
    }
}

/// Text that intake made from a message (an unescaped FT letter, clinical text without a home).
#[derive(Clone, Debug)]
pub struct NewDocument {
    /// Unique within the message; letter handles name it.
    pub number: u32,
    pub content: Bytes,
}

/// A message that is a piece of a larger one and waits for its continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPiece {
    pub source: String,
    /// Digest of the continuation pointer under which the next piece comes.
    pub pointer: [u8; 32],
    pub message: MessageId,
    pub at: Timestamp,
}

/// What became of an admission.
#[derive(Debug)]
pub enum Admitted {
    /// New: the acknowledgement of the admission may be given. `repeats` names the earlier command when
    /// a `creates` digest was already known in its thread (the verdict then became `duplicate`).
    New { stored: Stored, repeats: Option<CommandId> },
    /// Same source, control id and content: give the stored acknowledgement again. `message` is the first.
    Resend { stored: Stored, acknowledgement: Bytes, message: MessageId },
    /// Same source and control id, other content: nothing was stored; refuse (205) or admit without dedupe.
    ControlIdReused { message: MessageId },
}

/// A command that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCommand {
    pub id: CommandId,
    pub thread: ThreadId,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct ThreadView {
    pub id: ThreadId,
    /// What is known of the referral: `{"ubrn", "version", …}` as delivery saved it.
    pub known: Value,
    /// The command that made (or will make) the referral.
    pub created_by: Option<CommandId>,
}

// --- delivery

#[derive(Clone, Debug)]
pub struct Claim {
    pub max: usize,
    pub now: Timestamp,
    /// Name of this instance.
    pub owner: String,
    pub lease_until: Timestamp,
    /// Sources that are paused: their commands stay where they are.
    pub paused: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct ClaimedCommand {
    pub id: CommandId,
    pub message: MessageId,
    pub source: String,
    pub name: String,
    pub body: Value,
    pub class: Class,
    pub thread: ThreadView,
    pub received_at: Timestamp,
    pub not_after: Option<Timestamp>,
    pub mapping_set: String,
    /// How far an earlier run came; `Null` at the first. Opaque to the store.
    pub plan: Value,
    /// `Running`; or `InDoubt`, where the outcome of a write is unknown: then e-RS is read, and nothing is sent.
    pub state: State,
    /// How often it was deferred in a row; for backoff.
    pub deferrals: u32,
    /// Must be given back with every `Progress`; grows with every claim.
    pub fence: u64,
}

/// The state of a command that an instance has in hand. What is in doubt stays so until something is proved.
pub(super) fn leased(state: &State) -> State {
    match state {
        State::InDoubt { .. } => state.clone(),
        State::Waiting { step, .. } => State::Running { step: step.clone() },
        _ => State::Running { step: String::new() },
    }
}

/// When a head is to be claimed that is not queued.
pub(super) fn due(state: &State) -> Option<Timestamp> {
    match state {
        State::Waiting { until, .. } => Some(*until),
        State::InDoubt { look_at, .. } => *look_at,
        _ => None,
    }
}

/// What one step changes. Empty parts change nothing.
#[derive(Debug)]
pub struct Progress {
    pub command: CommandId,
    pub fence: u64,
    pub at: Timestamp,
    /// New state with its reason in words, if it changes. Checked against `State::after` by the caller.
    pub state: Option<(State, String)>,
    /// Opaque but for [`told_in_doubt`].
    pub plan: Option<Value>,
    pub started: Option<NewAttempt>,
    pub finished: Option<FinishedAttempt>,
    /// Merged into the thread's `known`.
    pub known: Option<Value>,
    /// Aliases learnt (a UBRN): may merge threads under lock, in arrival order.
    pub aliases: Vec<Alias>,
    pub events: Vec<NewEvent>,
}

impl Progress {
    pub fn of(command: CommandId, fence: u64, at: Timestamp) -> Self {
        Self {
            command,
            fence,
            at,
            state: None,
            plan: None,
            started: None,
            finished: None,
            known: None,
            aliases: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// "About to send": committed before the first byte of a call leaves.
#[derive(Clone, Debug)]
pub struct NewAttempt {
    pub id: AttemptId,
    pub step: String,
    /// `A011`
    pub call: String,
    /// An outcome that stays unknown leaves the command in doubt.
    pub is_write: bool,
    pub correlation_id: String,
    /// Method, path, headers without secrets, and body: what was sent.
    /// Shared, for it may be large and is kept until it is on disk.
    pub request: Arc<Value>,
}

#[derive(Clone, Debug)]
pub struct FinishedAttempt {
    pub id: AttemptId,
    pub status: Option<u16>,
    /// Bounded code for metrics and search: `ok`, an e-RS code, `unanswered`, `not_connected`, `not_sent`.
    pub outcome: String,
    pub duration_ms: u64,
    /// Headers and body of the answer, cut at a limit.
    pub response: Arc<Value>,
    /// Whom it mentions.
    pub patients: Vec<PatientDigest>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Recovered {
    pub requeued: u64,
    pub in_doubt: u64,
}

// --- events

/// A fact to publish. The store gives it its position, its thread's digest and its sequence.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub id: EventId,
    /// `ReferralCreated`; the routing key.
    pub name: String,
    pub at: Timestamp,
    pub source: String,
    /// The message or command that it is about.
    pub subject: String,
    /// Valid against `schemas/events/<name>.json`.
    pub data: Value,
}

#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Position in commit order; a cursor for the feed.
    pub position: u64,
    pub id: EventId,
    pub name: String,
    pub at: Timestamp,
    pub source: String,
    pub subject: String,
    /// Opaque digest of the thread (`partitionkey`).
    pub thread: String,
    /// 1, 2, 3 … within the thread.
    pub sequence: u64,
    pub data: Value,
}

// --- search

#[derive(Clone, Debug, Serialize)]
pub struct MessageView {
    pub id: MessageId,
    pub source: String,
    pub transport: Transport,
    pub control_id: Option<String>,
    pub kind: String,
    pub received_at: Timestamp,
    pub acknowledged_at: Option<Timestamp>,
    pub verdict: Verdict,
    pub size: u64,
    pub charset: String,
    pub problems: Value,
    #[serde(skip)]
    pub acknowledgement: Bytes,
}

#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    pub source: Option<String>,
    pub verdict: Option<Verdict>,
    /// Messages with a command in this state.
    pub state: Option<String>,
    pub control_id: Option<String>,
    /// Refused for this cause, or with a command that does not get on for it.
    pub cause: Option<CauseId>,
    /// With a command of that referral.
    pub referral: Option<Alias>,
    /// That mention the patient, or have an answer that does, and all others of their referrals.
    pub patient: Option<PatientDigest>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Newest first, before this message; for paging.
    pub before: Option<MessageId>,
    pub max: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct CommandView {
    pub id: CommandId,
    pub message: MessageId,
    pub source: String,
    pub name: String,
    #[serde(flatten)]
    pub state: State,
    pub class: Class,
    pub thread: ThreadId,
    /// The unfinished command before it in its thread, if that holds it.
    pub held_by: Option<CommandId>,
    pub received_at: Timestamp,
    pub changed_at: Timestamp,
    /// Past this a person decides before it is sent.
    #[serde(skip)]
    pub not_after: Option<Timestamp>,
    pub mapping_set: String,
    pub body: Value,
    pub plan: Value,
    pub known: Value,
}

/// A command that holds others of its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub holder: CommandId,
    pub followers: u64,
    /// Of these, how many cancel something: their names begin with `Cancel`.
    pub cancellations: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct TransitionView {
    pub at: Timestamp,
    pub from: Option<String>,
    pub to: String,
    pub why: String,
    pub by: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct AttemptView {
    pub id: AttemptId,
    pub step: String,
    pub call: String,
    pub is_write: bool,
    pub correlation_id: String,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub status: Option<u16>,
    pub outcome: Option<String>,
    pub duration_ms: Option<u64>,
    pub request: Value,
    pub response: Value,
}

#[derive(Clone, Debug, Serialize)]
pub struct Depth {
    pub state: String,
    pub class: Class,
    pub count: u64,
    /// Arrival of the oldest, for states that are not final.
    pub oldest: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct OutboxDepth {
    pub count: u64,
    pub oldest: Option<Timestamp>,
}

// --- retention

/// What one call of a round may remove.
#[derive(Clone, Copy, Debug)]
pub struct Purge {
    /// Messages received before this; `None`: no messages.
    pub messages_before: Option<Timestamp>,
    /// Events that are older than this; `None`: no events.
    pub events_before: Option<Timestamp>,
    /// With a broker: what it has not confirmed stays, however old.
    pub keep_unconfirmed: bool,
    /// Events behind this position stay, however old: somebody is still to be told of them.
    pub told_up_to: u64,
    /// Messages, and events, that are removed at most. The store may stop earlier, to be done sooner.
    pub max: usize,
    /// Where the call before ended; [`PurgePlace::START`] at the beginning of a round.
    pub from: PurgePlace,
}

/// How far a round came, in the store's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgePlace {
    pub message: u64,
    pub event: u64,
}

impl PurgePlace {
    pub const START: Self = Self { message: 0, event: 0 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    pub messages: u64,
    pub commands: u64,
    pub events: u64,
    /// Where to go on; `None`: the round has ended.
    pub next: Option<PurgePlace>,
}

/// A secret sealed with the key file (AES-256-GCM): ciphertext with its nonce in front.
#[derive(Clone, Debug)]
pub struct SealedSecret {
    pub connection: String,
    pub kind: String,
    pub version: u64,
    pub sealed: Bytes,
    pub at: Timestamp,
}

// --- instances

/// A mapping set as an instance read it from its files.
#[derive(Clone, Debug)]
pub struct SetAnnouncement {
    pub digest: String,
    /// Made by `mapping`.
    pub archive: Bytes,
    pub instance: String,
    /// Somebody asked for it (a reload): it becomes the newest, whatever was announced before.
    pub asked_for: bool,
    pub at: Timestamp,
}

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub instance: String,
    pub version: String,
    pub mapping_set: String,
    pub started_at: Timestamp,
    pub standing: InstanceStanding,
    /// Commands that it carries out now.
    pub holds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceStanding {
    Serving,
    /// Takes nothing new and finishes what it holds.
    Draining,
    /// Ended in order.
    Stopped,
}

impl InstanceStanding {
    pub const ALL: [Self; 3] = [Self::Serving, Self::Draining, Self::Stopped];

    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceView {
    pub instance: String,
    pub version: String,
    pub mapping_set: String,
    pub started_at: Timestamp,
    pub seen_at: Timestamp,
    pub standing: InstanceStanding,
    /// It told so lately enough.
    pub alive: bool,
    pub holds: u64,
    /// Duties that it has now, by name.
    pub duties: Vec<String>,
}

/// Wanted departures of an application, and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaAsk {
    /// The client id at e-RS.
    pub application: String,
    pub calls: u32,
    /// How many calls may run ahead of the quota, for what a person waits for.
    pub ahead: u32,
    pub per_second: f64,
    pub gap_min: Duration,
}

/// What a person has found out about a write that is in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether e-RS carried it out.
    pub done: bool,
    /// What it made, where that cannot be read from what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ubrn: Option<String>,
}

impl Finding {
    /// For the history and the audit log.
    pub fn in_words(&self) -> String {
        match (self.done, &self.ubrn) {
            (true, Some(_)) => "done, as the UBRN that was named".into(),
            (true, None) => "done".into(),
            (false, _) => "not done".into(),
        }
    }
}

/// The plan with that, where delivery finds it: its `doubt.said`.
pub(super) fn with_finding(plan: Value, finding: &Finding) -> Value {
    let mut plan = match plan {
        Value::Object(plan) => plan,
        _ => Map::new(),
    };
    let doubt = plan.entry("doubt").or_insert_with(|| Map::new().into());
    if let Some(doubt) = doubt.as_object_mut() {
        doubt.insert("said".into(), serde_json::json!(finding));
    }
    plan.into()
}

/// The state in which it is taken up at once, if it is one to decide about.
pub(super) fn decided(state: &State, at: Timestamp) -> Option<State> {
    let happened = Happened::LookedInVain { look_at: Some(at) };
    state.clone().after(happened).ok()
}

/// What a plan has published besides, when the command is found in doubt: its `inDoubt`, a list of
/// `{"name": …, "data": …}`.
pub fn told_in_doubt(plan: &Value) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    let told = plan.get("inDoubt").and_then(Value::as_array).into_iter().flatten();
    told.filter_map(|event| Some((event.get("name")?.as_str()?, event.get("data")?.as_object()?)))
}
