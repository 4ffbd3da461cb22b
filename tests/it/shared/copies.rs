//! `store copy` as a process that is killed in the middle, and begun again until it is done.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ers_gateway::command::{MessageId, Verdict};
use ers_gateway::environment::Environment;
use ers_gateway::store::sqlite::SqliteStore;
use ers_gateway::store::{Admission, IntakeStore as _, NewMessage, Transport};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cli::{gateway, run, text};
use crate::support::postgres::Postgres;

const MESSAGES: u64 = 4_000;
const BYTES: usize = 20_000;
const KILLS: u32 = 3;
const COPIED_MAX: Duration = Duration::from_secs(120);

async fn fill(file: &Path) {
    let store = SqliteStore::open(file, &Environment::system()).await.expect("a new store");
    let admitted = (0..MESSAGES).map(|number| {
        let raw = Bytes::from(number.to_string().repeat(BYTES / number.to_string().len()));
        store.admit(Admission {
            message: NewMessage {
                id: MessageId(uuid::Uuid::now_v7()),
                source: "northmoor".into(),
                transport: Transport::Mllp,
                control_id: Some(format!("C{number}")),
                received_at: jiff::Timestamp::now(),
                sha256: Sha256::digest(&raw).into(),
                charset: "UTF-8".into(),
                kind: "REF^I12".into(),
                raw,
                problems: json!([]),
            },
            verdict: Verdict::Rejected,
            acknowledgement: Bytes::from_static(b"MSA|AE|"),
            commands: Vec::new(),
            documents: Vec::new(),
            events: Vec::new(),
            patients: Vec::new(),
            taken_again: None,
        })
    });
    for admitted in join_all(admitted).await {
        admitted.expect("stored");
    }
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "no signal {name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_killed_goes_on_where_it_was_and_ends_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.db");
    fill(&file).await;
    let server = Postgres::shared();
    let database = server.new_schema();
    let schema = database.rsplit("%3D").next().expect("it ends with its schema").to_owned();
    let copied = || -> u64 {
        // Not there yet at first.
        let answer = server.ask(&format!("SELECT count(*) FROM {schema}.message"));
        answer.ok().and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    let copy = ["store", "copy", "--json", "--from", text(&file), "--to", &database];

    let mut before = 0;
    for kill in 1..=KILLS {
        let mut copying = gateway(&copy).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let began = Instant::now();
        // It stands still while it is looked at: however slow that is, it is not done before it is killed.
        loop {
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(copying.try_wait().expect("asked"), None, "kill {kill}: it ended before it was killed");
            signal(&copying, "STOP");
            if copied() > before {
                break;
            }
            assert!(began.elapsed() < COPIED_MAX, "kill {kill}: nothing more was copied");
            signal(&copying, "CONT");
        }
        copying.kill().expect("killed");
        copying.wait().expect("ended");
        before = copied();
        assert!((1..MESSAGES).contains(&before), "kill {kill} in the middle: {before} of {MESSAGES}");
        let half = run(&["store", "verify", "--store", &database]);
        assert_eq!(half.status.code(), Some(3), "half a copy is no store: {half:?}");
    }

    let done = run(&copy);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let tables: Vec<Value> = serde_json::from_slice(&done.stdout).expect("JSON");
    let messages = tables.iter().find(|one| one["table"] == "message").expect("its messages");
    assert_eq!(messages["rows"], MESSAGES);
    assert_eq!(copied(), MESSAGES);

    let again = run(&copy);
    assert_eq!(again.status.code(), Some(2), "what is full is not copied to: {again:?}");
    let back = folder.path().join("back.db");
    let back = run(&["store", "copy", "--from", &database, "--to", text(&back)]);
    let told = String::from_utf8_lossy(&back.stdout);
    let digest: String = messages["digest"].as_str().expect("a digest").chars().take(16).collect();
    assert!(back.status.success() && told.contains("and is the same"), "{back:?}");
    let row = told.lines().find(|line| line.starts_with("message ")).expect("a row of its messages");
    assert!(row.contains(&MESSAGES.to_string()) && row.contains(&digest), "{row}");
}
