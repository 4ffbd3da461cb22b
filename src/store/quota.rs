//! The rule by which instances share the quota of one application.
//!
//! Enters: the row of an application, the moment of the store's clock, and a question. Leaves: departures, and the
//! row as it is afterwards. Guarantees: no two departures closer than the asked gap, whoever asked; never more than
//! the rate allows, apart from what may run ahead; a departure once given is never moved.
//!
//! GCRA, as the pace of one process: a virtual clock that each call moves on by the gap of the rate. All moments are
//! microseconds of the store's clock, so that the clocks of machines need not agree. Whoever keeps the row must ask
//! and write it back in one step (a lock on the row).

use std::time::Duration;

use super::QuotaAsk;

/// After a 429 the rate falls to this part of itself, at most once a second, at least to the smallest part.
const SLOWER: f64 = 0.7;
const SLOWER_ONCE_IN: i64 = SECOND;
const SLOWEST_PART: f64 = 0.1;
/// Part of the full rate that comes back each second without a 429.
const RECOVERY_PER_SECOND: f64 = 0.005;
/// The longest between two calls, however slow a rate is set.
const GAP_MAX: i64 = 60 * SECOND;
/// No row lies further ahead than this unless the store's clock was set back: nobody waits longer for that.
const AHEAD_MAX: i64 = 600 * SECOND;
const SECOND: i64 = 1_000_000;

/// What is known of the quota of one application.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaState {
    /// The virtual clock: when the quota allows the next call.
    pub clock: i64,
    /// The latest departure given; `i64::MIN` before the first.
    pub last: i64,
    /// Calls per second at `rate_since`; it comes back to the full rate from there.
    pub rate: f64,
    pub rate_since: i64,
}

impl QuotaState {
    /// Of an application that nobody asked for yet.
    pub fn new(now: i64, per_second: f64) -> Self {
        Self { clock: now, last: i64::MIN, rate: per_second, rate_since: now }
    }

    /// Gives `ask.calls` departures, at least one, in order.
    pub fn reserve(&mut self, now: i64, ask: &QuotaAsk) -> Vec<i64> {
        let latest = now.saturating_add(AHEAD_MAX);
        self.clock = self.clock.min(latest);
        self.last = self.last.min(latest);
        let gap_min = micros(ask.gap_min);
        let gap = self.gap(now, ask.per_second, gap_min);
        let ahead = gap.saturating_mul(i64::from(ask.ahead));
        let mut departures = Vec::new();
        for _ in 0..ask.calls.max(1) {
            let departure = now.max(self.last.saturating_add(gap_min)).max(self.clock.saturating_sub(ahead));
            self.clock = self.clock.max(now).saturating_add(gap);
            self.last = departure;
            departures.push(departure);
        }
        departures
    }

    /// e-RS said 429. Returns whether the rate fell: several 429s of one moment are one.
    pub fn throttled(&mut self, now: i64, per_second: f64) -> bool {
        if self.rate < per_second && now.saturating_sub(self.rate_since) < SLOWER_ONCE_IN {
            return false;
        }
        self.rate = (self.rate_at(now, per_second) * SLOWER).max(per_second * SLOWEST_PART);
        self.rate_since = now;
        true
    }

    /// Calls per second now, `per_second` at most.
    pub fn rate_at(&self, now: i64, per_second: f64) -> f64 {
        let seconds = Duration::from_micros(u64::try_from(now.saturating_sub(self.rate_since)).unwrap_or(0));
        (self.rate + per_second * RECOVERY_PER_SECOND * seconds.as_secs_f64()).min(per_second)
    }

    fn gap(&self, now: i64, per_second: f64, gap_min: i64) -> i64 {
        let gap = Duration::try_from_secs_f64(1.0 / self.rate_at(now, per_second)).map_or(GAP_MAX, micros_up);
        gap.min(GAP_MAX).max(gap_min)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(GAP_MAX)
}

/// Rounded up, so that the rate is never above what was asked.
fn micros_up(duration: Duration) -> i64 {
    micros(duration.saturating_add(Duration::from_nanos(999)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: f64 = 9.6;
    const GAP_MIN: i64 = 84_000;

    fn ask(calls: u32, ahead: u32) -> QuotaAsk {
        let gap_min = Duration::from_micros(84_000);
        QuotaAsk { application: "client".into(), calls, ahead, per_second: FULL, gap_min }
    }

    #[test]
    fn calls_of_one_question_lie_a_gap_apart_and_the_next_follows_them() {
        let mut state = QuotaState::new(0, FULL);
        assert_eq!(state.reserve(5, &ask(3, 0)), [5, 104_172, 208_339]);
        assert_eq!(state.reserve(6, &ask(1, 0)), [312_506]);
        assert_eq!(state.reserve(10 * SECOND, &ask(1, 0)), [10 * SECOND], "what was not used is gone");
    }

    #[test]
    fn what_a_person_waits_for_runs_ahead_and_the_others_pay_it_back() {
        let mut state = QuotaState::new(0, FULL);
        state.reserve(0, &ask(1, 0));
        assert_eq!(state.reserve(0, &ask(3, 10)), [84_000, 168_000, 252_000]);
        assert_eq!(state.reserve(0, &ask(1, 0)), [4 * 104_167]);
    }

    #[test]
    fn nothing_asked_is_one() {
        assert_eq!(QuotaState::new(0, FULL).reserve(7, &ask(0, 0)), [7]);
    }

    #[test]
    fn after_429_it_slows_down_once_a_second_and_comes_back() {
        let mut state = QuotaState::new(0, FULL);
        assert!(state.throttled(0, FULL));
        assert!(!state.throttled(999_999, FULL), "of a call that was on its way");
        assert!((state.rate_at(0, FULL) - FULL * SLOWER).abs() < 0.01);
        for second in 1..=30 {
            assert!(state.throttled(second * SECOND, FULL));
        }
        assert!((state.rate_at(30 * SECOND, FULL) - FULL * SLOWEST_PART).abs() < 0.1);
        let departures = state.reserve(30 * SECOND, &ask(2, 0));
        assert!(departures[1] - departures[0] > SECOND, "{departures:?}");
        assert!((state.rate_at(230 * SECOND, FULL) - FULL).abs() < 0.01);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nobody_for_long() {
        let mut state = QuotaState::new(0, FULL);
        state.reserve(86_400 * SECOND, &ask(4, 0));
        state.throttled(86_400 * SECOND, FULL);
        let departures = state.reserve(0, &ask(1, 0));
        assert!(departures[0] <= AHEAD_MAX + SECOND, "{departures:?}");
        assert!((state.rate_at(0, FULL) - FULL * SLOWER).abs() < 0.01);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Asked { calls: u32, ahead: u32 },
        Throttled,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            9 => (0..=4u32, prop_oneof![Just(0), Just(10u32)]).prop_map(|(calls, ahead)| Event::Asked { calls, ahead }),
            1 => Just(Event::Throttled),
        ]
    }

    proptest! {
        #[test]
        fn whoever_asks_whenever_spacing_and_rate_hold(
            events in proptest::collection::vec((0..2 * SECOND, any::<bool>(), event()), 1..140),
        ) {
            let mut state = QuotaState::new(0, FULL);
            let (mut now, mut departures) = (0, Vec::new());
            for (later, at_once, event) in events {
                now += if at_once { 0 } else { later };
                match event {
                    Event::Asked { calls, ahead } => {
                        let given = state.reserve(now, &ask(calls, ahead));
                        prop_assert_eq!(given.len(), calls.max(1) as usize);
                        prop_assert!(given[0] >= now);
                        departures.extend(given);
                    }
                    Event::Throttled => _ = state.throttled(now, FULL),
                }
            }
            for pair in departures.windows(2) {
                prop_assert!(pair[1] - pair[0] >= GAP_MIN, "{pair:?}");
            }
            for (start, first) in departures.iter().enumerate() {
                for (count, at) in departures[start..].iter().enumerate() {
                    // Ten ahead, and the one that opens the span.
                    let allowed = FULL * Duration::from_micros((at - first).unsigned_abs()).as_secs_f64() + 11.0;
                    prop_assert!(count as f64 <= allowed, "{count} calls after {first} until {at}");
                }
            }
        }
    }
}
