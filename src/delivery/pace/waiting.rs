//! Who goes first: the most urgent, oldest first within a class; every so often the oldest of all.
//!
//! What is oldest is the command, not its call: what has begun is ended before what came later begins, so that hands
//! become free one after the other, for whatever is more urgent.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::command::Class;

/// Every so many calls the oldest goes first, whatever its class.
pub(in crate::delivery) const OLDEST_TURN: u64 = 8;

/// Who wants to call.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Caller {
    pub(in crate::delivery) class: Class,
    /// Which run of a command it is, in the order in which they began.
    pub(in crate::delivery) run: u64,
}

#[cfg(test)]
impl Caller {
    pub(super) fn of(class: Class) -> Self {
        Self { class, run: 0 }
    }
}

/// Those who wait for leave. What is given with it is a `T`.
pub(super) struct Waiting<T> {
    waiting: BTreeMap<Place, oneshot::Sender<T>>,
    arrivals: u64,
    grants: u64,
}

/// In this order, so that the first place is the first to go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    turn: Turn,
    class: Class,
    run: u64,
    arrival: u64,
}

impl Place {
    pub(super) fn caller(self) -> Caller {
        Caller { class: self.class, run: self.run }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Had leave before and could not use it.
    Again,
    First,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), arrivals: 0, grants: 0 }
    }
}

impl<T> Waiting<T> {
    /// Dropping what is returned gives the place up.
    pub(super) fn join(&mut self, turn: Turn, caller: Caller) -> oneshot::Receiver<T> {
        let (sender, leave) = oneshot::channel();
        let Caller { class, run } = caller;
        self.waiting.insert(Place { turn, class, run, arrival: self.arrivals }, sender);
        self.arrivals += 1;
        leave
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn next(&self) -> Option<Place> {
        let first = self.waiting.keys().next().copied()?;
        if first.turn == Turn::First && self.grants % OLDEST_TURN == OLDEST_TURN - 1 {
            return self.waiting.keys().min_by_key(|place| (place.run, place.arrival)).copied();
        }
        Some(first)
    }

    /// Gives leave. What nobody takes, for who was there gave up, comes back.
    pub(super) fn give(&mut self, place: Place, leave: T) -> Result<(), T> {
        let Some(sender) = self.waiting.remove(&place) else { return Err(leave) };
        sender.send(leave)
    }

    /// Leave was given, to one of these or to one who found the way free.
    pub(super) fn granted(&mut self) {
        self.grants += 1;
    }

    pub(super) fn forget_who_gave_up(&mut self) {
        self.waiting.retain(|_, leave| !leave.is_closed());
    }

    /// How many wait, and how many of them a person waits for.
    pub(super) fn count(&self) -> (usize, usize) {
        let interactive = self.waiting.keys().filter(|place| place.class == Class::Interactive).count();
        (self.waiting.len(), interactive)
    }

    /// Nobody gets leave any more.
    pub(super) fn send_away(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_began_earlier_makes_its_next_call_first() {
        let mut waiting = Waiting::<()>::default();
        let _later = waiting.join(Turn::First, Caller { class: Class::Routine, run: 2 });
        let _earlier = waiting.join(Turn::First, Caller { class: Class::Routine, run: 1 });
        assert_eq!(waiting.next().expect("two wait").caller().run, 1);
    }
}
