//! `ers-gateway serve` as a process of its own, which may be killed and started again on the same store.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use ers_gateway::config::StoreUrl;
use ers_gateway::simulator::SimulatorHandle;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::waiting::client;

const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
/// Below the ports that the machine gives to connections, so that nobody takes one between two lives.
const PORTS: std::ops::Range<u16> = 21_000..32_000;

/// Standings of commands that rest until a person acts, or for ever.
const AT_REST: [i64; 7] = [1, 4, 5, 6, 7, 8, 9];

/// A service of the provider in whose name a gateway that [`Serve::watches_triage`] acts.
pub const TRIAGE: &str = "20041";

pub struct Serve {
    /// What `gateway.yaml` says from the next start on.
    pub settings: Value,
    pub mllp: SocketAddr,
    pub http: SocketAddr,
    pub folder: TempDir,
    /// Of which version it is from the next start on.
    pub program: PathBuf,
    /// Its store stands on a file system of its own, of this size (`8m`), which goes with the process.
    small_disk: Option<&'static str>,
    child: Option<Child>,
}

impl Serve {
    /// The demonstration's senders on free ports, paced by nothing, with patience for tests.
    pub fn new(simulator: &SimulatorHandle) -> Self {
        let [mllp, http] = [(); 2].map(|()| free_port());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("gateway.db");
        let senders = [
            ("northmoor", "NMPAS", "RXX00"),
            ("eastvale", "EASTVALE", "RYY00"),
            ("southbeck", "SBEPR", "RXX00"),
            ("westmere", "WMCARE", "7XX00"),
        ];
        let sources: Vec<Value> = senders
            .iter()
            .map(|(name, application, facility)| {
                json!({"name": name, "application": application, "facility": facility, "connection": name, "follow_scans": false})
            })
            .collect();
        let connections: Vec<Value> = senders
            .iter()
            .map(|(name, _, organisation)| {
                json!({
                    "name": name,
                    "access": "user_restricted",
                    "base_url": simulator.base_url(),
                    "token_url": simulator.token_url(),
                    "client_id": "demonstration-user-application",
                    "client_secret": "demonstration-secret",
                    "refresh_token": format!("demonstration-{name}"),
                    "organisation": organisation,
                    "business_function": "REFERRING_CLINICIAN_ADMIN",
                })
            })
            .collect();
        let settings = json!({
            "environment": "simulator",
            "instance": "under-test",
            "store": format!("sqlite:{}", store.display()),
            "log": {"format": "json", "filter": "info"},
            "listeners": [
                {"kind": "mllp", "listen": mllp.to_string()},
                {"kind": "http", "listen": http.to_string()},
            ],
            "sources": sources,
            "connections": connections,
            "delivery": {"pacing": {"enabled": false}, "backoff_base": "100ms", "backoff_ceiling": "2s"},
        });
        Self {
            settings,
            mllp,
            http,
            folder,
            program: env!("CARGO_BIN_EXE_ers-gateway").into(),
            small_disk: None,
            child: None,
        }
    }

    /// Its store on a small file system that only it sees (a mount namespace). Ends with it, so it has one life.
    pub fn on_small_disk(mut self, size: &'static str) -> Self {
        std::fs::create_dir(self.folder.path().join("disk")).expect("a folder");
        self.settings["store"] = format!("sqlite:{}", self.folder.path().join("disk/gateway.db").display()).into();
        self.small_disk = Some(size);
        self
    }

    /// Where others find what stands on its small disk.
    pub fn small_disk(&self) -> PathBuf {
        let folder = self.folder.path().join("disk");
        PathBuf::from(format!("/proc/{}/root{}", self.pid(), folder.display()))
    }

    /// As one of several gateways on a database. All of them need the same keys.
    pub fn on_database(mut self, instance: &str, url: &str, keys: &std::path::Path) -> Self {
        self.settings["instance"] = instance.into();
        self.settings["store"] = url.into();
        self.settings["key_file"] = keys.to_str().expect("a path in Unicode").into();
        self
    }

    /// The settings of a source by its name.
    pub fn source(&mut self, name: &str) -> &mut Value {
        named(&mut self.settings["sources"], name)
    }

    pub fn connection(&mut self, name: &str) -> &mut Value {
        named(&mut self.settings["connections"], name)
    }

    /// A provider's watch `triage`, with its documents.
    pub fn watches_triage(&mut self) {
        let mut provider = self.connection("northmoor").clone();
        for (name, value) in [
            ("name", "westport"),
            ("refresh_token", "demonstration-westport"),
            ("organisation", "RWW00"),
            ("business_function", "SERVICE_PROVIDER_CLINICIAN"),
        ] {
            provider[name] = value.into();
        }
        self.settings["connections"].as_array_mut().expect("a list").push(provider);
        self.settings["watches"] = json!([{
            "name": "triage", "connection": "westport", "list": "REFERRALS_FOR_REVIEW", "services": [TRIAGE],
            "every": "1m", "settings": {"documents": true},
        }]);
    }

    pub fn store_url(&self) -> StoreUrl {
        StoreUrl(self.settings["store"].as_str().expect("it is set").to_owned())
    }

    /// The key file that is made beside its store.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("gateway.key")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("gateway.db")
    }

    /// Starts the process and does not wait for it.
    /// Without what an older version does not know of a source: its example shows every key that it does.
    fn known_settings(&self) -> Value {
        let mut settings = self.settings.clone();
        if self.program.as_os_str() != env!("CARGO_BIN_EXE_ers-gateway") {
            let example =
                Command::new(&self.program).args(["check", "--example"]).output().expect("the program starts");
            let example = String::from_utf8_lossy(&example.stdout);
            for source in settings["sources"].as_array_mut().into_iter().flatten() {
                let keys = source.as_object_mut().expect("a source has members");
                keys.retain(|key, _| example.contains(&format!("{key}:")));
            }
        }
        settings
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let config = self.folder.path().join("gateway.yaml");
        // JSON is YAML.
        std::fs::write(&config, self.known_settings().to_string()).expect("the settings are written");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a log file");
        // A file that may not grow is an error for whoever writes it, as a full disk is, and no signal.
        let mut shell = match self.small_disk {
            None => Command::new("sh"),
            Some(_) => {
                let mut shell = Command::new("unshare");
                shell.args(["--user", "--map-root-user", "--mount", "sh"]);
                shell
            }
        };
        let mount = match self.small_disk {
            None => String::new(),
            Some(size) => format!("mount -t tmpfs -o size={size} tmpfs '{}/disk' && ", self.folder.path().display()),
        };
        let child = shell
            .args(["-c", &format!(r#"{mount}trap '' XFSZ; exec "$@""#), "serve"])
            .arg(&self.program)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_or(Stdio::null(), |log: File| log.into()))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.child = Some(child);
    }

    /// Waits until it takes messages.
    pub async fn ready(&mut self) {
        let started = Instant::now();
        let client = client();
        loop {
            let asking = client.get(self.url("/health/ready")).timeout(Duration::from_secs(5)).send();
            if let Ok(answer) = asking.await
                && answer.status() == 200
            {
                return;
            }
            let ended = self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            assert!(!ended && started.elapsed() < READY_MAX, "the gateway does not get ready:\n{}", self.log_end());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn start_and_wait(&mut self) {
        self.start();
        self.ready().await;
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was started here");
            child.wait().expect("it was started here");
        }
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// SIGTERM, then waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let asked = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("it was started here") {
                return status;
            }
            if asked.elapsed() > STOP_MAX {
                child.kill().expect("it was started here");
                panic!("the gateway does not stop:\n{}", self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal by name: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal {name}");
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// No file may be written past this size; `None`: any file may.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let limited = Command::new("prlimit")
            .args([&format!("--pid={}", self.pid()), &format!("--fsize={soft}:unlimited")])
            .status();
        assert!(limited.is_ok_and(|status| status.success()), "prlimit (util-linux) sets the limit");
    }

    /// Resident memory.
    pub fn memory_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
        let kilobytes = line.split_whitespace().nth(1).and_then(|text| text.parse::<usize>().ok());
        kilobytes.expect("a number") * 1024
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("gateway.log")
    }

    /// Everything that it wrote to stdout and stderr, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// How many commands stand where, by the store's own numbers, and how many events are unconfirmed.
    pub fn standings(&self) -> (BTreeMap<i64, i64>, i64) {
        let read = || -> rusqlite::Result<(BTreeMap<i64, i64>, i64)> {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let connection = rusqlite::Connection::open_with_flags(self.store(), flags)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            let mut statement = connection.prepare("SELECT standing, count(*) FROM command GROUP BY standing")?;
            let standings = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            let sql = "SELECT count(*) FROM outbox WHERE confirmed_at IS NULL";
            Ok((standings, connection.query_row(sql, [], |row| row.get(0))?))
        };
        read().expect("the store can be read")
    }

    /// Waits until nothing is left to do that the gateway can do by itself.
    pub async fn settle(&self, limit: Duration) {
        let confirms = self.settings.get("broker").is_some();
        let started = Instant::now();
        loop {
            let (standings, unconfirmed) = self.standings();
            let busy = standings.iter().any(|(standing, count)| !AT_REST.contains(standing) && *count > 0);
            if !busy && (unconfirmed == 0 || !confirms) {
                return;
            }
            assert!(
                started.elapsed() < limit,
                "not settled after {limit:?}: {standings:?}, {unconfirmed} events unconfirmed\n{}",
                self.log_end()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.kill();
    }
}

fn named<'a>(list: &'a mut Value, name: &str) -> &'a mut Value {
    let entries = list.as_array_mut().expect("a list");
    entries.iter_mut().find(|entry| entry["name"] == name).expect("it is configured")
}

/// A port that nobody has, in this process and outside of it.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    for _ in PORTS {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(spread) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + offset));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}
