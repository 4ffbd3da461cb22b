//! What senders were told against what is kept.

use ers_gateway::command::{State, Verdict};

use super::kept::KeptMessage;
use super::{Asked, Broken, Facts, Findings, History, Sent, Told};

pub fn check(history: &History, facts: &Facts<'_>, findings: &mut Findings) {
    for sent in &history.sent {
        let name = format!("{} {}", sent.source, sent.key);
        let kept = history.kept.of(&sent.source, &sent.key);
        if sent.asked == Asked::KeyUsedAgain {
            findings.expect(!sent.is_taken(), Broken::Twice, || format!("{name} stands for two messages"));
        } else if sent.is_taken() {
            match kept {
                [message] => is_in_good_hands(&name, message, facts, findings),
                several => findings.add(
                    Broken::Missing,
                    format!("{name} was acknowledged and is stored {} times instead of once", several.len()),
                ),
            }
        } else if sent.is_refused() {
            let is_refused = kept.iter().any(|message| message.view.verdict == Verdict::Rejected);
            findings.expect(is_refused, Broken::Missing, || format!("{name} was refused and is not kept"));
        }
        is_answered_as_before(&name, sent, findings);
    }
}

/// Completed, or visible until a person decides, or behind what is.
fn is_in_good_hands(name: &str, message: &KeptMessage, facts: &Facts<'_>, findings: &mut Findings) {
    let verdict = message.view.verdict;
    if verdict == Verdict::Rejected {
        return findings.add(Broken::Missing, format!("{name} was acknowledged and is stored as refused"));
    }
    if verdict == Verdict::Accepted && message.commands.is_empty() {
        findings.add(Broken::Missing, format!("{name} was accepted and has no command"));
    }
    for command in &message.commands {
        let view = &command.view;
        let is_seen = match &view.state {
            State::Completed
            | State::Discarded
            | State::Shadowed
            | State::Failed { .. }
            | State::InDoubt { .. }
            | State::Unauthorised { .. } => true,
            State::Queued => {
                let holder = view.held_by.and_then(|id| facts.by_command.get(&id));
                holder.is_some_and(|holder| holder.view.state.holds_followers())
            }
            State::Running { .. } | State::Waiting { .. } => false,
        };
        // A doubt is settled at a time of its own: then its thread goes on, whenever it is looked at.
        let is_seen = is_seen
            || facts.by_command.values().any(|other| {
                other.view.thread == view.thread
                    && other.entered("in_doubt") > 0
                    && other.view.state.name() != "in_doubt"
            });
        findings.expect(is_seen, Broken::Missing, || {
            format!("{} {} of {name} stands still: {:?}, held by {:?}", view.name, view.id, view.state, view.held_by)
        });
    }
}

fn is_answered_as_before(name: &str, sent: &Sent, findings: &mut Findings) {
    let mut final_answers = sent.answers.iter().filter(|told| **told != Told::Later);
    let Some(first) = final_answers.next() else { return };
    if let Some(other) = final_answers.find(|told| *told != first) {
        findings.add(Broken::AnsweredOtherwise, format!("{name} was told {first:?}, and then {other:?}"));
    }
}
