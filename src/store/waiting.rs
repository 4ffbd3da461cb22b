//! What waits for a person to sign in, and what a person says of it.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Act, CommandView, OpenCommand, Result};
use crate::command::{CommandId, Happened, State};

/// What somebody says of a command that is not carried out yet. It stands in the plan, where delivery finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Whose command it is wants it sent: although it is older than its class allows (`late`), although something came
    /// after it that speaks against it (`overtaken`), and whatever these codes say of the patient (`told`).
    Confirms { user: String, late: bool, overtaken: bool, told: Vec<String> },
    /// Whose it is from now on, where the message names nobody.
    IsFor { user: String },
}

/// Who confirmed a command, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    pub user: String,
    pub at: Timestamp,
}

impl Word {
    pub(super) fn act(&self) -> &'static str {
        match self {
            Self::Confirms { .. } => "confirm",
            Self::IsFor { .. } => "assign",
        }
    }

    /// For the audit log: of whom it was said.
    pub(super) fn in_words(&self, why: &str) -> String {
        match self {
            Self::Confirms { user, late: false, .. } => format!("user {user} confirms it: {why}"),
            Self::Confirms { user, late: true, .. } => format!("user {user} confirms it, late as it is: {why}"),
            Self::IsFor { user } => format!("for user {user}: {why}"),
        }
    }

    /// The state that it brings about; `None` where the word is for commands that have not begun.
    pub(super) fn after(&self, state: &State) -> Option<State> {
        match (self, state) {
            (Self::Confirms { .. }, State::Unauthorised { .. }) => state.clone().after(Happened::Released).ok(),
            (Self::Confirms { .. }, State::Queued)
            | (Self::IsFor { .. }, State::Queued | State::Unauthorised { .. }) => Some(state.clone()),
            _ => None,
        }
    }

    /// The plan with it. What PDS said of the patient is old by now, and is asked again.
    pub(super) fn noted_in(&self, plan: Value, at: Timestamp) -> Value {
        let mut plan = match plan {
            Value::Object(plan) => plan,
            _ => Map::new(),
        };
        match self {
            Self::Confirms { user, late, overtaken, told } => {
                plan.insert("confirmed".into(), serde_json::json!(Confirmed { user: user.clone(), at }));
                if let Some(patient) = plan.get_mut("patient").and_then(Value::as_object_mut) {
                    patient.remove("checkedAt");
                }
                if !told.is_empty() {
                    plan.insert("patientTold".into(), told.clone().into());
                }
                for (is_told, member) in [(late, "overdueTold"), (overtaken, "overtakenTold")] {
                    if *is_told {
                        plan.insert(member.into(), true.into());
                    }
                }
            }
            Self::IsFor { user } => {
                plan.insert("responsible".into(), user.as_str().into());
            }
        }
        plan.into()
    }
}

/// What people who sign in need.
#[async_trait]
pub trait WaitingStore: Send + Sync {
    /// Commands that need a session, and those queued behind them in their threads; in the order in which they came.
    async fn waiting(&self, max: usize) -> Result<Vec<CommandView>>;
    /// What is not finished in the thread of a command and came after it, in order.
    async fn behind(&self, command: CommandId) -> Result<Vec<OpenCommand>>;
    /// Notes it in the plan, with a row of the audit log in the same commit; a command that was confirmed and needed a
    /// session goes back into the queue. `Outdated` if it is under way, or at rest.
    async fn say(&self, command: CommandId, word: Word, act: Act) -> Result<()>;
}
