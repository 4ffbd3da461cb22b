//! A stand-in for e-RS and its token server: answers by script, and keeps what it was asked.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::ers::{Body, Request, Response, Transport, TransportError};

pub const TOKEN_URL: &str = "https://ers.test/oauth2/token";

/// What it does with one call.
pub enum Does {
    /// The documented success.
    Succeeds,
    Answers(u16, &'static str, Value),
    /// As `Answers`, with a header.
    Says(u16, (&'static str, &'static str)),
    /// The request arrives, the answer is lost.
    LosesTheAnswer,
    CannotBeReached,
    /// The request arrives; nothing ever comes back.
    Hangs,
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The A-number, by path.
    pub fn call(&self) -> &'static str {
        for (part, call) in [
            ("$ers.createReferral", "A011"),
            ("$ers.maintainReferralLetter", "A012"),
            ("$ers.searchHealthcareServicesForPatient", "A010"),
            ("/Binary", "A020"),
            ("/Appointment", "A016"),
            ("$ers.fetchworklist", "A008"),
            ("/ReferralRequest/", "A005"),
        ] {
            if self.path.contains(part) {
                return call;
            }
        }
        "?"
    }
}

#[derive(Default)]
pub struct FakeErs {
    seen: Mutex<Vec<Seen>>,
    script: Mutex<VecDeque<Does>>,
    tokens: Mutex<VecDeque<Response>>,
    token_forms: Mutex<Vec<String>>,
}

impl FakeErs {
    /// What it does with the next calls; those after them succeed.
    pub fn will(&self, does: impl IntoIterator<Item = Does>) {
        self.script.lock().extend(does);
    }

    /// What the token server says to the next requests; those after them get a token.
    pub fn token_server_says(&self, status: u16, body: Value) {
        self.tokens.lock().push_back(answer(status, body));
    }

    pub fn calls(&self) -> Vec<&'static str> {
        self.seen.lock().iter().map(Seen::call).collect()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Bodies of the token requests.
    pub fn token_forms(&self) -> Vec<String> {
        self.token_forms.lock().clone()
    }

    fn token(&self, form: String) -> Response {
        let mut forms = self.token_forms.lock();
        forms.push(form);
        let nth = forms.len();
        let granted = json!({
            "access_token": format!("access-{nth}"),
            "expires_in": "599",
            "refresh_token": format!("refresh-{nth}"),
        });
        self.tokens.lock().pop_front().unwrap_or_else(|| answer(200, granted))
    }
}

#[async_trait]
impl Transport for FakeErs {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if self.script.lock().pop_front_if(|does| matches!(does, Does::CannotBeReached)).is_some() {
            return Err(TransportError::NotSent("connection refused".into()));
        }
        let body = read(request.body).await?;
        if request.url == TOKEN_URL {
            return Ok(self.token(String::from_utf8_lossy(&body).into_owned()));
        }
        let path = request.url.trim_start_matches("https://ers.test/FHIR").to_owned();
        let seen = Seen { path, headers: request.headers, body };
        let nth = {
            let mut all = self.seen.lock();
            all.push(seen.clone());
            all.len()
        };
        let does = self.script.lock().pop_front().unwrap_or(Does::Succeeds);
        match does {
            Does::Succeeds => Ok(success(&seen, nth)),
            Does::Answers(status, code, _) if !code.is_empty() => Ok(answer(status, outcome(code))),
            Does::Answers(status, _, body) => Ok(answer(status, body)),
            Does::Says(status, (name, value)) => {
                Ok(Response { status, headers: vec![(name.into(), value.into())], body: Bytes::new() })
            }
            Does::LosesTheAnswer => Err(TransportError::Unanswered("connection reset".into())),
            Does::CannotBeReached => Err(TransportError::NotSent("connection refused".into())),
            Does::Hangs => std::future::pending().await,
        }
    }
}

async fn read(body: Body) -> Result<Bytes, TransportError> {
    match body {
        Body::Empty => Ok(Bytes::new()),
        Body::Bytes(bytes) => Ok(bytes),
        Body::Stream { length, mut stream } => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece.map_err(|error| TransportError::Unanswered(error.to_string()))?);
            }
            assert_eq!(all.len() as u64, length, "Content-Length is the truth");
            Ok(all.into())
        }
    }
}

pub fn outcome(code: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{
            "severity": "error",
            "code": "invalid",
            "details": { "coding": [{
                "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-APIErrorCode-1",
                "code": code,
            }] },
            "diagnostics": "parameter[0]/valueIdentifier: UBRN 000000070000 of Mrs Canary",
        }],
    })
}

fn answer(status: u16, body: Value) -> Response {
    Response { status, headers: Vec::new(), body: body.to_string().into() }
}

/// UBRNs count up with the calls; versions too.
fn success(seen: &Seen, nth: usize) -> Response {
    let ubrn = format!("{:012}", 70_000 + nth);
    match seen.call() {
        "A011" => answer(201, json!({ "resourceType": "ReferralRequest", "id": ubrn, "meta": { "versionId": "1" } })),
        "A020" => Response {
            status: 201,
            headers: vec![("Location".into(), format!("Binary/att-{nth}"))],
            body: Bytes::new(),
        },
        "A016" => answer(201, json!({ "resourceType": "Appointment", "id": "1", "meta": { "versionId": "1" } })),
        _ => answer(200, json!({ "resourceType": "ReferralRequest", "id": ubrn, "meta": { "versionId": "2" } })),
    }
}
