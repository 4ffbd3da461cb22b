//! Which HL7 field made which e-RS element, and which element came from which field.
//!
//! Enters: a message's trace and its plan. Leaves: rows from field to command member to e-RS elements.
//! Found by asking the plan itself: each member of the command is replaced by a mark in turn, and the
//! elements that then carry the mark are its own. So it holds for conditions, fragments and expressions too.

use serde::Serialize;
use serde_json::Value;

use super::normalise::TraceRow;
use super::plan::{CallBody, PreparedCall};
use super::set::{MappingSet, PlanContext};

#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Explained {
    /// `PID-3.1`; empty where the gateway itself decides.
    pub field: String,
    /// As the mapping says it: `PID-3(*)[4.1=NHS,5=NH].1`.
    pub selector: String,
    /// JSON pointer in the command.
    pub member: String,
    pub present: bool,
    /// `A011 /parameter/0/valueIdentifier/value`, `A020 header NHSD-eRS-File-Name`, …
    pub elements: Vec<String>,
    pub file: String,
}

/// Stands for a value whose way is followed; no real value has it.
const MARK: &str = "\u{f8ff}";

/// One row for each member that the mapping declares, present or not.
pub fn explain(set: &MappingSet, trace: &[TraceRow], context: &PlanContext<'_>) -> Vec<Explained> {
    trace
        .iter()
        .map(|row| Explained {
            field: row.location.to_string(),
            selector: row.selector.clone(),
            member: row.pointer.clone(),
            present: row.present,
            elements: if row.present { elements(set, context, &row.pointer) } else { Vec::new() },
            file: row.file.clone(),
        })
        .collect()
}

/// Places in the plan's calls that carry the member at `pointer`.
fn elements(set: &MappingSet, context: &PlanContext<'_>, pointer: &str) -> Vec<String> {
    let mut body = context.body.clone();
    match body.pointer_mut(pointer) {
        Some(value) if !value.is_object() && !value.is_array() => *value = Value::from(MARK),
        _ => return Vec::new(),
    }
    let marked = PlanContext { body: &body, ..*context };
    // A member that decides which calls are made (`then: triage`) carries no value into them.
    let Ok(calls) = set.preview(&marked) else { return Vec::new() };
    calls.iter().flat_map(places).collect()
}

fn places(call: &PreparedCall) -> Vec<String> {
    let mut found = Vec::new();
    if call.path.contains(MARK) || call.path.contains("%EF%A3%BF") {
        found.push(format!("{} path", call.call));
    }
    for (name, value) in &call.headers {
        if value.contains(MARK) {
            found.push(format!("{} header {name}", call.call));
        }
    }
    if let CallBody::Json(body) = &call.body {
        walk(body, &mut String::new(), &mut |pointer| found.push(format!("{} {pointer}", call.call)));
    }
    found
}

fn walk(value: &Value, pointer: &mut String, found: &mut dyn FnMut(&str)) {
    let mut inside = |step: &str, value: &Value| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(step);
        walk(value, pointer, found);
        pointer.truncate(length);
    };
    match value {
        Value::String(text) if text.contains(MARK) => found(pointer),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| inside(&index.to_string(), item)),
        Value::Object(members) => members.iter().for_each(|(name, member)| inside(name, member)),
        _ => {}
    }
}
