//! Which of the claimable commands are claimed: the most urgent, and the oldest of all now and then.

use std::collections::BTreeSet;

use crate::command::Class;

/// Every so many claimed commands one is taken by age alone, whatever its class: so none starves.
pub const OLDEST_EVERY: u32 = 8;
/// Commands in one claim.
pub(super) const CLAIM_MAX: usize = 256;

/// What may be claimed. The order of its number is the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) class: Class,
    pub(super) number: i64,
}

/// The most urgent first, the oldest first within a class; but every `OLDEST_EVERY`th is the oldest of all.
pub(super) fn choose(candidates: Vec<Candidate>, max: usize, turns: &mut u32) -> Vec<Candidate> {
    let mut by_urgency: BTreeSet<Candidate> = candidates.into_iter().collect();
    let mut by_age: BTreeSet<(i64, Class)> = by_urgency.iter().map(|c| (c.number, c.class)).collect();
    let mut chosen = Vec::with_capacity(max.min(by_urgency.len()));
    while chosen.len() < max {
        let next = if turns.wrapping_add(1).is_multiple_of(OLDEST_EVERY) {
            by_age.first().map(|(number, class)| Candidate { class: *class, number: *number })
        } else {
            by_urgency.first().copied()
        };
        let Some(next) = next else { break };
        *turns = turns.wrapping_add(1);
        by_urgency.remove(&next);
        by_age.remove(&(next.number, next.class));
        chosen.push(next);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_nobody_waits_for_ever() {
        let mut candidates: Vec<_> = (100..200).map(|number| Candidate { class: Class::TwoWeekWait, number }).collect();
        candidates.push(Candidate { class: Class::Bulk, number: 3 });
        candidates.push(Candidate { class: Class::Interactive, number: 500 });
        let mut turns = 0;
        let chosen = choose(candidates, 10, &mut turns);
        assert_eq!(chosen.len(), 10);
        assert_eq!(chosen[0].class, Class::Interactive);
        assert_eq!(chosen[1], Candidate { class: Class::TwoWeekWait, number: 100 });
        assert_eq!(chosen[7], Candidate { class: Class::Bulk, number: 3 });
        assert!(chosen[8].class == Class::TwoWeekWait && chosen[9].class == Class::TwoWeekWait);
    }

    #[test]
    fn claiming_one_at_a_time_lets_the_oldest_through_as_well() {
        let mut turns = 0;
        let bulk = Candidate { class: Class::Bulk, number: 1 };
        let urgent = (2..).map(|number| Candidate { class: Class::Urgent, number });
        let claims: Vec<_> = urgent.take(8).map(|urgent| choose(vec![bulk, urgent], 1, &mut turns)[0]).collect();
        assert_eq!(claims.iter().filter(|claim| **claim == bulk).count(), 1);
    }
}
