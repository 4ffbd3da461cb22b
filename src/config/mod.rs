//! `gateway.yaml`: typed settings, one file a section, every key with its default in `gateway.example.yaml`.
//!
//! Enters: YAML and `ERS_GATEWAY_…` environment variables. Leaves: [`Config`], checked as a whole.
//! Guarantees: unknown keys are errors with line and column; what could harm is refused outside the simulator.

mod broker;
mod connections;
mod delivery;
mod demonstration;
pub mod duration;
mod load;
mod located;
mod problem;
mod reader;
mod references;
mod rules;
mod sources;

use std::path::PathBuf;

use serde::Deserialize;

pub use broker::{Broker, BrokerInput, Partitions, QueueType, TopologyMode};
pub use connections::{Access, Connection, RefreshToken, SignedJwt};
pub use delivery::{Delivery, Pacing};
pub use problem::{ConfigError, ConfigProblem};
pub use sources::{
    ControlIdReuse, HttpListener, Listener, MllpListener, Mode, ReplyMode, Source, Tls, UndecodableText,
};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Limits and permissions follow from it.
    pub environment: EnvironmentName,
    /// Name of this instance in leases, metrics and events.
    pub instance: String,
    pub store: StoreUrl,
    /// 32 random bytes (base64) that seal tokens and digest identifiers; made by `ers-gateway keys`.
    /// Without it, a key file is created beside the store.
    pub key_file: Option<PathBuf>,
    /// Folder with `inbound/`, `ers/`, `codes/` …; the built-in set if absent.
    pub mappings: Option<PathBuf>,
    pub listeners: Vec<Listener>,
    pub sources: Vec<Source>,
    pub connections: Vec<Connection>,
    pub broker: Option<Broker>,
    pub delivery: Delivery,
    /// What is written to stderr, and how.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: EnvironmentName::Simulator,
            instance: "gateway-1".into(),
            store: StoreUrl("sqlite:ers-gateway.db".into()),
            key_file: None,
            mappings: None,
            listeners: Vec::new(),
            sources: Vec::new(),
            connections: Vec::new(),
            broker: None,
            delivery: Delivery::default(),
            log: Log::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentName {
    Simulator,
    Int,
    Production,
}

/// `sqlite:PATH`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct StoreUrl(pub String);

impl StoreUrl {
    /// The file of a SQLite store; `None` for anything else.
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        self.0.strip_prefix("sqlite:").filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    /// As in `RUST_LOG`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, filter: "info".into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}
