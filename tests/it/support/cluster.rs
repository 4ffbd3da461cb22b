//! Several gateways, each a process, on one database behind a wire of its own, with one e-RS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ers_gateway::config::StoreUrl;
use ers_gateway::environment::Environment;
use ers_gateway::simulator::applications::{Access, Session};
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::postgres::Postgres;
use super::proxy::Proxy;
use super::rabbitmq::RabbitMq;
use super::serve::Serve;

const SENDERS: [&str; 4] = ["northmoor", "eastvale", "southbeck", "westmere"];
/// A kill may cost a session, so every life of a gateway has a sign-in of its own.
const SIGN_INS: u32 = 500;

pub struct Cluster {
    pub ers: SimulatorHandle,
    pub postgres: Arc<Postgres>,
    pub gateways: Vec<Serve>,
    /// Between each gateway and the database.
    pub wires: Vec<Proxy>,
    schema: String,
    folder: TempDir,
    sign_ins: u32,
}

impl Cluster {
    /// Makes the gateways and starts none of them.
    pub async fn new(postgres: Arc<Postgres>, gateways: usize) -> Self {
        let url = postgres.new_schema();
        let (_, schema) = url.rsplit_once("%3D").expect("the schema is last");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key: [u8; 32] = rand::random();
        std::fs::write(folder.path().join("keys"), STANDARD.encode(key)).expect("a key file");
        let mut cluster = Self {
            ers: ers(),
            gateways: Vec::new(),
            wires: Vec::new(),
            schema: schema.to_owned(),
            folder,
            postgres,
            sign_ins: 0,
        };
        for _ in 0..gateways {
            cluster.join().await;
        }
        cluster
    }

    /// One more, which is not started yet. Returns its place.
    pub async fn join(&mut self) -> usize {
        let wire = Proxy::to(self.postgres.port).await;
        let place = self.gateways.len();
        let url = self.postgres.url_at(wire.port, &self.schema);
        let name = format!("gateway-{}", place + 1);
        let gateway = Serve::new(&self.ers).on_database(&name, &url, &self.folder.path().join("keys"));
        self.gateways.push(gateway);
        self.wires.push(wire);
        self.sign_in(place);
        place
    }

    /// The file that every gateway has.
    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn sign_in(&mut self, place: usize) {
        self.sign_ins += 1;
        assert!(self.sign_ins < SIGN_INS, "nobody signed in so often");
        for sender in SENDERS {
            self.gateways[place].connection(sender)["refresh_token"] = token(sender, self.sign_ins).into();
        }
    }

    /// Events go to `exchange`; `input` is read for Southbeck.
    pub fn set_broker(&mut self, node: &RabbitMq, exchange: &str, input: Option<&str>) {
        let inputs: Vec<Value> = input
            .iter()
            .map(|queue| json!({"queue": queue, "source": "southbeck", "dead_letter_exchange": "ers.rejected"}))
            .collect();
        for gateway in &mut self.gateways {
            gateway.settings["broker"] = json!({"urls": [node.url()], "exchange": exchange, "inputs": inputs});
        }
    }

    /// A folder of mappings for each.
    pub fn give_mappings(&mut self) {
        for gateway in &mut self.gateways {
            let own = mappings(gateway.folder.path());
            let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
            let copied = Command::new("cp").arg("-r").arg(built_in).arg(&own).status();
            assert!(copied.is_ok_and(|status| status.success()), "the mappings are copied");
            gateway.settings["mappings"] = own.to_str().expect("a path in Unicode").into();
        }
    }

    pub async fn start(&mut self) {
        self.gateways.iter_mut().for_each(Serve::start);
        self.ready().await;
    }

    pub async fn ready(&mut self) {
        for gateway in &mut self.gateways {
            gateway.ready().await;
        }
    }

    /// `kill -9`, and a new process at once.
    pub fn kill_and_start(&mut self, place: usize) {
        self.gateways[place].kill();
        self.sign_in(place);
        self.gateways[place].start();
    }

    pub async fn stop(mut self) {
        for gateway in &mut self.gateways {
            if gateway.runs() {
                assert!(gateway.stop().await.success(), "{}", gateway.log_end());
            }
        }
        self.ers.stop().await;
    }

    /// Of the database itself, whatever becomes of the wires.
    pub fn store_url(&self) -> StoreUrl {
        StoreUrl(self.postgres.url(&self.schema))
    }

    /// What a statement answers, with `{}` for the schema.
    pub fn ask(&self, sql: &str) -> String {
        self.postgres.psql(&sql.replace("{}", &self.schema))
    }

    /// A number that a statement answers.
    pub fn count(&self, sql: &str) -> u64 {
        self.ask(sql).parse().expect("a number")
    }

    /// Waits until nothing is left to do that the gateways can do by themselves.
    pub async fn settle(&self, limit: Duration) {
        // Ready, running, waiting.
        const BUSY: &str = "SELECT count(*) FROM {}.command WHERE standing IN (0, 2, 3)";
        const UNCONFIRMED: &str = "SELECT count(*) FROM {}.outbox WHERE confirmed_at IS NULL";
        let publishes = self.gateways[0].settings.get("broker").is_some();
        let started = Instant::now();
        loop {
            let (busy, unconfirmed) = (self.count(BUSY), if publishes { self.count(UNCONFIRMED) } else { 0 });
            if busy + unconfirmed == 0 {
                return;
            }
            if started.elapsed() > limit {
                let what = "SELECT standing, state, owner, count(*) FROM {}.command GROUP BY 1, 2, 3";
                panic!("not settled: {unconfirmed} events unconfirmed; {}\n{}", self.ask(what), self.logs());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn logs(&self) -> String {
        self.gateways.iter().map(|gateway| format!("--\n{}\n", gateway.log_end())).collect()
    }

    /// What a gateway says of all of them; nothing if it does not answer.
    pub async fn instances(&self, of: usize) -> Vec<Value> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().expect("a client");
        let Ok(answer) = client.get(self.gateways[of].url("/v1/instances")).send().await else { return Vec::new() };
        let Ok(mut answer) = answer.json::<Value>().await else { return Vec::new() };
        answer["instances"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The place of the gateway that has a duty, as gateway `of` says.
    pub async fn holder(&self, of: usize, duty: &str) -> Option<usize> {
        let has = |instance: &Value| instance["duties"].as_array().is_some_and(|duties| duties.contains(&duty.into()));
        let instances = self.instances(of).await;
        let holder = instances.iter().find(|instance| has(instance))?;
        self.gateways.iter().position(|gateway| gateway.settings["instance"] == holder["instance"])
    }
}

/// Where a gateway's own mappings are.
pub fn mappings(folder: &Path) -> PathBuf {
    folder.join("mappings")
}

fn token(sender: &str, number: u32) -> String {
    format!("cluster-{sender}-{number}")
}

fn ers() -> SimulatorHandle {
    let mut config = SimulatorConfig::default();
    for application in &mut config.applications {
        let Access::UserRestricted { sessions, .. } = &mut application.access else { continue };
        let signed_in = sessions.first().expect("the demonstration has sessions").clone();
        for (sender, number) in SENDERS.iter().flat_map(|sender| (1..SIGN_INS).map(move |number| (sender, number))) {
            sessions.push(Session { refresh_token: token(sender, number), ..signed_in.clone() });
        }
    }
    Simulator::start(config, Environment::system()).expect("port 0 is free")
}
