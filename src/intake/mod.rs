//! The one door: every transport calls [`Intake::receive`], and only the shape of the answer differs.
//!
//! Enters: the bytes of one message, from whom, by which transport. Leaves: the answer to give.
//! Guarantees: a positive answer exists only after the message, its verdict and its commands are on disk;
//! a refused message is kept too, with every problem found.

mod admission;
mod again;
mod answer;
mod command_json;
mod continuation;
mod difference;
mod explanation;
mod fhir;
mod fhir_reading;
mod hl7v2;
mod keeping;
mod metrics;
mod numbering;
mod reading;
mod receipts;
mod reply;
mod sources;
mod taking;
mod trial;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use again::Company;
pub use again::{Again, taken_from};
pub use answer::{Answer, DEFERRED_REPLY_MAX, DeferredReply, Outcome};
pub use difference::{Change, difference};
pub use explanation::{Explanation, Reread, RereadVerdict, explain_message, reread};
pub use fhir_reading::is_fhir;
pub use metrics::IntakeMetrics;
pub use sources::{KnownSource, Sources};
pub use trial::{Trial, TrialAck, TrialCommand, try_message};

use receipts::Receipts;

use crate::command::MessageId;
use crate::config::{Delivery, EnvironmentName};
use crate::environment::Environment;
use crate::given::Given;
use crate::keys::Keys;
use crate::mapping::MappingSets;
use crate::store::{Act, DispatchContent, OwedAnswer, Store, StoreError, Transport};
use crate::telemetry::{Span, SpanKind, Traces};

/// One message as a transport received it.
#[derive(Debug)]
pub struct Inbound {
    /// `None`: MSH-3 and MSH-4 choose the source.
    pub source: Option<String>,
    pub transport: Transport,
    pub received_at: Timestamp,
    /// Who is at the other end, where a connection shows it.
    pub peer: Option<Peer>,
    pub content: Content,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: IpAddr,
    /// SHA-256 of the client certificate that it showed.
    pub certificate: Option<[u8; 32]>,
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
    /// A FHIR R4 resource, or a Bundle of them, as JSON.
    Fhir {
        bytes: Bytes,
        /// `Idempotency-Key`, or the AMQP message id.
        idempotency_key: Option<String>,
    },
}

/// The door as a transport sees it.
#[async_trait]
pub trait Receive: Send + Sync {
    async fn receive(&self, inbound: Inbound) -> Answer;
    /// The answer was written; returns at once.
    async fn acknowledged(&self, message: MessageId);
    async fn deferred(&self, reply: &DeferredReply, limit: Duration) -> Option<Bytes>;
    /// A refused message once more, because a person says so.
    async fn take_again(&self, message: MessageId, act: &Act) -> Result<Again, StoreError>;
    /// The same as one of many, which goes behind what comes in if it is not urgent.
    async fn take_again_in_bulk(&self, message: MessageId, act: &Act) -> Result<Again, StoreError>;
    /// The same with a content that a person has changed: a message of its own, linked to the first, which stays as it came.
    async fn take_edited(&self, message: MessageId, bytes: Bytes, act: &Act) -> Result<Again, StoreError>;
    /// What would become of it; nothing is stored.
    async fn would_take_again(&self, message: MessageId) -> Result<Again, StoreError>;
}

/// Everything that intake needs, made once.
pub struct IntakeParts {
    pub environment: Environment,
    pub store: Arc<dyn Store>,
    pub mappings: Arc<MappingSets>,
    pub sources: Arc<Sources>,
    pub keys: Keys,
    pub metrics: IntakeMetrics,
    /// Maximum ages by class.
    pub ages: Delivery,
    pub place: EnvironmentName,
    /// PDS is asked before a referral is made.
    pub are_patients_checked: bool,
    pub traces: Traces,
}

pub struct Intake {
    environment: Environment,
    store: Arc<dyn Store>,
    mappings: Arc<MappingSets>,
    sources: Arc<Sources>,
    keys: Keys,
    given: Given,
    metrics: IntakeMetrics,
    ages: Delivery,
    place: EnvironmentName,
    are_patients_checked: bool,
    traces: Traces,
    receipts: Arc<Receipts>,
}

impl Intake {
    pub fn new(parts: IntakeParts) -> Self {
        let IntakeParts {
            environment,
            store,
            mappings,
            sources,
            keys,
            metrics,
            ages,
            place,
            are_patients_checked,
            traces,
        } = parts;
        let receipts = Arc::new(Receipts::new(store.clone(), environment.clone()));
        let given = Given::new(&keys);
        Self {
            environment,
            store,
            mappings,
            sources,
            keys,
            given,
            metrics,
            ages,
            place,
            are_patients_checked,
            traces,
            receipts,
        }
    }

    /// Takes one message in. Never panics on its content; waits for e-RS only where the source says
    /// `reply: result`.
    pub async fn receive(&self, inbound: Inbound) -> Answer {
        let started = self.environment.instant();
        let transport = inbound.transport;
        let answer = match &inbound.content {
            Content::Hl7v2 { bytes, charset } => {
                let (bytes, charset) = (bytes.clone(), charset.clone());
                self.receive_hl7v2(&inbound, bytes, charset.as_deref()).await
            }
            Content::Command { name, bytes, idempotency_key } => {
                let (name, bytes, key) = (name.clone(), bytes.clone(), idempotency_key.clone());
                self.receive_command(&inbound, &name, bytes, key).await
            }
            Content::Fhir { bytes, idempotency_key } => {
                let (bytes, key) = (bytes.clone(), idempotency_key.clone());
                self.receive_fhir(&inbound, bytes, key).await
            }
        };
        self.metrics.took(transport, answer.outcome, started.elapsed());
        self.trace(&inbound, &answer);
        answer
    }

    /// The first span of a message's trace: that of one which is known already came with the first.
    fn trace(&self, inbound: &Inbound, answer: &Answer) {
        let Some(message) = answer.message.filter(|message| self.traces.has(*message)) else { return };
        if answer.outcome == Outcome::Duplicate {
            return;
        }
        let span = Span {
            id: message.0,
            parent: None,
            name: "receive".into(),
            kind: SpanKind::Server,
            from: inbound.received_at,
            to: self.environment.now(),
            attributes: vec![
                ("messaging.system", inbound.transport.name().into()),
                ("gateway.outcome", answer.outcome.name().into()),
                ("gateway.commands", (answer.commands.len() as i64).into()),
            ],
            failed: (answer.outcome == Outcome::Rejected).then(|| answer.outcome.name().to_owned()),
        };
        self.traces.tell(message, span);
    }

    /// The sender has its answer (promise 6: told apart from what e-RS did).
    pub fn acknowledged(&self, message: MessageId) {
        self.receipts.note(message);
    }
}

/// What came of making an application answer that is owed.
pub enum AnswerMade {
    Message(DispatchContent),
    /// The sender wants none of this outcome.
    NotWanted,
    /// The outcome is not known any more: a command was released again meanwhile.
    NotYet,
    /// Why it never can be made. No patient data.
    Unmade(String),
}

/// Makes application answers that go over a connection of the gateway's own.
#[async_trait]
pub trait MakeAnswers: Send + Sync {
    /// The answer to a message whose outcome is known. `wants_commit`: MSH-15 asks the receiver for a commit answer.
    async fn make_answer(&self, owed: &OwedAnswer, wants_commit: bool) -> Result<AnswerMade, StoreError>;
}

#[async_trait]
impl MakeAnswers for Intake {
    async fn make_answer(&self, owed: &OwedAnswer, wants_commit: bool) -> Result<AnswerMade, StoreError> {
        self.answer_owed(owed, wants_commit).await
    }
}

#[async_trait]
impl Receive for Intake {
    async fn receive(&self, inbound: Inbound) -> Answer {
        Self::receive(self, inbound).await
    }

    async fn acknowledged(&self, message: MessageId) {
        Self::acknowledged(self, message);
    }

    async fn deferred(&self, reply: &DeferredReply, limit: Duration) -> Option<Bytes> {
        Self::deferred(self, reply, limit).await
    }

    async fn take_again(&self, message: MessageId, act: &Act) -> Result<Again, StoreError> {
        Self::take_again(self, message, None, Some((act, Company::Alone))).await
    }

    async fn take_again_in_bulk(&self, message: MessageId, act: &Act) -> Result<Again, StoreError> {
        Self::take_again(self, message, None, Some((act, Company::OneOfMany))).await
    }

    async fn take_edited(&self, message: MessageId, bytes: Bytes, act: &Act) -> Result<Again, StoreError> {
        Self::take_again(self, message, Some(bytes), Some((act, Company::Alone))).await
    }

    async fn would_take_again(&self, message: MessageId) -> Result<Again, StoreError> {
        Self::take_again(self, message, None, None).await
    }
}
