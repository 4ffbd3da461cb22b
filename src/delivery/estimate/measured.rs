//! How many calls a run of a command takes, by its name, and how long e-RS takes for one: moving averages in memory.
//!
//! A name that was not carried out yet begins with the calls of the plans that were made for some of those that wait.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// What a plan says counts as much as so many runs.
const PLAN_WEIGHT: f64 = 4.0;
/// Runs that the average remembers.
const WEIGHT_MAX: f64 = 64.0;

#[derive(Clone, Copy, Debug, Default)]
struct Average {
    value: f64,
    weight: f64,
}

impl Average {
    fn note(&mut self, value: f64) {
        self.weight = (self.weight + 1.0).min(WEIGHT_MAX);
        self.value += (value - self.value) / self.weight;
    }
}

#[derive(Default)]
pub(in crate::delivery) struct Measured {
    runs: Mutex<HashMap<String, Average>>,
    answers: Mutex<Average>,
}

/// What one run called.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::delivery) struct Calls {
    made: u32,
    took: Duration,
}

impl Calls {
    pub(in crate::delivery) fn note(&mut self, took: Duration) {
        self.made += 1;
        self.took += took;
    }
}

impl Measured {
    /// A run has ended. One that called nothing (its breaker is open) says nothing of the next.
    pub(in crate::delivery) fn note(&self, name: &str, calls: Calls) {
        if calls.made == 0 {
            return;
        }
        let made = f64::from(calls.made);
        self.answers.lock().note(calls.took.as_secs_f64() / made);
        let mut runs = self.runs.lock();
        match runs.get_mut(name) {
            Some(average) => average.note(made),
            None => _ = runs.insert(name.to_owned(), Average { value: made, weight: 1.0 }),
        }
    }

    /// What plans of this name say, where no run has said it yet.
    pub(super) fn begin(&self, name: &str, calls: f64) {
        self.runs.lock().entry(name.to_owned()).or_insert(Average { value: calls, weight: PLAN_WEIGHT });
    }

    /// Of each name that is known.
    pub(super) fn calls(&self) -> HashMap<String, f64> {
        self.runs.lock().iter().map(|(name, average)| (name.clone(), average.value)).collect()
    }

    pub(super) fn answer(&self) -> Duration {
        Duration::try_from_secs_f64(self.answers.lock().value).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(made: u32) -> Calls {
        Calls { made, took: Duration::from_millis(100) * made }
    }

    #[test]
    fn it_begins_with_the_plan_and_follows_what_is_measured() {
        let measured = Measured::default();
        measured.begin("CreateReferral", 3.0);
        assert_eq!(measured.calls()["CreateReferral"], 3.0);
        for _ in 0..200 {
            measured.note("CreateReferral", run(1));
            measured.note("CreateReferral", run(0));
        }
        measured.begin("CreateReferral", 3.0);
        assert!((measured.calls()["CreateReferral"] - 1.0).abs() < 0.05);
        assert_eq!(measured.answer(), Duration::from_millis(100));
    }
}
