//! The HTTP listener on a port of its own, over scripted rooms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ers_gateway::command::CommandSchemas;
use ers_gateway::config::{HttpAccess, HttpListener};
use ers_gateway::console::Door;
use ers_gateway::environment::Environment;
use ers_gateway::events::Feed;
use ers_gateway::inbound::http::{Exports, HttpDeps, HttpServer, Readiness, Tries};
use ers_gateway::keys::Keys;

use tokio::sync::watch;

use super::intake::ScriptedIntake;
use ers_gateway::store::DispatchStore;
use ers_gateway::store::sqlite::SqliteStore;

use super::records::Records;
use super::waiting::client;

pub struct HttpGateway {
    pub address: SocketAddr,
    pub records: Arc<Records>,
    /// Dispatches and the audit log.
    pub store: Arc<SqliteStore>,
    pub intake: Arc<ScriptedIntake>,
    pub readiness: Arc<Readiness>,
    pub metrics: ers_gateway::metrics::Registry,
    pub environment: Environment,
    pub deps: HttpDeps,
    pub client: reqwest::Client,
    _folder: tempfile::TempDir,
}

pub fn listener() -> HttpListener {
    HttpListener {
        console: true,
        listen: "127.0.0.1:0".parse().expect("a literal address"),
        tls: None,
        access: Some(HttpAccess::Open),
        source: Some("northmoor".into()),
        body_bytes_max: 64 * 1024,
        wait_max: Duration::from_secs(5),
        accept_text_plain: false,
        allow_plain: false,
    }
}

impl HttpGateway {
    pub async fn start(listener: HttpListener, intake: Arc<ScriptedIntake>) -> Self {
        let environment = Environment::system();
        let records = Records::new();
        let readiness = Arc::new(Readiness::default());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(folder.path().join("dispatches.db"), &environment).await.expect("a store");
        let store = Arc::new(store);
        let dispatches: Arc<dyn DispatchStore> = store.clone();
        let metrics = ers_gateway::metrics::Registry::new();
        let commands = CommandSchemas::compile([("CreateReferral", r#"{"type": "object"}"#)]);
        let keys = Keys::load_or_create(&folder.path().join("gateway.key"), &environment).expect("keys");
        let deps = HttpDeps {
            instance: "under-test".into(),
            console: Arc::new(Door::new(keys)),
            tries: Arc::new(Tries::register(&metrics).expect("the name is free")),
            exports: Exports::default(),
            intake: intake.clone(),
            search: records.clone(),
            fetched: records.clone(),
            operator: records.clone(),
            audit: store.clone(),
            patients: store.clone(),
            instances: records.clone(),
            dispatches,
            estimates: records.clone(),
            modes: None,
            asker: None,
            trials: None,
            feed: Feed::new(records.clone(), records.signals.clone()),
            signals: records.signals.clone(),
            commands: Arc::new(commands.unwrap_or_else(|errors| panic!("{errors:?}"))),
            store: store.clone(),
            place: ers_gateway::config::EnvironmentName::Simulator,
            are_patients_checked: false,
            keys: Keys::load_or_create(&folder.path().join("keys"), &environment).expect("a key file"),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            known: watch::channel(Arc::default()).1,
            sign_in: None,
        };
        let handle = HttpServer::start(listener, deps.clone(), &environment).expect("port 0 is free");
        Self {
            address: handle.address(),
            records,
            store,
            intake,
            readiness,
            metrics,
            environment,
            deps,
            client: client(),
            _folder: folder,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let request = self.client.post(self.url(path)).header("content-type", content_type).body(body);
        request.send().await.expect("the listener answers")
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.expect("the listener answers")
    }
}
