//! Messages and commands as the API shows them: what became of them, never their content; of a read, what was asked
//! for. The command line shows a stopped gateway's store in the same shape.

use serde_json::{Map, Value, json};

use crate::command::{Estimate, State};
use crate::intake::taken_from;
use crate::store::{
    AttemptView, CommandView, DispatchView, Held, Hold, LegalHold, MessageView, SearchStore, TransitionView,
};

pub fn message(message: &MessageView) -> Value {
    let taken_from = message.control_id.as_deref().and_then(taken_from);
    let of = |edited| taken_from.filter(|(_, is_edited)| *is_edited == edited).map(|(first, _)| first);
    json!({
        "id": message.id,
        "source": message.source,
        "transport": message.transport,
        "controlId": message.control_id,
        "kind": message.kind,
        "receivedAt": message.received_at,
        "acknowledgedAt": message.acknowledged_at,
        "verdict": message.verdict,
        "bytes": message.size,
        "charset": message.charset,
        "problems": message.problems,
        "againOf": of(false),
        "editedFrom": of(true),
    })
}

/// A message to a hospital system, and what became of it.
pub fn dispatch(dispatch: &DispatchView) -> Value {
    json!({
        "id": dispatch.id,
        "destination": dispatch.destination,
        "kind": dispatch.kind,
        "controlId": dispatch.control_id,
        "subject": dispatch.subject,
        "state": dispatch.state,
        "createdAt": dispatch.created_at,
        "changedAt": dispatch.changed_at,
        "tries": dispatch.tries,
        "why": dispatch.why,
        "bytes": dispatch.size,
    })
}

/// Why each was put there is in the audit log.
pub fn legal_hold(hold: &LegalHold) -> Value {
    let (on, message) = match hold.on {
        Held::Message(message) => (format!("message {message} and all of its referral"), Some(message)),
        Held::Patient(_) => ("a patient".to_owned(), None),
    };
    json!({ "id": hold.id, "on": on, "message": message, "at": hold.at, "by": hold.by })
}

/// Where a command stands and what came of it: what its plan answers to the sender (for a read, what was read), else
/// what is known of its referral. Without its body: that may be about a patient. `estimate` is shown of one that is queued.
pub fn command_summary(command: &CommandView, estimate: Option<Estimate>) -> Value {
    Value::Object(summary(command, estimate))
}

/// With how it came there, and every e-RS call; without what was sent and answered.
pub fn command(
    command: &CommandView,
    estimate: Option<Estimate>,
    transitions: &[TransitionView],
    attempts: &[AttemptView],
) -> Value {
    let mut shown = summary(command, estimate);
    shown.insert("message".into(), json!(command.message));
    shown.insert("source".into(), json!(command.source));
    shown.insert("class".into(), json!(command.class));
    shown.insert("thread".into(), json!(command.thread));
    shown.insert("receivedAt".into(), json!(command.received_at));
    shown.insert("changedAt".into(), json!(command.changed_at));
    shown.insert("mappingSet".into(), json!(command.mapping_set));
    shown.insert("transitions".into(), json!(transitions));
    let attempts = attempts.iter().map(|attempt| {
        json!({
            "id": attempt.id,
            "step": attempt.step,
            "call": attempt.call,
            "isWrite": attempt.is_write,
            "correlationId": attempt.correlation_id,
            "startedAt": attempt.started_at,
            "finishedAt": attempt.finished_at,
            "status": attempt.status,
            "outcome": attempt.outcome,
            "durationMs": attempt.duration_ms,
        })
    });
    shown.insert("attempts".into(), attempts.collect());
    Value::Object(shown)
}

/// In one answer.
const HOLDS_MAX: usize = 500;

/// What holds up other commands of its referral: `{"holds": [{"holder", "followers", "cancellations"}]}`.
pub async fn holds(search: &dyn SearchStore) -> crate::store::Result<Value> {
    let mut holds = Vec::new();
    for Hold { holder, followers, cancellations } in search.holds(HOLDS_MAX).await? {
        if let Some(holder) = search.command(holder).await? {
            let mut shown = command_summary(&holder, None);
            shown["message"] = json!(holder.message);
            shown["source"] = json!(holder.source);
            holds.push(json!({ "holder": shown, "followers": followers, "cancellations": cancellations }));
        }
    }
    Ok(json!({ "holds": holds }))
}

fn summary(command: &CommandView, estimate: Option<Estimate>) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".into(), json!(command.id));
    shown.insert("name".into(), json!(command.name));
    if let Ok(Value::Object(state)) = serde_json::to_value(&command.state) {
        shown.extend(state);
    }
    shown.insert("heldBy".into(), json!(command.held_by));
    if let Some(estimate) = estimate.filter(|_| matches!(command.state, State::Queued)) {
        if let Some(at) = estimate.at() {
            shown.insert("estimatedAt".into(), json!(format!("{at:.0}")));
        }
        shown.insert("estimate".into(), json!(estimate.text()));
    }
    if matches!(command.state, State::Completed) {
        // What its plan answers, or else what is known of its referral.
        let result = command.plan.get("result").filter(|result| !result.is_null()).unwrap_or(&command.known);
        shown.insert("result".into(), result.clone());
    }
    shown
}
