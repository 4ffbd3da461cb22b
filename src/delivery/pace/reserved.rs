//! Departures that the store reserved for this instance, and when each may be used.
//!
//! The store says how long after its answer a call may leave. When exactly it answered is not known here: between
//! the question and the arrival of the answer. So a departure opens that long after the answer arrived, which is
//! never too early, and closes a little later than that long after the question was sent, which is never too late.
//! Departures of one answer lie in a row, with nobody's between them: they close together, with the last of them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How much later than reserved a call may leave. Departures are asked for so much further apart than the smallest
/// gap, so that another instance's next call keeps its distance.
pub(super) const LATE_MAX: Duration = Duration::from_millis(15);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Departure {
    pub(super) opens: Instant,
    pub(super) closes: Instant,
}

/// In the order of their times.
#[derive(Default)]
pub(super) struct Departures {
    departures: VecDeque<Departure>,
}

impl Departures {
    /// Takes in an answer. Returns how many of it could not be used, for the answer took too long.
    pub(super) fn take_in(&mut self, asked: Instant, answered: Instant, given: &[Duration]) -> u64 {
        let Some(last) = given.last() else { return 0 };
        let closes = asked + *last + LATE_MAX;
        let all = given.iter().map(|after| Departure { opens: answered + *after, closes });
        let before = self.departures.len();
        self.departures.extend(all.filter(|departure| departure.opens <= closes));
        (given.len() - (self.departures.len() - before)) as u64
    }

    /// The next, if it opens by then.
    pub(super) fn open_by(&mut self, by: Instant) -> Option<Departure> {
        self.departures.pop_front_if(|departure| departure.opens <= by)
    }

    /// What was taken and not used.
    pub(super) fn put_back(&mut self, departure: Departure) {
        self.departures.push_front(departure);
    }

    pub(super) fn next_opens(&self) -> Option<Instant> {
        self.departures.front().map(|departure| departure.opens)
    }

    /// Lets go of what nobody used in time. Returns how many those were.
    pub(super) fn forfeit(&mut self, now: Instant) -> u64 {
        let before = self.departures.len();
        self.departures.retain(|departure| departure.closes > now);
        (before - self.departures.len()) as u64
    }

    pub(super) fn len(&self) -> usize {
        self.departures.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[tokio::test(start_paused = true)]
    async fn a_departure_is_never_early_and_hardly_late() {
        let asked = Instant::now();
        let mut departures = Departures::default();
        assert_eq!(departures.take_in(asked, asked + millis(4), &[millis(100)]), 0);
        assert_eq!(departures.open_by(asked + millis(103)), None);
        let departure = departures.open_by(asked + millis(104)).expect("open");
        assert_eq!(departure, Departure { opens: asked + millis(104), closes: asked + millis(115) });
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_one_answer_close_together() {
        let asked = Instant::now();
        let mut departures = Departures::default();
        departures.take_in(asked, asked, &[millis(0), millis(104), millis(208)]);
        assert_eq!(departures.forfeit(asked + millis(222)), 0);
        assert_eq!(departures.forfeit(asked + millis(223)), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_spoils_its_last() {
        let asked = Instant::now();
        let mut departures = Departures::default();
        let unusable = departures.take_in(asked, asked + millis(150), &[millis(0), millis(104), millis(208)]);
        assert_eq!((unusable, departures.len()), (2, 1), "only the first has room behind it");
    }
}
