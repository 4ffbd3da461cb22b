//! How far a command's plan came: the JSON that the store keeps for it between steps and runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::command::Failure;
use crate::config::{Mode, mode_for};
use crate::mapping::{CallBody, PlanState, PreparedCall};
use crate::store::{Confirmed, Finding};

/// `{"state": …, "result": …}` and what delivery itself must remember.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanRecord {
    pub state: PlanState,
    /// What the finished plan answers to the sender.
    pub result: Value,
    /// A write was about to be sent: from then on the command's age no longer stops it.
    pub begun: bool,
    /// A write succeeded: from then on what is done stays done, and a failed command goes on where it stopped.
    pub wrote: bool,
    /// How often in a row e-RS said that what was read is old.
    #[serde(skip_serializing_if = "is_zero")]
    pub rereads: u32,
    /// That it waits at this step was told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waiting_told: bool,
    /// How often in a row it was held back because a service of it is paused.
    #[serde(skip_serializing_if = "is_zero")]
    pub held: u32,
    /// A person was told that the command is too old. Released after that, it is sent.
    pub overdue_told: bool,
    /// What PDS said of the patient, or the question that is not answered yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<PatientRecord>,
    /// Codes of the holds that a person was told. Released after that, they stop the command no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patient_told: Vec<String>,
    /// What is known of the write in doubt.
    #[serde(skip_serializing_if = "Doubt::is_nothing")]
    pub doubt: Doubt,
    /// What is told besides if a crash leaves the write in doubt that is about to be sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_doubt: Vec<Value>,
    /// A person was told that it was cancelled, or said anew, while it waited. Released after that, it is sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overtaken_told: bool,
    /// Whose it is, where it follows a command that somebody asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Whose it was made, where the message names nobody: an NHS user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responsible: Option<String>,
    /// By whose it is, after they signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Confirmed>,
    /// Who made its first write, where that was a person: nobody else goes on with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<String>,
    /// What it needs before it can go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
    /// It came in shadow mode: never sent, whatever the mode is when its turn comes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// How its source stood when it came, where services had modes of their own and it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Arrived>,
    /// The services of the command that it follows, where it names none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// In shadow mode: the calls that would have been made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preview: Vec<Value>,
}

/// Modes of a source and of its services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arrived {
    pub mode: Mode,
    pub services: BTreeMap<String, Mode>,
}

/// Who must sign in, or what must be mended, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Needs {
    pub connection: String,
    /// NHS user id, where one person alone can help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub why: String,
}

/// Of a write whose outcome is unknown. Its request and answers are attempts; what was made of them, transitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Doubt {
    /// How often e-RS was read in vain.
    pub looks: u32,
    /// How often in a row it was proved that nothing was done.
    pub undone: u32,
    /// What e-RS said, where that becomes the reason of a failure once it is proved that nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Failure>,
    /// By a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<Finding>,
    /// It was told that somebody must sign in before e-RS can be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub user_asked: bool,
}

impl Doubt {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Of the patient check: enough for an auditor, nothing of the record but a number that replaces the sender's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PatientRecord {
    /// Of the question that is not answered yet; nil if there is none.
    #[serde(skip_serializing_if = "Uuid::is_nil")]
    pub request: Uuid,
    /// When PDS answered.
    pub checked_at: Option<Timestamp>,
    pub code: String,
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl PlanRecord {
    /// Whether a command for these services came in shadow mode: it is never sent.
    pub fn came_in_shadow(&self, services: &[String]) -> bool {
        let arrived = self.arrived.as_ref().map(|arrived| mode_for(arrived.mode, &arrived.services, services));
        self.shadow || arrived == Some(Mode::Shadow)
    }

    /// `Null` is a plan that has not begun.
    pub fn from_value(stored: Value) -> serde_json::Result<Self> {
        if stored.is_null() { Ok(Self::default()) } else { serde_json::from_value(stored) }
    }

    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a plan record has only string keys")
    }
}

/// A call as it is recorded and shown: without token, a letter by its name.
pub fn shown(call: &PreparedCall, headers: &[(String, String)]) -> Value {
    let headers: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let body = match &call.body {
        CallBody::None => Value::Null,
        CallBody::Json(body) => body.clone(),
        CallBody::Letter(letter) => {
            json!({ "letter": letter.file_name, "bytes": letter.bytes, "sha256": letter.sha256 })
        }
    };
    // Not with json!, which would copy the body once more.
    let members = [
        ("call", call.call.as_str().into()),
        ("method", call.method.as_str().into()),
        ("path", call.path.as_str().into()),
        ("headers", Value::Object(headers)),
        ("body", body),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}
