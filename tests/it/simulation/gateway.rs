//! One life of the gateway: store, intake, delivery and publisher on one scheduler, as `gateway` assembles them, without
//! listeners.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ers_gateway::amqp::BrokerLinks;
use ers_gateway::config::{self, Access, Broker as BrokerSettings, Config};
use ers_gateway::delivery::{Delivery, DeliveryMetrics, DeliveryParts, Sources};
use ers_gateway::environment::Environment;
use ers_gateway::events::{EventSchemas, Publisher, PublisherMetrics};
use ers_gateway::instances::Duty;
use ers_gateway::intake::{self, Intake, IntakeMetrics, IntakeParts};
use ers_gateway::keys::Keys;
use ers_gateway::mapping::{MappingSet, MappingSets};
use ers_gateway::metrics::Registry;
use ers_gateway::simulator::SimulatorHandle;
use ers_gateway::store::sqlite::SqliteStore;
use ers_gateway::store::{Sealing, Store};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::before_store::Before;
use super::broker::Broker;
use super::chance::Chance;
use super::failing::Failing;
use super::planted::Planted;
use super::wire::Wire;

/// Short, so that a world needs not live for long.
const LEASE: Duration = Duration::from_secs(15);
const BACKOFF_CEILING: Duration = Duration::from_secs(8);
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// What all worlds of a process share: made once, and never changed.
pub struct Fixed {
    pub set: Arc<MappingSet>,
    pub schemas: Arc<EventSchemas>,
    pub keys: Keys,
    config: Config,
    /// A database without a row.
    pub empty: Vec<u8>,
}

pub fn epoch() -> Timestamp {
    "2026-03-16T09:30:00Z".parse().expect("a literal instant")
}

pub static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("empty.db");
    let environment = runtime.block_on(async { Environment::simulated(1, epoch()) });
    let keys = Keys::load_or_create(&folder.path().join("gateway.key"), &environment).expect("a key file");
    let sealing = Some(Sealing::with(keys.clone()));
    drop(runtime.block_on(SqliteStore::open_with(&path, sealing, &environment)).expect("a store"));
    drop(runtime);
    Fixed {
        set: Arc::new(MappingSet::built_in().expect("the shipped mappings are whole")),
        schemas: EventSchemas::built_in(),
        keys,
        config: Config::demonstration(),
        empty: std::fs::read(&path).expect("it was closed"),
    }
});

/// What one life is given.
pub struct Ground {
    pub life: u64,
    pub environment: Environment,
    pub store: PathBuf,
    pub failing: Failing,
    pub wire: Wire,
    pub broker: Broker,
    pub planted: Option<Planted>,
    pub settings: config::Delivery,
}

/// How a world's gateway is set up: some pace their calls, some have few hands.
pub fn settings(chance: &Chance) -> config::Delivery {
    let pacing = config::Pacing { enabled: chance.percent(30), ..config::Pacing::default() };
    let parallel_max = if chance.percent(30) { chance.number(1..4) as usize } else { 64 };
    let mut settings = config::Delivery { pacing, parallel_max, ..config::Delivery::default() };
    (settings.lease, settings.backoff_ceiling) = (LEASE, BACKOFF_CEILING);
    settings
}

/// A gateway that takes messages.
#[derive(Clone)]
pub struct Door {
    pub environment: Environment,
    pub intake: Arc<Intake>,
    pub store: Arc<dyn Store>,
}

/// Of one sender's user in one life: a kill may cost a session.
pub fn refresh_token(sender: &str, life: u64) -> String {
    format!("simulated-{sender}-{life}")
}

pub const SENDERS: [&str; 2] = ["northmoor", "eastvale"];

fn connections(ers: &SimulatorHandle, life: u64) -> Vec<config::Connection> {
    let mut connections = FIXED.config.connections.clone();
    connections.retain(|connection| SENDERS.contains(&connection.name.as_str()));
    for connection in &mut connections {
        connection.base_url = ers.base_url().into();
        connection.token_url = ers.token_url().into();
        if let Access::UserRestricted(user) = &mut connection.access {
            user.refresh_token = Some(refresh_token(&connection.name, life).into());
        }
    }
    connections
}

/// Opens the store and starts every room. Ends nowhere if the life ends first.
pub async fn start(ground: Ground, ers: &SimulatorHandle) -> Door {
    let environment = ground.environment;
    let registry = Registry::new();
    let sealing = Some(Sealing::with(FIXED.keys.clone()));
    let opened = SqliteStore::open_with(&ground.store, sealing, &environment).await;
    let store = opened.expect("the store opens after any crash");
    let store = Before::put(Arc::new(store), ground.failing);
    let store = match ground.planted {
        Some(planted) => planted.before(store, &environment).await,
        None => store,
    };
    let transport: Arc<dyn ers_gateway::ers::Transport> = Arc::new(ground.wire);
    let transport = match ground.planted {
        Some(planted) => planted.wire(transport),
        None => transport,
    };
    let mappings = Arc::new(MappingSets::new(FIXED.set.clone()));
    let sources = &FIXED.config.sources;
    let by_name: Sources = sources.iter().map(|source| (source.name.clone(), source.clone())).collect();
    let (_, watched) = watch::channel(Arc::new(by_name));
    let delivery = Delivery::new(DeliveryParts {
        environment: environment.clone(),
        store: store.clone(),
        mappings: mappings.clone(),
        transport,
        keys: FIXED.keys.clone(),
        connections: connections(ers, ground.life),
        pds: None,
        sources: watched,
        settings: ground.settings.clone(),
        instance: "simulated".into(),
        metrics: DeliveryMetrics::register(&registry).expect("registered once"),
        traces: ers_gateway::telemetry::Traces::default(),
    });
    environment.spawn(delivery.expect("no key to read").run());
    let links = BrokerLinks::register(&registry).expect("registered once");
    let schemas = FIXED.schemas.clone();
    let metrics = PublisherMetrics::register(&registry, links, schemas.clone()).expect("registered once");
    let duty = Duty::new(store.clone(), "outbox", "simulated", &environment);
    let signals = store.signals().clone();
    let broker: BrokerSettings = serde_json::from_value(json!({ "urls": [] })).expect("settings with their defaults");
    Publisher::new(broker, store.clone(), signals, duty, schemas, metrics, environment.clone())
        .with_confirm_timeout(CONFIRM_TIMEOUT)
        .start_over(ground.broker.lines(&environment));
    let intake = Intake::new(IntakeParts {
        environment: environment.clone(),
        store: store.clone(),
        mappings,
        sources: Arc::new(intake::Sources::new(sources)),
        keys: FIXED.keys.clone(),
        metrics: IntakeMetrics::register(&registry).expect("registered once"),
        ages: ground.settings,
        place: FIXED.config.environment,
        are_patients_checked: false,
        traces: ers_gateway::telemetry::Traces::default(),
    });
    Door { environment, intake: Arc::new(intake), store }
}
