//! The class of a command: who waits for it, and how urgently. Orders the queue (`design.md` section 8).

use serde::{Deserialize, Serialize};

/// Highest first. Delivery takes a higher class first, but starves none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A person or a sender waits for the answer.
    Interactive,
    TwoWeekWait,
    Urgent,
    Routine,
    Poll,
    Bulk,
}

impl Class {
    pub const ALL: [Self; 6] =
        [Self::Interactive, Self::TwoWeekWait, Self::Urgent, Self::Routine, Self::Poll, Self::Bulk];

    /// From an e-RS priority code (`eRS-Priority-1`); what is not known is routine.
    pub fn of_priority(code: &str) -> Self {
        match code {
            "TWO_WEEK_WAIT" => Self::TwoWeekWait,
            "URGENT" => Self::Urgent,
            _ => Self::Routine,
        }
    }

    /// That of a command which is one of many that are replayed: what was not in a hurry goes behind what comes in.
    pub fn in_bulk(self) -> Self {
        match self {
            Self::Routine | Self::Poll => Self::Bulk,
            Self::Interactive | Self::TwoWeekWait | Self::Urgent | Self::Bulk => self,
        }
    }

    /// Name in metrics, rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::TwoWeekWait => "two_week_wait",
            Self::Urgent => "urgent",
            Self::Routine => "routine",
            Self::Poll => "poll",
            Self::Bulk => "bulk",
        }
    }

    /// 0 is the most urgent; the number kept in the store's index.
    pub fn rank(self) -> u8 {
        self as u8
    }

    pub fn from_rank(rank: u8) -> Option<Self> {
        Self::ALL.get(usize::from(rank)).copied()
    }
}
