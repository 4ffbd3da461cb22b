//! A day's counts, for the equations that must hold: what was received, what was made of it, what e-RS and the events say.
//!
//! Enters: from when to when. Leaves: counts by source of the messages received then and of the commands that they made, whatever
//! became of these until now. Guarantees: each side of an equation is counted by itself.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Cause, NewEvent, Result};

/// How far times stray from the order of positions, in microseconds.
const DISORDER: i64 = 60_000_000;
/// Until an event of a change is certainly committed: a lease ends before.
const COMMITTED_WITHIN: i64 = 3_600_000_000;
/// Stretches of events that are looked through one by one; finding where one begins is a search.
const STRETCHES_MAX: usize = 32;

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

/// What of a day no event of that day tells of. It may be told of later: what waited over night ends in the morning.
#[derive(Default)]
pub(super) struct Unheard(HashMap<Uuid, Ended>);

struct Ended {
    source: String,
    how: Ending,
    /// In microseconds, as in the store.
    at: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A message was refused.
    Rejected,
    Failed,
    /// Whatever tells of the command does.
    Completed,
}

/// From when to when, in microseconds, both included.
pub(super) type Stretch = (i64, i64);

impl Unheard {
    pub(super) fn add(&mut self, source: &str, how: Ending, id: Uuid, at: i64) {
        self.0.insert(id, Ended { source: source.to_owned(), how, at });
    }

    /// When they ended: an event is committed with the change that it tells.
    pub(super) fn endings(&self) -> Vec<Stretch> {
        let mut endings: Vec<i64> = self.0.values().map(|one| one.at).collect();
        endings.sort_unstable();
        let mut stretches: Vec<Stretch> = Vec::new();
        for at in endings {
            match stretches.last_mut() {
                Some((_, to)) if at - DISORDER <= *to => *to = at + DISORDER,
                _ => stretches.push((at - DISORDER, at + DISORDER)),
            }
        }
        if stretches.len() > STRETCHES_MAX {
            let mut gaps: Vec<i64> = stretches.windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
            gaps.sort_unstable_by(|one, other| other.cmp(one));
            let too_small = gaps[STRETCHES_MAX - 1];
            let mut few: Vec<Stretch> = Vec::new();
            for (from, to) in stretches {
                match few.last_mut() {
                    Some(last) if from - last.1 <= too_small => last.1 = to,
                    _ => few.push((from, to)),
                }
            }
            return few;
        }
        stretches
    }

    /// From when on any of them can have been told of, for those that are still not heard of: before anybody says so.
    pub(super) fn everywhere(&self, from: i64) -> Option<Stretch> {
        let last = self.0.values().map(|one| one.at).max()?;
        Some((from - DISORDER, last + COMMITTED_WITHIN))
    }

    /// An event of this name tells of it.
    pub(super) fn hear(&mut self, subject: &str, name: &str) {
        if self.0.is_empty() {
            return;
        }
        let Ok(id) = Uuid::parse_str(subject) else { return };
        let tells = self.0.get(&id).is_some_and(|one| match one.how {
            Ending::Rejected => name == "MessageRejected",
            Ending::Failed => name == "CommandFailed",
            Ending::Completed => true,
        });
        if tells {
            self.0.remove(&id);
        }
    }

    pub(super) fn count(self, day: &mut Day) {
        for Ended { source, how, .. } in self.0.into_values() {
            let untold = &mut day.sources.entry(source).or_default().untold;
            match how {
                Ending::Rejected => untold.rejected += 1,
                Ending::Failed => untold.failed += 1,
                Ending::Completed => untold.completed += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn ended(at: impl IntoIterator<Item = i64>) -> Unheard {
        let mut unheard = Unheard::default();
        for (number, at) in (1_u128..).zip(at) {
            unheard.add("northmoor", Ending::Failed, Uuid::from_u128(number), at * MINUTE);
        }
        unheard
    }

    #[test]
    fn only_the_minutes_around_what_ended_are_looked_through() {
        assert_eq!(ended([]).endings(), []);
        assert_eq!(ended([10, 11, 500]).endings(), [(9 * MINUTE, 12 * MINUTE), (499 * MINUTE, 501 * MINUTE)]);
        let many = ended((0..1_000).map(|number| number * number * 3)).endings();
        assert!(many.len() <= STRETCHES_MAX, "{}", many.len());
        let of_all = |at: i64| many.iter().any(|(from, to)| (from..=to).contains(&&at));
        assert!((0..1_000).all(|number| of_all(number * number * 3 * MINUTE)));
        let even = ended((0..1_000).map(|number| number * 10)).endings();
        assert_eq!(even, [(-MINUTE, 9_991 * MINUTE)], "no gap is larger than another");
    }

    #[test]
    fn what_an_event_tells_of_is_heard() {
        let id = Uuid::from_u128;
        let mut unheard = ended([1, 2]);
        unheard.add("northmoor", Ending::Completed, id(3), 3);
        unheard.add("eastvale", Ending::Rejected, id(4), 4);
        assert_eq!(unheard.everywhere(0), Some((-DISORDER, 2 * MINUTE + COMMITTED_WITHIN)));
        for (number, name) in [(1, "CommandFailed"), (2, "CommandInDoubt"), (3, "CommandInDoubt"), (4, "CommandFailed")]
        {
            unheard.hear(&id(number).to_string(), name);
        }
        unheard.hear("2026-03-16", "DayReconciled");
        let mut day = Day::default();
        unheard.count(&mut day);
        let untold = |source: &str| day.sources[source].untold;
        assert_eq!(untold("northmoor"), Untold { rejected: 0, failed: 1, completed: 0 });
        assert_eq!(untold("eastvale"), Untold { rejected: 1, failed: 0, completed: 0 });
    }
}
