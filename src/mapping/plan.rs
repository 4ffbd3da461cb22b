//! The shapes in which a plan meets delivery: what to call next, and what came back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply_body::ReplyBody;
use super::worklist::FetchedList;

/// How far a plan came. Kept by the store between steps; opaque to everyone but this module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanState {
    /// Index of the next step.
    pub step: usize,
    /// Index within a step that repeats (`each`).
    pub item: usize,
    /// What earlier replies left: names declared by `save`.
    #[serde(default)]
    pub saved: serde_json::Map<String, Value>,
    /// Index of a step that e-RS refused because what was read before it is old by now: that is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<usize>,
    /// The pause before the step at hand is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waited: bool,
    /// A worklist that was read, and is not compared yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<FetchedList>,
}

/// Where a plan finds what comparing its worklist found: `{"new", "changed", "listed", "left"}`, how many of each.
pub const CHANGES: &str = "changes";

/// One e-RS request, ready to be sent but for token, host and pacing.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedCall {
    /// Name of the step, with its index if it repeats: `create`, `upload[1]`.
    pub step: String,
    /// `A011`
    pub call: String,
    pub method: String,
    /// Relative to the connection's base, query included: `/STU3/ReferralRequest/$ers.createReferral`.
    pub path: String,
    /// Those of this call (`If-Match`, `NHSD-eRS-File-Name`); the connection adds its own.
    pub headers: Vec<(String, String)>,
    pub body: CallBody,
    /// For an operation that may be called so often a day: what it counts for.
    pub counts_for: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CallBody {
    None,
    /// `application/fhir+json`
    Json(Value),
    /// The bytes of a letter, streamed from the store.
    Letter(Letter),
}

/// A handle to a letter: never the letter itself. This is how letters stand in a command's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// With an extension that A020 accepts.
    pub file_name: String,
    /// Agrees with the extension.
    pub content_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// FHIR instant for `DocumentReference.indexed`; the time of upload if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexed: Option<String>,
    /// Size after decoding.
    pub bytes: u64,
    /// Hex, of the decoded bytes.
    pub sha256: String,
    pub content: LetterContent,
}

/// Where a letter's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "camelCase")]
pub enum LetterContent {
    /// Base64 inside the message. Offset and length are in the message's text: the raw bytes when its
    /// charset is UTF-8 or ASCII, else the decoded text. Several ranges (a letter split over
    /// repetitions or segments) are joined before decoding; white space and `\.br\`, `\X0D\`, `\X0A\`
    /// escapes inside are skipped.
    #[serde(rename_all = "camelCase")]
    Message { base64: Vec<(u64, u64)> },
    /// A document that intake made from the message.
    Document { number: u32 },
}

/// What the plan wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum NextCall {
    Call(Box<PreparedCall>),
    /// Nothing for so long; then asked again, with `waited` set.
    Pause(Duration),
    /// Nothing is left to call.
    Done(Box<PlanEnd>),
}

/// What a plan leaves when all its calls are done.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanEnd {
    /// Answers the sender.
    pub result: Value,
    pub follow: Vec<FollowUp>,
    pub events: Vec<PlanEvent>,
    /// Remembered for the whole thread.
    pub known: serde_json::Map<String, Value>,
}

/// A command that a finished plan has carried out next, apart from its thread.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowUp {
    pub command: String,
    pub body: Value,
}

/// An answer of e-RS with a success status, for `save`.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: ReplyBody,
    /// What came in the place of JSON.
    pub document: Option<Document>,
}

/// A document that e-RS answered with (a PDF): what it is, not its bytes, which stay with the attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub content_type: String,
    pub bytes: u64,
    /// Hex.
    pub sha256: String,
}

/// An event that a step or the whole plan publishes.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanEvent {
    pub name: String,
    pub data: Value,
}
