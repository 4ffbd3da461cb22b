//! The pace of one application: its quota, shared by all connections with its client id.
//!
//! Enters: commands that want to call, with their class. Leaves: leave to call, one at a time.
//! Guarantees: never more than the quota, never two calls closer than the smallest gap; the most urgent
//! goes first and nobody waits for ever; what a person waits for finds room left for it. All of this holds
//! across the instances that share a store, but for the order, which is each instance's own.
//!
//! [`waiting`] says who goes first. When, says [`local`] where this process has the application to itself,
//! and [`shared`] with the [`reserved`] departures that the store gave where others call for it too.

mod local;
mod reserved;
mod shared;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::local::Local;
use self::reserved::Departure;
use self::shared::Shared;
pub(super) use self::waiting::{Caller, OLDEST_TURN};
use super::metrics::DeliveryMetrics;
use crate::config::Pacing;
use crate::environment::Environment;
use crate::store::{SharedQuota, StoreError};

/// Calls that the interactive class may make ahead of the quota: 9.6/s for a minute and these are 586,
/// below the 600 a minute that the platform allows.
const HEADROOM_CALLS: u32 = 10;
/// The longest between two calls, however slow a rate is set.
const GAP_MAX: Duration = Duration::from_secs(60);
/// Part of the full rate that comes back each second after a 429.
const RECOVERY_PER_SECOND: f64 = 0.005;

#[derive(Clone)]
pub(super) struct Pacer {
    pace: Pace,
    per_second: f64,
}

#[derive(Clone)]
enum Pace {
    /// Switched off.
    Free,
    Local(Arc<Local>),
    Shared(Arc<Shared>),
}

/// How fast an application may call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speed {
    /// Calls a second now.
    pub(super) now: f64,
    /// As configured; after a 429 the pace slowly comes back to this.
    pub(super) full: f64,
}

impl Speed {
    pub(super) fn gap_after(self, passed: Duration) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.after(passed)).unwrap_or(GAP_MAX)
    }

    /// How long so many calls take from now on.
    pub(super) fn time_for(self, calls: f64) -> Duration {
        let gain = self.full * RECOVERY_PER_SECOND;
        let slow = (self.full - self.now) / gain;
        let while_slow = (self.now + self.full) / 2.0 * slow;
        let seconds = match calls < while_slow {
            true => ((self.now * self.now + 2.0 * gain * calls).sqrt() - self.now) / gain,
            false => slow + (calls - while_slow) / self.full,
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Calls a second when so much time has passed without another 429.
    fn after(self, passed: Duration) -> f64 {
        (self.now + self.full * RECOVERY_PER_SECOND * passed.as_secs_f64()).min(self.full)
    }
}

/// Leave to make one call. Lost if it is dropped.
#[must_use]
pub(super) struct Leave {
    /// Where instances share the quota: when exactly.
    reserved: Option<Reserved>,
}

struct Reserved {
    caller: Caller,
    given_at: Instant,
    departure: Departure,
}

impl Leave {
    /// To leave as soon as it is ready.
    fn open() -> Self {
        Self { reserved: None }
    }
}

/// The gateway stops: the call is not to be made.
#[derive(Debug)]
pub(super) struct Stopped;

impl Pacer {
    /// `shared`: the application's client id, and the quota that the instances share.
    pub(super) fn new(
        settings: &Pacing,
        shared: Option<(&str, Arc<dyn SharedQuota>)>,
        metrics: &DeliveryMetrics,
        environment: &Environment,
    ) -> Self {
        let pace = match shared {
            _ if !settings.enabled => Pace::Free,
            None => Pace::Local(Arc::new(Local::new(settings, metrics.pacing_wait.clone(), environment))),
            Some((application, quota)) => {
                Pace::Shared(Arc::new(Shared::new(settings, application, quota, metrics, environment)))
            }
        };
        Self { pace, per_second: settings.per_second }
    }

    /// The pace in force, of all instances together; `None` where it is switched off.
    pub(super) async fn speed(&self) -> Result<Option<Speed>, StoreError> {
        Ok(match &self.pace {
            Pace::Free => None,
            Pace::Local(local) => Some(Speed { now: local.rate(), full: self.per_second }),
            Pace::Shared(shared) => Some(Speed { now: shared.rate().await?, full: self.per_second }),
        })
    }

    /// Takes leave to call if there is some at once.
    pub(super) fn try_now(&self, caller: Caller) -> Option<Leave> {
        match &self.pace {
            Pace::Free => Some(Leave::open()),
            Pace::Local(local) => local.try_now(caller.class),
            Pace::Shared(shared) => shared.try_now(caller),
        }
    }

    /// Waits for leave to call. Dropping this gives the place up.
    pub(super) async fn wait(&self, caller: Caller) -> Result<Leave, Stopped> {
        if let Some(leave) = self.try_now(caller) {
            return Ok(leave);
        }
        match &self.pace {
            Pace::Free => Err(Stopped),
            Pace::Local(local) => local.wait(caller).await,
            Pace::Shared(shared) => shared.wait(caller).await,
        }
    }

    /// The last thing before the first byte: what lies between leave and departure (a commit) must not
    /// bring two calls closer than the smallest gap.
    pub(super) async fn depart(&self, leave: Leave) -> Result<(), Stopped> {
        match &self.pace {
            Pace::Free => {}
            Pace::Local(local) => local.depart().await,
            Pace::Shared(shared) => shared.depart(leave).await?,
        }
        Ok(())
    }

    /// e-RS said 429: slower, and slowly back.
    pub(super) fn throttled(&self) {
        match &self.pace {
            Pace::Free => {}
            Pace::Local(local) => local.throttled(),
            Pace::Shared(shared) => shared.throttled(),
        }
    }
}
