//! The simulator as its clients meet it: over real HTTP.

mod access_rules;
mod advice;
mod advice_responses;
mod appointments;
mod attachments;
mod bad_requests;
mod changes;
mod control_api;
mod decisions;
mod demographics;
mod every_sample;
mod faults;
mod official_samples;
mod professional_sessions;
mod provider_lists;
mod published_schema;
mod referral_life;
mod service_requests;
mod shapes;
mod sign_in;
mod specification;
mod token_rules;
mod triage;
mod without_socket;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Simulator, SimulatorConfig, SimulatorHandle, demonstration};
use crate::environment::Environment;

pub const FHIR: &str = "application/fhir+json";
pub const CREATE: &str = "/STU3/ReferralRequest/$ers.createReferral";
pub const SEARCH: &str = "/STU3/HealthcareService/$ers.searchHealthcareServicesForPatient";
pub const WORKLIST: &str = "/STU3/ReferralRequest/$ers.fetchworklist";
pub const APPOINTMENT: &str = "/STU3/Appointment";
pub const BINARY: &str = "/STU3/Binary";

/// A running simulator and a client that has signed in.
pub struct Bench {
    pub simulator: SimulatorHandle,
    pub http: reqwest::Client,
    pub token: String,
    pub organisation: String,
    pub function: String,
}

/// What came back, read to its end.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The codes of an OperationOutcome, in order.
    pub fn codes(&self) -> Vec<String> {
        let Ok(outcome) = serde_json::from_str::<Value>(&self.text) else { return Vec::new() };
        let issues = outcome["issue"].as_array().cloned().unwrap_or_default();
        issues.iter().filter_map(|issue| issue["details"]["coding"][0]["code"].as_str().map(String::from)).collect()
    }
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(SimulatorConfig::default()).await
    }

    /// Signed in as a referring clinician of R69.
    pub async fn with(config: SimulatorConfig) -> Self {
        let simulator = Simulator::start(config, Environment::system()).expect("a free port on this machine");
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()
            .expect("a client without special settings");
        let mut bench = Self {
            simulator,
            http,
            token: String::new(),
            organisation: "R69".into(),
            function: "REFERRING_CLINICIAN".into(),
        };
        let reply = bench.refresh(demonstration::REFRESH_TOKEN).await;
        bench.token = reply.json()["access_token"].as_str().expect("the first refresh token works").to_owned();
        bench
    }

    /// The clock at a time when the dates in the published samples are in the near past.
    pub async fn in_the_time_of_the_samples() -> Self {
        let bench = Self::start().await;
        bench.simulator.clock().set(at("2024-05-20T12:00:00Z"));
        let reply = bench.refresh_after_reset().await;
        bench.signed_in_by(&reply)
    }

    async fn refresh_after_reset(&self) -> Seen {
        self.simulator.reset();
        self.refresh(demonstration::REFRESH_TOKEN).await
    }

    fn signed_in_by(mut self, reply: &Seen) -> Self {
        self.token = reply.json()["access_token"].as_str().expect("a token reply").to_owned();
        self
    }

    pub fn acting_as(mut self, organisation: &str, function: &str) -> Self {
        (self.organisation, self.function) = (organisation.into(), function.into());
        self
    }

    pub async fn token_call(&self, form: &[(&str, &str)]) -> Seen {
        seen(self.http.post(self.simulator.token_url()).form(form).send().await.expect("an answer")).await
    }

    pub async fn refresh(&self, refresh_token: &str) -> Seen {
        self.token_call(&[
            ("grant_type", "refresh_token"),
            ("client_id", demonstration::USER_CLIENT_ID),
            ("client_secret", demonstration::USER_CLIENT_SECRET),
            ("refresh_token", refresh_token),
        ])
        .await
    }

    /// With token, organisation and function; everything else is the caller's.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.simulator.base_url()))
            .bearer_auth(&self.token)
            .header("NHSD-End-User-Organisation-ODS", &self.organisation)
            .header("NHSD-eRS-Business-Function", &self.function)
    }

    pub async fn get(&self, path: &str) -> Seen {
        seen(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Seen {
        let request = self.request(Method::POST, path).header("Content-Type", FHIR).body(body.to_string());
        seen(request.send().await.expect("an answer")).await
    }

    pub async fn create(&self, body: &Value) -> Seen {
        self.post(CREATE, body).await
    }

    /// The UBRN of a new referral.
    pub async fn created(&self) -> String {
        let reply = self.create(&referral_request()).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        reply.json()["id"].as_str().expect("a UBRN").to_owned()
    }

    pub async fn upload(&self, name: &str, content_type: &str, ubrn: Option<&str>, content: Vec<u8>) -> Seen {
        let mut request = self.request(Method::POST, BINARY).header("Content-Type", content_type).body(content);
        if !name.is_empty() {
            request = request.header("NHSD-eRS-File-Name", name);
        }
        if let Some(ubrn) = ubrn {
            request = request.header("NHSD-eRS-Referral-ID", ubrn);
        }
        seen(request.send().await.expect("an answer")).await
    }

    /// `Binary/{id}` of a new PDF meant for the referral.
    pub async fn uploaded(&self, name: &str, ubrn: &str) -> String {
        let reply = self.upload(name, "application/pdf", Some(ubrn), b"%PDF-1.4 invented".to_vec()).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        reply.header("Location").to_owned()
    }

    pub async fn link(&self, ubrn: &str, if_match: Option<&str>, body: &Value) -> Seen {
        let path = format!("/STU3/ReferralRequest/{ubrn}/$ers.maintainReferralLetter");
        let mut request = self.request(Method::POST, &path).header("Content-Type", FHIR).body(body.to_string());
        if let Some(version) = if_match {
            request = request.header("If-Match", version);
        }
        seen(request.send().await.expect("an answer")).await
    }

    pub async fn version(&self, ubrn: &str) -> u32 {
        let reply = self.get(&format!("/STU3/ReferralRequest/{ubrn}")).await;
        reply.json()["meta"]["versionId"].as_str().and_then(|text| text.parse().ok()).expect("a version")
    }
}

pub async fn seen(response: Response) -> Seen {
    let (status, headers) = (response.status(), response.headers().clone());
    Seen { status: StatusCode::as_u16(&status), headers, text: response.text().await.expect("a whole body") }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a literal instant")
}

pub fn example(path: &str) -> Value {
    let file = format!("{}/tests/data/ers/examples/{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_str(&text).expect("the samples are JSON")
}

/// A referral that e-RS takes at any time: the minimal sample without its date.
pub fn referral_request() -> Value {
    let mut body = example("a011-create-referral/request-minimal.json");
    let parameters = body["parameter"].as_array_mut().expect("parameters");
    parameters.retain(|part| part["name"] != "eReferralPathwayStart");
    body
}

/// A012 with these files.
pub fn letters(files: &[&str]) -> Value {
    let document = |file: &&str| {
        let mut sample = example("a012-maintain-referral-letter/request-single-document-reference.json");
        let mut part = sample["parameter"][0].take();
        part["resource"]["content"][0]["attachment"]["url"] = (*file).into();
        part
    };
    let mut body = example("a012-maintain-referral-letter/request-single-document-reference.json");
    body["parameter"] = files.iter().map(document).collect::<Vec<_>>().into();
    body
}

/// A016 for triage at a service.
pub fn triage(ubrn: &str, version: u32, service: &str) -> Value {
    let mut body = example("a016-book-or-defer-appointment/request-triage-deferral.json");
    body["incomingReferral"] = json!([{"reference": format!("ReferralRequest/{ubrn}/_history/{version}")}]);
    body["participant"][0]["actor"]["identifier"]["value"] = service.into();
    body
}
