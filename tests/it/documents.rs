//! Documents of a watch: into events where that is asked for, and into the folder of a document system, each once and whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ers_gateway::config::{Config, DocumentFolder, FirstSight, InEvents, Mode, Watch};
use ers_gateway::environment::Environment;
use ers_gateway::mapping::hex;
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use ers_gateway::store::{DispatchFilter, DispatchState};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::consumer::{Heard, listen};
use crate::support::rabbitmq::RabbitMq;
use crate::support::referrals::{Patients, create};
use crate::support::serve::{Serve, TRIAGE};
use crate::support::waiting::{client, get, until};
use crate::support::world::World;

const SOON: Duration = Duration::from_secs(60);

fn at_once() -> SimulatorConfig {
    SimulatorConfig { scan_delay: Duration::ZERO, ..SimulatorConfig::default() }
}

fn watched(config: &mut Config, clinical: bool) {
    config.watches.push(Watch {
        name: "triage".into(),
        connection: "westport".into(),
        list: "REFERRALS_FOR_REVIEW".into(),
        services: vec![TRIAGE.into()],
        at: Vec::new(),
        every: Some(Duration::from_secs(1)),
        time_zone: "Europe/London".into(),
        first: FirstSight::Tell,
        mode: Mode::Live,
        settings: json!({"documents": true, "clinicalInformation": clinical}).as_object().expect("settings").clone(),
    });
}

fn folder(config: &mut Config, path: &Path) {
    config.documents.folders.push(DocumentFolder {
        name: "dms".into(),
        path: path.to_owned(),
        tells: vec!["triage".into()],
        catch_up: false,
    });
}

/// A referral with these letters, sent for triage.
async fn referred(simulator: &SimulatorHandle, url: &str, local_id: &str, nhs_number: &str, letters: &[String]) {
    let mut body = create(local_id, nhs_number);
    body["shortlist"] = json!([{"service": TRIAGE}]);
    let letter = |(number, text): (usize, &String)| {
        let file_name = format!("passwd-{local_id}-{number}.txt");
        json!({"fileName": file_name, "contentType": "text/plain", "base64": STANDARD.encode(text)})
    };
    body["letters"] = letters.iter().enumerate().map(letter).collect();
    let asked = client().post(format!("{url}/v1/commands/CreateReferral?source=northmoor"));
    let answer = asked.header("Prefer", "wait=20").json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    let ubrn = simulator.creations().last().expect("it was made").ubrn.to_string();
    assert!(simulator.send_for_triage(&ubrn, TRIAGE));
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
}

/// Indexes by the digest of their documents, each of which is whole.
fn indexed(folder: &Path) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for name in names(folder).iter().filter(|name| name.ends_with(".json")) {
        let text = std::fs::read(folder.join(name)).expect("an index");
        let index: Value = serde_json::from_slice(&text).expect("JSON");
        let file = folder.join(index["file"].as_str().expect("its document"));
        let document = std::fs::read(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        assert_eq!(index["bytes"], document.len(), "{index}");
        let sha256 = hex(&Sha256::digest(&document));
        assert_eq!(index["sha256"], sha256.as_str(), "{index}");
        assert!(found.insert(sha256, index).is_none(), "a document stands there twice");
    }
    found
}

impl World {
    async fn has_told(&self, count: usize) {
        let told = async {
            loop {
                let all = self.gateway.store.events_after(0, 1_000).await.expect("the store answers");
                if all.iter().filter(|event| event.source == "triage").count() >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(SOON, told).await.is_ok(), "{}", self.story().await);
    }

    fn url(&self) -> String {
        format!("http://{}", self.http)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_written_once_with_an_index_that_names_whose_it_is() {
    let dms = tempfile::tempdir().expect("a folder");
    let world = World::of(at_once(), |config| {
        watched(config, true);
        folder(config, dms.path());
    })
    .await;
    let patient = Patients::new().next();
    let letters = ["Dear colleague".to_owned()];
    referred(&world.simulator, &world.url(), "W-1", &patient, &letters).await;
    world.has_told(1).await;
    until("letter and clinical information", SOON, || indexed(dms.path()).len() == 2).await;
    let sha256 = hex(&Sha256::digest(&letters[0]));
    let index = indexed(dms.path())[&sha256].clone();
    let ubrn = world.simulator.creations()[0].ubrn.to_string();
    for (name, expected) in [
        ("nhsNumber", patient.as_str()),
        ("ubrn", &ubrn),
        ("title", "passwd-W-1-0.txt"),
        ("type", "REFERRER"),
        ("contentType", "text/plain"),
        ("source", "triage"),
        ("eventName", "ReferralReceived"),
    ] {
        assert_eq!(index[name], expected, "{name}: {index}");
    }
    let indexed_at = index["indexed"].as_str().expect("when it came to e-RS");
    assert!(indexed_at.parse::<jiff::Timestamp>().is_ok(), "{index}");
    assert!(index["document"].as_str().is_some_and(|name| name.starts_with("Binary/")), "{index}");
    let clinical = indexed(dms.path()).into_values().find(|one| one["document"] == "clinicalInformation");
    assert_eq!(clinical.expect("it is there")["contentType"], "application/pdf");
    for name in names(dms.path()) {
        assert!(!name.contains("passwd") && !name.contains(&ubrn) && !name.contains(&patient), "{name}");
    }

    // Another version has the same letter, and it is not written again, whether it is still there or was taken away.
    let file = dms.path().join(index["file"].as_str().expect("a name"));
    std::fs::remove_file(&file).expect("taken");
    std::fs::remove_file(file.with_extension("json")).expect("taken");
    assert!(world.simulator.touch(&ubrn));
    world.has_told(2).await;
    let world = world.restarted().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!indexed(dms.path()).contains_key(&sha256), "{:?}", names(dms.path()));
    assert!(names(dms.path()).iter().all(|name| !name.ends_with(".part")));
    let metrics = get(format!("{}/metrics", world.url())).await.text().await.expect("text");
    assert!(metrics.contains("gateway_destination_up{destination=\"dms\"}"), "{metrics}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_there_is_seen_and_costs_no_document() {
    let parent = tempfile::tempdir().expect("a folder");
    let dms = parent.path().join("not-mounted");
    let world = World::of(at_once(), |config| {
        watched(config, false);
        folder(config, &dms);
    })
    .await;
    referred(&world.simulator, &world.url(), "W-1", &Patients::new().next(), &["Dear colleague".to_owned()]).await;
    waits_and_says_why(&world, "the folder cannot be written").await;
    assert!(!dms.exists(), "it is not made: something may have to be mounted there");
    let world = world.restarted().await;
    std::fs::create_dir(&dms).expect("mounted");
    until("it is written", SOON, || indexed(&dms).len() == 1).await;
    delivered(&world, 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_folder_gets_its_documents_when_the_pause_ends() {
    let dms = tempfile::tempdir().expect("a folder");
    let world = World::of(at_once(), |config| {
        watched(config, false);
        folder(config, dms.path());
    })
    .await;
    let switch = async |mode: &str| {
        let asked = json!({"mode": mode, "by": "Grace", "why": "the document system is moved"});
        let answer = client().put(format!("{}/v1/destinations/dms/mode", world.url())).json(&asked).send().await;
        assert_eq!(answer.expect("an answer").status(), 200, "{mode}");
    };
    switch("paused").await;
    referred(&world.simulator, &world.url(), "W-1", &Patients::new().next(), &["Dear colleague".to_owned()]).await;
    world.has_told(1).await;
    let waits = async || {
        let depths = world.gateway.store.dispatch_depths().await.expect("the store answers");
        depths
            .iter()
            .filter(|depth| depth.destination == "dms" && depth.is_waiting())
            .map(|depth| depth.count)
            .sum::<u64>()
    };
    let began = Instant::now();
    while waits().await < 1 {
        assert!(began.elapsed() < SOON, "{}", world.story().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((waits().await, names(dms.path())), (1, BTreeSet::new()));
    switch("resumed").await;
    until("it is written", SOON, || indexed(dms.path()).len() == 1).await;
    delivered(&world, 1).await;
    world.stop().await;
}

async fn waits_and_says_why(world: &World, why: &str) {
    let told = async {
        loop {
            let filter = DispatchFilter { max: 10, ..DispatchFilter::default() };
            let all = world.gateway.store.dispatches(filter).await.expect("the store answers");
            if all.iter().any(|one| one.state == DispatchState::Waiting && one.why.contains(why)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, told).await.is_ok(), "{}", world.story().await);
    let metrics = get(format!("{}/metrics", world.url())).await.text().await.expect("text");
    assert!(metrics.contains("gateway_destination_up{destination=\"dms\"} 0"), "{metrics}");
    assert!(metrics.contains("gateway_dispatch_tries_total{destination=\"dms\",outcome=\"unreachable\"}"), "{metrics}");
}

async fn delivered(world: &World, count: usize) {
    world.delivered(count).await;
    let filter = DispatchFilter { max: 100, ..DispatchFilter::default() };
    let all = world.gateway.store.dispatches(filter).await.expect("the store answers");
    assert!(all.iter().all(|one| one.state == DispatchState::Delivered), "{all:?}");
}

/// A file system that is full after a few kilobytes.
struct Small(PathBuf);

impl Small {
    fn mounted_at(path: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(path).status();
        mount.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_folder_is_seen_and_costs_no_document() {
    let dms = tempfile::tempdir().expect("a folder");
    let Some(_small) = Small::mounted_at(dms.path()) else {
        eprintln!("not run: nothing may be mounted here");
        return;
    };
    std::fs::write(dms.path().join("others"), vec![0; 40_000]).expect("there is room");
    let world = World::of(at_once(), |config| {
        watched(config, false);
        folder(config, dms.path());
    })
    .await;
    referred(&world.simulator, &world.url(), "W-1", &Patients::new().next(), &["large ".repeat(6_000)]).await;
    waits_and_says_why(&world, "the folder cannot be written").await;
    assert_eq!(names(dms.path()), BTreeSet::from(["others".to_owned()]), "nothing half written takes the room");
    std::fs::remove_file(dms.path().join("others")).expect("room is made");
    until("it is written", SOON, || indexed(dms.path()).len() == 1).await;
    delivered(&world, 1).await;
    world.stop().await;
}

async fn until_waiting(gateway: &Serve, count: usize) {
    const WAITING: &str = r#"gateway_dispatches{destination="dms",state="waiting"} "#;
    let began = Instant::now();
    loop {
        let metrics = get(gateway.url("/metrics")).await.text().await.expect("text");
        let waiting = metrics.lines().find_map(|line| line.strip_prefix(WAITING)?.trim().parse().ok()).unwrap_or(0);
        if waiting == count {
            return;
        }
        assert!(began.elapsed() < SOON, "{waiting} wait, not {count}:\n{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_moment_leaves_every_document_whole_and_once() {
    const REFERRALS: usize = 8;
    const LETTERS: usize = 6;
    let ers = Simulator::start(at_once(), Environment::system()).expect("port 0 is free");
    let parent = tempfile::tempdir().expect("a folder");
    let dms = parent.path().join("dms");
    let mut gateway = Serve::new(&ers);
    gateway.watches_triage();
    gateway.settings["documents"] = json!({"folders": [{"name": "dms", "path": dms, "tells": ["triage"]}]});
    let patients = Patients::new();
    // Nothing is looked at before all are there.
    gateway.settings["watches"][0]["mode"] = "paused".into();
    gateway.start_and_wait().await;
    let mut digests = BTreeSet::new();
    for number in 0..REFERRALS {
        let text = |letter| format!("letter {letter} of referral {number} ").repeat(4_000);
        let letters: Vec<String> = (0..LETTERS).map(text).collect();
        digests.extend(letters.iter().map(|letter| hex(&Sha256::digest(letter))));
        let url = gateway.url("");
        referred(&ers, &url, &format!("W-{number}"), &patients.next(), &letters).await;
    }
    assert!(gateway.stop().await.success());
    gateway.settings["watches"][0]["mode"] = "live".into();
    gateway.start_and_wait().await;
    until_waiting(&gateway, REFERRALS * LETTERS).await;
    gateway.kill();

    std::fs::create_dir(&dms).expect("mounted");
    let mut stages = Vec::new();
    let mut patience = 400;
    let mut there = 0;
    while there < REFERRALS * LETTERS {
        gateway.start();
        tokio::time::sleep(Duration::from_millis(patience)).await;
        gateway.kill();
        let before = std::mem::replace(&mut there, indexed(&dms).len());
        stages.push((there, names(&dms).iter().filter(|name| name.ends_with(".part")).count()));
        // Longer until it comes to write; then a little more each time, so that it stops elsewhere.
        patience += if there > before { 1 } else { 50 };
        assert!(stages.len() < 200, "{stages:?}\n{}", gateway.log_end());
    }
    // What was written and not noted is not written again.
    let written = |name: &String| std::fs::metadata(dms.join(name)).and_then(|file| file.modified()).ok();
    let before: Vec<_> = names(&dms).iter().map(written).collect();
    gateway.start_and_wait().await;
    until_waiting(&gateway, 0).await;
    let found: BTreeSet<String> = indexed(&dms).into_keys().collect();
    assert_eq!(found, digests, "{stages:?}");
    assert_eq!(names(&dms).len(), 2 * REFERRALS * LETTERS, "{:?}", names(&dms));
    let after: Vec<_> = names(&dms).iter().map(written).collect();
    assert_eq!(before, after, "nothing was written again");
    println!("{} documents through {} kills: {stages:?}", found.len(), stages.len());
    assert!(gateway.stop().await.success());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_stand_in_events_where_that_is_asked_for_and_what_is_too_large_says_so() {
    let node = RabbitMq::shared();
    let client = node.client().await;
    let (exchange, queue) = ("ers.events.inline", "events.inline");
    listen(&client, exchange, queue).await;
    let world = World::of(at_once(), |config| {
        watched(config, true);
        config.documents.in_events = InEvents::Inline;
        config.documents.inline_bytes_max = 30;
        let broker = json!({"urls": [node.url()], "exchange": exchange, "queue_type": "classic"});
        config.broker = Some(serde_json::from_value(broker).expect("settings"));
    })
    .await;
    let letters = ["Dear colleague".to_owned(), "This one is longer".repeat(10), "Yours".to_owned()];
    referred(&world.simulator, &world.url(), "W-1", &Patients::new().next(), &letters).await;
    world.has_told(1).await;
    let stored = world.gateway.store.events_after(0, 100).await.expect("the store answers");
    assert!(stored.iter().all(|event| !event.data.to_string().contains("base64")), "the outbox is as small as before");

    let page: Value = get(format!("{}/v1/events", world.url())).await.json().await.expect("JSON");
    let is_received = |event: &&Value| event["type"] == "ReferralReceived";
    let fed = page["events"].as_array().expect("a list").iter().find(is_received).expect("it is told").clone();
    let heard = Heard::all(node, queue).await;
    let published = heard.events.iter().find(is_received).expect("it is published");
    assert_eq!(published["data"], fed["data"], "the same to everybody");
    let documents = fed["data"]["documents"].as_array().expect("a list");
    for (text, fits) in letters.iter().zip([true, false, true]) {
        let sha256 = hex(&Sha256::digest(text));
        let told = documents.iter().find(|one| one["sha256"] == sha256.as_str()).expect("each is told");
        let base64 = told["base64"].as_str();
        assert_eq!(base64.and_then(|base64| STANDARD.decode(base64).ok()), fits.then(|| text.clone().into_bytes()));
        assert_eq!(told["notInline"].is_string(), !fits, "{told}");
        assert_eq!(told["bytes"], text.len());
        let served = get(format!("{}{}", world.url(), told["href"].as_str().expect("a path"))).await;
        assert_eq!(served.bytes().await.expect("a body"), text.as_bytes());
    }
    assert!(fed["data"]["clinicalInformation"]["notInline"].is_string(), "{}", fed["data"]);
    world.stop().await;
}
