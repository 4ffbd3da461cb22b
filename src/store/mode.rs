//! What people have switched: modes of sources and of their services, pauses of connections and destinations.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Noted, Result, StoreError, damaged};
use crate::config::Mode;

/// What is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwitchKind {
    Source,
    /// To e-RS.
    Connection,
    /// A hospital system that is sent messages, or a folder that gets documents.
    Destination,
}

impl SwitchKind {
    pub const ALL: [Self; 3] = [Self::Source, Self::Connection, Self::Destination];

    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Connection => "connection",
            Self::Destination => "destination",
        }
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| damaged("an unknown kind of switch"))
    }
}

/// One decision: from then on, this mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switch {
    /// Of a source, one service of it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    pub mode: Mode,
    pub from: Timestamp,
    pub by: String,
    /// As it was typed.
    pub why: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// Everything that stands switched at one target; without any, its settings hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    pub kind: SwitchKind,
    pub name: String,
    /// Grows with each decision; 0 before the first.
    pub version: u64,
    pub switches: Vec<Switch>,
}

impl Switched {
    pub fn nothing(kind: SwitchKind, name: &str) -> Self {
        Self { kind, name: name.to_owned(), version: 0, switches: Vec::new() }
    }
}

/// What people switch, and what all instances obey.
#[async_trait]
pub trait ModeStore: Send + Sync {
    /// Of every target that was ever switched.
    async fn switched(&self) -> Result<Vec<Switched>>;
    /// Takes the place of what stood there at the version before, with its row in the audit log. `Outdated` if somebody
    /// else has decided since.
    async fn switch(&self, switched: Switched, noted: Noted) -> Result<()>;
}

/// Somebody else was quicker.
pub(super) fn decided_meanwhile(switched: &Switched) -> StoreError {
    StoreError::Outdated(format!("somebody else has switched {} {} meanwhile", switched.kind.name(), switched.name))
}
