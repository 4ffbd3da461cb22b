//! An estimate from counts alone, where the queue is too long to be played, or a command came after the last look.
//!
//! u: calls of more urgent classes; o: of the same class and older; y: of less urgent classes and older. By urgency a
//! command's turn comes after u, o, and what the oldest of all take meanwhile: one turn in eight, of y. By age it
//! comes when everything older has had an eighth of the turns. The earlier counts.

use jiff::Timestamp;

use crate::command::Class;
use crate::store::OLDEST_EVERY;

/// The commands of one application and class.
#[derive(Clone, Debug)]
pub(super) struct Bulk {
    pub(super) application: usize,
    pub(super) class: Class,
    /// Of all of them.
    pub(super) calls: f64,
    /// Arrival of the oldest and the newest; those between are thought to have come evenly.
    pub(super) oldest: Timestamp,
    pub(super) newest: Timestamp,
}

impl Bulk {
    fn calls_older_than(&self, arrival: Timestamp) -> f64 {
        let span = self.newest.duration_since(self.oldest).as_secs_f64();
        let part = match span > 0.0 {
            true => arrival.duration_since(self.oldest).as_secs_f64() / span,
            false => f64::from(u8::from(arrival >= self.oldest)),
        };
        self.calls * part.clamp(0.0, 1.0)
    }
}

/// Calls that leave before the first of a command of this class and arrival.
pub(super) fn calls_before(bulks: &[Bulk], application: usize, class: Class, arrival: Timestamp) -> f64 {
    let (mut urgent, mut same, mut less, mut older) = (0.0, 0.0, 0.0, 0.0);
    for bulk in bulks.iter().filter(|bulk| bulk.application == application) {
        let before = bulk.calls_older_than(arrival);
        older += before;
        match bulk.class.cmp(&class) {
            std::cmp::Ordering::Less => urgent += bulk.calls,
            std::cmp::Ordering::Equal => same += before,
            std::cmp::Ordering::Greater => less += before,
        }
    }
    let every = f64::from(OLDEST_EVERY);
    let by_urgency = urgent + same + f64::min(less, (urgent + same) / (every - 1.0));
    f64::min(by_urgency, older * every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn bulk(class: Class, calls: f64, oldest: i64, newest: i64) -> Bulk {
        Bulk { application: 0, class, calls, oldest: at(oldest), newest: at(newest) }
    }

    #[test]
    fn the_earlier_of_urgency_and_age_counts() {
        let bulks = [
            bulk(Class::Urgent, 7_000.0, 50, 100),
            bulk(Class::Routine, 700.0, 0, 100),
            bulk(Class::Bulk, 10_000.0, 0, 100),
            Bulk { application: 1, ..bulk(Class::Urgent, 9_000.0, 0, 100) },
        ];
        for (class, arrival, calls) in [
            (Class::TwoWeekWait, 100, 0.0),
            (Class::Urgent, 100, 8_000.0),
            (Class::Routine, 100, 8_800.0),
            (Class::Routine, 0, 0.0), // the oldest of all
            (Class::Routine, 1, 856.0),
        ] {
            assert_eq!(calls_before(&bulks, 0, class, at(arrival)).round(), calls, "{class:?} of {arrival}");
        }
    }
}
