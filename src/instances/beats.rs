//! Signs of life, and what is seen of the others.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::{IntGaugeVec, Opts};

use super::sets::Mappings;
use crate::delivery::Hands;
use crate::environment::Environment;
use crate::metrics::Registry;
use crate::store::{Beat, InstanceStanding, InstanceView, Store};

/// The store counts on who told it within four of these.
const EVERY: Duration = Duration::from_secs(5);

/// What signs of life are made of.
pub struct BeatsParts {
    pub store: Arc<dyn Store>,
    pub environment: Environment,
    pub instance: String,
    pub mappings: Mappings,
    pub hands: Hands,
}

#[derive(Clone)]
pub struct Beats {
    shared: Arc<Shared>,
}

struct Shared {
    parts: BeatsParts,
    started_at: Timestamp,
    standing: Mutex<InstanceStanding>,
    alive: IntGaugeVec,
    holds: IntGaugeVec,
}

impl Beats {
    pub fn register(parts: BeatsParts, registry: &Registry) -> Result<Self, prometheus::Error> {
        let alive = IntGaugeVec::new(
            Opts::new("gateway_instances", "Instances that share the store and are alive, by version and mapping set"),
            &["version", "mapping_set"],
        )?;
        let holds = IntGaugeVec::new(
            Opts::new("gateway_instance_commands", "Commands that an instance carries out now, as it last told"),
            &["instance"],
        )?;
        registry.register(Box::new(alive.clone()))?;
        registry.register(Box::new(holds.clone()))?;
        let started_at = parts.environment.now();
        let standing = Mutex::new(InstanceStanding::Serving);
        Ok(Self { shared: Arc::new(Shared { parts, started_at, standing, alive, holds }) })
    }

    /// Tells and looks until the gateway stops.
    pub fn start(&self, environment: &Environment) {
        let (beats, world) = (self.clone(), environment.clone());
        environment.spawn(async move {
            loop {
                // First, so that the sign of life tells of the set that is in use from now on.
                beats.shared.parts.mappings.follow().await;
                beats.beat().await;
                beats.look().await;
                tokio::select! {
                    () = world.sleep(EVERY) => {}
                    () = world.shutdown().cancelled() => return,
                }
            }
        });
    }

    /// Tells the others now that this instance stands otherwise.
    pub async fn stands(&self, standing: InstanceStanding) {
        *self.shared.standing.lock() = standing;
        self.beat().await;
    }

    async fn beat(&self) {
        let parts = &self.shared.parts;
        let beat = Beat {
            instance: parts.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mapping_set: parts.mappings.digest(),
            started_at: self.shared.started_at,
            standing: *self.shared.standing.lock(),
            holds: parts.hands.in_use(),
        };
        if let Err(error) = parts.store.beat(beat).await {
            tracing::debug!(%error, "no sign of life could be given");
        }
    }

    async fn look(&self) {
        match self.shared.parts.store.instances().await {
            Ok(instances) => self.show(&instances),
            Err(error) => tracing::debug!(%error, "the other instances could not be looked at"),
        }
    }

    fn show(&self, instances: &[InstanceView]) {
        // Anew: versions, sets and instances that are gone must not stay.
        self.shared.alive.reset();
        self.shared.holds.reset();
        for instance in instances.iter().filter(|instance| instance.alive) {
            self.shared.alive.with_label_values(&[&instance.version, &instance.mapping_set]).inc();
            let holds = i64::try_from(instance.holds).unwrap_or(i64::MAX);
            self.shared.holds.with_label_values(&[&instance.instance]).set(holds);
        }
    }
}
