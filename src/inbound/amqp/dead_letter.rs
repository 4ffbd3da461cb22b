//! A refused delivery, as it goes to the dead-letter exchange: the same content, with the reasons in headers.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::amqp::{PERSISTENT, short};
use crate::intake::{Answer, Outcome};

/// Headers have to fit into one AMQP frame (128 KiB by default), so not every problem of a hopeless message
/// is listed; `x-problem-count` says how many there are.
const PROBLEMS_MAX: usize = 100;
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// The properties of the original with `x-problems` (JSON: location, code, text), `x-problem-count`,
/// `x-outcome`, `x-source`, `x-message-id` (of the stored message) and where it came from.
pub fn properties(delivery: &Delivery, source: &str, answer: &Answer) -> BasicProperties {
    let mut headers = delivery.properties.headers().clone().unwrap_or_default();
    set(&mut headers, "x-problems", &problems(answer));
    let count = i64::try_from(answer.problems.len()).unwrap_or(i64::MAX);
    headers.insert(short("x-problem-count"), AMQPValue::LongLongInt(count));
    set(&mut headers, "x-outcome", outcome(answer.outcome));
    set(&mut headers, "x-source", source);
    if let Some(message) = answer.message {
        set(&mut headers, "x-message-id", &message.to_string());
    }
    set(&mut headers, "x-original-exchange", delivery.exchange.as_str());
    set(&mut headers, "x-original-routing-key", delivery.routing_key.as_str());
    // An expiry of the original would let the refused copy vanish unseen.
    let mut kept = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    let original = &delivery.properties;
    if let Some(value) = original.content_type() {
        kept = kept.with_content_type(value.clone());
    }
    if let Some(value) = original.content_encoding() {
        kept = kept.with_content_encoding(value.clone());
    }
    if let Some(value) = original.correlation_id() {
        kept = kept.with_correlation_id(value.clone());
    }
    if let Some(value) = original.reply_to() {
        kept = kept.with_reply_to(value.clone());
    }
    if let Some(value) = original.message_id() {
        kept = kept.with_message_id(value.clone());
    }
    if let Some(value) = original.kind() {
        kept = kept.with_type(value.clone());
    }
    if let Some(value) = original.timestamp() {
        kept = kept.with_timestamp(*value);
    }
    kept
}

fn set(headers: &mut FieldTable, name: &str, value: &str) {
    headers.insert(short(name), AMQPValue::LongString(value.into()));
}

fn problems(answer: &Answer) -> String {
    let mut listed = Vec::new();
    let mut bytes = 2;
    for problem in answer.problems.iter().take(PROBLEMS_MAX) {
        let text = json!({"location": problem.location, "code": problem.code, "text": problem.text}).to_string();
        bytes += text.len() + 1;
        if bytes > PROBLEM_BYTES_MAX {
            break;
        }
        listed.push(text);
    }
    format!("[{}]", listed.join(","))
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Notice => "notice",
        Outcome::Duplicate => "duplicate",
        Outcome::Rejected => "rejected",
        Outcome::Unreadable => "unreadable",
        Outcome::UnknownSource => "unknown_source",
        Outcome::TooLarge => "too_large",
        Outcome::Unavailable => "unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{Location, Problem};

    #[test]
    fn the_reasons_always_fit_into_a_frame() {
        let problem = Problem::new(Location::field("PID", 3), 101, "x".repeat(3_000));
        let answer = Answer {
            outcome: Outcome::Rejected,
            message: None,
            commands: Vec::new(),
            problems: vec![problem; 500],
            hl7: None,
            deferred: None,
        };
        let text = problems(&answer);
        assert!(text.len() <= PROBLEM_BYTES_MAX, "{}", text.len());
        let read: Vec<serde_json::Value> = serde_json::from_str(&text).expect("whole JSON");
        assert_eq!(read[0]["location"], "PID-3");
    }
}
