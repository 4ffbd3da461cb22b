//! How much waits, and for how long: commands by state and class, and the outbox.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec, Opts};

use crate::command::{Class, State};
use crate::environment::Environment;
use crate::metrics::Registry;
use crate::store::{Depth, DispatchDepth, OutboxDepth, Store, StoreError};

/// Counting is cheap but not free; alarms are a matter of minutes.
const INTERVAL: Duration = Duration::from_secs(5);

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Answers,
    /// It answers, and takes no messages for want of room.
    Full,
    Away,
}

pub struct Backlog {
    commands: IntGaugeVec,
    oldest_seconds: GaugeVec,
    outbox: IntGauge,
    outbox_oldest_seconds: Gauge,
    dispatches: IntGaugeVec,
    dispatches_oldest_seconds: GaugeVec,
    store_available: IntGauge,
}

impl Backlog {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let backlog = Self {
            commands: IntGaugeVec::new(
                Opts::new(
                    "gateway_commands",
                    "Commands now, by state and class; final states are totals of what is still kept",
                ),
                &["state", "class"],
            )?,
            oldest_seconds: GaugeVec::new(
                Opts::new(
                    "gateway_commands_oldest_age_seconds",
                    "Age of the oldest command that is not final, by state and class; 0 if there is none",
                ),
                &["state", "class"],
            )?,
            outbox: IntGauge::new("gateway_outbox_events", "Events that the broker has not confirmed")?,
            outbox_oldest_seconds: Gauge::new(
                "gateway_outbox_oldest_age_seconds",
                "Age of the oldest event that the broker has not confirmed; 0 if there is none",
            )?,
            dispatches: IntGaugeVec::new(
                Opts::new(
                    "gateway_dispatches",
                    "Messages to hospital systems, and documents for folders, that are not delivered: waiting, refused, unmade",
                ),
                &["destination", "state"],
            )?,
            dispatches_oldest_seconds: GaugeVec::new(
                Opts::new(
                    "gateway_dispatches_oldest_age_seconds",
                    "Age of the oldest message to a hospital system, or document for a folder, that is not delivered",
                ),
                &["destination", "state"],
            )?,
            store_available: IntGauge::new(
                "gateway_store_available",
                "1 if the store could be read when last asked; a full disk can be read",
            )?,
        };
        registry.register(Box::new(backlog.commands.clone()))?;
        registry.register(Box::new(backlog.oldest_seconds.clone()))?;
        registry.register(Box::new(backlog.outbox.clone()))?;
        registry.register(Box::new(backlog.outbox_oldest_seconds.clone()))?;
        registry.register(Box::new(backlog.dispatches.clone()))?;
        registry.register(Box::new(backlog.dispatches_oldest_seconds.clone()))?;
        registry.register(Box::new(backlog.store_available.clone()))?;
        Ok(backlog)
    }

    /// Keeps the gauges fresh until the gateway stops; `told` hears how the store is.
    pub fn watch(self, store: Arc<dyn Store>, environment: &Environment, told: impl Fn(Standing) + Send + 'static) {
        let world = environment.clone();
        environment.spawn(async move {
            let mut before = Standing::Answers;
            loop {
                let standing = match self.look(store.as_ref(), world.now()).await {
                    Ok(()) => store.takes_messages().map_or(Standing::Full, |()| Standing::Answers),
                    Err(error) => {
                        if before != Standing::Away {
                            tracing::error!(error = %error, "the store did not answer when asked for its backlog");
                        }
                        Standing::Away
                    }
                };
                if standing == Standing::Full && before != Standing::Full {
                    tracing::error!("the disk of the store is nearly full: no message is taken until there is room");
                }
                self.store_available.set(i64::from(standing != Standing::Away));
                told(standing);
                before = standing;
                tokio::select! {
                    () = world.sleep(INTERVAL) => {}
                    () = world.shutdown().cancelled() => return,
                }
            }
        });
    }

    async fn look(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let depths = store.depths().await?;
        let outbox = store.outbox_depth().await?;
        let dispatches = store.dispatch_depths().await?;
        self.show(&depths, outbox, now);
        self.show_dispatches(&dispatches, now);
        Ok(())
    }

    fn show_dispatches(&self, depths: &[DispatchDepth], now: Timestamp) {
        self.dispatches.reset();
        self.dispatches_oldest_seconds.reset();
        for depth in depths {
            let labels = [depth.destination.as_str(), depth.state.name()];
            self.dispatches.with_label_values(&labels).set(i64::try_from(depth.count).unwrap_or(i64::MAX));
            self.dispatches_oldest_seconds.with_label_values(&labels).set(age_seconds(depth.oldest, now));
        }
    }

    /// Every state and class is shown, so that an alarm can tell 0 from unknown.
    fn show(&self, depths: &[Depth], outbox: OutboxDepth, now: Timestamp) {
        for state in State::NAMES {
            for class in Class::ALL {
                let labels = [state, class.name()];
                let depth = depths.iter().find(|depth| depth.state == state && depth.class == class);
                let count = depth.map_or(0, |depth| depth.count);
                self.commands.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
                let age = age_seconds(depth.and_then(|depth| depth.oldest), now);
                self.oldest_seconds.with_label_values(&labels).set(age);
            }
        }
        self.outbox.set(i64::try_from(outbox.count).unwrap_or(i64::MAX));
        self.outbox_oldest_seconds.set(age_seconds(outbox.oldest, now));
    }
}

fn age_seconds(oldest: Option<Timestamp>, now: Timestamp) -> f64 {
    oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_two_week_wait_shows_its_age_and_the_others_show_none() {
        let registry = Registry::new();
        let backlog = Backlog::register(&registry).expect("new names");
        let now: Timestamp = "2026-03-16T09:30:00Z".parse().expect("an instant");
        let oldest = "2026-03-16T09:20:00Z".parse().ok();
        let waiting = Depth { state: "waiting".into(), class: Class::TwoWeekWait, count: 2, oldest };
        backlog.show(&[waiting], OutboxDepth { count: 3, oldest: None }, now);
        assert_eq!(backlog.commands.with_label_values(&["waiting", "two_week_wait"]).get(), 2);
        assert_eq!(backlog.oldest_seconds.with_label_values(&["waiting", "two_week_wait"]).get(), 600.0);
        assert_eq!(backlog.oldest_seconds.with_label_values(&["queued", "routine"]).get(), 0.0);
        assert_eq!(backlog.outbox.get(), 3);

        backlog.show(&[], OutboxDepth::default(), now);
        assert_eq!(backlog.commands.with_label_values(&["waiting", "two_week_wait"]).get(), 0);
    }
}
