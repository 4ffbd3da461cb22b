//! Messages in pieces, and numbered messages: over real sockets, other connections, and after a restart.

use std::time::Duration;

use ers_gateway::config::{Config, Source};
use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig};
use ers_gateway::store::MessageFilter;
use serde_json::json;

use crate::support::referrals::sample;
use crate::support::sender::{MllpSender, field};
use crate::support::serve::Serve;
use crate::support::world::World;

fn eastvale(config: &mut Config) -> &mut Source {
    config.sources.iter_mut().find(|source| source.name == "eastvale").expect("it is configured")
}

fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).replace('\r', "\n")
}

fn text(number: &str) -> String {
    String::from_utf8(sample(number)).expect("ASCII")
}

/// MSA-1, MSA-2 and MSA-4.
async fn send(address: std::net::SocketAddr, message: &str) -> (String, String, String, String) {
    let answer = MllpSender::new(address).deliver_once(message.as_bytes()).await;
    let part = |number| String::from_utf8_lossy(field(&answer, b"MSA", number)).into_owned();
    (part(1), part(2), part(4), shown(&answer))
}

fn is(answer: &(String, String, String, String), code: &str, control_id: &str, expected: &str) {
    assert_eq!((answer.0.as_str(), answer.1.as_str(), answer.2.as_str()), (code, control_id, expected), "{}", answer.3);
}

/// The only referral's letter.
async fn letters(world: &World) -> Vec<String> {
    world
        .simulator
        .referrals()
        .iter()
        .filter(|view| view.nhs_number == "9994137840")
        .flat_map(|view| view.letters.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_a_message_are_joined_over_other_connections_and_resent_ones_are_answered() {
    let world = World::start().await;
    let (one, two) = (text("68"), text("69"));
    // Lost answers: each piece comes twice.
    for _ in 0..2 {
        is(&send(world.mllp, &one).await, "CA", "E68A", "");
    }
    assert!(world.commands().await.is_empty());
    let mut sender = MllpSender::new(world.mllp);
    let stored = sender.deliver_once(two.as_bytes()).await;
    assert_eq!(field(&stored, b"MSA", 1), b"CA", "{}", shown(&stored));
    // What became of the whole is answered for the last piece.
    let outcome = tokio::time::timeout(Duration::from_secs(30), sender.frame()).await.expect("in time").expect("one");
    assert_eq!(
        (field(&outcome, b"MSA", 1), field(&outcome, b"MSA", 2)),
        (&b"AA"[..], &b"E68B"[..]),
        "{}",
        shown(&outcome)
    );
    is(&send(world.mllp, &two).await, "CA", "E68B", "");
    world.settle().await;
    assert_eq!(world.commands().await, ["CreateReferral"]);
    assert_eq!(world.calls(), ["A011", "A020", "A012"]);
    assert_eq!(letters(&world).await, ["clinical-information.txt"]);
    let filter = MessageFilter { max: 10, ..MessageFilter::default() };
    let whole = world.gateway.store.messages(filter).await.expect("listed").remove(0);
    let raw = world.gateway.store.read_message(whole.id, 0..100_000).await.expect("read");
    assert!(shown(&raw).contains("First half of a long note, second half.\nZRX|"), "{}", shown(&raw));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_without_the_one_before_is_refused_and_taken_once_all_have_come() {
    let world = World::start().await;
    let (one, two) = (text("68"), text("69"));
    let missing = send(world.mllp, &two).await;
    is(&missing, "CR", "E68B", "");
    assert!(missing.3.contains("MSH^1^14^204&"), "{}", missing.3);
    is(&send(world.mllp, &one).await, "CA", "E68A", "");
    // Of another kind: not the rest of that message.
    let other = two.replacen("REF^I12^REF_I12|E68B", "REF^I13^REF_I12|E68C", 1);
    let other = send(world.mllp, &other).await;
    assert!(other.3.contains("MSH^1^14^102&"), "{}", other.3);
    is(&send(world.mllp, &two).await, "CA", "E68B", "");
    world.settle().await;
    assert_eq!(world.commands().await, ["CreateReferral"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_never_completed_is_told_and_too_large_a_one_is_refused() {
    let world = World::with(|config| {
        eastvale(config).continuation_wait = Duration::from_secs(1);
        eastvale(config).message_bytes_max = 2_000;
    })
    .await;
    let (one, two) = (text("68"), text("69"));
    is(&send(world.mllp, &one).await, "CA", "E68A", "");
    let large = two.replace("te, second", &"x".repeat(1_500));
    let large = send(world.mllp, &large).await;
    assert!(large.3.contains("MSH^1^14^104&"), "{}", large.3);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let told = loop {
        let events = world.gateway.store.events_after(0, 100).await.expect("read");
        let told = events.iter().find(|event| event.data["problems"][0]["code"] == json!(100)).cloned();
        match told {
            Some(told) => break told,
            None if std::time::Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            None => panic!("nobody was told: {events:?}"),
        }
    };
    assert_eq!(told.name, "MessageRejected");
    assert!(told.data["controlId"].as_str().is_some_and(|id| id.starts_with("E68A")), "{}", told.data);
    is(&send(world.mllp, &two).await, "CR", "E68B", "");
    assert!(world.commands().await.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_and_numbers_outlive_a_restart() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    gateway.source("eastvale")["sequence_protocol"] = json!(true);
    gateway.start_and_wait().await;
    is(&send(gateway.mllp, &text("68").replace("|P|2.4||", "|P|2.4|5|")).await, "CA", "E68A", "6");
    gateway.kill();
    gateway.start_and_wait().await;
    // The number counts on, and the piece is there.
    is(&send(gateway.mllp, &text("69").replace("|P|2.4||", "|P|2.4|7|")).await, "CE", "E68B", "6");
    is(&send(gateway.mllp, &text("69").replace("|P|2.4||", "|P|2.4|6|")).await, "CA", "E68B", "7");
    gateway.settle(Duration::from_secs(30)).await;
    assert_eq!(ers.created(), 1);
    assert!(gateway.stop().await.success());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbered_messages_are_taken_in_turn() {
    let world = World::with(|config| eastvale(config).sequence_protocol = true).await;
    let numbered = |control_id: &str, number: &str| {
        let local = control_id.to_owned() + "^EASTVALE|20260316";
        text("70").replace("E70^EASTVALE|20260316", &local).replacen(
            "E70|P|2.4|9",
            &format!("{control_id}|P|2.4|{number}"),
            1,
        )
    };
    // Which number comes next?
    is(&send(world.mllp, &numbered("OPEN", "0")).await, "AA", "OPEN", "-1");
    is(&send(world.mllp, &numbered("TWO", "2")).await, "AA", "TWO", "3");
    is(&send(world.mllp, &numbered("OPEN", "0")).await, "AA", "OPEN", "3");
    // Sample 70.
    let gap = send(world.mllp, &text("70")).await;
    is(&gap, "AE", "E70", "3");
    assert!(gap.3.contains("MSH^1^13^102&"), "{}", gap.3);
    // A resend is answered as it was; another message under a number of the past is not taken.
    is(&send(world.mllp, &numbered("TWO", "2")).await, "AA", "TWO", "3");
    is(&send(world.mllp, &numbered("ELSE", "2")).await, "AE", "ELSE", "3");
    is(&send(world.mllp, &numbered("X", "three")).await, "AE", "X", "3");
    // Without a number there is no protocol; what is refused for its content was received.
    is(&send(world.mllp, &numbered("NONE", "")).await, "AA", "NONE", "");
    let bad = numbered("BAD", "3").replace("9994137840", "9994137841");
    is(&send(world.mllp, &bad).await, "AE", "BAD", "4");
    for number in 4..9 {
        let (control_id, next) = (format!("N{number}"), (number + 1).to_string());
        is(&send(world.mllp, &numbered(&control_id, &number.to_string())).await, "AA", &control_id, &next);
    }
    // What came too early is taken in its turn.
    is(&send(world.mllp, &text("70")).await, "AA", "E70", "10");
    world.settle().await;
    assert_eq!(world.commands().await.len(), 8, "{}", world.story().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_a_number_is_nothing() {
    let world = World::start().await;
    is(&send(world.mllp, &text("70")).await, "AA", "E70", "");
    world.settle().await;
    assert_eq!(world.commands().await, ["CreateReferral"]);
    world.stop().await;
}
