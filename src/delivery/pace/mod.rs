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

use tokio::time::Instant;

use self::local::Local;
use self::reserved::Departure;
use self::shared::Shared;
use super::metrics::DeliveryMetrics;
use crate::command::Class;
use crate::config::Pacing;
use crate::environment::Environment;
use crate::store::SharedQuota;

/// Calls that the interactive class may make ahead of the quota: 9.6/s for a minute and these are 586,
/// below the 600 a minute that the platform allows.
const HEADROOM_CALLS: u32 = 10;

#[derive(Clone)]
pub(super) struct Pacer {
    pace: Pace,
}

#[derive(Clone)]
enum Pace {
    /// Switched off.
    Free,
    Local(Arc<Local>),
    Shared(Arc<Shared>),
}

/// Leave to make one call. Lost if it is dropped.
#[must_use]
pub(super) struct Leave {
    /// Where instances share the quota: when exactly.
    reserved: Option<Reserved>,
}

struct Reserved {
    class: Class,
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
        Self { pace }
    }

    /// Takes leave to call if there is some at once.
    pub(super) fn try_now(&self, class: Class) -> Option<Leave> {
        match &self.pace {
            Pace::Free => Some(Leave::open()),
            Pace::Local(local) => local.try_now(class),
            Pace::Shared(shared) => shared.try_now(class),
        }
    }

    /// Waits for leave to call. Dropping this gives the place up.
    pub(super) async fn wait(&self, class: Class) -> Result<Leave, Stopped> {
        if let Some(leave) = self.try_now(class) {
            return Ok(leave);
        }
        match &self.pace {
            Pace::Free => Err(Stopped),
            Pace::Local(local) => local.wait(class).await,
            Pace::Shared(shared) => shared.wait(class).await,
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
