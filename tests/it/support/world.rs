//! A whole world: the e-RS simulator, a gateway with the demonstration's sources in front of it, real sockets
//! between everything, a store of its own.

use std::net::SocketAddr;
use std::time::Duration;

use ers_gateway::config::{Config, Listener, StoreUrl};
use ers_gateway::environment::Environment;
use ers_gateway::gateway::{Gateway, ListenerKind, RunningGateway};
use ers_gateway::keys::Keys;
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use ers_gateway::store::{AuditEntry, MessageFilter};

pub struct World {
    pub simulator: SimulatorHandle,
    pub gateway: RunningGateway,
    pub mllp: SocketAddr,
    pub http: SocketAddr,
    config: Config,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// `change` may alter the demonstration's settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::of(SimulatorConfig::default(), change).await
    }

    /// In front of a simulator of its own kind.
    pub async fn of(simulator: SimulatorConfig, change: impl FnOnce(&mut Config)) -> Self {
        let simulator = Simulator::start(simulator, Environment::system()).expect("the simulator starts");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = settings(&simulator, folder.path(), change);
        let gateway = Gateway::start(config.clone(), Environment::system()).await.expect("the gateway starts");
        let address = |kind| gateway.address(kind).expect("a listener of each kind");
        let (mllp, http) = (address(ListenerKind::Mllp), address(ListenerKind::Http));
        Self { simulator, gateway, mllp, http, config, _folder: folder }
    }

    /// Stops the gateway and starts another on its store, on other ports.
    pub async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn restarted_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { simulator, gateway, mut config, _folder, .. } = self;
        gateway.stop().await;
        change(&mut config);
        let gateway = Gateway::start(config.clone(), Environment::system()).await.expect("the gateway starts again");
        let address = |kind| gateway.address(kind).expect("a listener of each kind");
        let (mllp, http) = (address(ListenerKind::Mllp), address(ListenerKind::Http));
        Self { simulator, gateway, mllp, http, config, _folder }
    }

    /// Those that the gateway's store knows patients by.
    pub fn keys(&self) -> Keys {
        Keys::load_or_create(&self.config.key_path(), &Environment::system()).expect("the gateway made them")
    }

    /// What people did, in the audit log.
    pub async fn acts_of_people(&self) -> Vec<AuditEntry> {
        let log = self.gateway.store.audit_log(0, 1_000).await.expect("the store answers");
        log.into_iter().filter(|entry| entry.kind.as_deref() == Some("person")).collect()
    }

    /// Waits until nothing is queued, running or waiting any more.
    pub async fn settle(&self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let depths = self.gateway.store.depths().await.expect("the store answers");
            let busy: u64 = depths
                .iter()
                .filter(|depth| matches!(depth.state.as_str(), "queued" | "running" | "waiting"))
                .map(|depth| depth.count)
                .sum();
            if busy == 0 {
                return;
            }
            if std::time::Instant::now() >= deadline {
                panic!(
                    "{busy} commands are still busy: {depths:?}\n{}{:?}",
                    self.story().await,
                    self.simulator.ledger()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every command with its transitions and calls, for a failure's text.
    pub async fn story(&self) -> String {
        let mut story = String::new();
        let filter = MessageFilter { max: 20, ..MessageFilter::default() };
        for message in self.gateway.store.messages(filter).await.expect("the store answers") {
            for command in self.gateway.store.commands_of(message.id).await.expect("the store answers") {
                story.push_str(&format!("{} {:?}\n", command.name, command.state));
                for row in self.gateway.store.transitions(command.id).await.expect("the store answers") {
                    story.push_str(&format!("  {:?} -> {}: {}\n", row.from, row.to, row.why));
                }
                for row in self.gateway.store.attempts(command.id).await.expect("the store answers") {
                    story.push_str(&format!("  {} {} {:?} {:?}\n", row.step, row.call, row.status, row.outcome));
                }
            }
        }
        story
    }

    /// A-numbers of what reached e-RS, tokens left out.
    pub fn calls(&self) -> Vec<&'static str> {
        self.simulator.calls().into_iter().filter(|call| call.starts_with('A')).collect()
    }

    /// Names of the commands made so far, oldest first.
    pub async fn commands(&self) -> Vec<String> {
        let filter = MessageFilter { max: 100, ..MessageFilter::default() };
        let mut messages = self.gateway.store.messages(filter).await.expect("the store answers");
        messages.reverse();
        let mut names = Vec::new();
        for message in messages {
            let commands = self.gateway.store.commands_of(message.id).await.expect("the store answers");
            names.extend(commands.into_iter().map(|command| command.name));
        }
        names
    }

    pub async fn stop(self) {
        self.gateway.stop().await;
        self.simulator.stop().await;
    }
}

/// The demonstration on free ports, with pacing off.
pub fn settings(simulator: &SimulatorHandle, folder: &std::path::Path, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::demonstration();
    config.store = StoreUrl(format!("sqlite:{}", folder.join("store.db").display()));
    config.delivery.pacing.enabled = false;
    for listener in &mut config.listeners {
        match listener {
            Listener::Mllp(listener) => listener.listen.set_port(0),
            Listener::Http(listener) => listener.listen.set_port(0),
        }
    }
    for connection in &mut config.connections {
        connection.base_url = simulator.base_url().to_owned();
        connection.token_url = simulator.token_url().to_owned();
    }
    change(&mut config);
    config
}
