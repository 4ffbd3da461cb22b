//! Worklists that are looked at by themselves, from the list to the event.

use std::collections::HashSet;
use std::time::Duration;

use ers_gateway::config::{Access, Config, FirstSight, Mode, SignedJwt, Watch};
use ers_gateway::simulator::{SimulatorConfig, demonstration};
use ers_gateway::store::{MessageFilter, StoredEvent};
use serde_json::{Value, json};

use crate::support::referrals::{Patients, create};
use crate::support::waiting::{client, get};
use crate::support::world::World;

const SOON: Duration = Duration::from_secs(30);
/// Of the provider in whose name the source `westport` acts.
const TRIAGE: &str = "20041";

fn patients() -> &'static Patients {
    static PATIENTS: std::sync::LazyLock<Patients> = std::sync::LazyLock::new(Patients::new);
    &PATIENTS
}

fn watch(list: &str, services: &[&str]) -> Watch {
    Watch {
        name: "triage".into(),
        connection: "westport".into(),
        list: list.into(),
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        at: Vec::new(),
        every: Some(Duration::from_secs(1)),
        time_zone: "Europe/London".into(),
        first: FirstSight::Tell,
        mode: Mode::Live,
        settings: serde_json::Map::new(),
    }
}

fn provider(config: &mut Config, watch: Watch) {
    config.watches.push(watch);
}

impl World {
    /// A referral that its referrer has sent for triage.
    async fn triaged(&self, local_id: &str) -> String {
        let body = create(local_id, &patients().next());
        self.post(local_id, body).await;
        let ubrn = self.simulator.creations().last().expect("it was made").ubrn.to_string();
        assert!(self.simulator.send_for_triage(&ubrn, TRIAGE));
        ubrn
    }

    async fn post(&self, key: &str, mut body: Value) {
        body["shortlist"] = json!([{"service": TRIAGE}]);
        let url = format!("http://{}/v1/commands/CreateReferral?source=northmoor", self.http);
        let answer = client()
            .post(url)
            .header("Prefer", "wait=20")
            .header("Idempotency-Key", key)
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    }

    /// Events of the watch, oldest first.
    async fn seen(&self) -> Vec<StoredEvent> {
        let all = self.gateway.store.events_after(0, 10_000).await.expect("the store answers");
        all.into_iter().filter(|event| event.source == "triage").collect()
    }

    async fn names_of(&self, ubrn: &str) -> Vec<String> {
        let seen = self.seen().await;
        seen.iter().filter(|event| event.data["ubrn"] == ubrn).map(|event| event.name.clone()).collect()
    }

    async fn until_seen(&self, ubrn: &str, names: &[&str]) {
        let waiting = async {
            while self.names_of(ubrn).await != names {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, waiting).await.is_ok();
        assert!(in_time, "{names:?} is not {:?}\n{}", self.names_of(ubrn).await, self.story().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_is_told_when_it_comes_changes_and_goes_and_once_each() {
    let world = World::with(|config| provider(config, watch("REFERRALS_FOR_REVIEW", &[TRIAGE]))).await;
    let ubrn = world.triaged("W-1").await;
    world.until_seen(&ubrn, &["ReferralReceived"]).await;
    let received = &world.seen().await[0];
    assert_eq!(received.data["state"], "AWAITING_TRIAGE", "{}", received.data);
    assert_eq!(received.data["priority"], "ROUTINE");
    assert_eq!(received.data["item"]["service"], TRIAGE);
    assert_eq!(received.data["services"], json!([TRIAGE]));
    let nhs_number = world.simulator.creations()[0].nhs_number.as_ref().to_owned();
    assert_eq!(received.data["patient"], nhs_number);

    assert!(world.simulator.touch(&ubrn));
    world.until_seen(&ubrn, &["ReferralReceived", "ReferralUpdated"]).await;
    // Nothing changes for some looks: nothing is told, and nothing read.
    let reads = world.calls().iter().filter(|call| **call == "A005").count();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.calls().iter().filter(|call| **call == "A005").count(), reads);
    assert!(world.calls().iter().filter(|call| **call == "A008").count() >= 4);

    assert!(world.simulator.accept_to_book_later(&ubrn));
    world.until_seen(&ubrn, &["ReferralReceived", "ReferralUpdated", "ReferralLeftReview"]).await;
    let left = world.seen().await.pop().expect("an event");
    assert_ne!(left.data["state"], "AWAITING_TRIAGE", "{}", left.data);
    let sequences: Vec<u64> = world.seen().await.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2, 3], "of one thread");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_referral_is_told_as_that_and_only_after_ers_says_so() {
    let world = World::with(|config| provider(config, watch("REFERRALS_FOR_REVIEW", &[TRIAGE]))).await;
    let ubrn = world.triaged("W-1").await;
    world.until_seen(&ubrn, &["ReferralReceived"]).await;
    let url = format!("http://{}/v1/commands/CancelReferral?source=northmoor", world.http);
    let cancel = json!({"ubrn": ubrn, "reason": "INTEND_PRIVATE", "comment": "by the patient"});
    let answer = client().post(url).header("Prefer", "wait=20").json(&cancel).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    world.until_seen(&ubrn, &["ReferralReceived", "ReferralWithdrawn"]).await;
    assert_eq!(world.seen().await[1].data["state"], "CANCELLED_REFERRAL");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_and_clinical_information_come_with_a_referral_where_the_watch_asks_for_them() {
    let simulator = SimulatorConfig { scan_delay: Duration::ZERO, ..SimulatorConfig::default() };
    let world = World::of(simulator, |config| {
        let mut watch = watch("REFERRALS_FOR_REVIEW", &[TRIAGE]);
        watch.settings = json!({"documents": true, "clinicalInformation": true}).as_object().expect("settings").clone();
        provider(config, watch);
    })
    .await;
    let mut body = create("W-1", &patients().next());
    body["letters"] =
        json!([{"fileName": "letter.txt", "contentType": "text/plain", "base64": "RGVhciBjb2xsZWFndWU="}]);
    world.post("W-1", body).await;
    let ubrn = world.simulator.creations()[0].ubrn.to_string();
    assert!(world.simulator.send_for_triage(&ubrn, TRIAGE));
    world.until_seen(&ubrn, &["ReferralReceived"]).await;
    let data = world.seen().await[0].data.clone();
    let letter = &data["documents"][0];
    assert_eq!((&letter["fileName"], &letter["status"]), (&json!("letter.txt"), &json!("AVAILABLE")), "{data}");
    assert_eq!(letter["bytes"], 14, "{data}");
    for (part, beginning) in [(letter, &b"Dear colleague"[..]), (&data["clinicalInformation"], b"%PDF")] {
        let href = part["href"].as_str().expect("a path");
        let served = get(format!("http://{}{href}", world.http)).await;
        assert_eq!(served.status(), 200, "{href}");
        let bytes = served.bytes().await.expect("a body");
        assert!(bytes.starts_with(beginning), "{href}");
        assert_eq!(part["sha256"], ers_gateway::mapping::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_at_first_sight_may_be_remembered_instead_of_told() {
    let world = World::with(|config| {
        let watch =
            Watch { first: FirstSight::Remember, mode: Mode::Paused, ..watch("REFERRALS_FOR_REVIEW", &[TRIAGE]) };
        provider(config, watch);
    })
    .await;
    let old = world.triaged("W-1").await;
    let world = world.restarted_with(|config| config.watches[0].mode = Mode::Live).await;
    let looked = async {
        while !world.calls().contains(&"A008") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, looked).await.expect("it looks");
    world.settle().await;
    let body = create("W-2", &patients().next());
    world.post("W-2", body).await;
    let new = world.simulator.creations()[1].ubrn.to_string();
    assert!(world.simulator.send_for_triage(&new, TRIAGE));
    world.until_seen(&new, &["ReferralReceived"]).await;
    world.until_seen(&old, &[]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_repeat_no_look_and_no_event() {
    let mut world = World::with(|config| provider(config, watch("REFERRALS_FOR_REVIEW", &[TRIAGE]))).await;
    let mut ubrns = Vec::new();
    for round in 0..3 {
        ubrns.push(world.triaged(&format!("W-{round}")).await);
        for ubrn in &ubrns {
            world.simulator.touch(ubrn);
        }
        world = world.restarted().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    for ubrn in &ubrns {
        let waiting = async {
            while !world.names_of(ubrn).await.contains(&"ReferralReceived".to_owned()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SOON, waiting).await.expect("it is told");
    }
    world.settle().await;
    for ubrn in &ubrns {
        let names = world.names_of(ubrn).await;
        assert_eq!(names.iter().filter(|name| *name == "ReferralReceived").count(), 1, "{names:?}");
    }
    // No version is told twice, and no look was asked for twice.
    let seen = world.seen().await;
    let told: HashSet<(String, String)> =
        seen.iter().map(|event| (event.data["ubrn"].to_string(), event.data["version"].to_string())).collect();
    assert_eq!(told.len(), seen.len(), "{seen:?}");
    let filter = MessageFilter { source: Some("triage".into()), max: 500, ..MessageFilter::default() };
    let messages = world.gateway.store.messages(filter).await.expect("the store answers");
    let ids: HashSet<_> = messages.iter().map(|message| message.control_id.clone()).collect();
    assert_eq!(ids.len(), messages.len());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_user_a_service_is_looked_at_twice_a_day_whoever_asks() {
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), demonstration::PRIVATE_KEY_PEM).expect("a key");
    let world = World::with(|config| {
        let mut application =
            config.connections.iter().find(|one| one.name == "westport").expect("it is there").clone();
        application.name = "unattended".into();
        application.client_id = demonstration::PROVIDER_CLIENT_ID.into();
        application.access = Access::ApplicationRestricted(SignedJwt {
            private_key: key.path().to_owned(),
            kid: demonstration::KEY_ID.into(),
            unattended: Vec::new(),
        });
        config.connections.push(application);
        // As nobody may configure it: again and again, and without a user.
        let watch = Watch { connection: "unattended".into(), ..watch("REFERRALS_FOR_REVIEW", &["50001", "20001"]) };
        config.watches.push(watch);
    })
    .await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.calls().iter().filter(|call| **call == "A008").count(), 4, "{:?}", world.calls());
    let story = world.story().await;
    assert!(story.contains("ALLOWANCE_SPENT"), "{story}");
    // A restart does not give them back.
    let world = world.restarted().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.calls().iter().filter(|call| **call == "A008").count(), 4, "{:?}", world.calls());
    world.stop().await;
}
