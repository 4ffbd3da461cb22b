//! What is measured: `serve` and `simulate` as child processes, with files in a folder that goes away.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::exit::CliError;
use super::Scale;
use super::certificates::Certificates;
use super::ground::Ground;
use super::load::Doors;
use super::process::Process;
use crate::environment::Environment;
use crate::keys::Keys;
use crate::tls::client_config;

const START_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What a scenario says of the settings.
#[derive(Clone, Copy, Default)]
pub(super) struct Wishes<'w> {
    /// Messages are stored and acknowledged, their commands wait: nothing but intake is measured.
    pub paused: bool,
    pub pacing_off: bool,
    /// Nothing is encrypted in the store.
    pub in_clear: bool,
    /// Senders come over TLS and show certificates, which their sources ask for.
    pub certificates: bool,
    pub amqp: Option<&'w str>,
}

pub(super) struct House<'w> {
    gateways: Vec<Gateway>,
    simulator: Running,
    ers: SocketAddr,
    wishes: Wishes<'w>,
    certificates: Option<Certificates>,
    pub ground: Ground,
    // After those who use them.
    folder: Folder,
}

/// One instance, running or not.
struct Gateway {
    running: Option<Running>,
    settings: PathBuf,
    mllp: SocketAddr,
    http: SocketAddr,
    ready_after: Duration,
}

impl<'w> House<'w> {
    pub async fn open(scale: &Scale, wishes: Wishes<'w>) -> Result<Self, CliError> {
        let folder = Folder::new_in(&scale.folder)?;
        let ground = Ground::new_in(&folder.0, scale.server.as_ref()).await?;
        let key = folder.0.join("gateway.key");
        Keys::load_or_create(&key, &Environment::system()).map_err(|error| CliError::unavailable("a key", error))?;
        let [ers] = free_addresses()?;
        let simulate = ["simulate", "--listen", &ers.to_string(), "--scan-delay", "0"];
        let simulator = Running::start(&simulate, &folder.0.join("simulator.log"), &ground)?;
        wait_until("the simulator", || TcpStream::connect(ers).is_ok())?;
        let certificates = wishes.certificates.then(|| Certificates::make(&folder.0)).transpose()?;
        let mut house = Self { gateways: Vec::new(), simulator, ers, wishes, certificates, ground, folder };
        house.add_gateway()?;
        Ok(house)
    }

    /// One more instance over the same store.
    pub fn add_gateway(&mut self) -> Result<(), CliError> {
        let name = format!("bench-{}", self.gateways.len() + 1);
        let settings = self.folder.0.join(format!("{name}.yaml"));
        let [mllp, http] = free_addresses()?;
        let text = settings_of(&name, mllp, http, self.ers, self.wishes, self.certificates.as_ref());
        std::fs::write(&settings, text).map_err(|error| file(&settings, &error))?;
        self.gateways.push(Gateway { running: None, settings, mllp, http, ready_after: Duration::ZERO });
        self.start_gateways()
    }

    /// Those that do not run.
    pub fn start_gateways(&mut self) -> Result<(), CliError> {
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.running.is_none()) {
            let started = Instant::now();
            let serve = ["serve", "--config", &gateway.settings.display().to_string()];
            let log = gateway.settings.with_extension("log");
            gateway.running = Some(Running::start(&serve, &log, &self.ground)?);
            wait_until("the gateway", || {
                get(gateway.http, "/health/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
            })?;
            gateway.ready_after = started.elapsed();
        }
        Ok(())
    }

    /// They end at once, as in a crash; what they acknowledged is on disk.
    pub fn kill_gateways(&mut self) {
        for gateway in &mut self.gateways {
            gateway.running = None;
        }
    }

    /// What the first instance answers to a GET, head and body.
    pub fn page(&self, path: &str) -> Option<String> {
        get(self.gateways.first()?.http, path)
    }

    /// The key file of all instances.
    pub fn key(&self) -> PathBuf {
        self.folder.0.join("gateway.key")
    }

    /// Where each instance takes messages.
    pub fn mllp(&self) -> Result<Doors, CliError> {
        let tls = self.certificates.as_ref().map(|certificates| client_config(&certificates.of_sender())).transpose();
        let tls = tls.map_err(|error| CliError::unavailable("a certificate", error))?;
        let mllp = self.gateways.iter().map(|gateway| gateway.mllp).collect();
        Ok(Doors { mllp, tls: tls.map(|config| Arc::new(config).into()) })
    }

    /// From the start of the first instance's process to its first 200 at `/health/ready`.
    pub fn ready_after(&self) -> Duration {
        self.gateways.first().map_or(Duration::ZERO, |gateway| gateway.ready_after)
    }

    /// Processes of the instances.
    pub fn gateways(&self) -> Vec<Process> {
        self.gateways.iter().filter_map(|gateway| gateway.running.as_ref()).map(Running::process).collect()
    }

    /// The first instance's process.
    pub fn gateway(&self) -> Process {
        self.gateways().into_iter().next().unwrap_or(Process(0))
    }

    pub fn simulator(&self) -> Process {
        self.simulator.process()
    }

    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The sum over all instances of all series of a metric whose labels contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let of_one = |gateway: &Gateway| {
            let page = get(gateway.http, "/metrics").unwrap_or_default();
            let series = page.lines().filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
            });
            series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        self.gateways.iter().map(of_one).sum()
    }
}

/// A child process, ended with its owner.
struct Running(Child);

impl Running {
    /// This program again, with an environment of nothing but the store's URL, which may hold a password: no
    /// variable of somebody's settings reaches it.
    fn start(arguments: &[&str], log: &Path, ground: &Ground) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(|error| CliError::unavailable("this program", error))?;
        let log = File::options().create(true).append(true).open(log).map_err(|error| file(log, &error))?;
        let also = log.try_clone().map_err(|error| CliError::unavailable("a log file", error))?;
        let mut command = Command::new(&program);
        command.args(arguments).env_clear().env("ERS_GATEWAY_STORE", ground.url());
        let child = command.stdin(Stdio::null()).stdout(also).stderr(log).spawn();
        child.map(Self).map_err(|error| CliError::unavailable(program.display(), error))
    }

    fn process(&self) -> Process {
        Process(self.0.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn new_in(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(format!("ers-gateway-bench-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).map_err(|error| file(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from a temporary folder is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn file(path: &Path, error: &std::io::Error) -> CliError {
    CliError::unavailable(path.display(), error)
}

fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], CliError> {
    let mut sockets = Vec::new();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let socket = TcpListener::bind(*address).map_err(|error| CliError::unavailable("a free port", error))?;
        *address = socket.local_addr().map_err(|error| CliError::unavailable("a free port", error))?;
        sockets.push(socket);
    }
    Ok(addresses)
}

fn wait_until(what: &str, mut is_there: impl FnMut() -> bool) -> Result<(), CliError> {
    let began = Instant::now();
    while !is_there() {
        if began.elapsed() > START_MAX {
            return Err(CliError::Unavailable(format!("{what} did not start within {START_MAX:?}")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// One HTTP request on a connection of its own.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The demonstration's hospitals and connections, as a settings file. The environment says where the store is.
fn settings_of(
    instance: &str,
    mllp: SocketAddr,
    http: SocketAddr,
    ers: SocketAddr,
    wishes: Wishes<'_>,
    certificates: Option<&Certificates>,
) -> String {
    let tls = certificates.map(|certificates| format!(", {}", certificates.of_listener())).unwrap_or_default();
    let shown = certificates.map(|one| format!(", certificates: [\"{}\"]", one.sender)).unwrap_or_default();
    let mode = if wishes.paused { "paused" } else { "live" };
    let mut yaml = format!(
        "environment: simulator\ninstance: {instance}\nkey_file: gateway.key\nlisteners:\n  \
         - {{ kind: mllp, listen: \"{mllp}\"{tls} }}\n  - {{ kind: http, listen: \"{http}\" }}\n"
    );
    yaml.push_str("sources:\n");
    for (name, application, facility) in [("eastvale", "EASTVALE", "RYY00"), ("southbeck", "SBEPR", "RXX00")] {
        let _ = writeln!(
            yaml,
            "  - {{ name: {name}, application: {application}, facility: {facility}, connection: {name}, mode: {mode}, follow_scans: false{shown} }}"
        );
    }
    yaml.push_str("connections:\n");
    for (name, organisation) in [("eastvale", "RYY00"), ("southbeck", "RXX00")] {
        let _ = writeln!(
            yaml,
            "  - {{ name: {name}, access: user_restricted, base_url: \"http://{ers}/referrals/FHIR\", \
             token_url: \"http://{ers}/oauth2/token\", client_id: demonstration-user-application, \
             client_secret: demonstration-secret, refresh_token: demonstration-{name}, \
             organisation: {organisation}, business_function: REFERRING_CLINICIAN_ADMIN }}"
        );
    }
    if wishes.in_clear {
        yaml.push_str("store_encrypt: false\n");
    }
    if wishes.pacing_off {
        yaml.push_str("delivery: { pacing: { enabled: false } }\n");
    }
    if let Some(url) = wishes.amqp {
        let _ = writeln!(yaml, "broker: {{ urls: [\"{url}\"], exchange: ers.bench }}");
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, EnvironmentName};

    #[test]
    fn the_settings_are_valid_and_for_the_simulator() {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let wishes = Wishes {
            paused: true,
            pacing_off: true,
            in_clear: true,
            certificates: true,
            amqp: Some("amqp://guest:guest@127.0.0.1:5672/%2f"),
        };
        let folder = tempfile::tempdir().expect("a folder for the test");
        let certificates = Certificates::make(folder.path()).expect("made");
        let [mllp, http, ers] = [4_711, 4_712, 4_713].map(address);
        let settings = settings_of("bench-1", mllp, http, ers, wishes, Some(&certificates));
        let config = Config::parse(&settings, Path::new("bench.yaml"), &|_| None).expect("valid settings");
        assert_eq!(config.environment, EnvironmentName::Simulator);
        assert!(!config.delivery.pacing.enabled && !config.store_encrypt);
        assert!(config.sources.iter().all(|source| source.certificates.len() == 1));
    }
}
