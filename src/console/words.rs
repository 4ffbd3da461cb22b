//! What states and steps mean, in the words of people who know patients and not gateways.

use jiff::Timestamp;

use super::page::{ago, time};
use crate::command::{Class, Estimate, State, WaitReason};
use crate::store::{AttemptView, CommandView, TransitionView};

/// A state with the colour of its tag (those of the NHS design system).
pub struct Tag {
    pub text: &'static str,
    pub colour: &'static str,
}

pub fn state_tag(name: &str) -> Tag {
    let (text, colour) = match name {
        "queued" => ("Queued", "blue"),
        "running" => ("Being sent", "blue"),
        "waiting" => ("Waiting", "yellow"),
        "unauthorised" => ("Waits for a user", "orange"),
        "in_doubt" => ("In doubt", "red"),
        "failed" => ("Failed", "red"),
        "completed" => ("Done", "green"),
        "discarded" => ("Given up", "grey"),
        "shadowed" => ("Not sent: shadow", "grey"),
        "accepted" => ("Accepted", "green"),
        "rejected" => ("Refused", "red"),
        "duplicate" => ("Duplicate", "grey"),
        "notice" => ("Notice", "grey"),
        _ => ("Unknown", "grey"),
    };
    Tag { text, colour }
}

/// What it means that a command stands there.
pub fn meaning(command: &CommandView, estimate: Estimate, now: Timestamp) -> String {
    if command.held_by.is_some() {
        return "It is held behind an earlier command about the same referral, and goes when that is done.".into();
    }
    match &command.state {
        State::Queued => format!("It will be sent to e-RS; {}.", estimate.text()),
        State::Running { .. } => "It is being carried out now.".into(),
        State::Waiting { until, why, .. } => {
            format!("It is tried again {} ({}).", ago(*until, now), reason(*why))
        }
        State::Unauthorised { since, .. } => format!(
            "e-RS takes this from a signed-in NHS user only, and none is there since {}. The patient waits until somebody \
             signs in, or does it by hand in e-RS.",
            time(*since)
        ),
        State::InDoubt { look_at: Some(at), .. } => format!(
            "It was sent and the answer never came: it may have been done. e-RS is read again {} to find out; nothing is sent \
             twice.",
            ago(*at, now)
        ),
        State::InDoubt { look_at: None, .. } => {
            "It was sent and the answer never came. Reading e-RS did not settle whether it was done: look there, and decide."
                .into()
        }
        State::Failed { why } => format!("It was not done. {}: {}", why.code, why.text),
        State::Completed => "e-RS has done it.".into(),
        State::Discarded => "Somebody gave it up: it is not sent.".into(),
        State::Shadowed => "Its source runs beside another system (shadow): everything was done but the sending.".into(),
    }
}

fn reason(why: WaitReason) -> &'static str {
    match why {
        WaitReason::Throttled => "e-RS asked to go slower",
        WaitReason::Locked => "somebody works on the record in e-RS",
        WaitReason::Unavailable => "e-RS is not there now",
        WaitReason::NoToken => "no token could be had",
        WaitReason::BreakerOpen => "these calls kept failing, so they are given a rest",
        WaitReason::Planned => "there is nothing to ask sooner",
        WaitReason::Paused => "a service that it is for is paused",
    }
}

pub fn class_text(class: Class) -> &'static str {
    match class {
        Class::Interactive => "Somebody waits",
        Class::TwoWeekWait => "Two-week wait",
        Class::Urgent => "Urgent",
        Class::Routine => "Routine",
        Class::Poll => "Worklists",
        Class::Bulk => "In bulk",
    }
}

/// One line of a story.
pub struct Happening {
    pub at: String,
    pub text: String,
    /// Beside: codes, who, how long.
    pub detail: String,
    pub is_bad: bool,
}

pub fn transition(transition: &TransitionView) -> Happening {
    let text = match (transition.from.as_deref(), transition.to.as_str()) {
        (None, "queued") => "Taken into the queue".to_owned(),
        (None, to) => format!("Begun as: {}", state_tag(to).text),
        (Some(_), to) => state_tag(to).text.to_owned(),
    };
    let by = if transition.by == "gateway" { String::new() } else { format!(" — by {}", transition.by) };
    Happening {
        at: time(transition.at),
        text,
        detail: format!("{}{by}", transition.why),
        is_bad: matches!(transition.to.as_str(), "failed" | "in_doubt" | "unauthorised"),
    }
}

pub fn attempt(attempt: &AttemptView) -> Happening {
    let kind = if attempt.is_write { "Asked e-RS to change something" } else { "Read e-RS" };
    let outcome = attempt.outcome.as_deref().unwrap_or("not answered yet");
    let status = attempt.status.map(|status| format!(", HTTP {status}")).unwrap_or_default();
    let took = attempt.duration_ms.map(|ms| format!(", {ms} ms")).unwrap_or_default();
    Happening {
        at: time(attempt.started_at),
        text: format!("{kind}: {} ({})", attempt.call, attempt.step),
        detail: format!("{outcome}{status}{took}; correlation id {}", attempt.correlation_id),
        is_bad: outcome != "ok",
    }
}
