//! All rooms assembled into one running gateway.
//!
//! Enters: checked settings and an environment. Leaves: listeners that take messages, a delivery that
//! carries commands out, a publisher. Guarantees: nothing listens before the store is open and knows the
//! mapping set; delivery sees to what an earlier process left before it claims anything; on a stop, listeners close first and answer what they hold, then
//! delivery finishes its step, then the outbox gets a moment, and the store closes last.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use crate::amqp::BrokerLinks;
use crate::config::{Config, Listener};
use crate::delivery::{self, Delivery, DeliveryMetrics, DeliveryParts};
use crate::environment::Environment;
use crate::ers::{PrivateKeyError, ReqwestTransport, Transport, TransportError};
use crate::events::{EventSchemas, Feed, Publisher, PublisherMetrics};
use crate::inbound::amqp::{self, AmqpDeps, InputMetrics};
use crate::inbound::http::{HttpDeps, HttpError, HttpServer, Readiness};
use crate::inbound::mllp::{MllpError, MllpMetrics, MllpServer};
use crate::intake::{self, Intake, IntakeMetrics, IntakeParts, Receive};
use crate::keys::{KeyError, Keys};
use crate::mapping::{self, Diagnostic, FilesError, MappingFiles, MappingSet, MappingSets};
use crate::retention::Retention;
use crate::store::sqlite::SqliteStore;
use crate::store::{MappingStore as _, Store as _, StoreError};
use crate::telemetry::{self, Backlog, MappingMetrics};

/// Frames in hand are answered, requests finish.
const LISTENERS_STOP_MAX: Duration = Duration::from_secs(20);
/// An e-RS call in flight ends; a write that does not is in doubt, and seen to at the next start.
const DELIVERY_STOP_MAX: Duration = Duration::from_secs(15);
/// Events that stay are published after the next start.
const OUTBOX_STOP_MAX: Duration = Duration::from_secs(5);
const STORE_STOP_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the store {path} cannot be opened: {source}")]
    Store { path: PathBuf, source: StoreError },
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    MappingFiles(#[from] FilesError),
    #[error("the mapping set is broken:\n{}", lines(.0))]
    Mappings(Vec<Diagnostic>),
    #[error("the store cannot keep the mapping set: {source}")]
    KeepingMappings { source: StoreError },
    #[error("{0}")]
    PrivateKey(#[from] PrivateKeyError),
    #[error("the client for e-RS cannot be made: {0}")]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Mllp(#[from] MllpError),
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Two metrics of one name: a fault of the program.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Where one listener really listens: with port 0 in the settings, the port that the machine chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub kind: ListenerKind,
    pub address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    Mllp,
    Http,
}

impl ListenerKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mllp => "mllp",
            Self::Http => "http",
        }
    }
}

pub struct Gateway;

/// A gateway at work. Dropping it leaves it running; [`RunningGateway::stop`] ends it in order.
pub struct RunningGateway {
    /// In the order of the settings.
    pub addresses: Vec<Bound>,
    pub metrics: Registry,
    pub store: Arc<SqliteStore>,
    mappings: Mappings,
    stages: Stages,
}

/// What stops one after the other.
struct Stages {
    listeners: Environment,
    delivery: Environment,
    outbox: Environment,
    store: Environment,
}

impl Gateway {
    pub async fn start(config: Config, environment: Environment) -> Result<RunningGateway, StartError> {
        let transport = Arc::new(ReqwestTransport::new()?);
        Self::start_with(config, environment, transport).await
    }

    /// With another way to e-RS: a test puts the simulator here, without a socket.
    pub async fn start_with(
        config: Config,
        environment: Environment,
        transport: Arc<dyn Transport>,
    ) -> Result<RunningGateway, StartError> {
        let stages = Stages {
            listeners: environment.stage(),
            delivery: environment.stage(),
            outbox: environment.stage(),
            store: environment.stage(),
        };
        let metrics = telemetry::registry(&config)?;

        let set = load_set(config.mappings.as_deref())?;
        let store = open_store(&config, &stages.store).await?;
        for collector in store.collectors() {
            metrics.register(collector)?;
        }
        let keys = Keys::load_or_create(&key_file(&config), &environment)?;
        let mappings = Mappings {
            folder: config.mappings.clone(),
            sets: Arc::new(MappingSets::new(set.clone())),
            metrics: MappingMetrics::register(&metrics)?,
            store: store.clone(),
            environment: environment.clone(),
        };
        mappings.take_up(set).await?;

        let by_name: delivery::Sources =
            config.sources.iter().map(|source| (source.name.clone(), source.clone())).collect();
        let (_, sources) = watch::channel(Arc::new(by_name));
        let delivery = Delivery::new(DeliveryParts {
            environment: stages.delivery.clone(),
            store: store.clone(),
            mappings: mappings.sets.clone(),
            transport,
            keys: keys.clone(),
            connections: config.connections.clone(),
            sources,
            settings: config.delivery.clone(),
            instance: config.instance.clone(),
            metrics: DeliveryMetrics::register(&metrics)?,
        })?;
        let intake: Arc<dyn Receive> = Arc::new(Intake::new(IntakeParts {
            environment: stages.listeners.clone(),
            store: store.clone(),
            mappings: mappings.sets.clone(),
            sources: Arc::new(intake::Sources::new(&config.sources)),
            keys,
            metrics: IntakeMetrics::register(&metrics)?,
            ages: config.delivery.clone(),
            place: config.environment,
        }));

        let links = BrokerLinks::register(&metrics)?;
        let readiness = Arc::new(Readiness::default());
        let rooms = Rooms {
            intake: intake.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
        };
        let addresses = rooms.listen(&config.listeners, &stages.listeners).await?;
        if let Some(broker) = &config.broker {
            let schemas = Arc::new(EventSchemas::built_in());
            let published = PublisherMetrics::register(&metrics, links.clone(), schemas.clone())?;
            let signals = store.signals().clone();
            Publisher::new(broker.clone(), store.clone(), signals, schemas, published, stages.outbox.clone()).start();
            let inputs = AmqpDeps { intake, links, metrics: InputMetrics::register(&metrics)? };
            amqp::start(broker, &inputs, &stages.listeners);
        }
        stages.delivery.spawn(delivery.run());
        let storing = readiness.check("store");
        Backlog::register(&metrics)?.watch(store.clone(), &stages.outbox, move |available| match available {
            true => storing.ready(),
            false => storing.not_ready("the store does not answer: look at the disk"),
        });
        Retention::of(&config, &metrics)?.start(store.clone(), &stages.outbox);
        Ok(RunningGateway { addresses, metrics, store, mappings, stages })
    }
}

impl RunningGateway {
    /// Where the first listener of a kind listens.
    pub fn address(&self, kind: ListenerKind) -> Option<SocketAddr> {
        self.addresses.iter().find(|bound| bound.kind == kind).map(|bound| bound.address)
    }

    /// Reads the mapping files again. A broken set leaves the running one in place.
    pub async fn reload_mappings(&self) -> Result<String, StartError> {
        self.mappings.reload().await
    }

    /// Digest of the set in use.
    pub fn mapping_set(&self) -> String {
        self.mappings.sets.current().digest().to_owned()
    }

    /// Stops room by room, in the order of a message. False if a room did not stop in its time: what it held
    /// is safe in the store, and seen to at the next start.
    pub async fn stop(self) -> bool {
        let Stages { listeners, delivery, outbox, store } = self.stages;
        let mut in_time = true;
        for (room, stage, limit) in [
            ("listeners", listeners, LISTENERS_STOP_MAX),
            ("delivery", delivery, DELIVERY_STOP_MAX),
            ("outbox", outbox, OUTBOX_STOP_MAX),
            ("store", store, STORE_STOP_MAX),
        ] {
            if !stage.drain(limit).await {
                tracing::warn!(room, limit_ms = limit.as_millis(), "did not stop in time");
                in_time = false;
            }
        }
        in_time
    }
}

/// The mapping set in use, and the folder that it comes from.
struct Mappings {
    folder: Option<PathBuf>,
    sets: Arc<MappingSets>,
    metrics: MappingMetrics,
    store: Arc<SqliteStore>,
    environment: Environment,
}

impl Mappings {
    async fn reload(&self) -> Result<String, StartError> {
        let taken_up = match load_set(self.folder.as_deref()) {
            Ok(set) => {
                let digest = set.digest().to_owned();
                self.take_up(set).await.map(|()| digest)
            }
            Err(error) => Err(error),
        };
        match &taken_up {
            Ok(digest) => tracing::info!(mapping.set = %digest, "the mapping files were read again"),
            Err(error) => {
                self.metrics.refused();
                tracing::error!(%error, mapping.set = %self.sets.current().digest(), "the mapping files were not taken up; the set in use stays");
            }
        }
        taken_up
    }

    /// Known to the store before any plan is made with it.
    async fn take_up(&self, set: Arc<MappingSet>) -> Result<(), StartError> {
        let archive = set.files().to_archive();
        self.store
            .register_set(set.digest(), archive, self.environment.now())
            .await
            .map_err(|source| StartError::KeepingMappings { source })?;
        self.metrics.loaded(set.digest());
        self.sets.replace(set);
        Ok(())
    }
}

/// Every file is read and checked: nothing half-read is ever used.
fn load_set(folder: Option<&Path>) -> Result<Arc<MappingSet>, StartError> {
    let files = match folder {
        Some(folder) => MappingFiles::from_folder(folder)?,
        None => MappingFiles::built_in(),
    };
    MappingSet::load(files).map(Arc::new).map_err(StartError::Mappings)
}

fn store_path(config: &Config) -> PathBuf {
    config.store.sqlite_path().expect("the rules of the settings take sqlite:PATH only")
}

async fn open_store(config: &Config, environment: &Environment) -> Result<Arc<SqliteStore>, StartError> {
    let path = store_path(config);
    match SqliteStore::open(&path, environment).await {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(StartError::Store { path, source }),
    }
}

/// The file of the settings, or one beside the store.
fn key_file(config: &Config) -> PathBuf {
    config.key_file.clone().unwrap_or_else(|| store_path(config).with_extension("key"))
}

/// What listeners hand messages to, and show.
struct Rooms {
    intake: Arc<dyn Receive>,
    store: Arc<SqliteStore>,
    metrics: Registry,
    readiness: Arc<Readiness>,
}

impl Rooms {
    /// Binds every listener before one of them serves: a taken port is told at the start.
    async fn listen(&self, listeners: &[Listener], environment: &Environment) -> Result<Vec<Bound>, StartError> {
        let mllp_metrics = MllpMetrics::register(&self.metrics)?;
        let deps = HttpDeps {
            intake: self.intake.clone(),
            search: self.store.clone(),
            operator: self.store.clone(),
            feed: Feed::new(self.store.clone(), self.store.signals().clone()),
            signals: self.store.signals().clone(),
            commands: mapping::command_schemas(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
        };
        let mut bound = Vec::with_capacity(listeners.len());
        let mut servers = Vec::new();
        for listener in listeners {
            match listener {
                Listener::Mllp(settings) => {
                    let server =
                        MllpServer::bind(settings.clone(), self.intake.clone(), environment.clone(), &mllp_metrics)
                            .await?;
                    bound.push(Bound { kind: ListenerKind::Mllp, address: server.address() });
                    servers.push(server);
                }
                Listener::Http(settings) => {
                    let handle = HttpServer::start(settings.clone(), deps.clone(), environment)?;
                    bound.push(Bound { kind: ListenerKind::Http, address: handle.address() });
                }
            }
        }
        for server in servers {
            environment.spawn(server.serve());
        }
        self.tell_of_listeners(&bound, environment)?;
        Ok(bound)
    }

    /// Up until the gateway is asked to stop: a balancer must look elsewhere before the drain.
    fn tell_of_listeners(&self, bound: &[Bound], environment: &Environment) -> Result<(), StartError> {
        let help = "1 while the listener takes messages, by kind and address";
        let up = IntGaugeVec::new(Opts::new("gateway_listener_up", help), &["kind", "address"])?;
        self.metrics.register(Box::new(up.clone()))?;
        let gauges: Vec<IntGauge> = bound
            .iter()
            .map(|listener| up.with_label_values(&[listener.kind.name(), &listener.address.to_string()]))
            .collect();
        gauges.iter().for_each(|gauge| gauge.set(1));
        let listening = self.readiness.check("listeners");
        listening.ready();
        let stopping = environment.shutdown().clone();
        environment.spawn(async move {
            stopping.cancelled().await;
            listening.not_ready("the gateway stops");
            gauges.iter().for_each(|gauge| gauge.set(0));
        });
        Ok(())
    }
}
