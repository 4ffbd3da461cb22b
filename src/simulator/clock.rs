//! The time as e-RS sees it: the injected clock, moved or stopped on demand.
//!
//! Enters: the environment's time and what the control API asks for. Leaves: the simulator's time.
//! Guarantees: everything in the simulator that depends on time (token expiry, scans, quotas, the rules
//! on dates) reads this clock, so a test can be an hour ahead without waiting.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;

use crate::environment::Environment;

#[derive(Clone, Copy, Debug)]
enum Setting {
    /// Runs with the environment's clock, this far ahead of it (behind, when negative).
    Moved(SignedDuration),
    Frozen(Timestamp),
}

pub struct SimulatorClock {
    environment: Environment,
    setting: RwLock<Setting>,
}

impl SimulatorClock {
    pub fn new(environment: Environment) -> Self {
        Self { environment, setting: RwLock::new(Setting::Moved(SignedDuration::ZERO)) }
    }

    pub fn now(&self) -> Timestamp {
        match *self.setting.read() {
            Setting::Moved(by) if by.is_zero() => self.environment.now(),
            Setting::Moved(by) => moved(self.environment.now(), by),
            Setting::Frozen(at) => at,
        }
    }

    /// Sets the time; it runs on from there.
    pub fn set(&self, to: Timestamp) {
        *self.setting.write() = Setting::Moved(to.duration_since(self.environment.now()));
    }

    /// Stops the clock at `at` until it is set, released or frozen elsewhere.
    pub fn freeze(&self, at: Timestamp) {
        *self.setting.write() = Setting::Frozen(at);
    }

    /// Moves the clock on, frozen or not.
    pub fn advance(&self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        let mut setting = self.setting.write();
        *setting = match *setting {
            Setting::Moved(already) => Setting::Moved(already.saturating_add(by)),
            Setting::Frozen(at) => Setting::Frozen(moved(at, by)),
        };
    }

    /// Back to the environment's own time.
    pub fn release(&self) {
        *self.setting.write() = Setting::Moved(SignedDuration::ZERO);
    }

    pub fn is_frozen(&self) -> bool {
        matches!(*self.setting.read(), Setting::Frozen(_))
    }
}

/// Stops at the ends of time rather than failing: the amount comes from outside.
fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_can_be_set_frozen_advanced_and_released() {
        let epoch: Timestamp = "2026-03-16T09:30:00Z".parse().expect("a literal instant");
        let environment = Environment::simulated(1, epoch);
        let clock = SimulatorClock::new(environment.clone());
        let earlier: Timestamp = "2024-05-20T00:00:00Z".parse().expect("a literal instant");
        clock.set(earlier);
        environment.sleep(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), earlier + Duration::from_secs(5));
        clock.freeze(earlier);
        environment.sleep(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), earlier);
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), earlier + Duration::from_secs(60));
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
        clock.release();
        assert_eq!(clock.now(), epoch + Duration::from_secs(10));
    }
}
