//! Bulk replay: many failed commands, or refused messages, replayed because of one decision.
//!
//! Enters: a filter, who decides and why, and the share of the quota that it may use. Leaves: an item for each thing that it came to,
//! with what became of it. Guarantees: a command's act and its item are one commit, so that nothing is replayed twice by one replay,
//! however often the gateway is killed; what failed after it began is not taken.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Act, CauseId, Result};
use crate::command::{CommandId, MessageId};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayOf {
    /// Commands that failed: they go back to the queue.
    #[default]
    Failed,
    /// Messages that were refused: they are taken in once more.
    Rejected,
}

/// What is to be replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReplayFilter {
    pub of: ReplayOf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseId>,
    /// Name of the commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Received at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Received before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayStanding {
    Running,
    Paused,
    Cancelled,
    Done,
}

impl ReplayStanding {
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Cancelled, Self::Done];

    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }

    /// Whether it can stand so after this one.
    pub(super) fn may_become(self, to: Self) -> bool {
        match self {
            Self::Running => matches!(to, Self::Paused | Self::Cancelled | Self::Done),
            Self::Paused => matches!(to, Self::Running | Self::Cancelled),
            Self::Cancelled | Self::Done => false,
        }
    }

    /// The act in the audit log that brings it there.
    pub(super) fn act(self) -> &'static str {
        match self {
            Self::Running => "resume bulk replay",
            Self::Paused => "pause bulk replay",
            Self::Cancelled => "cancel bulk replay",
            Self::Done => "end bulk replay",
        }
    }
}

/// A part of the quota of e-RS: above 0, at most 1; in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u16);

impl Share {
    pub const QUARTER: Self = Self(250);

    pub fn of(part: f64) -> Option<Self> {
        let thousandths = (part * 1_000.0).round();
        (1.0..=1_000.0).contains(&thousandths).then_some(Self(thousandths as u16))
    }

    pub fn part(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }

    pub(super) fn thousandths(self) -> i64 {
        i64::from(self.0)
    }

    pub(super) fn of_row(thousandths: i64) -> Result<Self> {
        u16::try_from(thousandths).map(Self).map_err(|_| super::damaged("the share of a replay is out of range"))
    }
}

#[derive(Clone, Debug)]
pub struct NewBulkReplay {
    pub id: Uuid,
    pub filter: ReplayFilter,
    /// Of the quota of e-RS.
    pub share: Share,
    /// Also what something later of the same referral has overtaken.
    pub overtaken: bool,
}

impl NewBulkReplay {
    pub(super) const BEGUN: &'static str = "begin bulk replay";
}

pub(super) fn subject(id: Uuid) -> String {
    format!("bulk replay {id}")
}

#[derive(Clone, Debug, PartialEq)]
pub struct BulkReplay {
    pub id: Uuid,
    pub filter: ReplayFilter,
    pub share: Share,
    pub overtaken: bool,
    pub standing: ReplayStanding,
    pub by: String,
    /// Where who decided it was.
    pub place: String,
    pub why: String,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    /// Everything up to this number was come to; items are left out in any case.
    pub at: u64,
    /// Items by what became of them.
    pub counts: BTreeMap<ReplayOutcome, u64>,
}

impl BulkReplay {
    pub fn count(&self, outcome: ReplayOutcome) -> u64 {
        self.counts.get(&outcome).copied().unwrap_or(0)
    }
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayOutcome {
    /// On its way.
    Sent,
    Completed,
    /// Again, maybe for another reason.
    Failed,
    InDoubt,
    Unauthorised,
    /// By a person, meanwhile.
    Discarded,
    /// A message that is refused once more.
    Refused,
    /// Something later of the same referral is done already.
    Overtaken,
    /// Somebody replayed it meanwhile, another makes the same referral, or it cannot be replayed at all.
    Skipped,
}

impl ReplayOutcome {
    pub const ALL: [Self; 9] = [
        Self::Sent,
        Self::Completed,
        Self::Failed,
        Self::InDoubt,
        Self::Unauthorised,
        Self::Discarded,
        Self::Refused,
        Self::Overtaken,
        Self::Skipped,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Unauthorised => "unauthorised",
            Self::Discarded => "discarded",
            Self::Refused => "refused",
            Self::Overtaken => "overtaken",
            Self::Skipped => "skipped",
        }
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.name() == name);
        found.ok_or_else(|| super::damaged("an unknown outcome of a replay"))
    }
}

/// What a replay would come to, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayCandidate {
    /// In the order of arrival, in the store's own numbers.
    pub number: u64,
    pub message: MessageId,
    /// `None` of a refused message.
    pub command: Option<CommandId>,
    /// Of the command; the kind of a message.
    pub name: String,
    /// Empty of a message.
    pub mapping_set: String,
    /// Something later of the same referral is done already.
    pub overtaken: bool,
    /// Some of its writes are known to be done: these are not made again.
    pub begun: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayItem {
    pub message: MessageId,
    pub command: Option<CommandId>,
    /// The message as which a refused one was taken in.
    pub made: Option<MessageId>,
    pub outcome: ReplayOutcome,
    /// Codes and sentences, never a patient.
    pub why: String,
}

impl ReplayItem {
    /// What was replayed: the command, or the refused message.
    pub fn subject(&self) -> Uuid {
        self.command.map_or(self.message.0, |command| command.0)
    }

    pub fn of(candidate: &ReplayCandidate, outcome: ReplayOutcome, why: impl Into<String>) -> Self {
        Self { message: candidate.message, command: candidate.command, made: None, outcome, why: why.into() }
    }
}

/// Which candidates to look at.
#[derive(Clone, Debug)]
pub struct ReplayCandidates {
    pub filter: ReplayFilter,
    /// What this replay has come to already is left out.
    pub except: Option<Uuid>,
    pub after: u64,
    /// What came to it later is left out.
    pub until: Option<Timestamp>,
    pub max: usize,
}

#[async_trait]
pub trait BulkReplayStore: Send + Sync {
    /// With a row of the audit log in the same commit.
    async fn begin_replay(&self, replay: NewBulkReplay, act: Act) -> Result<()>;
    async fn bulk_replay(&self, id: Uuid) -> Result<Option<BulkReplay>>;
    /// The newest first; `only`: those that stand so.
    async fn bulk_replays(&self, only: Option<ReplayStanding>, max: usize) -> Result<Vec<BulkReplay>>;
    /// From behind a number, in the order of arrival.
    async fn replay_candidates(&self, asked: ReplayCandidates) -> Result<Vec<ReplayCandidate>>;
    /// A failed command goes back to the queue as part of a replay: the act and the item in one commit. Refused as
    /// [`super::OperatorStore::replay`] is, and if the replay does not run.
    async fn replay_in_bulk(&self, id: Uuid, candidate: ReplayCandidate, act: Act) -> Result<()>;
    /// Items that need no act of the store. One that is there stays.
    async fn note_replayed(&self, id: Uuid, items: Vec<ReplayItem>, at: Timestamp) -> Result<()>;
    /// Items of which something is still to come: they are on their way, or in doubt.
    async fn replays_on_their_way(&self, id: Uuid, max: usize) -> Result<Vec<ReplayItem>>;
    /// What became of those.
    async fn settle_replayed(&self, id: Uuid, settled: Vec<(Uuid, ReplayOutcome)>) -> Result<()>;
    /// Everything up to this number was come to.
    async fn advance_replay(&self, id: Uuid, at: u64) -> Result<()>;
    /// With a row of the audit log in the same commit. `Outdated` where it cannot stand so.
    async fn stand_replay(&self, id: Uuid, to: ReplayStanding, act: Act) -> Result<()>;
    /// Its items in the order of their subjects, from behind one.
    async fn replay_items(&self, id: Uuid, after: Option<Uuid>, max: usize) -> Result<Vec<ReplayItem>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_known_by_their_names_and_what_has_ended_stands_no_more() {
        for outcome in ReplayOutcome::ALL {
            assert_eq!(ReplayOutcome::named(outcome.name()).expect("known"), outcome);
        }
        for to in ReplayStanding::ALL {
            assert!(!ReplayStanding::Done.may_become(to) && !ReplayStanding::Cancelled.may_become(to));
        }
        let parts: Vec<_> =
            [0.0, 0.25, 1.0, 1.5, f64::NAN].into_iter().map(|part| Share::of(part).map(Share::part)).collect();
        assert_eq!(parts, [None, Some(0.25), Some(1.0), None, None]);
        assert!(ReplayStanding::Paused.may_become(ReplayStanding::Running));
    }
}
