//! What is measured: `serve` and `simulate` as child processes, with files in a folder that goes away.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::exit::CliError;

const START_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What a scenario says of the settings.
#[derive(Clone, Copy, Default)]
pub(super) struct Wishes<'w> {
    /// Messages are stored and acknowledged, their commands wait: nothing but intake is measured.
    pub paused: bool,
    pub pacing_off: bool,
    pub amqp: Option<&'w str>,
}

pub(super) struct House {
    folder: Folder,
    gateway: Option<Running>,
    simulator: Running,
    pub mllp: SocketAddr,
    http: SocketAddr,
    /// From the start of the process to its first 200 at `/health/ready`.
    pub ready_after: Duration,
}

impl House {
    pub fn open(folder: &Path, wishes: Wishes<'_>) -> Result<Self, CliError> {
        let folder = Folder::new_in(folder)?;
        let [mllp, http, ers] = free_addresses()?;
        let simulate = ["simulate", "--listen", &ers.to_string(), "--scan-delay", "0"];
        let simulator = Running::start(&simulate, &folder.0.join("simulator.log"))?;
        wait_until("the simulator", || TcpStream::connect(ers).is_ok())?;
        let settings = settings(&folder.0.join("store.db"), mllp, http, ers, wishes);
        std::fs::write(folder.0.join("gateway.yaml"), settings).map_err(|error| file(&folder.0, &error))?;
        let mut house = Self { folder, gateway: None, simulator, mllp, http, ready_after: Duration::ZERO };
        house.start_gateway()?;
        Ok(house)
    }

    pub fn start_gateway(&mut self) -> Result<(), CliError> {
        let settings = self.folder.0.join("gateway.yaml");
        let started = Instant::now();
        let serve = ["serve", "--config", &settings.display().to_string()];
        self.gateway = Some(Running::start(&serve, &self.folder.0.join("gateway.log"))?);
        let http = self.http;
        wait_until("the gateway", || {
            get(http, "/health/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        })?;
        self.ready_after = started.elapsed();
        Ok(())
    }

    /// The gateway ends at once, as in a crash; what it acknowledged is on disk.
    pub fn kill_gateway(&mut self) {
        self.gateway = None;
    }

    pub fn gateway(&self) -> u32 {
        self.gateway.as_ref().map_or(0, |gateway| gateway.0.id())
    }

    pub fn simulator(&self) -> u32 {
        self.simulator.0.id()
    }

    pub fn store(&self) -> PathBuf {
        self.folder.0.join("store.db")
    }

    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The sum of all series of a metric whose labels contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let page = get(self.http, "/metrics").unwrap_or_default();
        let series = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// A child process, ended with its owner.
struct Running(Child);

impl Running {
    /// This program again, with an environment of nothing: no variable of somebody's settings reaches it.
    fn start(arguments: &[&str], log: &Path) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(|error| CliError::unavailable("this program", error))?;
        let log = File::options().create(true).append(true).open(log).map_err(|error| file(log, &error))?;
        let also = log.try_clone().map_err(|error| CliError::unavailable("a log file", error))?;
        let child =
            Command::new(&program).args(arguments).env_clear().stdin(Stdio::null()).stdout(also).stderr(log).spawn();
        child.map(Self).map_err(|error| CliError::unavailable(program.display(), error))
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

/// The demonstration's hospitals and connections, as a settings file.
fn settings(store: &Path, mllp: SocketAddr, http: SocketAddr, ers: SocketAddr, wishes: Wishes<'_>) -> String {
    let mode = if wishes.paused { "paused" } else { "live" };
    let mut yaml = format!(
        "environment: simulator\ninstance: bench\nstore: \"sqlite:{store}\"\nlisteners:\n  \
         - {{ kind: mllp, listen: \"{mllp}\" }}\n  - {{ kind: http, listen: \"{http}\" }}\n",
        store = store.display()
    );
    yaml.push_str("sources:\n");
    for (name, application, facility) in [("eastvale", "EASTVALE", "RYY00"), ("southbeck", "SBEPR", "RXX00")] {
        let _ = writeln!(
            yaml,
            "  - {{ name: {name}, application: {application}, facility: {facility}, connection: {name}, mode: {mode} }}"
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
        let wishes = Wishes { paused: true, pacing_off: true, amqp: Some("amqp://guest:guest@127.0.0.1:5672/%2f") };
        let settings = settings(Path::new("/tmp/store.db"), address(4_711), address(4_712), address(4_713), wishes);
        let config = Config::parse(&settings, Path::new("bench.yaml"), &|_| None).expect("valid settings");
        assert_eq!(config.environment, EnvironmentName::Simulator);
        assert!(!config.delivery.pacing.enabled);
    }
}
