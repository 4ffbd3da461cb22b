//! The demonstration's world: a simulator, a gateway in front of it, and eyes on both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::exit::CliError;
use super::super::send::Receiver;
use super::super::send::acknowledgement::Verdict;
use super::scenes::Way;
use super::teller::Teller;
use crate::command::{CommandId, MessageId, State};
use crate::config::{Broker, Config, Listener, QueueType, StoreUrl, TopologyMode};
use crate::environment::Environment;
use crate::gateway::{Gateway, ListenerKind, RunningGateway};
use crate::mapping::MappingSet;
use crate::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use crate::store::MessageFilter;

const ANSWER_MAX: Duration = Duration::from_secs(10);

pub struct Stage {
    simulator: SimulatorHandle,
    gateway: RunningGateway,
    operations: MappingSet,
    store: PathBuf,
    mllp: SocketAddr,
    http: SocketAddr,
    has_broker: bool,
    pub ready_after: Duration,
    /// Last, so that it is removed when everything in it is closed.
    _folder: Folder,
}

/// What a scene brought about so far.
#[derive(Debug, Default)]
pub struct Seen {
    pub answer: String,
    pub calls: Vec<(String, u16)>,
    pub events: Vec<String>,
    pub ubrn: Option<String>,
}

/// How things stood before a scene.
pub struct Before {
    last_event: u64,
    last_message: Option<MessageId>,
}

/// Removed when the demonstration ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from a temporary folder is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    pub async fn build(amqp: Option<&str>) -> Result<Self, CliError> {
        let environment = Environment::system();
        let folder = std::env::temp_dir().join(format!("ers-gateway-demo-{}", environment.random_id()));
        std::fs::create_dir(&folder).map_err(|error| CliError::unavailable(folder.display(), error))?;
        let folder = Folder(folder);
        let store = folder.0.join("store.db");

        let simulator = Simulator::start(SimulatorConfig::default(), environment.clone())
            .map_err(|error| CliError::unavailable("the simulator", error))?;
        let config = settings(&simulator, &store, amqp);
        let started = Instant::now();
        let gateway = Gateway::start(config, environment)
            .await
            .map_err(|error| CliError::unavailable("the gateway cannot start", error))?;
        let ready_after = started.elapsed();
        let listener = |kind| gateway.address(kind).ok_or_else(|| CliError::Unavailable("no listener".to_owned()));
        let (mllp, http) = (listener(ListenerKind::Mllp)?, listener(ListenerKind::Http)?);
        let operations = MappingSet::built_in()
            .map_err(|_| CliError::Unavailable("the built-in mapping set is broken".to_owned()))?;
        let has_broker = amqp.is_some();
        Ok(Self { simulator, gateway, operations, store, mllp, http, has_broker, ready_after, _folder: folder })
    }

    pub fn has_broker(&self) -> bool {
        self.has_broker
    }

    /// e-RS refuses the next so many creations.
    pub fn throttle(&self, times: u64) {
        if times > 0 {
            let refusal =
                Action::Answer { status: 429, code: None, diagnostics: None, retry_after: Some(1), body: None };
            self.simulator.inject(Fault::on("A011", refusal).times(times));
        }
    }

    pub async fn send(&self, way: Way, message: &[u8]) -> Result<Verdict, CliError> {
        let address = match way {
            Way::Mllp => format!("mllp://{}", self.mllp),
            Way::Http => format!("http://{}", self.http),
        };
        let mut receiver = Receiver::connect(&address, ANSWER_MAX).await?;
        receiver.send(Path::new("message.hl7"), message).await
    }

    pub async fn look(&self) -> Result<Before, CliError> {
        let newest = self.gateway.store.messages(MessageFilter { max: 1, ..MessageFilter::default() }).await?;
        Ok(Before {
            last_event: self.gateway.store.last_position().await?,
            last_message: newest.first().map(|message| message.id),
        })
    }

    /// Tells what is new since the last look; true when everything that came in since `before` has come to rest.
    pub async fn watch(&self, before: &Before, seen: &mut Seen, teller: &mut Teller) -> Result<bool, CliError> {
        let store = &self.gateway.store;
        let mut settled = true;
        let mut calls = Vec::new();
        for message in store.messages(MessageFilter { max: 10, ..MessageFilter::default() }).await? {
            if before.last_message.is_some_and(|last| message.id <= last) {
                break;
            }
            for command in store.commands_of(message.id).await? {
                settled &= is_at_rest(&command.state);
                calls.extend(self.calls_of(command.id).await?);
            }
        }
        for (call, status, milliseconds) in calls.into_iter().skip(seen.calls.len()) {
            let name = self.operations.operation(&call).map_or("", |operation| operation.name.as_str());
            teller.call(&call, name, status, milliseconds);
            seen.calls.push((call, status));
        }
        for event in store.events_after(before.last_event, 100).await?.into_iter().skip(seen.events.len()) {
            let ubrn = event.data["ubrn"].as_str().map(str::to_owned);
            teller.event(&event.name, ubrn.as_deref());
            seen.ubrn = ubrn.or(seen.ubrn.take());
            seen.events.push(event.name);
        }
        Ok(settled)
    }

    /// Finished attempts, oldest first: call, status (0 without an answer), milliseconds.
    async fn calls_of(&self, command: CommandId) -> Result<Vec<(String, u16, u64)>, CliError> {
        let attempts = self.gateway.store.attempts(command).await?;
        Ok(attempts
            .into_iter()
            .filter(|attempt| attempt.finished_at.is_some())
            .map(|attempt| (attempt.call, attempt.status.unwrap_or(0), attempt.duration_ms.unwrap_or(0)))
            .collect())
    }

    pub fn referrals_made(&self) -> usize {
        self.simulator.creations().len()
    }

    pub fn has_duplicates(&self) -> bool {
        !self.simulator.duplicates().is_empty()
    }

    /// The broker confirmed every event within `limit`.
    pub async fn outbox_drained(&self, limit: Duration) -> Result<bool, CliError> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if self.gateway.store.outbox_depth().await?.count == 0 {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn places(&self) -> Vec<(&'static str, String)> {
        let api = format!("http://{}", self.http);
        vec![
            ("console", format!("{api}/console")),
            ("metrics", format!("{api}/metrics")),
            ("health", format!("{api}/health/ready")),
            ("events so far", format!("{api}/v1/events?after=0")),
            ("messages", format!("ers-gateway messages list --api {api}")),
            ("send one yourself", format!("ers-gateway send FILE.hl7 --to mllp://{}", self.mllp)),
            ("what e-RS saw", format!("{}/ledger", self.simulator.control_url())),
            ("store (SQLite)", self.store.display().to_string()),
        ]
    }

    /// False if something did not stop in time.
    pub async fn strike(self) -> bool {
        let in_time = self.gateway.stop().await;
        self.simulator.stop().await;
        in_time
    }
}

/// The built-in settings, moved to free ports, to this simulator and to a store that goes away.
fn settings(simulator: &SimulatorHandle, store: &Path, amqp: Option<&str>) -> Config {
    let mut config = Config::demonstration();
    config.store = StoreUrl(format!("sqlite:{}", store.display()));
    for listener in &mut config.listeners {
        match listener {
            Listener::Mllp(listener) => listener.listen.set_port(0),
            Listener::Http(listener) => listener.listen.set_port(0),
        }
    }
    for connection in &mut config.connections {
        simulator.base_url().clone_into(&mut connection.base_url);
        simulator.token_url().clone_into(&mut connection.token_url);
    }
    config.broker = amqp.map(|url| Broker {
        urls: vec![url.to_owned()],
        exchange: "ers.events".to_owned(),
        topology: TopologyMode::Declare,
        queue_type: QueueType::default(),
        in_flight_max: 256,
        partitions: None,
        inputs: Vec::new(),
    });
    config
}

fn is_at_rest(state: &State) -> bool {
    state.is_final() || matches!(state, State::Failed { .. } | State::InDoubt { .. } | State::Unauthorised { .. })
}
