//! One thing that e-RS says about a request: the code, its FHIR issue type and the human text.

/// `code` is from `eRS-APIErrorCode-1` on STU3 paths; R4 paths have codes and systems of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub code: String,
    /// Overrides the usual FHIR issue type of the code (401 has two).
    pub kind: Option<&'static str>,
    pub diagnostics: Option<String>,
}

impl Issue {
    pub fn new(code: impl Into<String>, diagnostics: impl Into<String>) -> Self {
        Self { code: code.into(), kind: None, diagnostics: Some(diagnostics.into()) }
    }

    /// About one field: the text starts with its path, as e-RS does it.
    pub fn at(code: &'static str, path: &str, text: impl std::fmt::Display) -> Self {
        Self::new(code, format!("'{path}' {text}"))
    }

    pub fn of_kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    pub fn kind(&self) -> &'static str {
        self.kind.unwrap_or_else(|| kind_of(&self.code))
    }
}

/// The FHIR issue type that goes with a code.
fn kind_of(code: &str) -> &'static str {
    match code {
        "MISSING_VALUE" | "VALUE_IS_REQUIRED" | "MISSING_HEADER" | "MISSING_PARAMETER" => "required",
        "UNEXPECTED_FIELD" | "INVALID_VALUE" | "INVALID_CODE" | "FIELD_NOT_PERMITTED" => "value",
        "INVALID_FHIR_STRUCTURE" => "structure",
        "REFERENCE_NOT_FOUND" | "SNOMED_NOT_FOUND" | "HISTORY_NOT_SUPPORTED" | "REC_NOT_FOUND" => "not-found",
        "FORBIDDEN" | "NO_ACCESS" | "NO_RELATIONSHIP" | "REC_FORBIDDEN" | "ACCESS_DENIED" => "forbidden",
        "SYSTEM_UNAVAILABLE" | "REC_UNAVAILABLE" => "transient",
        "PAS_RESPONDED_WITH_ERROR" | "REC_SERVER_ERROR" | "SERVICE_ERROR" => "exception",
        "PAS_NOT_RESPONDING" => "timeout",
        "REC_NOT_ACCEPTABLE" | "REC_UNSUPPORTED_MEDIA_TYPE" => "not-supported",
        "TOO_MANY_REQUESTS" => "throttled",
        "REC_BAD_REQUEST" | "PENDING" | "THREATS_FOUND" | "VALIDATION_FAILED" => "invalid",
        _ => "business-rule",
    }
}

/// What e-RS shows beside a code: its words in sentence case, with the exceptions seen in its samples.
pub fn display_of(code: &str) -> Option<String> {
    Some(match code {
        "NO_ACCESS" => return None,
        "SYSTEM_UNAVAILABLE" => "System Unavailable".into(),
        "MISSING_VALUE" => "A mandatory input field is missing".into(),
        "PAS_RESPONDED_WITH_ERROR" => "Error received from PAS".into(),
        "PAS_NOT_RESPONDING" => "No response from PAS".into(),
        other => {
            let words = other.to_ascii_lowercase().replace('_', " ");
            let mut letters = words.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
    })
}
