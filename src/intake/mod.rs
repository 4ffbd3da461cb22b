//! The one door: every transport calls [`Intake::receive`], and only the shape of the answer differs.
//!
//! Enters: the bytes of one message, from whom, by which transport. Leaves: the answer to give.
//! Guarantees: a positive answer exists only after the message, its verdict and its commands are on disk;
//! a refused message is kept too, with every problem found.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::command::{CommandId, MessageId};
use crate::mapping::Problem;
use crate::store::Transport;

/// One message as a transport received it.
#[derive(Debug)]
pub struct Inbound {
    /// `None`: MSH-3 and MSH-4 choose the source.
    pub source: Option<String>,
    pub transport: Transport,
    pub received_at: Timestamp,
    pub content: Content,
}

#[derive(Debug)]
pub enum Content {
    /// One HL7 v2 message (or an FHS/BHS batch), without MLLP framing.
    Hl7v2 {
        bytes: Bytes,
        /// `charset` of the Content-Type, which overrides MSH-18 (HL7 over HTTP).
        charset: Option<String>,
    },
    /// A canonical command as JSON.
    Command {
        name: String,
        bytes: Bytes,
        /// `Idempotency-Key`, or the AMQP message id.
        idempotency_key: Option<String>,
    },
}

/// What the transport tells the sender.
#[derive(Debug)]
pub struct Answer {
    pub outcome: Outcome,
    /// The stored message; for a resend, the first one. `None` when nothing could be stored.
    pub message: Option<MessageId>,
    pub commands: Vec<CommandId>,
    pub problems: Vec<Problem>,
    /// The HL7 v2 answer; `None` where the sender wants none, or the content was not HL7 v2.
    pub hl7: Option<Bytes>,
    /// An application answer that follows on the same connection (enhanced mode, or `reply: result`
    /// that fell back to *stored*).
    pub deferred: Option<DeferredReply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Notice,
    /// A resend, or a referral already known.
    Duplicate,
    Rejected,
    /// No readable MSH, or not JSON at all: stored as rejected, but no HL7 answer can be made.
    Unreadable,
    /// The source is not configured.
    UnknownSource,
    /// Larger than the source allows.
    TooLarge,
    /// The store cannot take it now: ask again later.
    Unavailable,
}

/// An application answer that e-RS's outcome decides.
#[derive(Debug)]
pub struct DeferredReply {
    pub message: MessageId,
}

/// How long a connection keeps waiting to deliver a deferred answer.
pub const DEFERRED_REPLY_MAX: Duration = Duration::from_secs(300);

/// The door as a transport sees it.
#[async_trait]
pub trait Receive: Send + Sync {
    async fn receive(&self, inbound: Inbound) -> Answer;
    async fn acknowledged(&self, message: MessageId);
    async fn deferred(&self, reply: &DeferredReply, limit: Duration) -> Option<Bytes>;
}

pub struct Intake {}

impl Intake {
    /// Takes one message in. Never panics on its content; never waits for e-RS unless the source says
    /// `reply: result`.
    pub async fn receive(&self, _inbound: Inbound) -> Answer {
        Answer {
            outcome: Outcome::Unavailable,
            message: None,
            commands: Vec::new(),
            problems: Vec::new(),
            hl7: None,
            deferred: None,
        }
    }

    /// The application answer, once the message's commands came to rest; `None` if the sender wants none
    /// for this outcome, or `limit` passed.
    pub async fn deferred(&self, _reply: &DeferredReply, _limit: Duration) -> Option<Bytes> {
        None
    }
}
