//! All rooms assembled into one running gateway.
//!
//! Enters: checked settings and an environment. Leaves: listeners that take messages, a delivery that
//! carries commands out, a publisher. Guarantees: nothing listens before the store is open and knows the
//! mapping set; delivery sees to what an earlier process left before it claims anything; on a stop, listeners close first and answer what they hold, then
//! delivery finishes its step, then the outbox gets a moment, and the store closes last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use tokio::sync::watch;

use crate::amqp::BrokerLinks;
use crate::command::Estimate;
use crate::config::{Config, EnvironmentName, HttpListener, InEvents, Listener, Source, Watch};
use crate::console::Door;
use crate::delivery::{self, Delivery, DeliveryMetrics, DeliveryParts, Estimator};
use crate::encryption::Encryption;
use crate::environment::Environment;
use crate::ers::{ReqwestTransport, Transport, TransportError};
use crate::events::{EventSchemas, Feed, InlineDocuments, Publisher, PublisherMetrics};
use crate::given::Given;
use crate::inbound::amqp::{self, AmqpDeps, InputMetrics};
use crate::inbound::http::{Estimates, Exports, HttpDeps, HttpError, HttpServer, Known, Readiness, SignInDeps, Tries};
use crate::inbound::mllp::{MllpError, MllpMetrics, MllpServer};
use crate::inbound::poll::{self, Poll};
use crate::instances::{Beats, BeatsParts, Duty, Mappings, SetError, note_settings};
use crate::intake::{self, Intake, IntakeMetrics, IntakeParts, Receive};
use crate::keys::{KeyError, Keys};
use crate::mapping;
use crate::metrics::Registry;
use crate::modes::{Modes, Since};
use crate::outbound::{Outbound, OutboundMetrics, OutboundParts};
use crate::replays::{Replays, ReplaysParts};
use crate::reports::Reports;
use crate::retention::Retention;
use crate::sign_in::{Desk, Ending};
use crate::store::{self, CommandView, InstanceStanding, OpenError, OutboxStore, Sealing, Store, StorePlace};
use crate::telemetry::{self, Backlog, MappingMetrics, Standing, Traces, TracesError};
use crate::trials::Trials;
use crate::waiting::Waiting;

/// Frames in hand are answered, requests finish.
const LISTENERS_STOP_MAX: Duration = Duration::from_secs(20);
/// An e-RS call in flight ends; a write that does not is in doubt, and seen to at the next start.
const DELIVERY_STOP_MAX: Duration = Duration::from_secs(15);
/// Events that stay are published after the next start.
const OUTBOX_STOP_MAX: Duration = Duration::from_secs(5);
const STORE_STOP_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Mappings(#[from] SetError),
    #[error(transparent)]
    Delivery(#[from] delivery::SetUpError),
    #[error(transparent)]
    Traces(#[from] TracesError),
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
    pub store: Arc<dyn Store>,
    mappings: Mappings,
    known: watch::Sender<Arc<Known>>,
    beats: Beats,
    readiness: Arc<Readiness>,
    stop_notice: Duration,
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

        let sealing = Sealing { encrypt: config.store_encrypt, ..Sealing::with(config.master_key(&environment)?) };
        let place = StorePlace {
            url: &config.store,
            instance: &config.instance,
            reserve_bytes: config.store_reserve_bytes,
            sealing: Some(&sealing),
        };
        let store = store::open(place, &stages.store).await?;
        let keys = store.keys().unwrap_or_else(|| sealing.keys.clone());
        for collector in store.collectors() {
            metrics.register(collector)?;
        }
        let traces = Traces::start(config.traces.as_ref(), &config.instance, &stages.outbox, &metrics)?;
        let mapping_metrics = MappingMetrics::register(&metrics)?;
        let folder = config.mappings.clone();
        let mappings = Mappings::begin(folder, &config.instance, mapping_metrics, store.clone(), &environment).await?;

        note_settings(&*store, config.digest.as_deref(), &config.instance, environment.now())
            .await
            .map_err(SetError::from)?;

        let by_name: delivery::Sources = config
            .sources
            .iter()
            .cloned()
            .chain(config.watches.iter().map(Watch::as_source))
            .map(by_its_name)
            .collect();
        let since = Since::register(&metrics, environment.now())?;
        let modes = Modes::begin(&config, by_name, store.clone(), stages.outbox.clone(), since)
            .await
            .map_err(SetError::from)?;
        let modes = Arc::new(modes);
        modes.start();
        let (sources, known_sources) = (modes.sources(), modes.sources());
        let delivery = Delivery::new(DeliveryParts {
            environment: stages.delivery.clone(),
            store: store.clone(),
            mappings: mappings.sets(),
            transport,
            keys: keys.clone(),
            connections: config.connections.clone(),
            pds: config.pds.clone(),
            sources,
            settings: config.delivery.clone(),
            instance: config.instance.clone(),
            metrics: DeliveryMetrics::register(&metrics)?,
            traces: traces.clone(),
        })?;
        let people = delivery.people();
        let desk = Desk::register(people.clone(), Arc::new(delivery.asker()), store.clone(), &metrics)?;
        let waiting = Waiting {
            store: store.clone(),
            search: store.clone(),
            people: people.clone(),
            asker: delivery.asker(),
            sources: known_sources,
            environment: stages.listeners.clone(),
        };
        let sign_in = SignInDeps { desk: Arc::new(desk), waiting: Arc::new(waiting) };
        Ending::register(people, store.clone(), &metrics)?.start();
        let beats = BeatsParts {
            store: store.clone(),
            environment: environment.clone(),
            instance: config.instance.clone(),
            mappings: mappings.clone(),
            hands: delivery.hands(),
        };
        let beats = Beats::register(beats, &metrics)?;
        let given = Given::new(&keys);
        let intake_sources = Arc::new(intake::Sources::switched_by(&config.sources, modes.board()));
        let trials = Trials {
            store: store.clone(),
            mappings: mappings.sets(),
            folder: config.mappings.clone(),
            sources: intake_sources.clone(),
            connections: config.connections.clone(),
            tried: Mutex::default(),
        };
        let intake = Arc::new(Intake::new(IntakeParts {
            environment: stages.listeners.clone(),
            store: store.clone(),
            mappings: mappings.sets(),
            sources: intake_sources.clone(),
            keys: keys.clone(),
            metrics: IntakeMetrics::register(&metrics)?,
            ages: config.delivery.clone(),
            place: config.environment,
            are_patients_checked: config.pds.is_some(),
            traces: traces.clone(),
        }));
        stages.listeners.spawn(intake.clone().watch_pieces());
        Poll {
            watches: config.watches.clone(),
            store: store.clone(),
            keys: keys.clone(),
            mappings: mappings.sets(),
            duty: Duty::new(store.clone(), "watches", &config.instance, &stages.listeners),
            looks: poll::metrics(&metrics)?,
            environment: stages.listeners.clone(),
        }
        .start();
        Outbound::new(OutboundParts {
            destinations: config.destinations.clone(),
            folders: config.documents.folders.clone(),
            store: store.clone(),
            answers: intake.clone(),
            mappings: mappings.sets(),
            given,
            place: config.environment,
            duty: Duty::new(store.clone(), "outbound", &config.instance, &stages.outbox),
            board: modes.board(),
            metrics: OutboundMetrics::register(&metrics)?,
            environment: stages.outbox.clone(),
        })
        .start()
        .await;
        let intake: Arc<dyn Receive> = intake;
        let replays = ReplaysParts {
            store: store.clone(),
            intake: intake.clone(),
            settings: config.delivery.clone(),
            duty: Duty::new(store.clone(), "replays", &config.instance, &stages.listeners),
            environment: stages.listeners.clone(),
        };
        Replays::register(replays, &metrics)?.start();
        Reports {
            store: store.clone(),
            duty: Duty::new(store.clone(), "reports", &config.instance, &stages.outbox),
            environment: stages.outbox.clone(),
        }
        .start();
        if config.pds.is_none() && config.environment != EnvironmentName::Simulator {
            tracing::warn!("nobody checks patients before they are referred: there is no connection to PDS");
        }

        let links = BrokerLinks::register(&metrics)?;
        let readiness = Arc::new(Readiness::default());
        let outbox: Arc<dyn OutboxStore> = match config.documents.in_events {
            InEvents::Link => store.clone(),
            InEvents::Inline => Arc::new(InlineDocuments::new(store.clone(), config.documents.inline_bytes_max)),
        };
        let (known, known_now) = watch::channel(Arc::new(Known::of(&config)));
        let rooms = Rooms {
            intake: intake.clone(),
            store: store.clone(),
            outbox: outbox.clone(),
            keys: keys.clone(),
            estimates: Arc::new(delivery.estimator()),
            modes,
            trials: Arc::new(trials),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            known: known_now,
            console: Arc::new(Door::new(keys.clone())),
            sign_in,
        };
        let addresses = rooms.listen(&config, &stages.listeners).await?;
        if let Some(broker) = &config.broker {
            let schemas = EventSchemas::built_in();
            let published = PublisherMetrics::register(&metrics, links.clone(), schemas.clone())?;
            let signals = store.signals().clone();
            let duty = Duty::new(store.clone(), "outbox", &config.instance, &stages.outbox);
            Publisher::new(broker.clone(), outbox, signals, duty, schemas, published, stages.outbox.clone())
                .with_traces(traces)
                .start();
            let inputs = AmqpDeps { intake, links, metrics: InputMetrics::register(&metrics)? };
            amqp::start(broker, &inputs, &stages.listeners);
        }
        stages.delivery.spawn(delivery.run());
        let storing = readiness.check("store");
        Backlog::register(&metrics)?.watch(store.clone(), &stages.outbox, move |standing| match standing {
            Standing::Answers => storing.ready(),
            Standing::Full => storing.not_ready("the disk is nearly full: no message is taken until there is room"),
            Standing::Away => storing.not_ready("the store does not answer: look at the disk"),
        });
        Retention::of(&config, &metrics)?.start(store.clone(), &stages.outbox);
        let duty = Duty::new(store.clone(), "encryption", &config.instance, &stages.outbox);
        Encryption::of(&config, sealing.keys, duty, &metrics)?.start(store.clone(), &stages.outbox);
        beats.start(&stages.outbox);
        let stop_notice = config.stop_notice();
        Ok(RunningGateway { addresses, metrics, store, mappings, known, beats, readiness, stop_notice, stages })
    }
}

impl RunningGateway {
    /// Where the first listener of a kind listens.
    pub fn address(&self, kind: ListenerKind) -> Option<SocketAddr> {
        self.addresses.iter().find(|bound| bound.kind == kind).map(|bound| bound.address)
    }

    /// Reads the mapping files again. A broken set leaves the running one in place.
    pub async fn reload_mappings(&self) -> Result<String, SetError> {
        self.mappings.reload().await
    }

    /// From now on only the tokens and people of these settings open anything.
    pub fn replace_callers(&self, config: &Config) {
        self.known.send_replace(Arc::new(Known::of(config)));
        let (tokens, people) = (config.tokens.len(), config.people.len());
        tracing::info!(tokens, people, "the tokens and people of the settings are in use");
    }

    /// Digest of the set in use.
    pub fn mapping_set(&self) -> String {
        self.mappings.digest()
    }

    /// Stops room by room, in the order of a message. False if a room did not stop in its time: what it held
    /// is safe in the store, and seen to at the next start.
    ///
    /// Before anything closes, the gateway says that it is not ready, so that a balancer looks elsewhere.
    pub async fn stop(self) -> bool {
        self.readiness.check("stop").not_ready("the gateway is about to stop");
        self.beats.stands(InstanceStanding::Draining).await;
        self.stages.listeners.sleep(self.stop_notice).await;
        let Stages { listeners, delivery, outbox, store } = self.stages;
        let mut in_time = true;
        for (room, stage, limit) in [
            ("listeners", listeners, LISTENERS_STOP_MAX),
            ("delivery", delivery, DELIVERY_STOP_MAX),
            ("outbox", outbox, OUTBOX_STOP_MAX),
        ] {
            in_time &= ended_in_time(room, &stage, limit).await;
        }
        // The last thing that the others hear.
        self.beats.stands(InstanceStanding::Stopped).await;
        in_time & ended_in_time("store", &store, STORE_STOP_MAX).await
    }
}

fn by_its_name(source: Source) -> (String, Source) {
    (source.name.clone(), source)
}

async fn ended_in_time(room: &str, stage: &Environment, limit: Duration) -> bool {
    let in_time = stage.drain(limit).await;
    if !in_time {
        tracing::warn!(room, limit_ms = limit.as_millis(), "did not stop in time");
    }
    in_time
}

/// What listeners hand messages to, and show.
struct Rooms {
    intake: Arc<dyn Receive>,
    store: Arc<dyn Store>,
    /// Events as they are read, with documents or without.
    outbox: Arc<dyn OutboxStore>,
    keys: Keys,
    estimates: Arc<dyn Estimates>,
    modes: Arc<Modes>,
    trials: Arc<Trials>,
    metrics: Registry,
    readiness: Arc<Readiness>,
    known: watch::Receiver<Arc<Known>>,
    console: Arc<Door>,
    sign_in: SignInDeps,
}

impl Estimates for Estimator {
    fn estimate(&self, command: &CommandView) -> Estimate {
        Self::estimate(self, command)
    }
}

impl Rooms {
    /// Binds every listener before one of them serves: a taken port is told at the start.
    async fn listen(&self, config: &Config, environment: &Environment) -> Result<Vec<Bound>, StartError> {
        let listeners = &config.listeners;
        let mllp_metrics = MllpMetrics::register(&self.metrics)?;
        let deps = HttpDeps {
            instance: config.instance.clone(),
            intake: self.intake.clone(),
            search: self.store.clone(),
            fetched: self.store.clone(),
            operator: self.store.clone(),
            audit: self.store.clone(),
            patients: self.store.clone(),
            instances: self.store.clone(),
            dispatches: self.store.clone(),
            estimates: self.estimates.clone(),
            modes: Some(self.modes.clone()),
            asker: Some(self.sign_in.waiting.asker.clone()),
            trials: Some(self.trials.clone()),
            feed: Feed::new(self.outbox.clone(), self.store.signals().clone()),
            signals: self.store.signals().clone(),
            store: self.store.clone(),
            place: config.environment,
            are_patients_checked: config.pds.is_some(),
            commands: mapping::command_schemas(),
            keys: self.keys.clone(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            known: self.known.clone(),
            console: self.console.clone(),
            tries: Arc::new(Tries::register(&self.metrics)?),
            exports: Exports::default(),
            sign_in: Some(self.sign_in.clone()),
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
                    let access = Some(config.http_access(settings));
                    let settings = HttpListener { access, ..settings.clone() };
                    let handle = HttpServer::start(settings, deps.clone(), environment)?;
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
