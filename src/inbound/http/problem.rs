//! Errors as `application/problem+json` (RFC 9457). What is in them is safe to show and to log.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde_json::{Map, Value, json};

use crate::command::MessageId;
use crate::mapping::{Location, Problem};
use crate::store::StoreError;

/// How long a refused client should stay away.
pub const RETRY_AFTER_SECONDS: &str = "5";

/// One problem document. `kind` ends its `type` URN and is what programs compare.
#[derive(Debug)]
pub struct ProblemDocument {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    /// Seconds.
    retry_after: Option<u64>,
    /// Members of ours; boxed because this is the `Err` of every small function here.
    more: Box<Map<String, Value>>,
}

impl ProblemDocument {
    pub fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, title, detail: detail.into(), retry_after: None, more: Box::default() }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    pub fn unknown_command() -> Self {
        Self::not_found("There is no command with this identifier.")
    }

    pub fn not_for_caller(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The token does not open this", detail)
    }

    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The gateway cannot take it now",
            "Nothing was stored. Send the same again later.",
        )
    }

    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("At most {limit} bytes are taken."),
        )
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn title(&self) -> &'static str {
        self.title
    }

    /// When it may be tried again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Names the stored message, so that a person can find it.
    pub fn about(mut self, message: Option<MessageId>) -> Self {
        if let Some(message) = message {
            self.more.insert("message".into(), json!(message));
        }
        self
    }

    /// Lists every problem found: where (a JSON pointer, or an HL7 location), HL7 table 0357 code, text.
    pub fn with_problems(mut self, problems: &[Problem]) -> Self {
        let listed: Vec<Value> = problems
            .iter()
            .map(|problem| match &problem.location {
                Location::Json(pointer) => {
                    json!({"pointer": pointer, "code": problem.code, "text": problem.text})
                }
                location => json!({"location": location, "code": problem.code, "text": problem.text}),
            })
            .collect();
        self.more.insert("problems".into(), Value::Array(listed));
        self
    }
}

impl std::fmt::Display for ProblemDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for ProblemDocument {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("urn:ers-gateway:problem:{}", self.kind)));
        body.insert("title".into(), json!(self.title));
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        body.extend((*self.more).clone());
        let mut response = HttpResponseBuilder::new(self.status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        } else if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.body(Value::Object(body).to_string())
    }
}

impl From<StoreError> for ProblemDocument {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found("Nothing is stored under this identifier."),
            StoreError::Outdated(_) => Self::new(
                StatusCode::CONFLICT,
                "outdated",
                "Its state does not allow this",
                "It is in another state by now. Read it again before deciding.",
            ),
            StoreError::Unavailable(_) => Self::unavailable(),
            StoreError::Damaged(text) | StoreError::Locked(text) => {
                tracing::error!(error = %text, "the store is damaged");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store-damaged",
                    "The store cannot be read",
                    "Tell the people who run the gateway.",
                )
            }
        }
    }
}
