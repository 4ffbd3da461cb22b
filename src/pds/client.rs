//! Asking PDS: `GET /Patient/{id}` with an application's token.
//!
//! Enters: what a message claims. Leaves: a finding, or why there is none. Guarantees: the same question is asked once
//! in minutes; a token is never logged, and of an answer nothing but its status and code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::judge::{Claimed, Finding, Verdict, judge};
use super::record::Record;
use crate::config::Pds;
use crate::environment::Environment;
use crate::ers::{Body, PrivateKeyError, Request, Response, TokenError, TokenSource, Transport, retry_after};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Findings that are kept; when there are more, all are forgotten.
const KEPT_MAX: usize = 10_000;

pub struct PatientCheck {
    tokens: TokenSource,
    transport: Arc<dyn Transport>,
    environment: Environment,
    base_url: String,
    organisation: Option<String>,
    keep: Duration,
    kept: Mutex<HashMap<[u8; 32], (Instant, Kept)>>,
}

/// A finding, and when PDS answered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub finding: Finding,
    pub at: Timestamp,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    Found(Kept),
    /// PDS is busy or away: the same again later.
    Later {
        why: String,
        retry_after: Option<Duration>,
    },
    /// It will not work until somebody mends registration, key or settings.
    SetUp(String),
}

impl PatientCheck {
    pub fn new(
        settings: &Pds,
        transport: Arc<dyn Transport>,
        environment: &Environment,
    ) -> Result<Self, PrivateKeyError> {
        let tokens = TokenSource::of_application(
            &settings.token_url,
            &settings.client_id,
            &settings.kid,
            &settings.private_key,
            transport.clone(),
            environment,
        )?;
        Ok(Self {
            tokens,
            transport,
            environment: environment.clone(),
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            organisation: settings.organisation.clone(),
            keep: settings.keep_finding,
            kept: Mutex::default(),
        })
    }

    /// For how long a finding is good.
    pub fn keeps(&self) -> Duration {
        self.keep
    }

    /// A finding of the last minutes.
    pub fn kept(&self, claimed: &Claimed<'_>) -> Option<Kept> {
        let now = self.environment.instant();
        let kept = self.kept.lock();
        kept.get(&digest(claimed)).filter(|(until, _)| now < *until).map(|(_, kept)| kept.clone())
    }

    /// `request_id` must be the same when a question is asked again that was not answered.
    pub async fn ask(&self, claimed: &Claimed<'_>, request_id: Uuid, correlation_id: &str) -> Answered {
        let mut token_refused = false;
        loop {
            let token = match self.tokens.token().await {
                Ok(token) => token,
                Err(TokenError::Unavailable { why, retry_after }) => return Answered::Later { why, retry_after },
                Err(error) => return Answered::SetUp(error.to_string()),
            };
            let mut headers = vec![
                ("Authorization".into(), token.bearer()),
                ("Accept".into(), "application/fhir+json".into()),
                ("X-Request-ID".into(), request_id.to_string()),
                ("X-Correlation-ID".into(), correlation_id.to_owned()),
            ];
            if let Some(organisation) = &self.organisation {
                headers.push(("NHSD-End-User-Organisation-ODS".into(), organisation.clone()));
            }
            let url = format!("{}/Patient/{}", self.base_url, claimed.number);
            let request = Request { method: "GET".into(), url, headers, body: Body::Empty, timeout: TIMEOUT };
            let response = match self.transport.send(request).await {
                Ok(response) => response,
                // A read: whether it arrived does not matter.
                Err(_) => return Answered::Later { why: "no answer".into(), retry_after: None },
            };
            if response.status == 401 && !std::mem::replace(&mut token_refused, true) {
                self.tokens.reject(&token);
                continue;
            }
            let answered = self.read(claimed, &response);
            if let Answered::Found(kept) = &answered {
                self.keep(claimed, kept);
            }
            return answered;
        }
    }

    fn read(&self, claimed: &Claimed<'_>, response: &Response) -> Answered {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let code = body.pointer("/issue/0/details/coding/0/code").and_then(Value::as_str).unwrap_or_default();
        let judged = |finding| Answered::Found(Kept { finding, at: self.environment.now() });
        let found = |verdict, code, text| judged(Finding::new(verdict, code, text));
        match (response.status, code) {
            (200, _) => match Record::read(&body, &self.today()) {
                Some(record) => judged(judge(claimed, &record)),
                None => Answered::SetUp("it answered something else than a patient".into()),
            },
            (404, "INVALIDATED_RESOURCE") => {
                found(Verdict::Hold, "RECORD_WITHDRAWN", "PDS has withdrawn the record: trace the patient again")
            }
            // Any other 404 is of a wrong address: it says nothing about a patient.
            (404, "RESOURCE_NOT_FOUND") => {
                found(Verdict::Refuse, "NUMBER_UNKNOWN", "PDS knows no patient by this NHS number")
            }
            (400, "INVALID_RESOURCE_ID") => {
                found(Verdict::Refuse, "NUMBER_INVALID", "PDS takes this for no NHS number")
            }
            (408 | 429 | 500..=599, _) => Answered::Later {
                why: format!("it answered {}", response.status),
                retry_after: retry_after::of(response, self.environment.now()),
            },
            (status, code) => Answered::SetUp(format!("it answered {status} {}", plain(code))),
        }
    }

    fn today(&self) -> String {
        self.environment.now().to_zoned(TimeZone::UTC).date().to_string()
    }

    fn keep(&self, claimed: &Claimed<'_>, found: &Kept) {
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(digest(claimed), (self.environment.instant() + self.keep, found.clone()));
    }
}

/// A code of the standard's alphabet, cut at a limit: it is shown to people.
fn plain(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

fn digest(claimed: &Claimed<'_>) -> [u8; 32] {
    let mut digest = Sha256::new();
    let more = [claimed.family, claimed.given, claimed.birth_date, claimed.gender, claimed.practice];
    for part in std::iter::once(Some(claimed.number)).chain(more) {
        digest.update(part.unwrap_or_default().as_bytes());
        digest.update([u8::from(part.is_some())]);
    }
    digest.finalize().into()
}
