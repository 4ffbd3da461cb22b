//! The lives of commands: steps that can be, and ends that agree with what e-RS did.

use ers_gateway::command::State;

use super::kept::KeptCommand;
use super::{Asked, Broken, Facts, Findings, History};

/// A command begins so.
const BEGINNINGS: [&str; 3] = ["queued", "failed", "shadowed"];

pub fn check(history: &History, facts: &Facts<'_>, findings: &mut Findings) {
    for command in history.kept.commands() {
        is_a_life(command, findings);
    }
    for sent in history.sent.iter().filter(|sent| sent.is_taken()) {
        for message in history.kept.of(&sent.source, &sent.key) {
            for command in &message.commands {
                is_true(&sent.asked, command, facts, findings);
            }
        }
    }
}

fn is_a_life(command: &KeptCommand, findings: &mut Findings) {
    let (id, name) = (command.view.id, &command.view.name);
    let mut stands: Option<&str> = None;
    for row in &command.transitions {
        let (from, to) = (row.from.as_deref(), row.to.as_str());
        let follows = from == stands;
        let is_legal = match from {
            None => BEGINNINGS.contains(&to),
            Some(from) => State::can_follow(from, to),
        };
        findings.expect(follows && is_legal, Broken::Illegal, || {
            format!("{name} {id} went from {from:?} to {to} when it was {stands:?}: {}", row.why)
        });
        stands = Some(to);
    }
    let state = command.view.state.name();
    findings.expect(stands == Some(state), Broken::Illegal, || {
        format!("{name} {id} is {state}, and its last step was to {stands:?}")
    });
}

/// What the store says is done, e-RS has; and what e-RS has done, somebody knows or doubts.
fn is_true(asked: &Asked, command: &KeptCommand, facts: &Facts<'_>, findings: &mut Findings) {
    let (id, state) = (command.view.id, command.view.state.name());
    let is_completed = state == "completed";
    let is_open = matches!(state, "in_doubt" | "discarded");
    let referral = command.ubrn().and_then(|ubrn| facts.referrals.get(ubrn));
    match asked {
        Asked::Referral { nhs_number } => {
            let made =
                facts.made.get(nhs_number.as_str()).and_then(|made| made.first()).map(|made| made.ubrn.to_string());
            let known = command.ubrn().map(str::to_owned);
            let agrees = made == known && (known.is_some() || !is_completed);
            findings.expect(agrees || known.is_none() && is_open, Broken::Untrue, || {
                format!("the referral of {id}, which is {state}, is known as {known:?} and was made as {made:?}")
            });
        }
        Asked::Letter { file_name } => {
            let is_linked = referral.is_some_and(|referral| referral.letters.contains(file_name));
            findings.expect(is_linked == is_completed || is_open, Broken::Untrue, || {
                format!("{file_name} of {id}, which is {state}, is linked: {is_linked}")
            });
        }
        Asked::Cancellation => {
            let is_cancelled = referral.is_some_and(|referral| referral.state.contains("CANCELLED"));
            findings.expect(is_cancelled == is_completed || is_open, Broken::Untrue, || {
                format!("the referral that {id} cancels, which is {state}, is cancelled: {is_cancelled}")
            });
        }
        Asked::KeyUsedAgain => {}
        Asked::Again => {
            findings.expect(is_open, Broken::Twice, || format!("{id} repeats a referral, and it is {state}"))
        }
        Asked::Forbidden => {
            findings.expect(!is_completed, Broken::Untrue, || format!("{id} is forbidden, and it is {state}"));
        }
        Asked::Nonsense => findings.add(Broken::Untrue, format!("nobody can carry out {id}, and it is {state}")),
    }
}
