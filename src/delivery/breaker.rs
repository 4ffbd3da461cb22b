//! Circuit breakers: operations that keep failing together are left alone for a while.
//!
//! Enters: how calls went, by connection and group of operations. Leaves: leave to call, or how long to
//! wait. Guarantees: an open breaker makes commands wait and never fail; after the pause one call tries,
//! and only its success lets the others through.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use tokio::time::Instant;

use crate::environment::Environment;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How soon those that came while one was trying ask again.
const TRIAL_WAIT: Duration = Duration::from_secs(5);

enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// The pause is over and one call is on its way.
    Trying {
        pause: Duration,
    },
}

type Key = (String, String);

/// All breakers of one gateway. Cheap to clone.
#[derive(Clone)]
pub(super) struct Breakers {
    breakers: Arc<Mutex<HashMap<Key, Breaker>>>,
    open: IntGaugeVec,
    environment: Environment,
}

/// Leave to make one call. Says how it went, or gives the trial to another if it is dropped.
#[must_use]
pub(super) struct Pass {
    breakers: Breakers,
    key: Option<Key>,
}

impl Breakers {
    pub(super) fn new(open: IntGaugeVec, environment: &Environment) -> Self {
        Self { breakers: Arc::default(), open, environment: environment.clone() }
    }

    /// Leave to call, or how long to wait.
    pub(super) fn admit(&self, connection: &str, group: &str) -> Result<Pass, Duration> {
        let now = self.environment.instant();
        let key = (connection.to_owned(), group.to_owned());
        let mut breakers = self.breakers.lock();
        match breakers.get_mut(&key) {
            None | Some(Breaker::Closed { .. }) => {}
            Some(Breaker::Open { until, .. }) if now < *until => return Err(*until - now),
            Some(Breaker::Trying { .. }) => return Err(TRIAL_WAIT),
            Some(open @ Breaker::Open { .. }) => {
                if let Breaker::Open { pause, .. } = *open {
                    *open = Breaker::Trying { pause };
                }
            }
        }
        Ok(Pass { breakers: self.clone(), key: Some(key) })
    }

    /// Whether calls of this group leave as they come.
    pub(super) fn is_closed(&self, connection: &str, group: &str) -> bool {
        let key = (connection.to_owned(), group.to_owned());
        matches!(self.breakers.lock().get(&key), None | Some(Breaker::Closed { .. }))
    }

    fn report(&self, key: Key, went: Went) {
        let now = self.environment.instant();
        let mut breakers = self.breakers.lock();
        let group = key.1.clone();
        let breaker = breakers.entry(key).or_insert(Breaker::Closed { failures: 0 });
        let next = match (&*breaker, went) {
            (_, Went::Well) => Breaker::Closed { failures: 0 },
            (Breaker::Closed { failures }, Went::Badly) if failures + 1 < FAILURES_MAX => {
                Breaker::Closed { failures: failures + 1 }
            }
            (Breaker::Closed { .. }, Went::Badly) => Breaker::Open { until: now + PAUSE_FIRST, pause: PAUSE_FIRST },
            (Breaker::Trying { pause }, Went::Badly) => {
                let pause = (*pause * 2).min(PAUSE_MAX);
                Breaker::Open { until: now + pause, pause }
            }
            (Breaker::Trying { pause }, Went::Nowhere) => Breaker::Open { until: now, pause: *pause },
            // Calls that were on their way when it opened.
            (Breaker::Open { .. }, Went::Badly) | (_, Went::Nowhere) => return,
        };
        let was_open = !matches!(breaker, Breaker::Closed { .. });
        let is_open = !matches!(next, Breaker::Closed { .. });
        *breaker = next;
        if was_open != is_open {
            let change = if is_open { 1 } else { -1 };
            self.open.with_label_values(&[&group]).add(change);
            tracing::warn!(group, open = is_open, "the breaker of a group of operations changed");
        }
    }
}

enum Went {
    Well,
    Badly,
    /// The call was never made.
    Nowhere,
}

impl Pass {
    /// e-RS answered, whatever it said.
    pub(super) fn went_well(mut self) {
        self.report(Went::Well);
    }

    /// e-RS was not reached, did not answer, or said that it is down.
    pub(super) fn went_badly(mut self) {
        self.report(Went::Badly);
    }

    fn report(&mut self, went: Went) {
        if let Some(key) = self.key.take() {
            self.breakers.report(key, went);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.report(Went::Nowhere);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    fn breakers() -> Breakers {
        let gauge = IntGaugeVec::new(Opts::new("open", "open"), &["group"]).expect("a gauge");
        Breakers::new(gauge, &Environment::simulated(1, jiff::Timestamp::UNIX_EPOCH))
    }

    fn fail(breakers: &Breakers, times: u32) {
        for _ in 0..times {
            breakers.admit("int", "letters").expect("still closed").went_badly();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_only_for_its_group() {
        let breakers = breakers();
        fail(&breakers, FAILURES_MAX - 1);
        breakers.admit("int", "letters").expect("closed").went_well();
        fail(&breakers, FAILURES_MAX);
        assert!(breakers.admit("int", "letters").is_err());
        assert!(!breakers.is_closed("int", "letters") && breakers.is_closed("int", "referral"));
        assert!(breakers.admit("int", "referral").is_ok());
        assert!(breakers.admit("production", "letters").is_ok());
        assert_eq!(breakers.open.with_label_values(&["letters"]).get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_call_tries_for_all() {
        let breakers = breakers();
        fail(&breakers, FAILURES_MAX);
        tokio::time::advance(PAUSE_FIRST).await;
        let trial = breakers.admit("int", "letters").expect("the pause is over");
        assert!(breakers.admit("int", "letters").is_err(), "one at a time");
        trial.went_badly();
        tokio::time::advance(PAUSE_FIRST).await;
        assert!(breakers.admit("int", "letters").is_err(), "the second pause is longer");
        tokio::time::advance(PAUSE_FIRST).await;
        breakers.admit("int", "letters").expect("the second pause is over").went_well();
        assert!(breakers.admit("int", "letters").is_ok());
        assert_eq!(breakers.open.with_label_values(&["letters"]).get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_was_never_made_is_given_to_the_next() {
        let breakers = breakers();
        fail(&breakers, FAILURES_MAX);
        tokio::time::advance(PAUSE_FIRST).await;
        drop(breakers.admit("int", "letters").expect("the pause is over"));
        assert!(breakers.admit("int", "letters").is_ok());
    }
}
