//! `gateway.yaml`: typed settings, one file a section, every key with its default in `gateway.example.yaml`.
//!
//! Enters: YAML and `ERS_GATEWAY_…` environment variables. Leaves: [`Config`], checked as a whole.
//! Guarantees: unknown keys are errors with line and column; what could harm is refused outside the simulator.

mod broker;
mod connections;
mod delivery;
mod demonstration;
mod destinations;
mod documents;
pub mod duration;
mod identity_provider;
mod load;
mod located;
mod pds;
mod peers;
mod people;
mod problem;
mod reader;
mod references;
mod retention;
mod rules;
mod sources;
mod tokens;
mod traces;
mod watches;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::environment::Environment;
use crate::keys::{KeyError, Keys};
use crate::store::postgres::Address;
use crate::store::sqlite::RESERVE_BYTES;

pub use broker::{Broker, BrokerInput, Partitions, QueueType, TopologyMode};
pub use connections::{
    Access, Connection, ExchangeKey, ProfessionalSession, RefreshToken, SignIn, SignedJwt, Unattended,
};
pub use delivery::{Delivery, Pacing};
pub use destinations::{Acknowledgement, Destination, DestinationTls};
pub use documents::{DocumentFolder, Documents, InEvents};
pub use identity_provider::{Groups, IdentityProvider};
pub use pds::Pds;
pub use peers::{Fingerprint, Network};
pub use people::{Account, PasswordDigest, Person, PersonRole};
pub use problem::{ConfigError, ConfigProblem};
pub use retention::Retention;
pub use tokens::{HttpAccess, Role, Token, TokenDigest};
pub use traces::Traces;
pub use watches::{FirstSight, Watch};

pub use sources::{
    ControlIdReuse, HttpListener, Listener, MllpListener, Mode, ReplyMode, Source, Tls, UndecodableText, is_nhs_user,
    mode_for,
};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Limits and permissions follow from it.
    pub environment: EnvironmentName,
    /// Name of this instance in leases, metrics and events.
    pub instance: String,
    pub store: StoreUrl,
    /// With a file: kept free on its disk for what was taken already; with less, no message is taken.
    pub store_reserve_bytes: u64,
    /// 32 random bytes (base64) that seal tokens and digest identifiers; made by `ers-gateway keys`.
    /// Without it, a key file is created beside the store.
    pub key_file: Option<PathBuf>,
    /// The same, as it stands in such a file: for `${NAME}` and `${file:…}`.
    pub key: Option<SecretString>,
    /// Whether what is stored is encrypted.
    pub store_encrypt: bool,
    /// Folder with `inbound/`, `ers/`, `codes/` …; the built-in set if absent.
    pub mappings: Option<PathBuf>,
    pub listeners: Vec<Listener>,
    /// Programs that use the HTTP API.
    pub tokens: Vec<Token>,
    /// People who use the console.
    pub people: Vec<Person>,
    /// Where people of the trust sign in to the console.
    pub identity_provider: Option<IdentityProvider>,
    pub sources: Vec<Source>,
    pub connections: Vec<Connection>,
    /// Hospital systems that get HL7 v2 messages of ours.
    pub destinations: Vec<Destination>,
    /// What becomes of documents that were fetched.
    pub documents: Documents,
    /// Worklists that are looked at by themselves.
    pub watches: Vec<Watch>,
    pub broker: Option<Broker>,
    /// Without it nobody checks patients before they are referred.
    pub pds: Option<Pds>,
    pub delivery: Delivery,
    pub retention: Retention,
    /// How long the gateway says that it is not ready before it closes its listeners.
    #[serde(deserialize_with = "duration::optional")]
    pub stop_notice: Option<Duration>,
    /// What is written to stderr, and how.
    pub log: Log,
    /// Where traces go.
    pub traces: Option<Traces>,
    /// Of the file that they were read from: hex SHA-256.
    #[serde(skip)]
    pub digest: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: EnvironmentName::Simulator,
            instance: "gateway-1".into(),
            store: StoreUrl("sqlite:ers-gateway.db".into()),
            store_reserve_bytes: RESERVE_BYTES,
            key_file: None,
            key: None,
            store_encrypt: true,
            mappings: None,
            listeners: Vec::new(),
            tokens: Vec::new(),
            people: Vec::new(),
            identity_provider: None,
            sources: Vec::new(),
            connections: Vec::new(),
            destinations: Vec::new(),
            documents: Documents::default(),
            watches: Vec::new(),
            broker: None,
            pds: None,
            delivery: Delivery::default(),
            retention: Retention::default(),
            stop_notice: None,
            log: Log::default(),
            traces: None,
            digest: None,
        }
    }
}

impl Config {
    /// Who is told of events, other than over the broker and the feed.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        let destinations = self.destinations.iter().filter(|one| !one.tells.is_empty()).map(|one| &*one.name);
        destinations.chain(self.documents.folders.iter().map(|one| &*one.name))
    }

    /// Who may use an HTTP listener that does not say: with tokens or people those who show that they are one of them,
    /// without any everybody, which the rules let pass only where the machine or certificates keep others away.
    pub fn http_access(&self, listener: &HttpListener) -> HttpAccess {
        let knows_nobody = self.tokens.is_empty() && self.people.is_empty() && self.identity_provider.is_none();
        listener.access.unwrap_or(if knows_nobody { HttpAccess::Open } else { HttpAccess::Tokens })
    }

    /// The master key of the store; its file is made if there is none.
    pub fn master_key(&self, environment: &Environment) -> Result<Keys, KeyError> {
        match &self.key {
            Some(key) => Keys::of_text(key.expose_secret(), environment),
            None => Keys::load_or_create(&self.key_path(), environment),
        }
    }

    /// The file that was named, or one beside the store.
    pub fn key_path(&self) -> PathBuf {
        let beside = || self.store.sqlite_path().unwrap_or_else(|| "ers-gateway".into()).with_extension("key");
        self.key_file.clone().unwrap_or_else(beside)
    }

    /// Absent: long enough for a balancer's next look, and nothing where nobody balances.
    pub fn stop_notice(&self) -> Duration {
        self.stop_notice.unwrap_or(match self.environment {
            EnvironmentName::Simulator => Duration::ZERO,
            EnvironmentName::Int | EnvironmentName::Production => Duration::from_secs(5),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentName {
    Simulator,
    Int,
    Production,
}

impl EnvironmentName {
    pub const ALL: [Self; 3] = [Self::Simulator, Self::Int, Self::Production];

    pub fn name(self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::Int => "int",
            Self::Production => "production",
        }
    }
}

/// `sqlite:PATH` or `postgres://…`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct StoreUrl(pub String);

impl StoreUrl {
    /// The file of a SQLite store; `None` for anything else.
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        self.0.strip_prefix("sqlite:").filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// A database that several gateways may share.
    pub fn is_postgres(&self) -> bool {
        self.0.starts_with("postgres://") || self.0.starts_with("postgresql://")
    }

    /// As a person names one: a file, or a URL.
    pub fn of_argument(text: &str) -> Self {
        let url = Self(text.to_owned());
        if url.is_postgres() || url.sqlite_path().is_some() { url } else { Self(format!("sqlite:{text}")) }
    }

    /// For people: never with a password.
    pub fn place(&self) -> String {
        match self.sqlite_path() {
            Some(path) => path.display().to_string(),
            None => Address::parse(&self.0).map_or_else(|_| "postgres://…".to_owned(), |address| address.place()),
        }
    }

    /// With its password, for who connects.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// Never with a password.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sqlite_path() {
            Some(path) => write!(f, "sqlite:{}", path.display()),
            None => f.write_str("postgres://…"),
        }
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
