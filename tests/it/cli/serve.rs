//! `serve` as a process: ready, reloaded, stopped, and looked into afterwards.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{gateway, run, text};
use crate::support::waiting::get;

const SOON: Duration = Duration::from_secs(20);

pub(super) struct Served {
    pub(super) process: Child,
    lines: Receiver<Value>,
    pub(super) mllp: String,
    pub(super) api: String,
}

impl Served {
    pub(super) fn start(config: &Path) -> Self {
        let mut process =
            gateway(&["serve", "--config", text(config)]).stderr(Stdio::piped()).spawn().expect("started");
        let stderr = BufReader::new(process.stderr.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut served = Self { process, lines, mllp: String::new(), api: String::new() };
        served.hear("the gateway is ready");
        served
    }

    /// Waits for a log line; notes the addresses that go by.
    pub(super) fn hear(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(rest).unwrap_or_else(|_| panic!("no log line says {message:?}"));
            let address = line["listener.address"].as_str().unwrap_or_default().to_owned();
            match line["listener.kind"].as_str() {
                Some("mllp") => self.mllp = format!("mllp://{address}"),
                Some("http") => self.api = format!("http://{address}"),
                _ => {}
            }
            if line["message"].as_str().is_some_and(|said| said.contains(message)) {
                return line;
            }
        }
    }

    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = get(format!("{}/metrics", self.api)).await.text().await.expect("text");
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Already ended in a test that passed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Settings on free ports, with a folder of mappings of their own; e-RS is not there.
pub(super) fn settings(folder: &Path) -> PathBuf {
    let mappings = folder.join("mappings");
    let copied =
        Command::new("cp").args(["-r", concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"), text(&mappings)]).status();
    assert!(copied.expect("cp runs").success());
    let file = folder.join("gateway.yaml");
    let settings = "\
environment: simulator
store: sqlite:store.db
mappings: mappings
listeners:
  - { kind: mllp, listen: '127.0.0.1:0' }
  - { kind: http, listen: '127.0.0.1:0' }
sources:
  - { name: eastvale, application: EASTVALE, facility: RYY00, connection: ers }
connections:
  - name: ers
    access: user_restricted
    base_url: http://127.0.0.1:1/referrals/FHIR
    token_url: http://127.0.0.1:1/oauth2/token
    client_id: one
    client_secret: two
    refresh_token: three
    organisation: RYY00
    business_function: REFERRING_CLINICIAN_ADMIN
";
    std::fs::write(&file, settings).expect("written");
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_mapping_set_changes_nothing_until_it_is_mended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut served = Served::start(&settings(folder.path()));
    let set = folder.path().join("mappings/inbound/eastvale/REF_I12.yaml");
    let good = std::fs::read_to_string(&set).expect("a mapping");

    std::fs::write(&set, format!("{good}\nnonsense: [\n")).expect("written");
    served.signal("-HUP");
    let refused = served.hear("not taken up");
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("REF_I12.yaml")), "{refused}");
    assert_eq!(served.metric("gateway_mapping_reload_failed").await, 1.0);
    let message = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7/04-refi12-v24-eastvale-2ww.hl7");
    let sent = run(&["send", message, "--to", &served.mllp]);
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stdout));

    std::fs::write(&set, good).expect("written");
    served.signal("-HUP");
    served.hear("were read again");
    assert_eq!(served.metric("gateway_mapping_reload_failed").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_gateway_can_be_looked_into_through_its_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut served = Served::start(&settings(folder.path()));
    let message = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7/56-edge-bad-nhs-number.hl7");
    let sent = run(&["send", message, "--to", &served.mllp]);
    assert_eq!(sent.status.code(), Some(1), "a refusal is told by the exit code");
    let words = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(words.contains("AE refused E56") && words.contains("NHS number check digit"), "{words}");
    assert_eq!(run(&["health", "--api", &served.api]).status.code(), Some(0));
    let store = folder.path().join("store.db");
    let in_use = run(&["messages", "list", "--store", text(&store)]);
    assert_eq!(in_use.status.code(), Some(3), "a store belongs to one process at a time");
    let purge = |before: &str| run(&["store", "purge", "--store", text(&store), "--before", before]);
    assert_eq!(purge("2026-01-01").status.code(), Some(3), "nor is it purged beside a gateway");

    let list = ["messages", "list", "--verdict", "rejected", "--json"];
    let running = run(&[&list[..], &["--api", &served.api]].concat());
    served.signal("-TERM");
    assert_eq!(served.process.wait().expect("ended").code(), Some(0), "an orderly stop");
    let stopped = run(&[&list[..], &["--store", text(&store)]].concat());
    let [running, stopped]: [Value; 2] =
        [running, stopped].map(|output| serde_json::from_slice(&output.stdout).expect("JSON"));
    assert_eq!(running["messages"][0]["controlId"], "E56");
    assert_eq!(running, stopped, "running or stopped, the same is shown");

    assert_eq!(run(&["store", "verify", "--store", text(&store)]).status.code(), Some(0));
    let copy = folder.path().join("copy.db");
    assert_eq!(run(&["store", "backup", "--store", text(&store), "--to", text(&copy)]).status.code(), Some(0));
    assert_eq!(run(&["store", "verify", "--store", text(&copy)]).status.code(), Some(3), "it needs its key");
    let key = folder.path().join("store.key");
    let proved = run(&["store", "verify", "--store", text(&copy), "--key-file", text(&key)]);
    assert_eq!(proved.status.code(), Some(0), "{}", String::from_utf8_lossy(&proved.stderr));
    for (before, told) in [("2026-01-01", "0 messages"), (&*jiff::Timestamp::now().to_string(), "1 messages")] {
        let purged = purge(before);
        assert_eq!(purged.status.code(), Some(0), "{}", String::from_utf8_lossy(&purged.stderr));
        assert!(String::from_utf8_lossy(&purged.stdout).starts_with(told), "{before}");
    }
    assert_eq!(run(&["store", "verify", "--store", text(&store)]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_was_authorised_for_is_released_by_a_person() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = settings(folder.path());
    // May not refer, so that nothing leaves.
    let provider = std::fs::read_to_string(&file).expect("settings");
    std::fs::write(&file, provider.replace("REFERRING_CLINICIAN_ADMIN", "SERVICE_PROVIDER_CLINICIAN"))
        .expect("written");
    let mut served = Served::start(&file);
    let message = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7/04-refi12-v24-eastvale-2ww.hl7");
    assert_eq!(run(&["send", message, "--to", &served.mllp]).status.code(), Some(0));
    let api = served.api.clone();
    let unauthorised = |place: &[&str]| -> Option<String> {
        let list = run(&[&["messages", "list", "--state", "unauthorised", "--json"], place].concat());
        let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
        list["messages"][0]["id"].as_str().map(str::to_owned)
    };
    let asked = Instant::now();
    let id = loop {
        if let Some(id) = unauthorised(&["--api", &api]) {
            break id;
        }
        assert!(asked.elapsed() < SOON, "it waits for nobody");
        std::thread::sleep(Duration::from_millis(50));
    };
    let act = |verb: &str, place: &[&str]| {
        run(&[&["messages", verb, &id, "--why", "signed in again", "--by", "Grace"], place].concat())
    };
    assert_eq!(act("replay", &["--api", &api]).status.code(), Some(1), "nothing of it has failed");
    let released = act("release", &["--api", &api]);
    assert!(released.status.success() && released.stdout.starts_with(b"released command"), "{released:?}");

    served.signal("-TERM");
    assert_eq!(served.process.wait().expect("ended").code(), Some(0));
    // It was tried again, or will be; whatever stands there, a second release by the file is decided by the state.
    let store = folder.path().join("store.db");
    let place = ["--store", text(&store)];
    let waits = unauthorised(&place).is_some();
    assert_eq!(act("release", &place).status.code(), Some(if waits { 0 } else { 1 }));
    assert_eq!(unauthorised(&place), None);
    let shown = run(&[&["messages", "show", &id], &place[..]].concat());
    assert!(String::from_utf8_lossy(&shown.stdout).contains("signed in again"), "{shown:?}");
}
