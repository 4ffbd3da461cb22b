//! Where a command stands in the queue: its state, with `queued` split into ready and held.

use super::{Result, damaged};
use crate::command::{Class, State};

/// The number kept in the queue's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Queued, and the head of its thread: may be claimed.
    Ready,
    /// Queued behind another of its thread.
    Held,
    Running,
    Waiting,
    Unauthorised,
    InDoubt,
    Failed,
    Completed,
    Discarded,
    Shadowed,
}

impl Standing {
    pub(super) const ALL: [Self; 10] = [
        Self::Ready,
        Self::Held,
        Self::Running,
        Self::Waiting,
        Self::Unauthorised,
        Self::InDoubt,
        Self::Failed,
        Self::Completed,
        Self::Discarded,
        Self::Shadowed,
    ];

    /// A queued command is held until its thread is arranged.
    pub(super) fn of(state: &State) -> Self {
        match state {
            State::Queued => Self::Held,
            State::Running { .. } => Self::Running,
            State::Waiting { .. } => Self::Waiting,
            State::Unauthorised { .. } => Self::Unauthorised,
            State::InDoubt { .. } => Self::InDoubt,
            State::Failed { .. } => Self::Failed,
            State::Completed => Self::Completed,
            State::Discarded => Self::Discarded,
            State::Shadowed => Self::Shadowed,
        }
    }

    pub(super) fn code(self) -> i64 {
        self as i64
    }

    pub(super) fn from_code(code: i64) -> Result<Self> {
        usize::try_from(code)
            .ok()
            .and_then(|code| Self::ALL.get(code).copied())
            .ok_or_else(|| damaged("an unknown standing"))
    }

    /// Name of the state that it belongs to.
    pub(super) fn state_name(self) -> &'static str {
        match self {
            Self::Ready | Self::Held => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Unauthorised => "unauthorised",
            Self::InDoubt => "in_doubt",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Discarded => "discarded",
            Self::Shadowed => "shadowed",
        }
    }

    /// Nothing more will happen to it, and it holds nobody.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Discarded | Self::Shadowed)
    }

    /// A sender who waits for the outcome may be told.
    pub(super) fn is_at_rest(self) -> bool {
        self.is_final() || matches!(self, Self::Unauthorised | Self::InDoubt | Self::Failed)
    }
}

/// A place in the queue that is counted: where, how urgent, whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) standing: Standing,
    pub(super) class: Class,
    pub(super) source: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standings_keep_their_numbers_and_belong_to_known_states() {
        for (index, standing) in Standing::ALL.into_iter().enumerate() {
            assert_eq!(standing.code(), i64::try_from(index).expect("ten of them"));
            assert_eq!(Standing::from_code(standing.code()).expect("its own number"), standing);
            assert!(State::NAMES.contains(&standing.state_name()));
        }
        assert!(Standing::from_code(10).is_err());
        assert!(Standing::from_code(-1).is_err());
    }
}
