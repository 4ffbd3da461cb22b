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
        /// When e-RS is read to find out. Without it nothing more can be read: a person decides.
        #[serde(default, rename = "lookAt", skip_serializing_if = "Option::is_none")]
        look_at: Option<Timestamp>,
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
    /// A service that it is for is paused.
    Paused,
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
        look_at: Option<Timestamp>,
    },
    /// e-RS was read, or could not be, and nothing is proved.
    LookedInVain {
        look_at: Option<Timestamp>,
    },
    /// What was in doubt was done: the plan goes on behind it.
    ProvedDone,
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
            (S::Running { step }, H::Unanswered { since, look_at }) => S::InDoubt { step, since, look_at },
            (S::Running { .. }, H::LeaseExpired) => S::Queued,
            (S::Running { .. } | S::Queued, H::Shadowed) => S::Shadowed,
            (S::InDoubt { step, since, .. }, H::LookedInVain { look_at }) => S::InDoubt { step, since, look_at },
            (S::InDoubt { .. }, H::ProvedDone | H::ProvedNotDone) | (S::Failed { .. }, H::Replayed) => S::Queued,
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

    /// Whether a command can come from a state of one name into one of the other, whatever happens.
    pub fn can_follow(from: &str, to: &str) -> bool {
        let at = Timestamp::UNIX_EPOCH;
        let step = String::new;
        let why = || Failure { code: String::new(), text: String::new() };
        let states = [
            Self::Queued,
            Self::Running { step: step() },
            Self::Waiting { step: step(), until: at, why: WaitReason::Planned },
            Self::Unauthorised { step: step(), since: at },
            Self::InDoubt { step: step(), since: at, look_at: None },
            Self::Failed { why: why() },
            Self::Completed,
            Self::Discarded,
            Self::Shadowed,
        ];
        let happenings = [
            Happened::Claimed { step: step() },
            Happened::StepDone { next: Some(step()) },
            Happened::StepDone { next: None },
            Happened::Deferred { until: at, why: WaitReason::Planned },
            Happened::NotAuthorised { since: at },
            Happened::Unanswered { since: at, look_at: None },
            Happened::LookedInVain { look_at: None },
            Happened::ProvedDone,
            Happened::ProvedNotDone,
            Happened::Refused { why: why() },
            Happened::LeaseExpired,
            Happened::Replayed,
            Happened::Released,
            Happened::Discarded,
            Happened::Shadowed,
        ];
        let mut befores = states.iter().filter(|state| state.name() == from);
        befores.any(|before| {
            let mut afters = happenings.iter().filter_map(|happened| before.clone().after(happened.clone()).ok());
            afters.any(|after| after.name() == to)
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
        let doubt = State::InDoubt { step: "create".into(), since, look_at: Some(since) };
        assert!(doubt.clone().after(Happened::Claimed { step: "create".into() }).is_err());
        assert!(doubt.clone().after(Happened::Replayed).is_err());
        assert!(doubt.clone().after(Happened::LeaseExpired).is_err());
        let still = doubt.clone().after(Happened::LookedInVain { look_at: None }).expect("nothing is proved");
        assert_eq!(still, State::InDoubt { step: "create".into(), since, look_at: None });
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
    fn what_can_follow_is_known_by_name() {
        for (from, to) in [("queued", "running"), ("running", "in_doubt"), ("in_doubt", "queued"), ("failed", "queued")]
        {
            assert!(State::can_follow(from, to), "{from} → {to}");
        }
        for (from, to) in
            [("in_doubt", "running"), ("completed", "queued"), ("failed", "completed"), ("lost", "queued")]
        {
            assert!(!State::can_follow(from, to), "{from} → {to}");
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
            State::InDoubt { step: step(), since, look_at: None },
            State::Failed { why: failure() },
            State::Completed,
            State::Discarded,
            State::Shadowed,
        ];
        assert_eq!(all.map(|state| state.name()), State::NAMES);
    }
}
