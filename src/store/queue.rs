//! The queue as a whole: what an estimate of when it is carried out is made from.

use jiff::Timestamp;

use super::Result;
use super::standing::Standing;
use crate::command::{Class, CommandId};

/// Everything that waits for its turn, or is in hand, by place.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub places: Vec<QueuePlace>,
}

/// Commands of one standing, class and source.
#[derive(Clone, Debug)]
pub struct QueuePlace {
    pub standing: QueueStanding,
    pub class: Class,
    pub source: String,
    pub count: u64,
    /// When the newest of them arrived.
    pub newest: Timestamp,
    /// Oldest first; fewer than `count` where they are too many.
    pub commands: Vec<QueuedCommand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueStanding {
    /// The first of its thread.
    Ready,
    /// Behind another of its thread.
    Held,
    /// In hand.
    Running,
    /// Tried again at its time.
    Waiting,
}

#[derive(Clone, Debug)]
pub struct QueuedCommand {
    pub id: CommandId,
    /// The order of arrival.
    pub number: i64,
    /// What it is held in, or holds others in.
    pub thread: i64,
    pub name: String,
    pub received_at: Timestamp,
    /// When one that waits may be taken, if it is the first of its thread.
    pub due: Option<Timestamp>,
}

impl QueueStanding {
    pub(super) fn of(standing: Standing) -> Option<Self> {
        Some(match standing {
            Standing::Ready => Self::Ready,
            Standing::Held => Self::Held,
            Standing::Running => Self::Running,
            Standing::Waiting => Self::Waiting,
            _ => return None,
        })
    }

    /// Codes of those that are told, for a query.
    pub(super) const CODES_BELOW: i64 = Standing::Waiting as i64 + 1;
}

/// How many are told of each place: of those with few, all; the rest is shared evenly among the others.
pub(super) fn shares(counts: &[u64], max: u64) -> Vec<u64> {
    let mut by_count: Vec<usize> = (0..counts.len()).collect();
    by_count.sort_by_key(|place| counts[*place]);
    let mut shares = vec![0; counts.len()];
    let (mut left, mut places) = (max, counts.len() as u64);
    for place in by_count {
        shares[place] = counts[place].min(left / places);
        left -= shares[place];
        places -= 1;
    }
    shares
}

/// The standing that a row of the queue names.
pub(super) fn told_standing(code: i64) -> Result<QueueStanding> {
    QueueStanding::of(Standing::from_code(code)?).ok_or_else(|| super::damaged("a place that is not of the queue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_with_few_are_told_whole_and_the_many_share_the_rest() {
        assert_eq!(shares(&[3, 1_000, 50, 2_000], 500), [3, 223, 50, 224]);
        assert_eq!(shares(&[3, 4], 500), [3, 4]);
        assert_eq!(shares(&[9, 9, 9], 2), [0, 1, 1]);
        assert!(shares(&[], 5).is_empty());
    }
}
