//! The rule of who goes first, as the store claims and the pace gives leave: the most urgent, the oldest within a
//! class, and every so often the oldest of all.

use std::collections::BTreeSet;

use crate::command::Class;

/// Those who stand in line, each by the index of its entrant.
pub(super) struct Line {
    by_urgency: BTreeSet<(Class, i64, usize)>,
    by_age: BTreeSet<(i64, Class, usize)>,
    oldest_every: u64,
    turns: u64,
}

impl Line {
    pub(super) fn new(oldest_every: u64) -> Self {
        Self { by_urgency: BTreeSet::new(), by_age: BTreeSet::new(), oldest_every, turns: 0 }
    }

    /// `age`: grows with arrival.
    pub(super) fn join(&mut self, class: Class, age: i64, entrant: usize) {
        self.by_urgency.insert((class, age, entrant));
        self.by_age.insert((age, class, entrant));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<usize> {
        let is_oldest_turn = (self.turns + 1).is_multiple_of(self.oldest_every);
        let (class, age, entrant) = match is_oldest_turn {
            true => self.by_age.first().map(|(age, class, entrant)| (*class, *age, *entrant)),
            false => self.by_urgency.first().copied(),
        }?;
        self.turns += 1;
        self.by_urgency.remove(&(class, age, entrant));
        self.by_age.remove(&(age, class, entrant));
        Some(entrant)
    }
}
