//! What consumers got against what is in the outbox, and what each event tells against what happened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kept::KeptCommand;
use super::{Broken, Findings, History};

/// The event that tells of a command's work, and how often at the most.
const WORKS: [(&str, &str); 3] = [
    ("CreateReferral", "ReferralCreated"),
    ("AttachLetters", "ReferralLetterAttached"),
    ("CancelReferral", "ReferralCancelled"),
];
/// The event that tells of a command's coming into a state.
const HALTS: [(&str, &str); 3] =
    [("failed", "CommandFailed"), ("in_doubt", "CommandInDoubt"), ("unauthorised", "AuthorisationRequired")];

pub fn check(history: &History, findings: &mut Findings) {
    let arrived = in_order(&history.heard, findings);
    let stored: BTreeMap<String, &str> =
        history.kept.events.iter().map(|event| (event.id.to_string(), event.name.as_str())).collect();
    for (id, name) in &stored {
        findings.expect(arrived.contains_key(id.as_str()), Broken::Unheard, || format!("{name} {id} never arrived"));
    }
    for (id, event) in &arrived {
        let is_known = stored.get(*id).is_some_and(|name| event["type"] == *name);
        findings.expect(is_known, Broken::Unheard, || format!("{} {id} is not in the outbox", event["type"]));
    }
    let mut told: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for event in arrived.values() {
        let about = event["data"]["command"].as_str().unwrap_or_default();
        *told.entry((about, event["type"].as_str().unwrap_or_default())).or_default() += 1;
    }
    for command in history.kept.commands() {
        tells_of_each_change_once(command, &told, findings);
    }
}

/// Each event by its id as it arrived first: the next of its thread, and the same whenever it comes again.
pub fn in_order<'h>(heard: &'h [Value], findings: &mut Findings) -> BTreeMap<&'h str, &'h Value> {
    let mut first: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut taken: BTreeSet<(&str, u64)> = BTreeSet::new();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for event in heard {
        let member = |name: &str| event[name].as_str().unwrap_or_default();
        let (id, thread) = (member("id"), member("partitionkey"));
        if let Some(before) = first.get(id) {
            findings.expect(*before == event, Broken::Unheard, || format!("{id} came again and says something else"));
            continue;
        }
        first.insert(id, event);
        let sequence: u64 = member("sequence").parse().unwrap_or_default();
        findings.expect(taken.insert((thread, sequence)), Broken::Unheard, || {
            format!("{} {id} has the place {sequence} of another event", member("type"))
        });
        let before = last.insert(thread, sequence).unwrap_or_default();
        findings.expect(sequence == before + 1, Broken::Unheard, || {
            format!("{} {id} is number {sequence} of its thread and came after {before}", member("type"))
        });
    }
    first
}

fn tells_of_each_change_once(command: &KeptCommand, told: &BTreeMap<(&str, &str), usize>, findings: &mut Findings) {
    let id = command.view.id.to_string();
    let told = |event: &'static str| told.get(&(id.as_str(), event)).copied().unwrap_or_default();
    let name = command.view.name.as_str();
    for (state, event) in HALTS {
        let entered = command.entered(state);
        findings.expect(told(event) == entered, Broken::Unmatched, || {
            format!("{name} {id} was {state} {entered} times, and {event} was told {} times", told(event))
        });
    }
    let Some((_, event)) = WORKS.iter().find(|(work, _)| *work == name) else { return };
    let is_done = match name {
        "CreateReferral" => command.ubrn().is_some(),
        _ => command.view.state.name() == "completed",
    };
    let may_be_done = is_done || name != "CreateReferral" && command.view.state.name() == "in_doubt";
    let times = told(event);
    findings.expect(times <= 1 && (times == 1 || !is_done) && (times == 0 || may_be_done), Broken::Unmatched, || {
        format!("{name} {id} is {}, and {event} was told {times} times", command.view.state.name())
    });
}
