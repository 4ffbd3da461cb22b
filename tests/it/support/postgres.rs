//! A private PostgreSQL of Debian's packages, on a free port of the loopback, with a database folder of its own.
//!
//! Shared by the tests of a process as long as one of them holds it; stopped and removed afterwards.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(30);
/// PostgreSQL refuses root, so a test that is root runs it as this user, which Debian's package made.
const USER: &str = "postgres";

pub struct Postgres {
    folder: TempDir,
    pub port: u16,
    child: Mutex<Option<Child>>,
    settings: Vec<String>,
}

/// How careful the server is with its disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Every commit is on disk.
    Durable,
    /// As durable as a process that ends: enough where only processes are killed, and much quicker.
    Quick,
}

impl Postgres {
    /// The one that other tests of this process use as well, or a new one.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start_new(Care::Quick));
        *shared = Arc::downgrade(&started);
        started
    }

    pub fn start_new(care: Care) -> Self {
        Self::start_with(care, &[])
    }

    /// One that speaks TLS with this certificate and key (PEM).
    pub fn start_encrypted(certificate: &str, key: &str) -> Self {
        let files = [("server.pem", certificate), ("server.key", key)];
        // From its data folder.
        let settings = ["ssl=on", "ssl_cert_file=../server.pem", "ssl_key_file=../server.key"];
        Self::start_beside(&files, Care::Quick, &settings)
    }

    /// With settings of `postgresql.conf`, as `name=value`.
    pub fn start_with(care: Care, more: &[&str]) -> Self {
        Self::start_beside(&[], care, more)
    }

    fn start_beside(files: &[(&str, &str)], care: Care, more: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("ers-postgres-").tempdir().expect("a temporary folder");
        let mut settings: Vec<String> = [
            "listen_addresses=127.0.0.1",
            "max_connections=200",
            "shared_buffers=128MB",
            "max_wal_size=2GB",
            "logging_collector=off",
            "log_min_messages=fatal",
            "unix_socket_directories=",
        ]
        .map(str::to_owned)
        .to_vec();
        if care == Care::Quick {
            settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
        }
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("a file");
            // The server refuses a key that others may read.
            let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&file, owner_only).expect("permissions");
        }
        settings.extend(more.iter().map(|setting| (*setting).to_owned()));
        let server = Self { port: free_port(), child: Mutex::new(None), settings, folder };
        server.give_away(server.folder.path());
        let mut initdb = server.as_user("initdb");
        initdb.args(["--auth=trust", "--username=gateway", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        let made = initdb.arg(server.data()).stdout(Stdio::null()).status();
        assert!(made.is_ok_and(|status| status.success()), "initdb makes a database folder");
        server.start();
        server
    }

    pub fn start(&self) {
        let mut postgres = self.as_user("postgres");
        postgres.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in &self.settings {
            postgres.args(["-c", setting]);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let child = postgres.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("postgres starts");
        *self.child() = Some(child);
        let started = Instant::now();
        loop {
            let mut ready = Command::new(binary("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ready.status().is_ok_and(|status| status.success()) {
                return;
            }
            assert!(started.elapsed() < START_MAX, "postgres does not get ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A database server that ends at once: every connection is cut, nothing is said (`pg_ctl -m immediate`).
    pub fn crash(&self) {
        self.signal("QUIT");
        self.wait();
    }

    /// One that says goodbye: open transactions are rolled back (`pg_ctl -m fast`).
    pub fn stop(&self) {
        self.signal("INT");
        self.wait();
    }

    fn signal(&self, name: &str) {
        if let Some(child) = self.child().as_ref() {
            let _ = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        }
    }

    fn wait(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.wait();
        }
    }

    /// Of the database, whatever the schema.
    pub fn plain_url(&self) -> String {
        format!("postgres://gateway@127.0.0.1:{}/postgres", self.port)
    }

    /// A URL of a schema of its own, which is made.
    pub fn new_schema(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let schema = format!("gateway_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql(&format!("CREATE SCHEMA {schema}"));
        self.url(&schema)
    }

    pub fn url(&self, schema: &str) -> String {
        self.url_at(self.port, schema)
    }

    /// Through another port, behind which this server is.
    pub fn url_at(&self, port: u16, schema: &str) -> String {
        format!("postgres://gateway@127.0.0.1:{port}/postgres?options=-c%20search_path%3D{schema}")
    }

    /// What a statement answers, unaligned, a line a row.
    pub fn psql(&self, sql: &str) -> String {
        self.ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As `psql`, where it may fail.
    pub fn ask(&self, sql: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let mut psql = Command::new(binary("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port]);
        psql.args(["-U", "gateway", "-d", "postgres", "-c", sql]);
        // One that is stopped, or starts, accepts connections and answers nothing.
        psql.env("PGCONNECT_TIMEOUT", "20");
        let answered = psql.stdin(Stdio::null()).output().expect("psql runs");
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if answered.status.success() { Ok(told(&answered.stdout)) } else { Err(told(&answered.stderr)) }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of PostgreSQL as a user whom it does not refuse.
    fn as_user(&self, program: &str) -> Command {
        if !is_root() {
            return Command::new(binary(program));
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(binary(program));
        command.current_dir(self.folder.path());
        command
    }

    fn give_away(&self, folder: &Path) {
        if is_root() {
            let given = Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(folder).status();
            assert!(given.is_ok_and(|status| status.success()), "user {USER} is there: Debian's package makes it");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal("QUIT");
        self.wait();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// Debian keeps each version's programs in a folder of its own; the newest is taken.
fn binary(name: &str) -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        folders.map(|folder| folder.path().join("bin").join(name)).filter(|path| path.is_file()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("{name} of PostgreSQL is not here: apt-get install postgresql"))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
