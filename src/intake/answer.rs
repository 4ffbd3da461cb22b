//! What a transport tells the sender.

use std::time::Duration;

use bytes::Bytes;

use crate::command::{CommandId, MessageId};
use crate::mapping::Problem;
use crate::store::Stored;

#[derive(Debug)]
pub struct Answer {
    pub outcome: Outcome,
    /// The stored message; for a resend, the first one. `None` when nothing could be stored.
    pub message: Option<MessageId>,
    pub commands: Vec<CommandId>,
    pub problems: Vec<Problem>,
    /// The HL7 v2 answer; `None` where the sender wants none, or the content was not HL7 v2.
    pub hl7: Option<Bytes>,
    /// An application answer that follows on the same connection (enhanced mode).
    pub deferred: Option<DeferredReply>,
}

/// An answer made, but not given: it leaves only against the proof that what it speaks of is on disk.
#[derive(Clone, Debug)]
pub(super) struct HeldAnswer(Option<Bytes>);

impl HeldAnswer {
    pub(super) fn new(answer: Option<Bytes>) -> Self {
        Self(answer)
    }

    /// For the store to keep, so that a resend gets the same bytes.
    pub(super) fn to_be_kept(&self) -> Bytes {
        self.0.clone().unwrap_or_default()
    }

    pub(super) fn release(self, _proof: &Stored) -> Option<Bytes> {
        self.0
    }
}

impl Answer {
    /// Nothing was stored and nothing can be said but the outcome.
    pub fn bare(outcome: Outcome, problems: Vec<Problem>) -> Self {
        Self { outcome, message: None, commands: Vec::new(), problems, hl7: None, deferred: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Notice,
    /// A resend, or a referral already known.
    Duplicate,
    Rejected,
    /// No readable MSH, or not JSON at all: no HL7 answer can be made.
    Unreadable,
    /// The source is not configured.
    UnknownSource,
    /// Larger than the source allows.
    TooLarge,
    /// The store cannot take it now: ask again later.
    Unavailable,
}

impl Outcome {
    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Notice => "notice",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Unreadable => "unreadable",
            Self::UnknownSource => "unknown_source",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
        }
    }
}

/// An application answer that e-RS's outcome decides.
#[derive(Debug)]
pub struct DeferredReply {
    /// The message to answer.
    pub message: MessageId,
    /// Holds the commands whose outcome it is: the same message, or the one that it repeats.
    pub first: MessageId,
}

/// How long a connection keeps waiting to deliver a deferred answer.
pub const DEFERRED_REPLY_MAX: Duration = Duration::from_secs(300);
