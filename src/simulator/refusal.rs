//! Refusals in the shapes of e-RS: an OperationOutcome of the path's FHIR version, the platform's fault
//! JSON, or nothing but a status.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exchange::Answer;
use super::issue::{Issue, display_of};

/// Decides the shape of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fhir {
    Stu3,
    R4,
}

impl Fhir {
    pub fn of_path(path: &str) -> Self {
        if path.starts_with("/R4/") { Self::R4 } else { Self::Stu3 }
    }
}

#[derive(Clone, Debug)]
pub enum Refusal {
    Outcome {
        status: u16,
        issues: Vec<Issue>,
    },
    /// STU3 sends no FHIR body with these; R4 always does.
    Status(u16),
    /// From the platform before e-RS; empty text whatever the path.
    Platform(u16),
    PlatformFault {
        status: u16,
        text: &'static str,
        code: &'static str,
    },
}

impl Refusal {
    pub fn one(status: u16, issue: Issue) -> Self {
        Self::Outcome { status, issues: vec![issue] }
    }

    pub fn unprocessable(code: &'static str, text: impl Into<String>) -> Self {
        Self::one(422, Issue::new(code, text))
    }

    pub fn answer(self, fhir: Fhir, at: Timestamp) -> Answer {
        match (self, fhir) {
            (Self::Outcome { status, issues }, Fhir::Stu3) => Answer::fhir(status, &stu3_outcome(&issues)),
            (Self::Outcome { status, issues }, Fhir::R4) => Answer::fhir(status, &r4_outcome(&issues, at)),
            (Self::Status(status), Fhir::R4) => {
                let issue = Issue { code: usual_code(status, Fhir::R4).into(), kind: None, diagnostics: None };
                Answer::fhir(status, &r4_outcome(&[issue], at))
            }
            (Self::Status(status), Fhir::Stu3) | (Self::Platform(status), _) => Answer::empty_text(status),
            (Self::PlatformFault { status, text, code }, _) => {
                Answer::json(status, &json!({"fault": {"faultstring": text, "detail": {"errorcode": code}}}))
            }
        }
    }
}

/// The code that usually goes with a status; empty where e-RS documents none.
pub fn usual_code(status: u16, fhir: Fhir) -> &'static str {
    match (status, fhir) {
        (401, Fhir::Stu3) => "NO_ACCESS",
        (403, Fhir::Stu3) => "FORBIDDEN",
        (502, Fhir::Stu3) => "PAS_RESPONDED_WITH_ERROR",
        (503, Fhir::Stu3) => "SYSTEM_UNAVAILABLE",
        (504, Fhir::Stu3) => "PAS_NOT_RESPONDING",
        (_, Fhir::Stu3) => "",
        (401, Fhir::R4) => "ACCESS_DENIED",
        (403, Fhir::R4) => "REC_FORBIDDEN",
        (404, Fhir::R4) => "REC_NOT_FOUND",
        (406, Fhir::R4) => "REC_NOT_ACCEPTABLE",
        (415, Fhir::R4) => "REC_UNSUPPORTED_MEDIA_TYPE",
        (429, Fhir::R4) => "TOO_MANY_REQUESTS",
        (503, Fhir::R4) => "REC_UNAVAILABLE",
        (500.., Fhir::R4) => "REC_SERVER_ERROR",
        (_, Fhir::R4) => "REC_BAD_REQUEST",
    }
}

fn stu3_outcome(issues: &[Issue]) -> Value {
    let issues: Vec<Value> = issues
        .iter()
        .map(|issue| {
            let mut coding = json!({
                "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-APIErrorCode-1",
                "code": issue.code,
            });
            if let Some(display) = display_of(&issue.code) {
                coding["display"] = display.into();
            }
            issue_of(issue, coding)
        })
        .collect();
    json!({
        "meta": {"profile": ["https://fhir.nhs.uk/STU3/StructureDefinition/eRS-OperationOutcome-1"]},
        "resourceType": "OperationOutcome",
        "issue": issues,
    })
}

fn r4_outcome(issues: &[Issue], at: Timestamp) -> Value {
    let issues: Vec<Value> = issues
        .iter()
        .map(|issue| {
            let code = r4_code(&issue.code);
            issue_of(issue, json!({"system": r4_system(code), "code": code}))
        })
        .collect();
    json!({
        "resourceType": "OperationOutcome",
        "meta": {"lastUpdated": at.to_string()},
        "issue": issues,
    })
}

fn issue_of(issue: &Issue, coding: Value) -> Value {
    let mut value = json!({"severity": "error", "code": issue.kind(), "details": {"coding": [coding]}});
    if let Some(text) = &issue.diagnostics {
        value["diagnostics"] = text.as_str().into();
    }
    value
}

/// R4 has its own words for what STU3 calls `NO_ACCESS` and `FORBIDDEN`.
fn r4_code(code: &str) -> &str {
    match code {
        "NO_ACCESS" => "ACCESS_DENIED",
        "FORBIDDEN" => "REC_FORBIDDEN",
        other => other,
    }
}

fn r4_system(code: &str) -> &'static str {
    match code {
        "ACCESS_DENIED" | "MISSING_HEADER" | "SERVICE_ERROR" | "TOO_MANY_REQUESTS" => {
            "https://fhir.nhs.uk/CodeSystem/NHSD-API-ErrorOrWarningCode"
        }
        code if code.starts_with("REC_") => "https://fhir.nhs.uk/CodeSystem/http-error-codes",
        _ => "https://fhir.nhs.uk/CodeSystem/ers-error-codes",
    }
}
