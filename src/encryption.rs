//! Encryption at rest as a duty: data keys are looked at, and what is not sealed with the newest is sealed anew.
//!
//! Enters: the settings' master key, again from its file when that was changed. Leaves: a store in which nothing stands in
//! clear any more, and nothing hangs from keys that are to go; counters; a line of log when that is reached. Guarantees: one
//! instance at a time seals anew, in small steps, and other work has three quarters of the time.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

use crate::config::Config;
use crate::environment::Environment;
use crate::instances::Duty;
use crate::keys::{KeyError, Keys};
use crate::metrics::Registry;
use crate::retention::rest_after;
use crate::store::{LOOK_EVERY, Result, Store, StoreError};

/// Where several gateways share a store: all of them seal by then.
const FIRST_RENEWAL_AFTER: Duration = Duration::from_secs(60);

pub struct Encryption {
    config: Config,
    keys: Keys,
    duty: Duty,
    renewed: IntCounter,
}

impl Encryption {
    /// `keys`: as the store was opened with.
    pub fn of(
        config: &Config,
        keys: Keys,
        duty: Duty,
        registry: &Registry,
    ) -> std::result::Result<Self, prometheus::Error> {
        let renewed = IntCounter::new(
            "gateway_store_sealed_anew_total",
            "Values that stood in clear or hung from an old key and were encrypted with the newest",
        )?;
        registry.register(Box::new(renewed.clone()))?;
        Ok(Self { config: config.clone(), keys, duty, renewed })
    }

    /// Until the gateway stops.
    pub fn start(self, store: Arc<dyn Store>, environment: &Environment) {
        let (world, renewed, duty) = (environment.clone(), self.renewed.clone(), self.duty.clone());
        let looked_at = Arc::clone(&store);
        environment.spawn(async move { self.look(&*looked_at, &world).await });
        let world = environment.clone();
        environment.spawn(async move {
            if store.shared_quota().is_some() && !pause(&world, FIRST_RENEWAL_AFTER).await {
                return;
            }
            while let Some(held) = duty.hold().await {
                tokio::select! {
                    biased;
                    () = held.lost() => {}
                    () = renew(&*store, &renewed, &world) => return held.leave().await,
                }
            }
        });
    }

    async fn look(mut self, store: &dyn Store, world: &Environment) {
        while pause(world, LOOK_EVERY).await {
            let mut looked = store.look_at_keys(&self.keys).await;
            if let Err(StoreError::Locked(_)) = looked {
                looked = self.look_with_what_is_in_the_file(store, world).await;
            }
            if let Err(error) = looked {
                tracing::warn!(%error, "the keys of the store could not be looked at");
            }
        }
    }

    /// Somebody changed the master key, and the store opens with the next one only.
    async fn look_with_what_is_in_the_file(&mut self, store: &dyn Store, world: &Environment) -> Result<()> {
        let read = self.config.master_key(world);
        let keys = read.map_err(|error: KeyError| StoreError::Locked(error.to_string()))?;
        store.look_at_keys(&keys).await?;
        if keys.fingerprint() != self.keys.fingerprint() {
            tracing::info!("the master key of the store was changed");
            self.keys = keys;
        }
        Ok(())
    }
}

/// Ends when the gateway stops.
async fn renew(store: &dyn Store, values: &IntCounter, world: &Environment) {
    loop {
        let began = world.instant();
        let rest = match store.renew().await {
            Ok(Some(step)) => {
                values.inc_by(step.values);
                if step.ended {
                    tracing::info!("everything in the store is encrypted with its newest data key");
                }
                rest_after(began.elapsed())
            }
            Ok(None) => LOOK_EVERY,
            Err(error) => {
                tracing::warn!(%error, "what is stored could not be encrypted anew; it is tried again");
                LOOK_EVERY
            }
        };
        if !pause(world, rest).await {
            return;
        }
    }
}

/// False if the gateway stops.
async fn pause(world: &Environment, long: Duration) -> bool {
    tokio::select! {
        biased;
        () = world.shutdown().cancelled() => false,
        () = world.sleep(long) => true,
    }
}
