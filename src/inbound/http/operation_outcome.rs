//! `OperationOutcome` (FHIR R4): what was wrong with a message, or what became of it. Carries no value of a message.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde_json::{Value, json};

use super::problem::{ProblemDocument, RETRY_AFTER_SECONDS};
use crate::command::{MessageId, State};
use crate::mapping::{Location, Problem};
use crate::store::CommandView;

pub const FHIR_JSON: &str = "application/fhir+json";
/// HL7 table 0357, message error condition codes.
const CONDITION_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v2-0357";
const UBRN_SYSTEM: &str = "https://fhir.nhs.uk/Id/UBRN";
const COMMAND_STATE_SYSTEM: &str = "urn:ers-gateway:command-state";

/// An answer that is not positive.
#[derive(Debug)]
pub struct Refused {
    document: ProblemDocument,
    message: Option<MessageId>,
    problems: Vec<Problem>,
}

impl Refused {
    pub fn with(document: ProblemDocument, message: Option<MessageId>, problems: Vec<Problem>) -> Self {
        Self { document, message, problems }
    }
}

impl<E: Into<ProblemDocument>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::with(error.into(), None, Vec::new())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.document.fmt(f)
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.document.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut issues: Vec<Value> = self.problems.iter().map(issue).collect();
        if issues.is_empty() {
            let text = format!("{}. {}", self.document.title(), self.document.detail());
            issues.push(json!({"severity": "error", "code": code_of_status(status), "details": {"text": text}}));
        }
        let mut response = HttpResponseBuilder::new(status);
        response.insert_header((CONTENT_TYPE, FHIR_JSON));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.body(outcome(self.message, issues).to_string())
    }
}

/// Its `id` is that of the stored message, under which a person finds it.
fn outcome(message: Option<MessageId>, issues: Vec<Value>) -> Value {
    let mut outcome = json!({"resourceType": "OperationOutcome"});
    if let Some(message) = message {
        outcome["id"] = json!(message);
    }
    outcome["issue"] = Value::Array(issues);
    outcome
}

fn issue(problem: &Problem) -> Value {
    let mut issue = json!({
        "severity": "error",
        "code": code_of(problem.code),
        "details": {
            "coding": [{"system": CONDITION_SYSTEM, "code": problem.code.to_string()}],
            "text": problem.text,
        },
    });
    if let Location::Fhir(path) = &problem.location {
        issue["expression"] = json!([path]);
    }
    issue
}

/// From HL7 table 0357 to the value set issue-type.
fn code_of(condition: u16) -> &'static str {
    match condition {
        100 => "structure",
        101 => "required",
        102 => "value",
        103 => "code-invalid",
        104 => "too-long",
        200..=203 => "not-supported",
        204 => "not-found",
        205 => "duplicate",
        206 => "lock-error",
        _ => "processing",
    }
}

fn code_of_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "structure",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        StatusCode::CONFLICT => "duplicate",
        StatusCode::PAYLOAD_TOO_LARGE => "too-long",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "not-supported",
        StatusCode::SERVICE_UNAVAILABLE => "transient",
        _ => "processing",
    }
}

/// What became of a message that was taken: one issue for each command, with where it can be looked at, and the UBRN
/// as soon as there is one.
pub fn taken(message: Option<MessageId>, what: &str, commands: &[CommandView]) -> Value {
    let mut issues: Vec<Value> = commands.iter().map(|command| of_command(what, command)).collect();
    if issues.is_empty() {
        let text = format!("{what}: kept, and nothing is sent to e-RS");
        issues.push(json!({"severity": "information", "code": "informational", "details": {"text": text}}));
    }
    outcome(message, issues)
}

fn of_command(what: &str, command: &CommandView) -> Value {
    let state = serde_json::to_value(&command.state).unwrap_or_default();
    let state = state["state"].as_str().unwrap_or_default().to_owned();
    let mut extensions = vec![json!({
        "url": "urn:ers-gateway:command",
        "valueUri": format!("/v1/commands/{}", command.id),
    })];
    if let Some(ubrn) = command.known.get("ubrn").and_then(Value::as_str) {
        let identifier = json!({"system": UBRN_SYSTEM, "value": ubrn});
        extensions.push(json!({"url": "urn:ers-gateway:ubrn", "valueIdentifier": identifier}));
    }
    let (severity, code, told) = match &command.state {
        State::Failed { why } => ("error", "processing", format!(": {}: {}", why.code, why.text)),
        State::InDoubt { .. } => ("warning", "incomplete", ": whether e-RS has it is not known yet".to_owned()),
        _ => ("information", "informational", String::new()),
    };
    json!({
        "extension": extensions,
        "severity": severity,
        "code": code,
        "details": {
            "coding": [{"system": COMMAND_STATE_SYSTEM, "code": state}],
            "text": format!("{what}: {} is {state}{told}", command.name),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_an_issue_with_its_place() {
        let problems = [
            Problem::new(Location::Fhir("Bundle.entry[1].resource.birthDate".into()), 102, "Data type error"),
            Problem::new(Location::Message, 200, "Unsupported message type"),
        ];
        let issues: Vec<Value> = problems.iter().map(issue).collect();
        assert_eq!(issues[0]["code"], "value");
        assert_eq!(issues[0]["expression"], json!(["Bundle.entry[1].resource.birthDate"]));
        assert_eq!(issues[0]["details"]["coding"][0]["code"], "102");
        assert_eq!((&issues[1]["code"], issues[1].get("expression")), (&json!("not-supported"), None));
    }
}
