//! A hospital system on HL7 libraries of Python (`tests/pas`): what it says is what they read.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::waiting::until;

const PYTHON: &str = "ERS_GATEWAY_TEST_PYTHON";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pas");
const SOON: Duration = Duration::from_secs(30);

/// An interpreter with those libraries: the one that `./test` names, else one that is installed beside what cargo builds.
fn python() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if let Some(named) = std::env::var_os(PYTHON) {
            return named.into();
        }
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pas");
        let installed = Command::new(format!("{FOLDER}/install")).arg(&folder).output().expect("sh is there");
        assert!(
            installed.status.success(),
            "this test needs Python 3 with venv (apt-get install python3-venv) and PyPI once: run ./test, or \
             tests/pas/install FOLDER and set {PYTHON} to FOLDER/bin/python\n{}",
            String::from_utf8_lossy(&installed.stderr)
        );
        folder.join("bin/python")
    });
    found.clone()
}

pub struct Pas {
    pub address: SocketAddr,
    child: Child,
    decisions: Option<ChildStdin>,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Pas {
    /// As this application of this facility. Ends with the test, however that ends: it reads the end of its input.
    pub async fn start(application: &str, facility: &str) -> Self {
        let python = tokio::task::spawn_blocking(python).await.expect("an interpreter");
        let mut child = Command::new(python)
            .args([&format!("{FOLDER}/pas.py"), application, facility])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let said: Arc<Mutex<Vec<Value>>> = Arc::default();
        let lines = said.clone();
        std::thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                lines.lock().push(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        until("the PAS listens", SOON, || !said.lock().is_empty()).await;
        let port = said.lock().remove(0)["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("its port")));
        Self { address, decisions: child.stdin.take(), child, said }
    }

    /// Every message that came, repetitions too.
    pub fn received(&self) -> Vec<Value> {
        self.said.lock().iter().filter(|line| line["message"].is_string()).cloned().collect()
    }

    /// Their types, in order of arrival.
    pub fn kinds(&self) -> Vec<String> {
        let kind =
            |line: &Value| line["message"].as_str().map(|kind| kind.split('^').take(2).collect::<Vec<_>>().join("^"));
        self.received().iter().filter_map(kind).collect()
    }

    pub async fn until_received(&self, kinds: &[&str]) {
        let waiting = async {
            while self.kinds() != kinds {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, waiting).await.is_ok();
        assert!(in_time, "{kinds:?} is not {:#?}", self.received());
    }

    /// A person decides; the gateway's answer.
    pub async fn decide(&mut self, gateway: SocketAddr, mut decision: Value) -> Value {
        decision["gateway"] = json!(gateway.to_string());
        let answers = |said: &Mutex<Vec<Value>>| -> Vec<Value> {
            said.lock().iter().filter(|line| line["answer"].is_string()).cloned().collect()
        };
        let before = answers(&self.said).len();
        let decisions = self.decisions.as_mut().expect("it runs");
        decisions.write_all(format!("{decision}\n").as_bytes()).expect("it reads");
        until("the gateway answers the PAS", SOON, || answers(&self.said).len() > before).await;
        answers(&self.said).pop().expect("an answer")
    }
}

impl Drop for Pas {
    fn drop(&mut self) {
        drop(self.decisions.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
