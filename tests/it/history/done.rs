//! What e-RS did against what was to be done: once, announced, never blindly, in order.

use std::collections::BTreeMap;

use ers_gateway::command::CommandId;
use ers_gateway::mapping::MappingSet;
use ers_gateway::store::AttemptView;

use super::kept::KeptCommand;
use super::{Asked, Broken, Facts, Findings, History};

pub fn check(history: &History, facts: &Facts<'_>, set: &MappingSet, findings: &mut Findings) {
    for (patient, made) in &facts.made {
        let ubrns: Vec<String> = made.iter().map(|creation| creation.ubrn.to_string()).collect();
        findings.expect(ubrns.len() == 1, Broken::Twice, || {
            format!("the one referral of patient {patient} was made {} times: {ubrns:?}", ubrns.len())
        });
        let is_asked = history.sent.iter().any(|sent| match &sent.asked {
            Asked::Referral { nhs_number } => nhs_number == patient,
            _ => false,
        });
        findings.expect(is_asked, Broken::Twice, || format!("nobody asked for a referral of {patient}"));
    }
    for referral in &history.done.referrals {
        let mut names: Vec<&str> = referral.letters.iter().map(String::as_str).collect();
        let linked = names.len();
        names.sort_unstable();
        names.dedup();
        findings.expect(names.len() == linked, Broken::Twice, || {
            format!("a letter of {} is linked twice: {:?}", referral.ubrn, referral.letters)
        });
    }
    calls(history, facts, set, findings);
    for command in history.kept.commands() {
        none_is_blind(command, findings);
    }
}

/// Every write that arrived was announced by a row of its own, and none succeeded twice.
fn calls(history: &History, facts: &Facts<'_>, set: &MappingSet, findings: &mut Findings) {
    let mut arrived: BTreeMap<&str, u64> = BTreeMap::new();
    let mut carried_out: BTreeMap<(CommandId, &str), u64> = BTreeMap::new();
    let places = places(history);
    let mut reached: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for call in &history.done.calls {
        let is_write = set.operation(call.operation).is_some_and(|operation| operation.effect.leaves_doubt());
        let Some(correlation) = call.correlation_id.as_deref().filter(|_| is_write) else { continue };
        let before = arrived.insert(correlation, call.number);
        findings.expect(before.is_none(), Broken::Blind, || {
            format!("{} came twice from one attempt: calls {before:?} and {}", call.operation, call.number)
        });
        let Some((command, step)) = facts.by_correlation.get(correlation) else {
            findings.add(Broken::Unannounced, format!("no row announces {} (call {})", call.operation, call.number));
            continue;
        };
        let view = &command.view;
        if call.status / 100 == 2
            && let Some(before) = carried_out.insert((view.id, step), call.number)
        {
            let (name, operation) = (&view.name, call.operation);
            let how =
                format!("{step} of {name} {} was carried out twice: {operation} {before}, {}", view.id, call.number);
            findings.add(Broken::Twice, how);
        }
        // What came late and was refused overtook nothing.
        if call.status / 100 == 2
            && let Some((source, referral, place)) = places.get(&view.id)
        {
            let furthest = reached.entry((source, referral)).or_default();
            let is_in_order = *place >= *furthest;
            findings.expect(is_in_order, Broken::Overtaken, || {
                format!(
                    "{} of message {place} of {source} {referral} came after one of message {furthest}",
                    call.operation
                )
            });
            *furthest = (*furthest).max(*place);
        }
    }
}

/// Where in the order of its referral each command's message was sent.
fn places(history: &History) -> BTreeMap<CommandId, (&str, &str, usize)> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for sent in history.sent.iter().filter(|sent| sent.asked != Asked::KeyUsedAgain) {
        let (source, referral) = (sent.source.as_str(), sent.referral.as_str());
        let place = counts.entry((source, referral)).or_default();
        *place += 1;
        for command in history.kept.of(source, &sent.key).iter().flat_map(|message| &message.commands) {
            places.insert(command.view.id, (source, referral, *place));
        }
    }
    places
}

/// After an attempt whose end is unknown, nothing of the kind is sent again before it was proved not done.
fn none_is_blind(command: &KeptCommand, findings: &mut Findings) {
    let is_unknown = |attempt: &AttemptView| {
        attempt.status.is_none() && !matches!(attempt.outcome.as_deref(), Some("not_connected" | "not_sent"))
    };
    let writes = || command.attempts.iter().filter(|attempt| attempt.is_write);
    for attempt in writes().filter(|attempt| is_unknown(attempt)) {
        let next = writes().find(|next| next.step == attempt.step && next.started_at > attempt.started_at);
        let Some(next) = next else { continue };
        let is_proved = command.transitions.iter().any(|row| {
            row.from.as_deref() == Some("in_doubt") && row.at >= attempt.started_at && row.at <= next.started_at
        });
        findings.expect(is_proved, Broken::Blind, || {
            let (call, view) = (&attempt.call, &command.view);
            format!("{call} of {} {} was sent again although nobody knew how it ended", view.name, view.id)
        });
    }
}
