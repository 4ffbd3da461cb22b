//! What the store has of a patient, found by the keyed digest of the NHS number; and what retention leaves alone because
//! a person said so.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Act, Result};
use crate::command::MessageId;

/// Keyed digest of an NHS number: whoever has the rows alone cannot tell whose they are.
pub type PatientDigest = [u8; 32];

/// Kept until it is lifted, however old: with all of its referral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegalHold {
    pub id: Uuid,
    pub on: Held,
    pub at: Timestamp,
    pub by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Message(MessageId),
    /// What is there, and what will come.
    Patient(PatientDigest),
}

impl LegalHold {
    /// In the audit log.
    pub(super) const PUT: &'static str = "put legal hold";
    pub(super) const LIFTED: &'static str = "lift legal hold";

    pub(super) fn subject(&self) -> String {
        match self.on {
            Held::Message(message) => format!("legal hold {} on message {message}", self.id),
            Held::Patient(_) => format!("legal hold {} on a patient", self.id),
        }
    }
}

/// Whether the body of a command is about one of these patients (NHS numbers, or local ids).
pub(super) fn is_about(body: &Value, ids: &[String]) -> bool {
    let patient = &body["patient"];
    let local = patient["localIds"].as_array().into_iter().flatten();
    let named = patient["nhsNumber"].as_str().into_iter().chain(local.filter_map(Value::as_str));
    named.into_iter().any(|id| ids.iter().any(|wanted| wanted == id))
}

/// A message with its place in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedMessage {
    pub number: u64,
    pub id: MessageId,
}

#[async_trait]
pub trait PatientStore: Send + Sync {
    /// Messages that mention the patient, or have an answer of e-RS that does, and all others of their referrals: from
    /// behind a place, in the order of arrival.
    async fn messages_of_patient(&self, patient: PatientDigest, after: u64, max: usize) -> Result<Vec<PlacedMessage>>;
    /// Messages of versions that did not note whom they mention.
    async fn unread_messages(&self, after: u64, max: usize) -> Result<Vec<PlacedMessage>>;
    /// Whom such a message mentions.
    async fn note_mentions(&self, message: MessageId, patients: Vec<PatientDigest>) -> Result<()>;

    /// With a row of the audit log in the same commit. `NotFound` if there is no such message.
    async fn put_legal_hold(&self, hold: LegalHold, act: Act) -> Result<()>;
    async fn lift_legal_hold(&self, id: Uuid, act: Act) -> Result<()>;
    /// The oldest first.
    async fn legal_holds(&self) -> Result<Vec<LegalHold>>;
    /// Whether some hold keeps this message.
    async fn is_held(&self, message: MessageId) -> Result<bool>;
}

/// Messages of some patients or holds, and threads with a command of one of them, those included that were merged into one.
/// For both stores: `{messages}` stands for the messages to begin with, `{first}` for the number of a message's first command.
/// `CROSS JOIN`: SQLite keeps its order, so that it begins with the few and never goes through all messages or threads.
pub(super) const THEIRS: &str = "WITH RECURSIVE begun (number) AS MATERIALIZED ({messages}),
     of_thread (number) AS (
       SELECT c.thread FROM begun b CROSS JOIN message m CROSS JOIN command c
       WHERE m.number = b.number AND c.number >= {first} AND c.number < {first} + m.commands
       UNION SELECT t.number FROM of_thread o CROSS JOIN thread t WHERE t.merged_into = o.number
     )";

/// The messages of all holds.
pub(super) const HELD_MESSAGES: &str = "SELECT m.number FROM legal_hold h CROSS JOIN message m WHERE m.id = h.message
       UNION SELECT p.message FROM legal_hold h CROSS JOIN mention p WHERE p.patient = h.patient";

/// Of a `message m`, after [`THEIRS`].
pub(super) const IS_THEIRS: &str = "(m.number IN (SELECT number FROM begun) OR EXISTS (
       SELECT 1 FROM command c CROSS JOIN of_thread o
       WHERE c.number >= {first} AND c.number < {first} + m.commands AND o.number = c.thread
     ))";

/// Of an event's `thread`, after [`THEIRS`]: a message without a command is a thread of its own.
pub(super) const THREADS_OF_EVENTS: &str = "SELECT t.id FROM of_thread o CROSS JOIN thread t WHERE t.number = o.number
     UNION SELECT m.id FROM begun b CROSS JOIN message m WHERE m.number = b.number";

/// After [`THEIRS`]: `number` and `id` of the messages, those of others in the same threads included.
pub(super) const MESSAGES_OF_THREADS: &str = "SELECT m.number, m.id FROM begun b CROSS JOIN message m
       WHERE m.number = b.number
     UNION SELECT m.number, m.id FROM of_thread o CROSS JOIN command c CROSS JOIN message m
       WHERE c.thread = o.number AND m.id = c.message";
