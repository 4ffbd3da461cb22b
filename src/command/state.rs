//! The life of a command and the verdict on a message (`design.md` section 6): one enum each,
//! transitions in one function, so that a new state makes the compiler list every place to visit.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What intake decided about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its commands are in the queue.
    Accepted,
    /// Refused with every problem found, and kept.
    Rejected,
    /// Already known: answered from the record.
    Duplicate,
    /// A fact for the record: an event, no command.
    Notice,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Rejected, Self::Duplicate, Self::Notice];

    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Duplicate => "duplicate",
            Self::Notice => "notice",
        }
    }
}

/// Where a command stands. Serialised as a tagged object into the command's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Waits its turn.
    Queued,
    /// Leased by an instance, at a step.
    Running {
        step: String,
    },
    /// Will be tried again at a time.
    Waiting {
        step: String,
        until: Timestamp,
        why: WaitReason,
    },
    /// Needs a user's session.
    Unauthorised {
        step: String,
        since: Timestamp,
    },
    /// A write was sent and its outcome is unknown.
    InDoubt {
        step: String,
        since: Timestamp,
    },
    /// Refused by e-RS, expired or superseded; waits for a person.
    Failed {
        why: Failure,
    },
    Completed,
    Discarded,
    /// Everything was done but the sending.
    Shadowed,
}

/// Why a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// 429: the quota of the application is used up.
    Throttled,
    /// 423: e-RS or a user holds the record.
    Locked,
    /// 503, 500 or no answer to a read, or no connection before anything was sent.
    Unavailable,
    /// The token server did not give a token.
    NoToken,
    /// The breaker for this group of operations is open.
    BreakerOpen,
    /// Its plan asks e-RS no sooner.
    Planned,
}

/// Why a command failed, in codes that are safe for metrics and events. `text` is for people and
/// names fields and codes, never the patient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A bounded code: an e-RS error code, or one of ours (`EXPIRED`, `RESENT_WITH_A_CHANGE`, `MAPPING`, …).
    pub code: String,
    pub text: String,
}

/// What happened to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    Claimed {
        step: String,
    },
    StepDone {
        next: Option<String>,
    },
    Deferred {
        until: Timestamp,
        why: WaitReason,
    },
    NotAuthorised {
        since: Timestamp,
    },
    Unanswered {
        since: Timestamp,
    },
    ProvedDone {
        next: Option<String>,
    },
    ProvedNotDone,
    Refused {
        why: Failure,
    },
    /// The lease ended without a write in flight.
    LeaseExpired,
    Replayed,
    Released,
    Discarded,
    Shadowed,
}

#[derive(Debug, thiserror::Error)]
#[error("a command that is {from:?} cannot take {by:?}")]
pub struct IllegalStep {
    pub from: State,
    pub by: Happened,
}

impl State {
    /// The state after `happened`, or why that cannot be.
    pub fn after(self, happened: Happened) -> Result<Self, IllegalStep> {
        use Happened as H;
        use State as S;
        Ok(match (self, happened) {
            (S::Queued | S::Waiting { .. }, H::Claimed { step }) => S::Running { step },
            (S::Running { .. }, H::StepDone { next: Some(step) }) => S::Running { step },
            (S::Running { .. }, H::StepDone { next: None }) => S::Completed,
            (S::Running { step }, H::Deferred { until, why }) => S::Waiting { step, until, why },
            (S::Running { step }, H::NotAuthorised { since }) => S::Unauthorised { step, since },
            (S::Running { step }, H::Unanswered { since }) => S::InDoubt { step, since },
            (S::Running { .. }, H::LeaseExpired) => S::Queued,
            (S::Running { .. } | S::Queued, H::Shadowed) => S::Shadowed,
            (S::InDoubt { .. }, H::ProvedDone { next: Some(step) }) => S::Running { step },
            (S::InDoubt { .. }, H::ProvedDone { next: None }) => S::Completed,
            (S::InDoubt { .. }, H::ProvedNotDone) | (S::Failed { .. }, H::Replayed) => S::Queued,
            (S::Unauthorised { .. }, H::Released) => S::Queued,
            (
                S::Queued | S::Running { .. } | S::Waiting { .. } | S::InDoubt { .. } | S::Unauthorised { .. },
                H::Refused { why },
            ) => S::Failed { why },
            (
                S::Queued | S::Waiting { .. } | S::Unauthorised { .. } | S::InDoubt { .. } | S::Failed { .. },
                H::Discarded,
            ) => S::Discarded,
            (from, by) => return Err(IllegalStep { from, by }),
        })
    }

    pub const NAMES: [&'static str; 9] =
        ["queued", "running", "waiting", "unauthorised", "in_doubt", "failed", "completed", "discarded", "shadowed"];

    /// Name in metrics, rows and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running { .. } => "running",
            Self::Waiting { .. } => "waiting",
            Self::Unauthorised { .. } => "unauthorised",
            Self::InDoubt { .. } => "in_doubt",
            Self::Failed { .. } => "failed",
            Self::Completed => "completed",
            Self::Discarded => "discarded",
            Self::Shadowed => "shadowed",
        }
    }

    /// Nothing more will happen to it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Completed | Self::Discarded | Self::Shadowed)
    }

    /// Holds what follows in its thread, under the default setting `hold` for failures.
    pub fn holds_followers(&self) -> bool {
        !self.is_final()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure { code: "INVALID_VALUE".into(), text: "e-RS refused a field".into() }
    }

    #[test]
    fn a_command_in_doubt_is_never_simply_sent_again() {
        let since = Timestamp::UNIX_EPOCH;
        let doubt = State::InDoubt { step: "create".into(), since };
        assert!(doubt.clone().after(Happened::Claimed { step: "create".into() }).is_err());
        assert!(doubt.clone().after(Happened::Replayed).is_err());
        assert_eq!(doubt.after(Happened::ProvedNotDone).expect("the only way back"), State::Queued);
    }

    #[test]
    fn ended_commands_stay_ended() {
        for ended in [State::Completed, State::Discarded, State::Shadowed] {
            assert!(ended.is_final());
            for happened in [
                Happened::Claimed { step: "create".into() },
                Happened::Replayed,
                Happened::Discarded,
                Happened::Refused { why: failure() },
            ] {
                assert!(ended.clone().after(happened.clone()).is_err(), "{ended:?} took {happened:?}");
            }
        }
    }

    #[test]
    fn every_state_has_its_name_in_the_list() {
        let since = Timestamp::UNIX_EPOCH;
        let step = || "s".to_owned();
        let all = [
            State::Queued,
            State::Running { step: step() },
            State::Waiting { step: step(), until: since, why: WaitReason::Locked },
            State::Unauthorised { step: step(), since },
            State::InDoubt { step: step(), since },
            State::Failed { why: failure() },
            State::Completed,
            State::Discarded,
            State::Shadowed,
        ];
        assert_eq!(all.map(|state| state.name()), State::NAMES);
    }
}
