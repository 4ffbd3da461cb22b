//! The whole gateway over real sockets, with the e-RS simulator behind it.

use ers_gateway::config::{Broker, Config, Listener, Pacing, StoreUrl};
use ers_gateway::environment::Environment;
use ers_gateway::gateway::{Gateway, ListenerKind, RunningGateway};
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use tempfile::TempDir;

pub struct House {
    pub gateway: RunningGateway,
    pub ers: SimulatorHandle,
    pub client: reqwest::Client,
    _folder: TempDir,
}

impl House {
    /// The demonstration settings, on free ports and with a store of its own.
    pub async fn start(broker: Option<Broker>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment::system();
        let ers = Simulator::start(SimulatorConfig::default(), environment.clone()).expect("port 0 is free");
        let mut config = Config::demonstration();
        config.store = StoreUrl(format!("sqlite:{}", folder.path().join("gateway.db").display()));
        config.broker = broker;
        config.delivery.pacing = Pacing { enabled: false, ..Pacing::default() };
        for listener in &mut config.listeners {
            match listener {
                Listener::Mllp(listener) => listener.listen.set_port(0),
                Listener::Http(listener) => listener.listen.set_port(0),
            }
        }
        for connection in &mut config.connections {
            connection.base_url = ers.base_url().to_owned();
            connection.token_url = ers.token_url().to_owned();
        }
        let gateway = Gateway::start(config, environment).await.unwrap_or_else(|error| panic!("{error}"));
        Self { gateway, ers, client: reqwest::Client::new(), _folder: folder }
    }

    pub fn url(&self, path: &str) -> String {
        let address = self.gateway.address(ListenerKind::Http).expect("there is an HTTP listener");
        format!("http://{address}{path}")
    }

    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let mut request = self.client.post(self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("the gateway answers")
    }

    pub fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.gateway.metrics.gather()).expect("text")
    }
}

/// A message of `tests/data/hl7`, by the beginning of its name.
pub fn sample(number: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7");
    let mut names = std::fs::read_dir(folder).expect("the samples are there").flatten().map(|entry| entry.path());
    let path = names
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(number)))
        .unwrap_or_else(|| panic!("no sample {number}"));
    std::fs::read(path).expect("the sample can be read")
}
