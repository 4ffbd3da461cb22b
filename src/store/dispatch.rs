//! Messages of the gateway to hospital systems, from the moment that one is owed until its receiver has answered.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{Act, Result};
use crate::command::{DispatchId, MessageId};

/// An application answer that is sent over a connection of the gateway's own, once the outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedAnswer {
    /// Whose sender is told.
    pub message: MessageId,
    /// The message whose commands are waited for: an earlier one, where this one repeats its referral.
    pub outcome_of: MessageId,
    pub destination: String,
    pub at: Timestamp,
}

/// A message to a hospital system.
#[derive(Clone, Debug)]
pub struct NewDispatch {
    pub id: DispatchId,
    /// The message that it answers, or the event that it tells.
    pub subject: String,
    /// Position of the event that it tells; an answer has none.
    pub event: Option<u64>,
    pub at: Timestamp,
    pub made: Made,
}

/// What came of making one.
#[derive(Clone, Debug)]
pub enum Made {
    Message(DispatchContent),
    /// Why it could not be made. No patient data.
    Unmade(String),
}

/// A message as it is sent, and sent again: always the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchContent {
    /// `REF^I12`
    pub kind: String,
    /// MSH-10, by which its answer is known.
    pub control_id: String,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DispatchState {
    /// Not sent, or sent and not answered.
    Waiting,
    Delivered,
    /// The receiver refused it: a person looks, and sends it again or sets it aside.
    Refused,
    /// It could not be made.
    Unmade,
    Discarded,
}

impl DispatchState {
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Delivered, Self::Refused, Self::Unmade, Self::Discarded];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Unmade => "unmade",
            Self::Discarded => "discarded",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// A person decides about it.
    pub fn waits_for_a_person(self) -> bool {
        matches!(self, Self::Refused | Self::Unmade)
    }
}

/// One that is to be sent now.
#[derive(Clone, Debug)]
pub struct DueDispatch {
    pub id: DispatchId,
    pub event: Option<u64>,
    /// How often it was sent, or tried to be.
    pub tries: u32,
    /// After how many of these its receiver said "not now".
    pub put_off: u32,
    /// `None`: to be made anew.
    pub content: Option<DispatchContent>,
}

/// What became of a try.
#[derive(Clone, Debug)]
pub struct DispatchStep {
    pub id: DispatchId,
    pub at: Timestamp,
    pub state: DispatchState,
    pub tries: u32,
    pub put_off: u32,
    /// In words; the receiver's own among them. No patient data of ours.
    pub why: String,
}

/// How far a destination was told of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldPlace {
    pub destination: String,
    pub position: u64,
    /// Since when it is not in the settings any more.
    pub left_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize)]
pub struct DispatchView {
    pub id: DispatchId,
    pub destination: String,
    pub kind: String,
    pub control_id: String,
    pub subject: String,
    pub state: DispatchState,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub tries: u32,
    pub why: String,
    pub size: u64,
    /// Its place in the order of all, for paging.
    #[serde(skip)]
    pub number: u64,
}

#[derive(Clone, Debug, Default)]
pub struct DispatchFilter {
    pub destination: Option<String>,
    pub state: Option<DispatchState>,
    /// Newest first, before this one.
    pub before: Option<DispatchId>,
    pub max: usize,
}

/// How much stands where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchDepth {
    pub destination: String,
    pub state: DispatchState,
    pub count: u64,
    /// When the oldest was made.
    pub oldest: Option<Timestamp>,
}

impl DispatchDepth {
    /// It is to be sent by itself.
    pub fn is_waiting(&self) -> bool {
        self.state == DispatchState::Waiting
    }
}

/// What intake, the outbound room and people need of it.
#[async_trait]
pub trait DispatchStore: Send + Sync {
    /// Remembers that an answer is owed, once a message.
    async fn owe_answer(&self, owed: OwedAnswer) -> Result<()>;
    /// Answers that are owed and whose outcome is known, oldest first.
    async fn answers_due(&self, max: usize) -> Result<Vec<OwedAnswer>>;
    /// The answer to a message is made, or the sender wants none of this outcome. False if that was so before.
    async fn settle_answer(&self, message: MessageId, answer: Option<NewDispatch>, at: Timestamp) -> Result<bool>;

    /// Up to which event a destination was told; `None`: it is new.
    async fn told_up_to(&self, destination: &str) -> Result<Option<u64>>;
    /// The same of all that were ever told.
    async fn told(&self) -> Result<Vec<ToldPlace>>;
    /// A destination is not in the settings any more. Nothing if that is known, or if it was never told.
    async fn leave_told(&self, destination: &str, at: Timestamp) -> Result<()>;
    /// What a destination is told of the events up to `to`, in their order; it is in the settings, then. False if it was not
    /// told up to `from`.
    async fn tell(&self, destination: &str, from: Option<u64>, to: u64, dispatches: Vec<NewDispatch>) -> Result<bool>;

    /// Those that a destination has to get next, in order.
    async fn due_dispatches(&self, destination: &str, max: usize) -> Result<Vec<DueDispatch>>;
    /// One that was to be made anew.
    async fn make_dispatch(&self, id: DispatchId, content: DispatchContent) -> Result<()>;
    /// What became of it. One that does not wait any more stays as it is.
    async fn step_dispatch(&self, step: DispatchStep) -> Result<()>;

    /// Whether there is, or was, one with this control id to a destination.
    async fn was_dispatched(&self, destination: &str, control_id: &str) -> Result<bool>;
    async fn dispatch(&self, id: DispatchId) -> Result<Option<DispatchView>>;
    async fn dispatches(&self, filter: DispatchFilter) -> Result<Vec<DispatchView>>;
    /// The message as it is sent; empty if it could not be made.
    async fn dispatch_content(&self, id: DispatchId) -> Result<Bytes>;
    /// What is not delivered and not set aside.
    async fn dispatch_depths(&self) -> Result<Vec<DispatchDepth>>;

    /// One that was refused, or could not be made, is sent again before those made after it. `Outdated` if it is
    /// neither.
    async fn replay_dispatch(&self, id: DispatchId, act: Act) -> Result<()>;
    /// One that is not delivered is given up. `Outdated` if it was, or was given up before.
    async fn discard_dispatch(&self, id: DispatchId, act: Act) -> Result<()>;

    /// Removes what was delivered or given up, and answers that were settled, before a time. Returns how many rows.
    async fn purge_dispatches(&self, before: Timestamp, max: usize) -> Result<u64>;
}
