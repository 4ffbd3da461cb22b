//! A day's counts, for the equations that must hold: what was received, what was made of it, what e-RS and the events say.
//!
//! Enters: from when to when. Leaves: counts by source of the messages received then and of the commands that they made, whatever
//! became of these until now. Guarantees: each side of an equation is counted by itself.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Cause, NewEvent, Result};

/// Of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayCounts {
    /// Messages that were stored, counted without a look at what was decided.
    pub received: u64,
    /// By what intake decided.
    pub verdicts: BTreeMap<String, u64>,
    /// Whose sender got its answer, as far as that is known.
    pub answered: u64,
    /// Commands, as intake noted with the messages how many it made.
    pub made: u64,
    /// Commands that are there, by state.
    pub states: BTreeMap<String, u64>,
    /// Commands with a write that e-RS answered with success; and those of them that are not completed.
    pub written: u64,
    pub written_and_open: u64,
    /// What no event tells of: refused messages, failed commands, and completed ones of which e-RS answered a write.
    pub untold: Untold,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    pub rejected: u64,
    pub failed: u64,
    pub completed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    pub sources: BTreeMap<String, DayCounts>,
    /// Events of then are still there: without them nothing can be said of what is untold.
    pub events_are_kept: bool,
    /// Why messages were refused and commands do not get on, each with how many of the day.
    pub causes: Vec<(Cause, u64)>,
}

#[async_trait]
pub trait ReportStore: Send + Sync {
    async fn day(&self, from: Timestamp, to: Timestamp) -> Result<Day>;
    /// Publishes the report of a day, once. False if it was published before.
    async fn publish_report(&self, day: String, event: NewEvent) -> Result<bool>;
    async fn is_report_published(&self, day: &str) -> Result<bool>;
}
