//! How long a run surely holds its command.
//!
//! The store ends a lease that was not renewed, and another takes the command over. A process that stood still or
//! whose commit hung cannot know whether that happened. So the time is counted from before the lease was asked for,
//! by the clock that never goes backwards and by the clock of the wall (which goes on while a machine is suspended),
//! and ends a while before the store's.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::environment::Environment;

/// This part of a lease is left for what lies between the last look and the first byte, and for clocks that differ.
const MARGIN_PART: u32 = 6;

/// A moment on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    instant: Instant,
    time: Timestamp,
}

impl Moment {
    pub(super) fn now(environment: &Environment) -> Self {
        Self { instant: environment.instant(), time: environment.now() }
    }

    pub(super) fn time(&self) -> Timestamp {
        self.time
    }
}

pub(super) struct Lease {
    environment: Environment,
    /// How long it surely lasts from when it was asked for.
    sure: Duration,
    asked: Mutex<Moment>,
}

impl Lease {
    /// `asked`: taken before the claim was.
    pub(super) fn new(length: Duration, asked: Moment, environment: &Environment) -> Self {
        let sure = length - length / MARGIN_PART;
        Self { environment: environment.clone(), sure, asked: Mutex::new(asked) }
    }

    /// The store recorded something under it. `asked`: taken before the store was asked to.
    pub(super) fn renewed(&self, asked: Moment) {
        let mut latest = self.asked.lock();
        if asked.instant > latest.instant {
            *latest = asked;
        }
    }

    /// Nobody can have taken over.
    pub(super) fn is_held(&self) -> bool {
        let (asked, now) = (*self.asked.lock(), Moment::now(&self.environment));
        let on_the_wall = Duration::try_from(now.time.duration_since(asked.time)).unwrap_or_default();
        now.instant - asked.instant < self.sure && on_the_wall < self.sure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_sure_until_a_while_before_its_end() {
        let environment = Environment::simulated(1, Timestamp::UNIX_EPOCH);
        let lease = Lease::new(Duration::from_secs(60), Moment::now(&environment), &environment);
        environment.sleep(Duration::from_secs(49)).await;
        assert!(lease.is_held());
        let asked = Moment::now(&environment);
        environment.sleep(Duration::from_secs(10)).await;
        assert!(!lease.is_held(), "59 s of 60");
        lease.renewed(asked);
        assert!(lease.is_held(), "the renewal counts from when it was asked for");
        environment.sleep(Duration::from_secs(40)).await;
        assert!(!lease.is_held());
    }
}
