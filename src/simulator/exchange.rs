//! One call and one answer, free of any HTTP library: what the socket server and the in-process
//! transport both speak.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::referral::Ubrn;

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub method: String,
    /// From the first slash, percent-encoding kept.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// More than the server was willing to read arrived; `body` holds the beginning.
    pub body_cut: bool,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// The referral that the call was about, for the ledger.
    pub ubrn: Option<Ubrn>,
}

impl Answer {
    /// No body at all (A020, A042).
    pub fn bare(status: u16) -> Self {
        Self { status, headers: Vec::with_capacity(4), body: Bytes::new(), ubrn: None }
    }

    pub fn fhir(status: u16, resource: &Value) -> Self {
        Self::typed(status, "application/fhir+json", resource)
    }

    pub fn json(status: u16, value: &Value) -> Self {
        Self::typed(status, "application/json", value)
    }

    /// e-RS answers many refusals on STU3 paths like this.
    pub fn empty_text(status: u16) -> Self {
        Self::bare(status).with("Content-Type", "text/plain".into())
    }

    fn typed(status: u16, content_type: &str, value: &Value) -> Self {
        let body = serde_json::to_vec(value).expect("a JSON value has string keys only, so it always serialises");
        Self::bare(status).with("Content-Type", content_type.into()).with_body(body)
    }

    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn about(mut self, ubrn: Ubrn) -> Self {
        self.ubrn = Some(ubrn);
        self
    }
}

/// What becomes of an answer on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    /// The connection is cut with nothing of the answer sent.
    Reset,
    /// The connection is cut in the middle of the body.
    Truncated,
    /// Nothing comes, and the connection stays open.
    Hung,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub answer: Answer,
    pub delivery: Delivery,
    /// How long the answer is held back after the state has changed.
    pub held: Duration,
}

impl Reply {
    pub fn sent(answer: Answer) -> Self {
        Self { answer, delivery: Delivery::Sent, held: Duration::ZERO }
    }
}
