//! Every refusal that e-RS documents for a write, from HL7 v2 in to reply and event out
//! (`tests/data/ers/refusals.json`, made of the facts on each operation): nothing is left without an answer, no refusal is
//! taken for success, and what may have been carried out is never called refused.

use std::time::Duration;

use ers_gateway::command::State;
use ers_gateway::config::{Access, ReplyMode};
use ers_gateway::simulator::services::Slot;
use ers_gateway::simulator::{Action, Fault, SimulatorConfig};
use ers_gateway::store::{CommandView, MessageFilter};
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;

use crate::support::sender::{MllpSender, contains, field};
use crate::support::world::World;

/// Refusals under way.
const AT_ONCE: usize = 6;
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

/// The sample that begins a workflow, and the write that is refused in it. What no sample asks for is made of one.
const WORKFLOWS: [(&str, &str); 15] = [
    ("04-refi12-v24-eastvale-2ww.hl7", "A011"),
    ("24-mdmt02-v24-eastvale-letter-pdf.hl7", "A020"),
    ("24-mdmt02-v24-eastvale-letter-pdf.hl7", "A012"),
    ("16-srms01-v251-southbeck-book-slot.hl7", "A016"),
    ("18-srms01-v24-eastvale-defer-to-provider.hl7", "A016"),
    ("20-srms04-v251-southbeck-cancel-appointment.hl7", "A034"),
    ("11-refi13-v24-eastvale-change-shortlist.hl7", "A031"),
    ("13-refi14-v24-eastvale-cancel-referral.hl7", "A036"),
    ("09-refi12-v24-eastvale-advice-guidance.hl7", "A044"),
    ("27-rrii12-v24-westport-accept.hl7", "A013"),
    ("28-rrii12-v24-westport-reject.hl7", "A014"),
    ("29-rrii12-v251-westport-triage-outcome.hl7", "A028"),
    ("28-rrii12-v24-westport-reject.hl7", "A022"),
    ("28-rrii12-v24-westport-reject.hl7", "A026"),
    ("28-rrii12-v24-westport-reject.hl7", "A027"),
];

/// The message that asks for the write.
fn message(sample: &str, call: &str) -> String {
    let text = std::fs::read_to_string(format!("{DATA}/hl7/{sample}")).expect("the sample is there");
    // Without what asks for two answers: one is enough here.
    let text = text.replace("|P|2.4|||AL|NE", "|P|2.4");
    let decision = |code: &str| text.replace("R^Rejected^HL70283", &format!("A^^HL70283^{code}"));
    let advice = |code: &str| {
        let asked = decision(&format!("{code}^^ERSADVICE")).replace("000000070004", "000049146177");
        let recommended = asked.replace("SERVICE_INAPPROPRIATE^Service inappropriate^ERSREJ", "OTHER^^ERSRECOMMEND");
        recommended.replace("9994124145", "9912003888")
    };
    match call {
        "A022" => decision("CANCEL_APPOINTMENT_ACTION_LATER^^ERSREVIEW"),
        "A026" => advice("RETURN_TO_REFERRER_WITH_ADVICE"),
        "A027" => advice("PROVIDER_CONVERTED").replace("NTE|2|L", "NTE|2|A"),
        _ => text,
    }
}

/// What must become of a command whose write was answered so once.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Nothing was done, and again later it is.
    Completed,
    /// A person, or the sender, with this code.
    Failed(String),
    InDoubt,
}

fn expected(call: &str, status: u64, code: Option<&str>) -> Outcome {
    let is_harmless = call == "A020";
    match (status, code) {
        // Told apart from a refusal: a new token, the record as it is now, a later time.
        (401 | 409 | 423 | 429, _) => Outcome::Completed,
        (_, Some("INVALID_STATE")) if call == "A016" => Outcome::Failed("INVALID_STATE".into()),
        (_, Some("INVALID_REQUEST_STATE" | "INVALID_STATE" | "DUPLICATE_FILENAME")) => Outcome::Completed,
        (_, Some("NO_CHANGES_DETECTED")) => Outcome::Completed,
        (500.., _) if is_harmless => Outcome::Completed,
        (500.., _) | (_, Some("UNABLE_TO_CONFIRM_APPOINTMENT" | "UNABLE_TO_CANCEL_APPOINTMENT")) => Outcome::InDoubt,
        (_, Some(code)) => Outcome::Failed(code.to_owned()),
        (_, None) => Outcome::Failed(format!("http_{status}")),
    }
}

async fn world(call: &str) -> World {
    let mut simulator = SimulatorConfig::default();
    let start: jiff::Timestamp = "2026-05-02T09:00:00Z".parse().expect("a literal instant");
    // What a decision is about.
    let slot = match call {
        "A013" => Some(("20012009", "20012")),
        "A014" | "A022" => Some(("20031001", "20031")),
        _ => None,
    };
    if let Some((id, service)) = slot {
        let end = start + jiff::SignedDuration::from_mins(30);
        simulator.slots.push(Slot { id: id.into(), service: service.into(), start, end, clinician: None });
    }
    let world = World::of(simulator, |config| {
        if ["A026", "A027"].contains(&call) {
            // The advice service is another organisation's than the samples'.
            let westport = config.connections.iter_mut().find(|one| one.name == "westport").expect("configured");
            let Access::UserRestricted(user) = &mut westport.access else { panic!("it has a user") };
            user.organisation = "R69".into();
        }
        for source in &mut config.sources {
            source.reply = ReplyMode::Result;
            source.reply_wait = Duration::from_millis(1_500);
        }
    })
    .await;
    // Before the slots that the samples speak of.
    world.simulator.clock().set("2026-03-16T09:30:00Z".parse().expect("a literal instant"));
    world
}

async fn the_command(world: &World) -> CommandView {
    let filter = MessageFilter { max: 10, ..MessageFilter::default() };
    let messages = world.gateway.store.messages(filter).await.expect("the store answers");
    let message = messages.first().expect("it came in").id;
    world.gateway.store.commands_of(message).await.expect("the store answers").remove(0)
}

/// In what a refusal comes out otherwise than it must.
async fn differences((sample, call, status, code): (&str, &str, u64, Option<&str>)) -> Vec<String> {
    let world = world(call).await;
    let is_there = match call {
        "A034" => world.simulator.book("000000070003", 70_001, "11008006"),
        "A013" => world.simulator.book("000000070001", 70_009, "20012009"),
        "A014" | "A022" => world.simulator.book("000000070004", 70_009, "20031001"),
        "A028" => world.simulator.send_for_triage("000000070005", "20041"),
        _ => true,
    };
    assert!(is_there, "the slot is free");
    let action = Action::Answer {
        status: u16::try_from(status).expect("a status"),
        code: code.map(str::to_owned),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    let fault = world.simulator.inject(Fault::on(call, action).times(1));
    let message = message(sample, call);
    let answer = MllpSender::new(world.mllp).deliver_once(message.as_bytes()).await;
    world.settle().await;
    let command = the_command(&world).await;
    let place = format!("{sample}: {call} {status} {}", code.unwrap_or_default());
    let mut failures = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            failures.push(format!("{place}: {what}: {:?}, {}", command.state, String::from_utf8_lossy(&answer)));
        }
    };
    demand(world.simulator.fired(fault) == 1, "the refusal was given");
    let found = match &command.state {
        State::Completed => Outcome::Completed,
        State::Failed { why } => Outcome::Failed(why.code.clone()),
        State::InDoubt { .. } => Outcome::InDoubt,
        other => panic!("{place}: {other:?}"),
    };
    let wanted = expected(call, status, code);
    demand(found == wanted, &format!("{wanted:?} was expected"));
    let events = world.gateway.store.events_after(0, 100).await.expect("the store answers");
    let told: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    let msa = field(&answer, b"MSA", 1);
    match &wanted {
        Outcome::Completed => {
            demand(!told.contains(&"CommandFailed") && !told.contains(&"CommandInDoubt"), "told as well");
            demand(msa == b"AA", "AA");
        }
        Outcome::Failed(code) => {
            let failed = events.iter().find(|event| event.name == "CommandFailed");
            demand(failed.is_some_and(|event| event.data["code"] == code.as_str()), "CommandFailed with the code");
            // AR where the message is not at fault: nothing in it need be changed.
            let wanted: &[u8] = match (call, status) {
                (_, 403 | 404 | 406 | 412 | 415) if !contains(&answer, b"RRI") && !contains(&answer, b"SRR") => b"AR",
                _ => b"AE",
            };
            demand(msa == wanted && contains(&answer, code.as_bytes()), "an error with the code");
        }
        Outcome::InDoubt => {
            demand(told.contains(&"CommandInDoubt"), "CommandInDoubt");
            demand(msa == b"AA" && !contains(&answer, b"RRI") && !contains(&answer, b"SRR"), "stored, and no more");
        }
    }
    for patient in ["FAUXLEY", "MOCKRIDGE", "SAMPLEWORTH", "PLACEHOLD"] {
        demand(events.iter().all(|event| !event.data.to_string().contains(patient)), "nobody is named in an event");
    }
    world.stop().await;
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_documented_refusal_has_its_outcome_reply_and_event() {
    let text = std::fs::read_to_string(format!("{DATA}/ers/refusals.json")).expect("the refusals are there");
    let refusals: Value = serde_json::from_str(&text).expect("JSON");
    let mut cases = Vec::new();
    for (sample, call) in WORKFLOWS {
        for refusal in refusals[call].as_array().unwrap_or_else(|| panic!("{call} has refusals")) {
            cases.push((sample, call, refusal[0].as_u64().expect("a status"), refusal[1].as_str()));
        }
    }
    assert!(cases.len() > 300, "{} refusals", cases.len());
    let failures: Vec<Vec<String>> = stream::iter(cases).map(differences).buffer_unordered(AT_ONCE).collect().await;
    let failures = failures.concat();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}
