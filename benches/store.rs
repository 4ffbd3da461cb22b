//! What the store costs on its own: `cargo bench --bench store [-- ROWS FOLDER]`.
//!
//! 1. Durable admissions a second (a 1.6 kB message, one command of 800 B, two aliases, a control id) from 1,
//!    32 and 128 callers, each waiting for its answer, beside a loop that writes the same rows and indexes at
//!    the same group sizes and does nothing else.
//! 2. Commands carried out a second: claimed, one write attempted and answered, completed with an event.
//! 3. Start, counting and searching with many commands waiting, and the memory that takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ers_gateway::cli::bench::bare_loop;
use ers_gateway::command::{AttemptId, Class, CommandId, EventId, MessageId, State, Verdict};
use ers_gateway::environment::Environment;
use ers_gateway::store::sqlite::SqliteStore;
use ers_gateway::store::{
    Admission, Alias, AliasKind, Claim, DeliveryStore, FinishedAttempt, IntakeStore, MessageFilter, NewAttempt,
    NewCommand, NewEvent, NewMessage, Progress, SearchStore, Transport,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SECONDS: u64 = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let rows: u64 = arguments.first().and_then(|rows| rows.parse().ok()).unwrap_or(200_000);
    let folder = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for callers in [1, 32, 128] {
            let (durable, rows) = admissions(&folder, callers).await;
            let fresh = Fresh::new(&folder);
            let group = usize::try_from(callers.min(64)).expect("small");
            let bare = bare_loop::write(&rows, &fresh.path, group, Duration::from_secs(SECONDS)).expect("written");
            println!("a bare loop in groups of {group}: {bare:.0}/s");
            println!("  half of a bare loop is the aim; here: {:.0} %", 100.0 * durable / bare);
        }
        carry_out(&folder).await;
        many_waiting(&folder, rows).await;
    });
}

/// A store in a file of its own, gone when dropped.
struct Fresh {
    _folder: tempfile::TempDir,
    path: PathBuf,
    environment: Environment,
}

impl Fresh {
    fn new(folder: &Path) -> Self {
        let folder = tempfile::TempDir::new_in(folder).expect("a temporary folder");
        let path = folder.path().join("store.db");
        Self { _folder: folder, path, environment: Environment::system() }
    }

    async fn open(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(&self.path, &self.environment).await.expect("opened"))
    }
}

fn raw() -> Bytes {
    Bytes::from("MSH|^~\\&|PAS|NORTHMOOR|ERS|NHS|20260316093000||REF^I12|1|P|2.4\r".repeat(25))
}

fn body() -> Value {
    json!({
        "patient": {"nhsNumber": "9990000000", "birthDate": "1980-01-01"},
        "priority": "ROUTINE", "specialty": "CARDIOLOGY", "clinicType": "NOT_OTHERWISE_SPECIFIED",
        "shortlist": (0..4).map(|n| json!({"service": 7_000_000 + n, "distance": 25, "indicative": true})).collect::<Vec<_>>(),
        "summary": "x".repeat(400),
    })
}

fn digest(kind: &str, number: u64) -> [u8; 32] {
    Sha256::digest(format!("{kind} {number}")).into()
}

fn admission(environment: &Environment, number: u64, raw: &Bytes, body: &Value) -> Admission {
    Admission {
        message: NewMessage {
            id: MessageId(environment.new_id()),
            source: "northmoor".into(),
            transport: Transport::Mllp,
            control_id: Some(format!("NM{number:012}")),
            received_at: environment.now(),
            sha256: digest("content", number),
            charset: "UTF-8".into(),
            kind: "REF^I12".into(),
            raw: raw.clone(),
            problems: Value::Null,
        },
        verdict: Verdict::Accepted,
        acknowledgement: Bytes::from("MSH|^~\\&|ERS|NHS|PAS|NORTHMOOR|20260316093000||ACK^I12|1|P|2.4\rMSA|AA|NM1\r"),
        commands: vec![NewCommand {
            id: CommandId(environment.new_id()),
            name: "CreateReferral".into(),
            body: body.clone(),
            class: Class::Routine,
            aliases: vec![
                Alias { kind: AliasKind::LocalId, digest: digest("local", number) },
                Alias { kind: AliasKind::Ubrn, digest: digest("ubrn", number) },
            ],
            creates: Some(digest("creates", number)),
            plan: serde_json::Value::Null,
            mapping_set: "6dad57d0c3b1a1f06dad57d0c3b1a1f0".into(),
            state: State::Queued,
            not_after: None,
        }],
        documents: Vec::new(),
        events: Vec::new(),
        patients: Vec::new(),
        taken_again: None,
    }
}

/// Prints a line of figures and returns the rate.
fn tell(what: &str, mut times: Vec<Duration>, count: usize, took: Duration) -> f64 {
    times.sort_unstable();
    let rate = count as f64 / took.as_secs_f64();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: {rate:.0}/s, p50 {:.2?}, p99 {:.2?}, longest {:.2?}", at(0.5), at(0.99), at(1.0));
    rate
}

async fn admissions(folder: &Path, callers: u64) -> (f64, bare_loop::Rows) {
    let fresh = Fresh::new(folder);
    let store = fresh.open().await;
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (store, environment, raw, body) = (Arc::clone(&store), fresh.environment.clone(), raw(), body());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < Duration::from_secs(SECONDS) {
                    let number = caller + callers * times.len() as u64;
                    let admission = admission(&environment, number, &raw, &body);
                    let asked = Instant::now();
                    store.admit(admission).await.expect("admitted");
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no panic"));
    }
    let count = times.len();
    let rate = tell(&format!("admissions, {callers} callers"), times, count, began.elapsed());
    drop(store);
    (rate, bare_loop::Rows::read(&fresh.path, 60_000).expect("read"))
}

async fn carry_out(folder: &Path) {
    let fresh = Fresh::new(folder);
    let store = fresh.open().await;
    fill(&fresh, &store, 20_000).await;
    let began = Instant::now();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (store, environment) = (Arc::clone(&store), fresh.environment.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < Duration::from_secs(SECONDS) {
                    let asked = Instant::now();
                    let now = environment.now();
                    let lease_until = now + Duration::from_secs(60);
                    let claim = Claim { max: 1, now, owner: "bench".into(), lease_until, paused: Vec::new() };
                    let Some(command) = store.claim(claim).await.expect("claimed").pop() else { break };
                    let id = AttemptId(environment.new_id());
                    let progress = || Progress::of(command.id, command.fence, now);
                    let started = NewAttempt {
                        id,
                        step: "create".into(),
                        call: "A011".into(),
                        is_write: true,
                        correlation_id: "00000000-0000-0000-0000-000000000000".into(),
                        request: json!({"method": "POST", "body": "x".repeat(1_500)}).into(),
                    };
                    store.record(Progress { started: Some(started), ..progress() }).await.expect("recorded");
                    let finished = FinishedAttempt {
                        patients: Vec::new(),
                        id,
                        status: Some(201),
                        outcome: "ok".into(),
                        duration_ms: 10,
                        response: json!({"body": "x".repeat(1_500)}).into(),
                    };
                    let event = NewEvent {
                        id: EventId(environment.new_id()),
                        name: "ReferralCreated".into(),
                        at: now,
                        source: "northmoor".into(),
                        subject: command.id.to_string(),
                        data: json!({"ubrn": "000000070000", "command": command.id}),
                    };
                    let last = Progress {
                        finished: Some(finished),
                        plan: Some(json!({"step": 1})),
                        known: Some(json!({"ubrn": "000000070000", "version": 1})),
                        state: Some((State::Completed, "done".into())),
                        events: vec![event],
                        ..progress()
                    };
                    store.record(last).await.expect("recorded");
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no panic"));
    }
    let count = times.len();
    tell("commands carried out, 64 at once", times, count, began.elapsed());
}

async fn fill(fresh: &Fresh, store: &Arc<SqliteStore>, rows: u64) {
    let tasks: Vec<_> = (0..64)
        .map(|caller| {
            let (store, environment, raw, body) = (Arc::clone(store), fresh.environment.clone(), raw(), body());
            tokio::spawn(async move {
                for number in (caller..rows).step_by(64) {
                    store.admit(admission(&environment, number, &raw, &body)).await.expect("admitted");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

async fn many_waiting(folder: &Path, rows: u64) {
    let fresh = Fresh::new(folder);
    let store = fresh.open().await;
    let began = Instant::now();
    fill(&fresh, &store, rows).await;
    println!(
        "{rows} admitted in {:.2?} ({:.0}/s), resident {} MB",
        began.elapsed(),
        rows as f64 / began.elapsed().as_secs_f64(),
        resident()
    );
    drop(store);
    let began = Instant::now();
    let store = fresh.open().await;
    store.recover(Timestamp::now()).await.expect("recovered");
    println!("opened and recovered with {rows} waiting in {:.2?}", began.elapsed());
    for (what, filter) in [
        ("all", MessageFilter { max: 50, ..MessageFilter::default() }),
        ("failed", MessageFilter { max: 50, state: Some("failed".into()), ..MessageFilter::default() }),
        ("queued", MessageFilter { max: 50, state: Some("queued".into()), ..MessageFilter::default() }),
        ("rejected", MessageFilter { max: 50, verdict: Some(Verdict::Rejected), ..MessageFilter::default() }),
    ] {
        let began = Instant::now();
        let found = store.messages(filter).await.expect("listed").len();
        println!("listing {what}: {found} in {:.2?}", began.elapsed());
    }
    let began = Instant::now();
    store.depths().await.expect("counted");
    println!("counting depths in {:.2?}", began.elapsed());
    let began = Instant::now();
    store.verify().await.expect("whole");
    println!("verified in {:.2?}; resident {} MB", began.elapsed(), resident());
}

/// Memory of this process, in MB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
