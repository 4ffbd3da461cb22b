//! All rooms assembled into one running gateway.
//!
//! Enters: checked settings and an environment. Leaves: listeners that take messages, a delivery that
//! carries commands out, a publisher. Guarantees: nothing listens before the store is open and what an
//! earlier process left is seen to; on a stop, listeners close first and answer what they hold, then
//! delivery finishes its step, then the outbox gets a moment, and the store closes last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::watch;

use crate::amqp::BrokerLinks;
use crate::config::{Config, Listener};
use crate::delivery::{Delivery, DeliveryMetrics, DeliveryParts, Sources};
use crate::environment::Environment;
use crate::ers::{PrivateKeyError, ReqwestTransport, Transport, TransportError};
use crate::events::{EventSchemas, Feed, OutboxMetrics, Publisher, PublisherMetrics};
use crate::inbound::amqp::{AmqpDeps, InputMetrics};
use crate::inbound::http::{HttpDeps, HttpError, HttpServer, Readiness};
use crate::inbound::mllp::{MllpError, MllpMetrics, MllpServer};
use crate::intake::{Intake, IntakeParts, Receive};
use crate::keys::{KeyError, Keys};
use crate::mapping::{Diagnostic, FilesError, MappingFiles, MappingSet, MappingSets};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};
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

        let mappings = Mappings {
            folder: config.mappings.clone(),
            sets: Arc::new(MappingSets::new(Arc::new(load_set(config.mappings.as_deref())?))),
            metrics: Arc::new(MappingMetrics::register(&metrics)?),
        };
        let path = config.store.sqlite_path().unwrap_or_else(|| PathBuf::from("ers-gateway.db"));
        let store_error = |source| StartError::Store { path: path.clone(), source };
        let store = Arc::new(SqliteStore::open(&path, &stages.store).await.map_err(store_error)?);
        let key_file = config.key_file.clone().unwrap_or_else(|| key_file_beside(&path));
        let keys = Keys::load_or_create(&key_file, &environment)?;
        mappings.register(store.as_ref(), &environment).await.map_err(store_error)?;
        let recovered = store.recover(environment.now()).await.map_err(store_error)?;
        if recovered.requeued + recovered.in_doubt > 0 {
            tracing::warn!(
                requeued = recovered.requeued,
                in_doubt = recovered.in_doubt,
                "an earlier process ended in the middle of its work"
            );
        }
        Backlog::register(&metrics)?.watch(store.clone(), &stages.outbox);

        let by_name: Sources = config.sources.iter().map(|source| (source.name.clone(), source.clone())).collect();
        let (_, sources) = watch::channel(Arc::new(by_name));
        let delivery = Delivery::new(DeliveryParts {
            environment: stages.delivery.clone(),
            store: store.clone(),
            mappings: mappings.sets.clone(),
            transport,
            keys: keys.clone(),
            connections: config.connections.clone(),
            sources: sources.clone(),
            settings: config.delivery.clone(),
            instance: config.instance.clone(),
            metrics: DeliveryMetrics::register(&metrics)?,
        })?;
        let intake: Arc<dyn Receive> = Arc::new(Intake::new(IntakeParts {
            environment: stages.listeners.clone(),
            store: store.clone(),
            mappings: mappings.sets.clone(),
            keys,
            config: &config,
            metrics: &metrics,
        })?);

        let addresses = listen(&config, &intake, &store, &metrics, &stages.listeners).await?;
        stages.delivery.spawn(delivery.run());
        Ok(RunningGateway { addresses, metrics, store, mappings, stages })
    }
}
