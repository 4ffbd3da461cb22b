//! Every sample message of `tests/data/hl7` that this gateway takes, over real sockets, against `expected.json`.

use std::net::SocketAddr;
use std::time::Duration;

use ers_gateway::simulator::SimulatorConfig;
use ers_gateway::simulator::services::Slot;
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::waiting::client;
use crate::support::world::World;

/// Deferred answers too.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Samples under way.
const AT_ONCE: usize = 6;
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7");

/// Sample 69 goes on where this one ends.
const FIRST_PIECE: &str = "68-edge-continuation-1-of-2.hl7";

/// Reads that only ask whether the write would be right (reasons, slots, available actions), and the letter that tells the
/// patient of a slot that nobody chose with them. `expected.json` leaves them out; the workflows of e-RS have them.
const ASKED_FIRST: &[&str] = &["A004", "A015", "A019", "A029"];

/// Samples whose text outside of a letter goes along as a letter of its own: one A020 more, and A012.
fn has_clinical_text(message: &[u8]) -> bool {
    message
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .any(|line| [b"NTE".as_slice(), b"DG1", b"AL1"].iter().any(|name| line.starts_with(name)))
}

fn expected() -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{FOLDER}/expected.json")).expect("the expectations are there");
    serde_json::from_str(&text).expect("they are JSON")
}

fn number(sample: &Value) -> &str {
    &sample["file"].as_str().expect("a file name")[..2]
}

/// Sends bytes, closes the sending side, and reads until the gateway has nothing more to say and closes as well.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("the listener is there");
    stream.write_all(bytes).await.expect("the gateway reads");
    stream.shutdown().await.expect("the gateway reads");
    let mut answers = Vec::new();
    let read = tokio::time::timeout(ANSWERED_WITHIN, stream.read_to_end(&mut answers)).await;
    let shown = String::from_utf8_lossy(&answers);
    assert!(read.is_ok(), "not closed within {ANSWERED_WITHIN:?}, after {shown}");
    answers
}

fn framed(message: &[u8]) -> Vec<u8> {
    [b"\x0b", message, b"\x1c\r"].concat()
}

/// MSA-1 of every answer, those inside of a batch too.
fn codes(answers: &[u8]) -> Vec<String> {
    lines(answers, b"MSA").map(|line| line[4..6].to_owned()).collect()
}

fn lines<'a>(answers: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = String> + 'a {
    answers
        .split(|byte| matches!(byte, b'\r' | b'\x0b' | b'\x1c'))
        .filter(move |line| line.starts_with(name))
        .map(|line| String::from_utf8_lossy(line).into_owned())
}

/// `AA, AR, AA (in a batch)`, `AA for E64B only`, `AE or AA by link setting`, `RRI^I15 (MSA-1 AA)`, `none`
fn expected_codes(ack: &str) -> Vec<&str> {
    let codes = match ack.split_once("(MSA-1 ") {
        Some((_, code)) => code.trim_end_matches(')'),
        None => ack.split(['(', 'f']).next().and_then(|codes| codes.split(" or ").next()).unwrap_or_default(),
    };
    codes.split([',', ' ']).filter(|code| code.len() == 2).collect()
}

/// An error as the sender reads it: segment, field and code from ERR-2/ERR-3, or from ERR-1 before v2.5.
fn errors(answers: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in lines(answers, b"ERR") {
        let separator = line.as_bytes()[3] as char;
        let fields: Vec<&str> = line.split(separator).collect();
        let component = if separator == '$' { '%' } else { '^' };
        let part = |field: &str, number: usize| field.split(component).nth(number - 1).unwrap_or_default().to_owned();
        if fields.get(2).is_some_and(|location| !location.is_empty()) || fields.len() > 3 {
            let location = fields.get(2).copied().unwrap_or_default();
            found.push((format!("{}-{}", part(location, 1), part(location, 3)), part(fields[3], 1)));
        } else {
            for location in fields[1].split('~') {
                let code = part(location, 4);
                let code = code.split('&').next().unwrap_or_default().to_owned();
                found.push((format!("{}-{}", part(location, 1), part(location, 3)), code));
            }
        }
    }
    // What is wrong with a sequence number is what MSA-4 says.
    if let Some(expected) = lines(answers, b"MSA").next().and_then(|line| line.split('|').nth(4).map(str::to_owned)) {
        let about_number = |(place, _): &&mut (String, String)| place == "MSH-13";
        found.iter_mut().filter(about_number).for_each(|error| *error = ("MSA-4".into(), expected.clone()));
    }
    found
}

/// `PID-3.1 (repetition 1): 102 …` → (`PID-3`, `102`); `message 2: MSH-10: 205 …` → (`MSH-10`, `205`);
/// `MSA-4 expected 3` → (`MSA-4`, `3`)
fn expected_error(text: &str) -> (String, String) {
    if let Some(expected) = text.strip_prefix("MSA-4 expected ") {
        return ("MSA-4".into(), expected.into());
    }
    let text = text.split_once("message 2: ").map_or(text, |(_, rest)| rest);
    let (place, rest) = text.split_once(": ").expect("a place and a code");
    let place = place.split([' ', '.']).next().unwrap_or_default().replace("(1)", "");
    let place = if place.contains('-') { place } else { format!("{place}-") };
    (place, rest.split(' ').next().unwrap_or_default().to_owned())
}

/// `RRI^I15` of `RRI^I15 (MSA-1 AA)`: where the answer has a type of its own.
fn expected_type(ack: &str) -> Option<&str> {
    ack.split_once(" (MSA-1 ").map(|(kind, _)| kind)
}

/// MSH-9 of the first answer, without its structure.
fn answer_type(answers: &[u8]) -> String {
    let header = lines(answers, b"MSH").next().unwrap_or_default();
    let kind = header.split('|').nth(8).unwrap_or_default();
    kind.split('^').take(2).collect::<Vec<_>>().join("^")
}

/// What e-RS has and the source may do, for the samples that say so.
async fn world_of(number: &str) -> World {
    let mut simulator = SimulatorConfig::default();
    // What a decision is about; that nothing can be booked there is what sample 18 is about.
    match number {
        "22" | "27" => simulator.slots.push(slot(("20012009", "2040-05-02T09:00:00Z"))),
        "28" => simulator.slots.push(slot(("20031001", "2040-05-02T09:00:00Z"))),
        _ => {}
    }
    if number == "17" {
        let [first, second] = [("20012001", "2026-04-02T09:00:00Z"), ("20012002", "2026-05-02T09:00:00Z")].map(slot);
        simulator.slots.extend([second, first]);
    }
    let world = World::of(simulator, |config| {
        let eastvale = config.sources.iter_mut().find(|source| source.name == "eastvale").expect("it is configured");
        eastvale.book_by_wish = number == "17";
        eastvale.sequence_protocol = number == "70";
    })
    .await;
    if ["16", "17", "20"].contains(&number) {
        // Before the slots that they speak of.
        world.simulator.clock().set("2026-03-16T09:30:00Z".parse().expect("a literal instant"));
    }
    match number {
        "69" => {
            let first = std::fs::read(format!("{FOLDER}/{FIRST_PIECE}")).expect("the sample is there");
            let stored = exchange(world.mllp, &framed(&first)).await;
            assert_eq!(codes(&stored), ["CA"], "{}", String::from_utf8_lossy(&stored));
        }
        "70" => {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let expected = world.gateway.store.expect_number("eastvale", None, 3, now).await;
            assert!(expected.expect("the store answers"));
        }
        _ => {}
    }
    let is_there = match number {
        "20" => world.simulator.book("000000070003", 70_001, "11008006"),
        "22" | "27" => world.simulator.book("000000070001", 70_009, "20012009"),
        "28" => world.simulator.book("000000070004", 70_009, "20031001"),
        "29" => world.simulator.send_for_triage("000000070005", "20041"),
        _ => true,
    };
    assert!(is_there, "the slot is free");
    world
}

fn slot((id, start): (&str, &str)) -> Slot {
    let start: jiff::Timestamp = start.parse().expect("a literal instant");
    let end = start + jiff::SignedDuration::from_mins(30);
    Slot { id: id.into(), service: id[..5].into(), start, end, clinician: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_gets_its_documented_answer_commands_and_calls() {
    let samples = expected();
    assert_eq!(samples.len(), 64, "samples taken");
    let failures: Vec<Vec<String>> = stream::iter(&samples).map(differences).buffer_unordered(AT_ONCE).collect().await;
    let failures = failures.concat();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// In what a sample comes out otherwise than `expected.json` says, in a world of its own.
async fn differences(sample: &Value) -> Vec<String> {
    let mut failures = Vec::new();
    let world = world_of(number(sample)).await;
    let file = sample["file"].as_str().expect("a file name");
    let bytes = std::fs::read(format!("{FOLDER}/{file}")).expect("the sample is there");
    let wire = if file.ends_with(".bin") { bytes.clone() } else { framed(&bytes) };
    let answers = exchange(world.mllp, &wire).await;
    world.settle().await;
    // Deferred application answers come as frames of their own; the first answer is what the index gives.
    let first = expected_codes(sample["ack"].as_str().unwrap_or_default());
    let mut found = codes(&answers);
    if sample["ack"] == "CA" {
        found.truncate(1);
    }
    let mut differ = |what: &str, wanted: String, found: String| {
        if wanted != found {
            failures.push(format!("{file}: {what}: expected {wanted}, found {found}"));
        }
    };
    differ("answer", format!("{first:?}"), format!("{found:?}"));
    if let Some(wanted) = expected_type(sample["ack"].as_str().unwrap_or_default()) {
        differ("type of answer", wanted.to_owned(), answer_type(&answers));
    }
    let wanted: Vec<(String, String)> =
        sample["err"].as_array().into_iter().flatten().filter_map(Value::as_str).map(expected_error).collect();
    differ("errors", format!("{wanted:?}"), format!("{:?}", errors(&answers)));
    differ("commands", sample["commands"].to_string(), serde_json::json!(world.commands().await).to_string());
    let mut calls: Vec<String> =
        sample["calls"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    // The note of 69 began in the piece before.
    if (has_clinical_text(&bytes) || number(sample) == "69") && calls.contains(&"A011".to_owned()) {
        let at = calls.iter().position(|call| call == "A012").unwrap_or(calls.len());
        if at == calls.len() {
            calls.push("A012".to_owned());
        }
        calls.insert(at, "A020".to_owned());
    }
    let mut made: Vec<&str> = world.calls();
    made.retain(|call| !ASKED_FIRST.contains(call) || calls.iter().any(|wanted| wanted == call));
    // Two messages that make a referral each: the same calls twice, in an order that is not given.
    if matches!(number(sample), "63" | "66") {
        calls = [calls.as_slice(), &calls].concat();
        calls.sort_unstable();
        made.sort_unstable();
    }
    differ("calls", format!("{calls:?}"), format!("{made:?}"));
    // What was asked for was done.
    let depths = world.gateway.store.depths().await.expect("the store answers");
    for depth in depths.iter().filter(|depth| depth.state != "completed" && depth.count > 0) {
        failures.push(format!("{file}: {} {}: {}", depth.count, depth.state, world.story().await));
    }
    world.stop().await;
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_gets_the_same_answer_over_http() {
    let client = client();
    let mut taken = 0;
    for sample in expected() {
        let file = sample["file"].as_str().expect("a file name");
        if file.ends_with(".bin") {
            continue;
        }
        taken += 1;
        // Each in a world of its own: several speak of one local id.
        let world = world_of(number(&sample)).await;
        let bytes = std::fs::read(format!("{FOLDER}/{file}")).expect("the sample is there");
        // HTTP prescribes UTF-8 in its charset parameter; a sample in another charset keeps its own MSH-18.
        let kind = match sample["encoding"].as_str() {
            Some("utf8" | "ascii") if file != "50-edge-msh18-unknown.hl7" => "application/hl7-v2; charset=utf-8",
            _ => "application/hl7-v2",
        };
        let request = client.post(format!("http://{}/v1/hl7v2", world.http)).header("Content-Type", kind).body(bytes);
        let response = request.send().await.expect("the gateway answers");
        let (status, answer) = (response.status().as_u16(), response.bytes().await.expect("a body"));
        let wanted = expected_codes(sample["ack"].as_str().unwrap_or_default());
        assert_eq!(codes(&answer), wanted, "{file}: {status}");
        assert_eq!(status, if wanted.is_empty() { 204 } else { 200 }, "{file}");
        let errors_wanted: Vec<(String, String)> =
            sample["err"].as_array().into_iter().flatten().filter_map(Value::as_str).map(expected_error).collect();
        assert_eq!(errors(&answer), errors_wanted, "{file}");
        world.stop().await;
    }
    assert_eq!(taken, 58, "samples taken");
}

/// What is told to consumers at the end, and what e-RS has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_decisions_of_the_samples_reach_e_rs_and_are_told() {
    for (file, ubrn, event, state, reason) in [
        ("27-rrii12-v24-westport-accept.hl7", "000000070001", "ReferralAccepted", "BOOKED", None),
        ("28-rrii12-v24-westport-reject.hl7", "000000070004", "ReferralRejected", "REJECTED", None),
        (
            "29-rrii12-v251-westport-triage-outcome.hl7",
            "000000070005",
            "ReviewOutcomeRecorded",
            "TRIAGED_PROVIDER_TO_ACTION",
            Some("ACCEPT_REFER_BOOK_LATER"),
        ),
    ] {
        let world = world_of(&file[..2]).await;
        let bytes = std::fs::read(format!("{FOLDER}/{file}")).expect("the sample is there");
        assert_eq!(codes(&exchange(world.mllp, &framed(&bytes)).await), ["AA"], "{file}");
        world.settle().await;
        let events = world.gateway.store.events_after(0, 100).await.expect("the store answers");
        let told: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(told, [event], "{file}");
        assert_eq!(events[0].data["ubrn"], ubrn, "{file}");
        let referral = world.simulator.referral(ubrn).expect("a referral");
        assert_eq!((referral.state, referral.reason), (state, reason), "{file}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_of_the_hospital_is_a_decision_only_by_setting() {
    for (on, calls, state) in
        [(false, vec![], "BOOKED"), (true, vec!["A005", "A029", "A022"], "TRIAGED_PROVIDER_TO_ACTION")]
    {
        let mut simulator = SimulatorConfig::default();
        simulator.slots.push(slot(("20012009", "2040-05-02T09:00:00Z")));
        let world = World::of(simulator, |config| {
            let eastvale = config.sources.iter_mut().find(|source| source.name == "eastvale").expect("configured");
            eastvale.settings.insert("cancellationsAreDecisions".into(), on.into());
            eastvale.connection = Some("westport".into());
        })
        .await;
        assert!(world.simulator.book("000000070001", 70_009, "20012009"), "the slot is free");
        let bytes = std::fs::read(format!("{FOLDER}/22-sius15-v24-eastvale-provider-cancels.hl7")).expect("a sample");
        assert_eq!(codes(&exchange(world.mllp, &framed(&bytes)).await), ["AA"]);
        world.settle().await;
        assert_eq!(world.calls(), calls);
        assert_eq!(world.simulator.referral("000000070001").expect("a referral").state, state);
        world.stop().await;
    }
}
