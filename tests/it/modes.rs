//! What a source's settings change, from the first byte to e-RS and back.

use std::time::Duration;

use ers_gateway::command::State;
use ers_gateway::config::{Config, Mode, ReplyMode, Source};
use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig};
use ers_gateway::store::{CommandView, MessageFilter};
use serde_json::{Value, json};

use crate::support::referrals::{Patients, attach, create, northmoor, sample};
use crate::support::sender::{HttpSender, MllpSender, contains, field};
use crate::support::serve::Serve;
use crate::support::waiting::{get, until};
use crate::support::world::World;

const SOON: Duration = Duration::from_secs(30);

fn source<'a>(config: &'a mut Config, name: &str) -> &'a mut Source {
    config.sources.iter_mut().find(|source| source.name == name).expect("it is configured")
}

fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).replace('\r', "\n")
}

fn refused(code: &str) -> Action {
    Action::Answer { status: 422, code: Some(code.into()), diagnostics: None, retry_after: None, body: None }
}

impl World {
    /// The only command there is.
    async fn command(&self) -> CommandView {
        let filter = MessageFilter { max: 10, ..MessageFilter::default() };
        let mut commands = Vec::new();
        for message in self.gateway.store.messages(filter).await.expect("the store answers") {
            commands.extend(self.gateway.store.commands_of(message.id).await.expect("the store answers"));
        }
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }

    fn sender(&self) -> MllpSender {
        MllpSender::new(self.mllp)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_in_shadow_does_everything_but_the_sending() {
    let world = World::with(|config| source(config, "northmoor").mode = Mode::Shadow).await;
    let answer = world.sender().deliver(&sample("01-")).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    world.settle().await;
    let command = world.command().await;
    assert_eq!(command.state, State::Shadowed);
    let plan = command.plan.to_string();
    for planned in ["A011", "A020", "A012", "20001", "9994120034"] {
        assert!(plan.contains(planned), "{planned} is in the plan that can be compared: {plan}");
    }
    assert!(world.calls().is_empty(), "{:?}", world.calls());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_source_is_acknowledged_and_waits_until_it_is_live() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    gateway.source("northmoor")["mode"] = json!("paused");
    gateway.start_and_wait().await;
    let mut sender = MllpSender::new(gateway.mllp);
    let answer = sender.deliver(&sample("01-")).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    // Another source's messages go past it.
    let answer = sender.deliver(&sample("02-")).await;
    assert_eq!(field(&answer, b"MSA", 1), b"CA", "{}", shown(&answer));
    until("the other source's referral is made", SOON, || ers.created() == 1).await;
    assert_eq!(ers.creations()[0].nhs_number.as_ref(), "9994121405");
    assert!(gateway.stop().await.success());

    gateway.source("northmoor")["mode"] = json!("live");
    gateway.start_and_wait().await;
    gateway.settle(SOON).await;
    assert_eq!(ers.created(), 2);
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_gets_the_first_answer_and_its_control_id_serves_nothing_else() {
    let world = World::start().await;
    let first = world.sender().deliver(&sample("01-")).await;
    let at_once = world.sender().deliver(&sample("01-")).await;
    world.settle().await;
    let afterwards = world.sender().deliver(&sample("01-")).await;
    assert_eq!(field(&first, b"MSA", 1), b"AA", "{}", shown(&first));
    assert_eq!((&at_once, &afterwards), (&first, &first));

    let other = String::from_utf8(sample("01-")).expect("ASCII").replace("20002^ERS", "20004^ERS");
    let answer = world.sender().deliver(other.as_bytes()).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AR", "{}", shown(&answer));
    assert!(contains(&answer, b"205"), "{}", shown(&answer));
    world.settle().await;
    assert_eq!(world.simulator.created(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_sent_again_under_another_control_id_is_not_made_again_and_a_changed_one_waits_for_a_person() {
    let world = World::start().await;
    let first = String::from_utf8(sample("01-")).expect("ASCII");
    world.sender().deliver(first.as_bytes()).await;
    world.settle().await;
    let same = first.replace("NM2603160001", "NM2603160002");
    let answer = world.sender().deliver(same.as_bytes()).await;
    assert_eq!((field(&answer, b"MSA", 1), field(&answer, b"MSA", 2)), (&b"AA"[..], &b"NM2603160002"[..]));
    world.command().await;
    let changed = first.replace("NM2603160001", "NM2603160003").replace("RF1|P|3|", "RF1|P|2|");
    world.sender().deliver(changed.as_bytes()).await;
    world.settle().await;
    assert!(world.story().await.contains("RESENT_WITH_A_CHANGE"), "{}", world.story().await);
    assert_eq!(world.simulator.created(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_sent_again_under_another_control_id_is_answered_with_its_ubrn_where_the_result_is_wanted() {
    let world = World::with(|config| source(config, "northmoor").reply = ReplyMode::Result).await;
    world.sender().deliver(&sample("01-")).await;
    let ubrn = world.simulator.creations()[0].ubrn.to_string();
    let same = String::from_utf8(sample("01-")).expect("ASCII").replace("NM2603160001", "NM2603160002");
    let again = world.sender().deliver(same.as_bytes()).await;
    assert_eq!(field(&again, b"MSA", 2), b"NM2603160002", "{}", shown(&again));
    assert!(contains(field(&again, b"RF1", 11), ubrn.as_bytes()), "{}", shown(&again));
    // And deferred, for a message that wants both answers.
    world.sender().deliver(&sample("03-")).await;
    world.settle().await;
    let text = String::from_utf8(sample("03-")).expect("ASCII");
    let control_id = String::from_utf8_lossy(field(text.as_bytes(), b"MSH", 9)).into_owned();
    let mut sender = world.sender();
    sender.deliver(text.replacen(&control_id, "AGAIN-3", 1).as_bytes()).await;
    let outcome = tokio::time::timeout(SOON, sender.frame()).await.expect("in time").expect("a second answer");
    assert_eq!(field(&outcome, b"MSA", 2), b"AGAIN-3", "{}", shown(&outcome));
    assert!(contains(&outcome, world.simulator.creations()[1].ubrn.to_string().as_bytes()), "{}", shown(&outcome));
    assert_eq!(world.simulator.created(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_names_two_referrals_is_refused() {
    let world = World::start().await;
    let url = |name: &str| format!("http://{}/v1/commands/{name}?source=eastvale", world.http);
    let mut http = HttpSender::new();
    let patients = Patients::new();
    for (number, local_id) in ["EV-A", "EV-B"].into_iter().enumerate() {
        let key = format!("k-{number}");
        http.deliver(&url("CreateReferral"), &key, &create(local_id, &patients.next())).await;
        world.settle().await;
    }
    let mut letter = attach("EV-A", "letter.txt", "QSBsZXR0ZXI=");
    letter["ubrn"] = json!(world.simulator.creations()[1].ubrn.to_string());
    let (status, answer) = http.deliver(&url("AttachLetters"), "k-2", &letter).await;
    assert_eq!(status, 422, "{answer}");
    letter["ubrn"] = json!(world.simulator.creations()[0].ubrn.to_string());
    let (status, answer) = http.deliver(&url("AttachLetters"), "k-3", &letter).await;
    assert_eq!(status, 202, "{answer}");
    world.settle().await;
    assert!(world.story().await.contains("AttachLetters Completed"), "{}", world.story().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_without_end_are_refused_at_once_and_a_bad_one_is_told_alone() {
    let world = World::start().await;
    let url = format!("http://{}/v1/commands/CreateReferral?source=eastvale", world.http);
    let mut command = create("EV-L", &Patients::new().next());
    let letter = json!({"fileName": "a.txt", "base64": "QSBsZXR0ZXI="});
    let bad = json!({"fileName": "b.txt", "base64": "%%%"});
    for (letters, told) in [(vec![letter.clone(); 51], "/letters"), (vec![letter, bad], "/letters/1/base64")] {
        command["letters"] = letters.into();
        let (status, answer) = HttpSender::new().deliver(&url, told, &command).await;
        assert_eq!(status, 422, "{answer}");
        let locations: Vec<&Value> =
            answer["problems"].as_array().expect("a list").iter().map(|problem| &problem["pointer"]).collect();
        assert_eq!(locations, [told], "{answer}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ubrn_comes_back_on_the_same_connection_when_enhanced_mode_asks_for_it() {
    let world = World::start().await;
    let mut sender = world.sender();
    let stored = sender.deliver(&sample("03-")).await;
    assert_eq!(field(&stored, b"MSA", 1), b"CA", "{}", shown(&stored));
    let outcome = tokio::time::timeout(SOON, sender.frame()).await.expect("in time").expect("a second answer");
    let ubrn = world.simulator.creations()[0].ubrn.to_string();
    assert_eq!(field(&outcome, b"MSA", 1), b"AA", "{}", shown(&outcome));
    assert_eq!(field(&outcome, b"MSH", 8), b"RRI^I12^RRI_I12", "{}", shown(&outcome));
    assert_eq!(field(&outcome, b"RF1", 11), format!("{ubrn}^ERS^^UBRN").as_bytes(), "{}", shown(&outcome));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_after_a_lost_connection_hears_the_outcome_as_well() {
    let world = World::start().await;
    world.sender().deliver(&sample("03-")).await; // and the connection is closed
    world.settle().await;
    let mut sender = world.sender();
    let stored = sender.deliver(&sample("03-")).await;
    assert_eq!(field(&stored, b"MSA", 1), b"CA", "{}", shown(&stored));
    let outcome = tokio::time::timeout(SOON, sender.frame()).await.expect("in time").expect("a second answer");
    assert_eq!(field(&outcome, b"MSA", 1), b"AA", "{}", shown(&outcome));
    assert!(contains(&outcome, world.simulator.creations()[0].ubrn.to_string().as_bytes()), "{}", shown(&outcome));
    assert_eq!(world.simulator.created(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_whose_letter_is_refused_is_answered_with_the_error_and_its_ubrn() {
    let world = World::with(|config| source(config, "northmoor").reply = ReplyMode::Result).await;
    world.simulator.inject(Fault::on("A012", refused("INVALID_VALUE")));
    let mut sender = world.sender();
    sender.deliver(&sample("03-")).await;
    let deferred = tokio::time::timeout(SOON, sender.frame()).await.expect("in time").expect("a second answer");
    let at_once = world.sender().deliver(&sample("01-")).await;
    for (number, answer) in [deferred, at_once].iter().enumerate() {
        let ubrn = world.simulator.creations()[number].ubrn.to_string();
        assert_eq!(field(answer, b"MSA", 1), b"AE", "{}", shown(answer));
        assert!(contains(field(answer, b"RF1", 11), ubrn.as_bytes()), "{}", shown(answer));
        assert!(contains(answer, b"INVALID_VALUE"), "{}", shown(answer));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_the_result_waits_for_ers_up_to_its_cap() {
    let world = World::with(|config| {
        let northmoor = source(config, "northmoor");
        northmoor.reply = ReplyMode::Result;
        northmoor.reply_wait = Duration::from_secs(2);
    })
    .await;
    let first = world.sender().deliver(&sample("01-")).await;
    let ubrn = world.simulator.creations()[0].ubrn.to_string();
    assert_eq!(field(&first, b"MSA", 1), b"AA", "{}", shown(&first));
    assert!(contains(field(&first, b"RF1", 11), ubrn.as_bytes()), "{}", shown(&first));
    // Whoever lost that answer asks again, and learns the same.
    let again = world.sender().deliver(&sample("01-")).await;
    assert!(contains(field(&again, b"RF1", 11), ubrn.as_bytes()), "{}", shown(&again));
    let renamed = String::from_utf8(sample("01-")).expect("ASCII").replace("NM2603160001", "NM2603160002");
    let renamed = world.sender().deliver(renamed.as_bytes()).await;
    assert_eq!(field(&renamed, b"MSA", 2), b"NM2603160002", "{}", shown(&renamed));
    assert!(contains(field(&renamed, b"RF1", 11), ubrn.as_bytes()), "{}", shown(&renamed));

    world.simulator.inject(Fault::on("A011", Action::delay(Duration::from_secs(4))).times(1));
    let patient = Patients::new().next();
    let late = world.sender().deliver(&northmoor("LATE-1", "NM-LATE", &patient, None)).await;
    assert_eq!(field(&late, b"MSA", 1), b"AA", "{}", shown(&late));
    assert_eq!(field(&late, b"RF1", 11), b"", "stored, and no more is known: {}", shown(&late));
    world.settle().await;
    assert_eq!(world.simulator.created(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_nobody_vouches_for_are_looked_up_first() {
    let world = World::with(|config| source(config, "eastvale").search_first = true).await;
    world.sender().deliver(&sample("02-")).await;
    world.settle().await;
    assert_eq!(world.calls()[..2], ["A010", "A011"], "{}", world.story().await);
    assert_eq!(world.command().await.state, State::Completed);
    world.stop().await;

    let world = World::with(|config| source(config, "eastvale").search_first = true).await;
    let nothing = json!({"resourceType": "Bundle", "type": "searchset", "total": 0, "entry": []}).to_string();
    let body = Some(nothing);
    world.simulator.inject(Fault::on(
        "A010",
        Action::Answer { status: 200, code: None, diagnostics: None, retry_after: None, body },
    ));
    world.sender().deliver(&sample("02-")).await;
    world.settle().await;
    let State::Failed { why } = world.command().await.state else { panic!("{}", world.story().await) };
    assert_eq!(why.code, "SHORTLISTED_SERVICE_NOT_IN_RESULTS");
    assert_eq!(world.calls(), ["A010"]);
    world.stop().await;
}

/// The commands of every message, by the gateway's own HTTP interface.
async fn commands(gateway: &Serve) -> Vec<Value> {
    let read = async |path: String| -> Value { get(gateway.url(&path)).await.json().await.expect("JSON") };
    let mut commands = Vec::new();
    for message in read("/v1/messages".into()).await["messages"].as_array().expect("a list") {
        let id = message["id"].as_str().expect("an id");
        let message = read(format!("/v1/messages/{id}")).await;
        commands.extend(message["commands"].as_array().expect("a list").iter().cloned());
    }
    commands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_got_too_old_waits_for_a_person_who_may_still_send_it() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    gateway.settings["delivery"]["age_max_routine"] = json!("1s");
    gateway.source("northmoor")["mode"] = json!("paused");
    gateway.start_and_wait().await;
    MllpSender::new(gateway.mllp).deliver(&sample("01-")).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(gateway.stop().await.success());

    gateway.source("northmoor")["mode"] = json!("live");
    gateway.start_and_wait().await;
    gateway.settle(SOON).await;
    let failed = commands(&gateway).await.remove(0);
    assert_eq!((&failed["state"], &failed["why"]["code"]), (&json!("failed"), &json!("EXPIRED")), "{failed}");
    assert!(ers.calls().iter().all(|call| !call.starts_with('A')), "{:?}", ers.calls());

    let id = failed["id"].as_str().expect("an id");
    let act = json!({"by": "Grace", "why": "the practice confirmed it by telephone"});
    let (status, answer) =
        HttpSender::new().deliver(&gateway.url(&format!("/v1/commands/{id}/replay")), "", &act).await;
    assert_eq!(status, 200, "{answer}");
    gateway.settle(SOON).await;
    assert_eq!(commands(&gateway).await[0]["state"], "completed");
    assert_eq!(ers.created(), 1);
    ers.stop().await;
}

/// The whole process stands still for longer than its leases, as a machine does that is moved or out of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_stood_still_past_its_leases_sends_nothing_twice_and_forgets_nothing() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    gateway.settings["delivery"]["lease"] = json!("2s");
    gateway.start_and_wait().await;
    let url = |name: &str| gateway.url(&format!("/v1/commands/{name}?source=eastvale"));
    let mut http = HttpSender::new();
    let patients = Patients::new();
    // One referral that a letter will be added to, while others are made.
    http.deliver(&url("CreateReferral"), "k-0", &create("EV-0", &patients.next())).await;
    gateway.settle(SOON).await;
    let slow = Duration::from_millis(800);
    let creating = ers.inject(Fault::on("A011", Action::delay(slow)).times(3));
    let reading = ers.inject(Fault::on("A005", Action::delay(slow)).times(1));
    for number in 1..=3 {
        let body = create(&format!("EV-{number}"), &patients.next());
        http.deliver(&url("CreateReferral"), &format!("k-{number}"), &body).await;
    }
    http.deliver(&url("AttachLetters"), "k-4", &attach("EV-0", "letter.txt", "QSBsZXR0ZXI=")).await;
    until("e-RS has them in hand", SOON, || ers.fired(creating) == 3 && ers.fired(reading) == 1).await;
    gateway.signal("STOP");
    tokio::time::sleep(Duration::from_secs(4)).await;
    gateway.signal("CONT");
    gateway.settle(SOON).await;

    assert_eq!(ers.created(), 4, "each once");
    assert!(ers.duplicates().is_empty());
    for command in commands(&gateway).await {
        let state = command["state"].as_str().expect("a state");
        match command["name"].as_str() {
            Some("AttachLetters") => assert_eq!(state, "completed", "what only read is done again: {command}"),
            _ => assert!(matches!(state, "completed" | "in_doubt"), "{command}"),
        }
    }
    assert_eq!(ers.calls().iter().filter(|call| **call == "A012").count(), 1);
    ers.stop().await;
}
