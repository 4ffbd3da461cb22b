//! Modes while running: who switches what, and what happens to what waits, what comes, and what was begun.

use std::time::Duration;

use ers_gateway::config::{Destination, Mode};
use ers_gateway::simulator::{Action, Fault};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::postgres::Postgres;
use crate::support::receiver::Receiver;
use crate::support::referrals::{Patients, attach, create, northmoor};
use crate::support::sender::{HttpSender, MllpSender};
use crate::support::waiting::{client, get, until};
use crate::support::world::World;

const SOON: Duration = Duration::from_secs(30);
/// Longer than any instance takes to see what another was told.
const SEEN: Duration = Duration::from_millis(2_500);
/// "A letter", in base64.
const LETTER: &str = "QSBsZXR0ZXI=";

async fn put(url: String, body: &Value) -> (StatusCode, Value) {
    let answer = client().put(url).json(body).send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

impl World {
    fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    async fn switches(&self, target: &str, asked: Value) -> Value {
        let mut asked = asked;
        (asked["by"], asked["why"]) = ("Grace".into(), "a test".into());
        let (status, body) = put(self.address(&format!("/v1/{target}/mode")), &asked).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn foresees(&self, target: &str, asked: Value) -> Value {
        let (status, body) = put(self.address(&format!("/v1/{target}/mode?preview=true")), &asked).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn asks(&self, command: &str, key: &str, body: &Value) {
        let url = self.address(&format!("/v1/commands/{command}?source=eastvale"));
        let (status, body) = HttpSender::new().deliver(&url, key, body).await;
        assert_eq!(status, 202, "{body}");
    }

    /// How many commands are in this state.
    async fn count(&self, state: &str) -> u64 {
        let depths = self.gateway.store.depths().await.expect("the store answers");
        depths.iter().filter(|depth| depth.state == state).map(|depth| depth.count).sum()
    }
}

fn to_service(local_id: &str, patient: &str, service: &str) -> Value {
    let mut body = create(local_id, patient);
    body["shortlist"][0]["service"] = service.into();
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_paused_rehearsed_and_goes_live_while_it_runs_and_after_a_restart() {
    let world = World::start().await;
    let patients = Patients::new();
    let send = async |world: &World, number: u32| {
        let message = northmoor(&format!("C{number}"), &format!("NM-{number}"), &patients.next(), None);
        MllpSender::new(world.mllp).deliver(&message).await;
    };
    let paused = world.switches("sources/northmoor", json!({"mode": "paused"})).await;
    assert_eq!((&paused["mode"], &paused["settings"]), (&json!("paused"), &json!("live")), "{paused}");
    assert_eq!(paused["switched"]["by"], "Grace");
    send(&world, 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((world.count("queued").await, world.simulator.created()), (1, 0));
    let (status, again) =
        put(world.address("/v1/sources/northmoor/mode"), &json!({"mode": "paused", "by": "G", "why": "w"})).await;
    assert_eq!((status, &again["title"]), (StatusCode::CONFLICT, &json!("It cannot be switched so")));

    let told = world.foresees("sources/northmoor", json!({"mode": "resumed"})).await;
    assert_eq!(
        (&told["now"], &told["then"], &told["waiting"]),
        (&json!("paused"), &json!("live"), &json!(1)),
        "{told}"
    );
    assert!(told["consequences"].to_string().contains("1 command of northmoor that waits now goes to e-RS"), "{told}");
    assert_eq!(world.count("queued").await, 1, "a preview does nothing");
    let world = world.restarted().await;
    assert_eq!(world.count("queued").await, 1, "a pause outlives the process");
    world.switches("sources/northmoor", json!({"mode": "resumed"})).await;
    world.settle().await;
    assert_eq!(world.simulator.created(), 1);

    world.switches("sources/northmoor", json!({"mode": "shadow"})).await;
    let world = world.restarted().await;
    send(&world, 2).await;
    world.settle().await;
    assert_eq!((world.count("shadowed").await, world.simulator.created()), (1, 1));
    let told = world.foresees("sources/northmoor", json!({"mode": "live"})).await;
    assert!(told["consequences"].to_string().contains("1 message of northmoor so far was only rehearsed"), "{told}");
    world.switches("sources/northmoor", json!({"mode": "settings"})).await;
    send(&world, 3).await;
    world.settle().await;
    assert_eq!((world.count("shadowed").await, world.simulator.created()), (1, 2), "what was rehearsed stays so");
    let subjects: Vec<String> = world
        .acts_of_people()
        .await
        .into_iter()
        .filter(|entry| entry.act == "switch mode")
        .inspect(|entry| assert_eq!((entry.by.as_str(), entry.why.as_deref()), ("Grace", Some("a test"))))
        .map(|entry| entry.subject)
        .collect();
    let expected = ["paused", "resumed", "shadow", "settings"].map(|mode| format!("source northmoor: {mode}"));
    assert_eq!(subjects, expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_live_service_of_a_source_in_shadow_is_live_too() {
    let world = World::with(|config| {
        let source = config.sources.iter_mut().find(|source| source.name == "eastvale").expect("configured");
        (source.mode, source.follow_scans) = (Mode::Shadow, true);
    })
    .await;
    world.switches("sources/eastvale", json!({"mode": "live", "service": "20001"})).await;
    world.asks("CreateReferral", "k1", &to_service("EV-1", &Patients::new().next(), "20001")).await;
    world.asks("AttachLetters", "k2", &attach("EV-1", "one.txt", LETTER)).await;
    // The third looks after the scan of the letter.
    let all = async || {
        let depths = world.gateway.store.depths().await.expect("the store answers");
        depths.iter().map(|depth| depth.count).sum::<u64>()
    };
    let began = std::time::Instant::now();
    while all().await < 3 || world.count("queued").await + world.count("running").await > 0 {
        assert!(began.elapsed() < SOON, "{}", world.story().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.count("shadowed").await, 0, "{}", world.story().await);
    world.stop().await;
}

/// Somebody else sent it meanwhile: a pause above the shadow changes nothing of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_while_a_source_in_shadow_was_paused_stays_in_shadow() {
    let world = World::start().await;
    let patients = Patients::new();
    let send = async |number: u32| {
        let message = northmoor(&format!("C{number}"), &format!("NM-{number}"), &patients.next(), None);
        MllpSender::new(world.mllp).deliver(&message).await;
    };
    world.switches("sources/northmoor", json!({"mode": "shadow"})).await;
    world.switches("connections/northmoor", json!({"mode": "paused"})).await;
    send(1).await;
    world.switches("sources/northmoor", json!({"mode": "paused"})).await;
    send(2).await;
    assert_eq!(world.count("queued").await, 2);
    world.switches("sources/northmoor", json!({"mode": "live"})).await;
    world.switches("connections/northmoor", json!({"mode": "resumed"})).await;
    send(3).await;
    world.settle().await;
    assert_eq!((world.count("shadowed").await, world.simulator.created()), (2, 1), "{}", world.story().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_service_goes_live_while_the_rest_is_rehearsed_and_what_follows_goes_with_its_referral() {
    let world = World::with(|config| {
        config.sources.iter_mut().find(|source| source.name == "eastvale").expect("configured").mode = Mode::Shadow;
    })
    .await;
    let patients = Patients::new();
    world.switches("sources/eastvale", json!({"mode": "live", "service": "20001"})).await;
    world.asks("CreateReferral", "k1", &to_service("EV-1", &patients.next(), "20001")).await;
    world.asks("CreateReferral", "k2", &to_service("EV-2", &patients.next(), "20002")).await;
    let mut both = to_service("EV-3", &patients.next(), "20001");
    both["shortlist"].as_array_mut().expect("a list").push(json!({"service": "20002"}));
    world.asks("CreateReferral", "k3", &both).await;
    // Letters name no service: they go with the referral that they are for, whatever is known when they come.
    world.asks("AttachLetters", "k4", &attach("EV-1", "one.txt", LETTER)).await;
    world.asks("AttachLetters", "k5", &attach("EV-2", "two.txt", LETTER)).await;
    world.settle().await;
    assert_eq!(world.simulator.created(), 1, "{}", world.story().await);
    assert_eq!(world.count("completed").await, 2, "{}", world.story().await);
    assert_eq!(world.count("shadowed").await, 3, "{}", world.story().await);
    let made = world.simulator.creations()[0].ubrn.to_string();
    assert_eq!(world.simulator.referral(&made).expect("it is made").letters, ["one.txt"]);

    // The other way round: the source is live, and one service of it is not.
    world.switches("sources/eastvale", json!({"mode": "live"})).await;
    world.switches("sources/eastvale", json!({"mode": "shadow", "service": "20002"})).await;
    world.asks("AttachLetters", "k6", &attach("EV-2", "three.txt", LETTER)).await;
    world.asks("CreateReferral", "k7", &to_service("EV-4", &patients.next(), "20003")).await;
    world.settle().await;
    assert_eq!((world.simulator.created(), world.count("shadowed").await), (2, 4), "{}", world.story().await);
    let shown: Value = get(world.address("/v1/sources/eastvale/mode")).await.json().await.expect("JSON");
    let services: Vec<(&Value, &Value)> =
        shown["services"].as_array().expect("a list").iter().map(|one| (&one["service"], &one["mode"])).collect();
    assert_eq!(services, [(&json!("20001"), &json!("live")), (&json!("20002"), &json!("shadow"))]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_switched_since_its_preview_is_not_switched_and_says_how_it_stands() {
    let world = World::start().await;
    let url = world.address("/v1/sources/eastvale/mode");
    let decided = |seen: &Value, mode: &str| json!({"mode": mode, "seen": seen, "by": "Grace", "why": "as planned"});
    let seen = world.foresees("sources/eastvale", json!({"mode": "shadow"})).await["version"].clone();
    let stands: Value = get(&url).await.json().await.expect("JSON");
    assert_eq!((&seen, &stands["version"]), (&json!(0), &json!(0)), "{stands}");
    world.switches("sources/eastvale", json!({"mode": "live", "service": "20001"})).await;
    let (status, refused) = put(url.clone(), &decided(&seen, "shadow")).await;
    assert_eq!(
        (status, &refused["title"]),
        (StatusCode::CONFLICT, &json!("Somebody has switched it since")),
        "{refused}"
    );
    let detail = refused["detail"].as_str().expect("a text");
    assert!(detail.contains("eastvale is live now") && detail.contains("live for service 20001"), "{detail}");
    assert!(!detail.contains("a test"), "a reason may name a patient: {detail}");
    let stands: Value = get(&url).await.json().await.expect("JSON");
    assert_eq!((&stands["mode"], &stands["version"]), (&json!("live"), &json!(1)), "{stands}");
    // On the command line.
    let switch = async |more: &[&str]| {
        let api = world.address("");
        let mut args = vec!["sources", "shadow", "eastvale", "--api", &api];
        args.extend(more);
        let program =
            tokio::process::Command::new(env!("CARGO_BIN_EXE_ers-gateway")).args(args).env("USER", "grace").output();
        let output = program.await.expect("the program starts");
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), told)
    };
    let (done, told) = switch(&["--seen", "0", "--why", "as planned"]).await;
    assert!(!done && told.contains("live for service 20001"), "{told}");
    let (done, told) = switch(&["--preview"]).await;
    assert!(done && told.contains("--seen 1"), "{told}");
    let (done, told) = switch(&["--seen", "1", "--why", "as planned"]).await;
    assert!(done && told.contains("eastvale is shadow"), "{told}");
    // Of two that saw the same, one is too late; who says nothing of what was seen decides on what is so now.
    let (live, paused) = (decided(&json!(2), "live"), decided(&json!(2), "paused"));
    let (first, second) = tokio::join!(put(url.clone(), &live), put(url.clone(), &paused));
    let mut statuses = [first.0, second.0];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT], "{} {}", first.1, second.1);
    world.switches("sources/eastvale", json!({"mode": "settings"})).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_service_is_paused_while_the_rest_goes_on_and_what_waited_goes_when_the_pause_ends() {
    let world = World::start().await;
    let patients = Patients::new();
    world.switches("sources/eastvale", json!({"mode": "paused", "service": "20001"})).await;
    world.asks("CreateReferral", "k1", &to_service("EV-1", &patients.next(), "20001")).await;
    world.asks("CreateReferral", "k2", &to_service("EV-2", &patients.next(), "20002")).await;
    let mut both = to_service("EV-3", &patients.next(), "20001");
    both["shortlist"].as_array_mut().expect("a list").push(json!({"service": "20002"}));
    world.asks("CreateReferral", "k3", &both).await;
    world.asks("AttachLetters", "k4", &attach("EV-1", "one.txt", LETTER)).await;
    let began = std::time::Instant::now();
    while world.count("waiting").await < 2 || world.simulator.created() < 1 {
        assert!(began.elapsed() < SOON, "{}", world.story().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Longer than the first look.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!((world.count("queued").await, world.simulator.created()), (1, 1), "{}", world.story().await);
    let metrics = get(world.address("/metrics")).await.text().await.expect("text");
    let series = r#"gateway_mode_seconds{kind="source",mode="paused",name="eastvale",service="20001"} "#;
    let (_, seconds) = metrics.split_once(series).expect("a series");
    assert!(seconds.lines().next().expect("a value").parse::<f64>().expect("a number") >= 3.0, "{seconds}");
    let told = world.foresees("sources/eastvale", json!({"mode": "resumed", "service": "20001"})).await;
    assert_eq!(
        (&told["now"], &told["then"], &told["waiting"]),
        (&json!("paused"), &json!("live"), &json!(2)),
        "{told}"
    );
    world.switches("sources/eastvale", json!({"mode": "resumed", "service": "20001"})).await;
    let began = std::time::Instant::now();
    while world.count("completed").await < 4 {
        assert!(began.elapsed() < SOON, "{}", world.story().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.simulator.created(), 3);
    let metrics = get(world.address("/metrics")).await.text().await.expect("text");
    assert!(!metrics.contains("gateway_mode_seconds{"), "nothing is paused any more");

    // Above a shadow: what came meanwhile was for the shadow.
    world.switches("sources/eastvale", json!({"mode": "shadow", "service": "20001"})).await;
    world.switches("sources/eastvale", json!({"mode": "paused", "service": "20001"})).await;
    world.asks("CreateReferral", "k5", &to_service("EV-5", &patients.next(), "20001")).await;
    let began = std::time::Instant::now();
    while world.count("waiting").await < 1 {
        assert!(began.elapsed() < SOON, "{}", world.story().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.switches("sources/eastvale", json!({"mode": "live", "service": "20001"})).await;
    let began = std::time::Instant::now();
    while world.count("shadowed").await < 1 {
        assert!(began.elapsed() < SOON, "{}", world.story().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.simulator.created(), 3, "{}", world.story().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_live_begins_at_its_time_and_a_decision_of_now_takes_its_place() {
    let world = World::start().await;
    let patients = Patients::new();
    world.switches("sources/eastvale", json!({"mode": "shadow"})).await;
    let from = Timestamp::now() + SignedDuration::from_secs(2);
    let planned = world.switches("sources/eastvale", json!({"mode": "live", "from": from.to_string()})).await;
    assert_eq!((&planned["mode"], &planned["planned"]["mode"]), (&json!("shadow"), &json!("live")), "{planned}");
    world.asks("CreateReferral", "k1", &create("EV-1", &patients.next())).await;
    world.settle().await;
    until("its time has come", SOON, || Timestamp::now() > from + SignedDuration::from_millis(1_200)).await;
    world.asks("CreateReferral", "k2", &create("EV-2", &patients.next())).await;
    world.settle().await;
    assert_eq!((world.count("shadowed").await, world.simulator.created()), (1, 1), "{}", world.story().await);

    let later = Timestamp::now() + SignedDuration::from_hours(9);
    world.switches("sources/eastvale", json!({"mode": "shadow", "from": later.to_string()})).await;
    let told = world.foresees("sources/eastvale", json!({"mode": "paused"})).await;
    assert!(told["consequences"].to_string().contains("does not happen: this takes its place"), "{told}");
    let paused = world.switches("sources/eastvale", json!({"mode": "paused"})).await;
    assert_eq!((&paused["mode"], &paused["planned"]), (&json!("paused"), &Value::Null), "{paused}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_that_was_begun_is_finished_when_its_source_goes_into_shadow() {
    let world = World::start().await;
    // Its letter is not taken for a while: the referral is made, and waits without it.
    let busy = Action::Answer { status: 429, code: None, diagnostics: None, retry_after: Some(2), body: None };
    let fault = world.simulator.inject(Fault::on("A012", busy).times(1));
    let message = northmoor("C1", "NM-1", &Patients::new().next(), Some("Torn meniscus"));
    MllpSender::new(world.mllp).deliver(&message).await;
    until("the letter was refused for now", SOON, || world.simulator.fired(fault) == 1).await;
    world.switches("sources/northmoor", json!({"mode": "shadow"})).await;
    world.settle().await;
    assert_eq!(world.count("completed").await, 1, "{}", world.story().await);
    let made = world.simulator.creations()[0].ubrn.to_string();
    assert_eq!(world.simulator.referral(&made).expect("it is made").letters.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_connection_holds_its_sources_and_a_paused_destination_its_messages() {
    let receiver = Receiver::start().await;
    let world = World::with(|config| {
        let northmoor = config.sources.iter_mut().find(|source| source.name == "northmoor").expect("configured");
        northmoor.answers_to = Some("answers".into());
        config.destinations.push(Destination::at("answers", &receiver.address.to_string()));
    })
    .await;
    let patients = Patients::new();
    let connection = {
        let all: Value = get(world.address("/v1/sources")).await.json().await.expect("JSON");
        let uses = |one: &&Value| one["usedBy"].as_array().expect("a list").contains(&json!("northmoor"));
        let found = all["connections"].as_array().expect("a list").iter().find(uses).expect("one is used");
        found["name"].as_str().expect("a name").to_owned()
    };
    world.switches(&format!("connections/{connection}"), json!({"mode": "paused"})).await;
    world.switches("destinations/answers", json!({"mode": "paused"})).await;
    let enhanced = |number: u32, patient: &str| {
        let message = String::from_utf8(northmoor(&format!("D{number}"), &format!("NM-{number}"), patient, None));
        message.expect("ASCII").replacen("|P|2.3\r", "|P|2.3|||AL|AL\r", 1).into_bytes()
    };
    MllpSender::new(world.mllp).deliver(&enhanced(1, &patients.next())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stands: Value = get(world.address("/v1/sources/northmoor/mode")).await.json().await.expect("JSON");
    assert_eq!((&stands["mode"], &stands["pausedConnections"]), (&json!("paused"), &json!([connection])), "{stands}");
    assert_eq!((world.count("queued").await, world.simulator.created()), (1, 0));
    let (status, refused) =
        put(world.address("/v1/connections/nobody/mode"), &json!({"mode": "paused", "by": "G", "why": "w"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{refused}");

    world.switches(&format!("connections/{connection}"), json!({"mode": "resumed"})).await;
    world.settle().await;
    assert_eq!(world.simulator.created(), 1);
    tokio::time::sleep(SEEN).await;
    assert!(receiver.received().is_empty(), "its answer waits");
    let told = world.foresees("destinations/answers", json!({"mode": "resumed"})).await;
    assert_eq!(told["waiting"], 1, "{told}");
    world.switches("destinations/answers", json!({"mode": "resumed"})).await;
    world.delivered(1).await;
    assert_eq!(receiver.received().len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_is_told_all_of_them_obey() {
    let mut cluster = Cluster::new(Postgres::shared(), 2).await;
    cluster.start().await;
    let patients = Patients::new();
    let pause = json!({"mode": "paused", "by": "Grace", "why": "a test"});
    let (status, body) = put(cluster.gateways[0].url("/v1/sources/eastvale/mode"), &pause).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    tokio::time::sleep(SEEN).await;
    let stands: Value = get(cluster.gateways[1].url("/v1/sources/eastvale/mode")).await.json().await.expect("JSON");
    assert_eq!((&stands["mode"], &stands["switched"]["by"]), (&json!("paused"), &json!("Grace")), "{stands}");
    for (number, gateway) in cluster.gateways.iter().enumerate() {
        let url = gateway.url("/v1/commands/CreateReferral?source=eastvale");
        let body = create(&format!("EV-{number}"), &patients.next());
        let (status, body) = HttpSender::new().deliver(&url, &format!("k{number}"), &body).await;
        assert_eq!(status, 202, "{body}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.ers.created(), 0);
    let resume = json!({"mode": "resumed", "by": "Grace", "why": "a test"});
    let (status, body) = put(cluster.gateways[1].url("/v1/sources/eastvale/mode"), &resume).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    cluster.settle(SOON).await;
    assert_eq!(cluster.ers.created(), 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rehearsed_is_put_beside_what_was_really_sent() {
    let world = World::start().await;
    let patients = Patients::new();
    world.switches("sources/eastvale", json!({"mode": "shadow"})).await;
    for number in 1..=3 {
        let body = create(&format!("EV-{number}"), &patients.next());
        world.asks("CreateReferral", &format!("k{number}"), &body).await;
    }
    world.settle().await;
    let compare = async |sent: String| -> Value {
        let url = world.address("/v1/sources/eastvale/comparison");
        let answer = client().post(url).body(sent).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.expect("JSON")
    };
    let table = "localId,priority,shortlist.0.service\nEV-1,ROUTINE,20001\nEV-2,URGENT,20001\nEV-9,ROUTINE,20001\n";
    let found = compare(table.to_owned()).await;
    assert_eq!((&found["compared"], &found["equal"]), (&json!(2), &json!(1)), "{found}");
    assert_eq!(found["members"], json!({"priority": 1}));
    assert_eq!(found["different"][0]["localId"], "EV-2");
    let change = json!({"member": "priority", "sent": "URGENT", "wouldSend": "ROUTINE"});
    assert_eq!(found["different"][0]["changes"], json!([change]));
    assert_eq!((&found["onlySent"], &found["onlyRehearsed"][0]["localId"]), (&json!(["EV-9"]), &json!("EV-3")));

    // The very body that would have been sent, but for one element.
    let commands = world.gateway.store.messages(ers_gateway::store::MessageFilter { max: 9, ..Default::default() });
    let first = commands.await.expect("the store answers").pop().expect("one came first");
    let first = world.gateway.store.commands_of(first.id).await.expect("the store answers").remove(0);
    let calls = first.plan["preview"].as_array().expect("calls").clone();
    let mut body = calls.iter().find(|call| call["call"] == "A011").expect("it is made")["body"].clone();
    let line = |body: &Value| json!({"localId": "EV-1", "call": "A011", "body": body}).to_string();
    assert_eq!(compare(line(&body)).await["equal"], 1);
    body["parameter"][0]["name"] = "other".into();
    let found = compare(line(&body)).await;
    assert_eq!(
        (&found["equal"], &found["different"][0]["changes"][0]["member"]),
        (&json!(0), &json!("A011 parameter.0.name")),
        "{found}"
    );
    let answer =
        client().post(world.address("/v1/sources/eastvale/comparison")).body("priority\nURGENT\n").send().await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::BAD_REQUEST);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rehearsed_is_put_beside_what_ers_shows_of_what_the_old_way_made() {
    let world = World::start().await;
    let patients = Patients::new();
    // The old way, under identifiers of its own.
    let numbers = [patients.next(), patients.next()];
    for (number, patient) in numbers.iter().enumerate() {
        world
            .asks("CreateReferral", &format!("old{number}"), &to_service(&format!("OLD-{number}"), patient, "20001"))
            .await;
    }
    world.settle().await;
    let made = |patient: &str| {
        let all = world.simulator.creations();
        all.iter().find(|one| &*one.nhs_number == patient).expect("it is made").ubrn.to_string()
    };
    let (first, second) = (made(&numbers[0]), made(&numbers[1]));
    world.switches("sources/eastvale", json!({"mode": "shadow"})).await;
    world.asks("CreateReferral", "k1", &to_service("EV-1", &numbers[0], "20001")).await;
    let mut urgent = to_service("EV-2", &numbers[1], "20009");
    urgent["priority"] = "URGENT".into();
    world.asks("CreateReferral", "k2", &urgent).await;
    world.asks("CreateReferral", "k3", &to_service("EV-3", &patients.next(), "20001")).await;
    world.settle().await;
    let writes = world.simulator.created();
    let file = format!("localId,ubrn\nEV-1,{first}\nEV-2,{second}\nEV-3,999999999999\n");
    let compare = async |query: &str| -> Value {
        let url = world.address(&format!("/v1/sources/eastvale/comparison{query}"));
        let answer = client().post(url).body(file.clone()).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.expect("JSON")
    };
    let reads = || world.simulator.calls().iter().filter(|call| **call == "A005").count();
    let before = reads();
    assert_eq!(compare("").await["ers"], Value::Null);
    assert_eq!(reads(), before, "e-RS is read if somebody asks for it");
    let found = compare("?ers=true").await["ers"].clone();
    assert_eq!((&found["read"], &found["equal"], reads() - before), (&json!(2), &json!(1), 3), "{found}");
    let changes = [
        json!({"member": "priority", "inErs": "ROUTINE", "wouldSend": "URGENT"}),
        json!({"member": "shortlist", "inErs": "20001", "wouldSend": "20009"}),
    ];
    assert_eq!(
        (&found["different"][0]["localId"], &found["different"][0]["changes"]),
        (&json!("EV-2"), &json!(changes))
    );
    assert_eq!(found["unread"][0]["localId"], "EV-3", "{found}");
    let log = world.gateway.store.audit_log(0, 100).await.expect("the store answers");
    let looks = log.iter().filter(|entry| entry.subject.starts_with("comparison of source eastvale"));
    let with_ers: Vec<bool> = looks.map(|entry| entry.subject.ends_with("e-RS read as well")).collect();
    assert_eq!(with_ers, [false, true], "who had e-RS read is noted");
    let down = Action::Answer { status: 503, code: None, diagnostics: None, retry_after: None, body: None };
    let fault = world.simulator.inject(Fault::on("A005", down).times(9));
    let found = compare("?ers=true").await["ers"].clone();
    assert_eq!((&found["more"], found["unread"].as_array().map(Vec::len)), (&json!(true), Some(1)), "{found}");
    assert_eq!(world.simulator.fired(fault), 1, "e-RS that is down is not asked on and on");
    assert_eq!(world.simulator.created(), writes);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_says_what_would_happen_switches_and_compares() {
    let world = World::start().await;
    let api = world.address("");
    let program = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ers-gateway"));
        let output =
            command.args(args).args(["--api", &api]).env("USER", "grace").output().expect("the program starts");
        let told = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.code(), String::from_utf8_lossy(&told).into_owned())
    };
    let (code, told) = program(&["sources", "shadow", "eastvale", "--preview"]);
    assert!(code == Some(0) && told.contains("What comes from then on is rehearsed only"), "{told}");
    let (code, told) = program(&["sources", "list"]);
    assert!(code == Some(0) && told.contains("the settings") && !told.contains("grace"), "{told}");
    let (code, told) = program(&["sources", "shadow", "eastvale", "--why", "begin"]);
    assert!(code == Some(0) && told.contains("eastvale is shadow"), "{told}");
    let (code, told) =
        program(&["sources", "live", "eastvale", "--service", "20001", "--from", "2199-01-01T00:00:00Z", "--why", "x"]);
    assert!(code == Some(1) && told.contains("more than a year ahead"), "{told}");
    world.asks("CreateReferral", "k1", &create("EV-1", &Patients::new().next())).await;
    world.settle().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sent = folder.path().join("old.csv");
    let compare = |table: &str| {
        std::fs::write(&sent, table).expect("written");
        program(&["sources", "compare", "eastvale", "--sent", sent.to_str().expect("Unicode")])
    };
    let (code, told) = compare("localId,priority\nEV-1,URGENT\n");
    assert!(code == Some(1) && told.contains("priority: sent \"URGENT\", would send \"ROUTINE\""), "{told}");
    let (code, told) = compare("localId,priority\nEV-1,ROUTINE\n");
    assert!(code == Some(0) && told.contains("1 referrals compared, 1 the same"), "{told}");
    let (code, told) = program(&["sources", "list"]);
    assert!(code == Some(0) && told.contains("grace"), "{told}");
    let (code, told) = program(&["sources", "reset", "eastvale", "--why", "end"]);
    assert!(code == Some(0) && told.contains("eastvale is live"), "{told}");
    world.stop().await;
}
