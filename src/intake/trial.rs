//! A message tried without being stored or sent: the acknowledgement it would get, the commands, the plan.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::admission::{CREATES, Decision};
use super::fhir_reading::{FhirReading, is_fhir, read_fhir};
use super::hl7v2::{to_ack_error, to_problem};
use super::reading::read;
use super::sources::KnownSource;
use super::wire::Wire;
use crate::hl7::{AckCode, AckError, AnswersWanted, Header};
use crate::mapping::{CallBody, Location, MappingSet, PlanContext, PlanProblem, PreparedCall, Problem, ThreadNames};

/// What `map try` shows (`design.md` section 13).
#[derive(Debug, Serialize)]
pub struct Trial {
    pub ack: TrialAck,
    pub notice: bool,
    pub commands: Vec<TrialCommand>,
    pub plan: Vec<Value>,
    /// Populated fields that are neither used nor named as ignored.
    pub unused: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct TrialAck {
    /// `none` where the sender wants no answer; of FHIR the HTTP status.
    pub code: String,
    pub errors: Vec<Problem>,
}

#[derive(Debug, Serialize)]
pub struct TrialCommand {
    pub name: String,
    pub thread: ThreadNames,
    pub body: Value,
}

/// As intake would take it, with an empty store: a command for a referral that only a local id names is
/// refused, as it would be for a referral that nobody sent before.
pub fn try_message(
    set: &MappingSet,
    source: &KnownSource,
    connection: &Value,
    bytes: &Bytes,
) -> Result<Trial, PlanProblem> {
    if is_fhir(bytes) {
        let FhirReading { decision, is_unreadable, unused, .. } = read_fhir(set, source, bytes);
        let code = |problems: &[Problem]| match (problems, is_unreadable) {
            ([], _) => "202".to_owned(),
            (_, true) => "400".to_owned(),
            _ => "422".to_owned(),
        };
        let trial = of_decision(set, source, connection, decision, code)?;
        return Ok(Trial { unused, ..trial });
    }
    let wire = Wire::of(bytes.clone());
    let header = match Header::scan(&wire.text) {
        Ok(header) => header,
        Err(unreadable) => {
            let errors = vec![Problem::new(Location::Message, 102, unreadable.to_string())];
            return Ok(Trial::refused("none", errors));
        }
    };
    let reading = read(set, source, &header, &wire, None);
    let wanted = AnswersWanted::of(&header);
    let code = |problems: &[Problem]| {
        let errors: Vec<AckError> = problems.iter().map(to_ack_error).collect();
        let phase = wanted.on_arrival(errors.is_empty());
        phase.map_or("none", |phase| AckCode::of(&errors, phase).as_str()).to_owned()
    };
    let trial = of_decision(set, source, connection, reading.decision, code)?;
    Ok(Trial { unused: reading.unused, ..trial })
}

fn of_decision(
    set: &MappingSet,
    source: &KnownSource,
    connection: &Value,
    decision: Decision,
    code: impl Fn(&[Problem]) -> String,
) -> Result<Trial, PlanProblem> {
    Ok(match decision {
        Decision::Refuse(problems) => Trial::refused(&code(&problems), problems),
        Decision::Notice { .. } | Decision::Hold => Trial { notice: true, ..Trial::refused(&code(&[]), Vec::new()) },
        Decision::Command { name, thread, .. } if !CREATES.contains(&name.as_str()) && thread.ubrn.is_none() => {
            let error = AckError { location: None, code: 204, text: "Unknown key identifier".into() };
            let problem = to_problem(&error);
            Trial::refused(&code(std::slice::from_ref(&problem)), vec![problem])
        }
        Decision::Command { name, thread, body, .. } => {
            let plan = plan(set, source, connection, &name, &body)?;
            let commands = vec![TrialCommand { name, thread, body }];
            Trial { commands, plan, ..Trial::refused(&code(&[]), Vec::new()) }
        }
    })
}

fn plan(
    set: &MappingSet,
    source: &KnownSource,
    connection: &Value,
    command: &str,
    body: &Value,
) -> Result<Vec<Value>, PlanProblem> {
    let known = json!({ "ubrn": body.get("ubrn").cloned().unwrap_or_else(|| "<ubrn>".into()) });
    let settings = Value::Object(source.settings.clone());
    let now = "<time of sending>";
    let context = PlanContext { command, id: "", body, known: &known, connection, settings: &settings, now };
    Ok(set.preview(&context)?.iter().map(shown).collect())
}

/// A call without its token; a letter by name, size and digest.
pub(super) fn shown(call: &PreparedCall) -> Value {
    let headers: serde_json::Map<String, Value> =
        call.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let body = match &call.body {
        CallBody::None => Value::Null,
        CallBody::Json(body) => body.clone(),
        CallBody::Letter(letter) => {
            json!({ "letter": letter.file_name, "contentType": letter.content_type, "bytes": letter.bytes, "sha256": letter.sha256 })
        }
    };
    json!({ "call": call.call, "method": call.method, "path": call.path, "headers": headers, "body": body })
}

impl Trial {
    fn refused(code: &str, errors: Vec<Problem>) -> Self {
        let ack = TrialAck { code: code.to_owned(), errors };
        Self { ack, notice: false, commands: Vec::new(), plan: Vec::new(), unused: Vec::new() }
    }
}
