//! The Personal Demographics Service in a box: `GET /Patient/{id}`, as strict as its reference (`docs/reference/pds/reference.md`).
//!
//! Who is in it is invented: the patients of the HL7 samples, and whoever a test puts there.

use std::collections::HashMap;

use parking_lot::RwLock;
use serde_json::{Value, json};
use uuid::Uuid;

use super::applications::Context;
use super::demonstration;
use super::exchange::{Answer, Call};
use super::tokens::{Authority, Holder};

pub const PDS_PATH: &str = "/personal-demographics/FHIR/R4";

/// Records by the number that they are asked for by; of a withdrawn one nothing is left.
pub struct Demographics {
    records: RwLock<HashMap<String, Option<Value>>>,
}

impl Demographics {
    pub fn new() -> Self {
        let demographics = Self { records: RwLock::default() };
        demographics.reset();
        demographics
    }

    pub fn reset(&self) {
        let mut records = self.records.write();
        records.clear();
        records.extend(demonstration::DEMOGRAPHICS.iter().map(|(number, family, given, birth_date, gender)| {
            ((*number).to_owned(), Some(patient(number, family, given, birth_date, gender)))
        }));
    }

    /// The record that is found by this number, which may be another's after a merge; `None` is a withdrawn one.
    pub fn put(&self, number: &str, record: Option<Value>) {
        self.records.write().insert(number.to_owned(), record);
    }

    pub fn get(&self, number: &str) -> Option<Value> {
        self.records.read().get(number).cloned().flatten()
    }

    /// `path` begins after the API's base.
    pub fn answer(&self, call: &Call, path: &str, holder: Option<&Holder>) -> Answer {
        let of_application = holder.is_some_and(|holder| {
            matches!(holder.authority, Authority::Application { context: Context::Demographics, .. })
        });
        if !of_application {
            return refusal(401, "ACCESS_DENIED", "login");
        }
        let request_id = call.header("X-Request-ID").map(str::parse::<Uuid>);
        match request_id {
            None => return refusal(400, "MISSING_VALUE", "required"),
            Some(Err(_)) => return refusal(400, "INVALID_VALUE", "value"),
            Some(Ok(_)) => {}
        }
        let number = match path.strip_prefix("/Patient/") {
            Some(number) if call.method == "GET" => number,
            Some(_) => return refusal(403, "INVALID_METHOD", "forbidden"),
            None => return refusal(400, "UNSUPPORTED_SERVICE", "not-supported"),
        };
        if crate::command::NhsNumber::parse(number).is_err() {
            return refusal(400, "INVALID_RESOURCE_ID", "value");
        }
        match self.records.read().get(number) {
            None => refusal(404, "RESOURCE_NOT_FOUND", "not-found"),
            Some(None) => refusal(404, "INVALIDATED_RESOURCE", "processing"),
            Some(Some(record)) => {
                let version = record["meta"]["versionId"].as_str().unwrap_or("1").to_owned();
                Answer::fhir(200, record).with("ETag", format!("W/\"{version}\""))
            }
        }
    }
}

fn refusal(status: u16, code: &str, kind: &str) -> Answer {
    let severity = if code == "RESOURCE_NOT_FOUND" { "information" } else { "error" };
    let system = "https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode";
    let coding = json!({"code": code, "display": code, "system": system, "version": "1"});
    Answer::fhir(
        status,
        &json!({
            "resourceType": "OperationOutcome",
            "issue": [{"code": kind, "severity": severity, "details": {"coding": [coding]}}],
        }),
    )
}

fn patient(number: &str, family: &str, given: &str, birth_date: &str, gender: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "id": number,
        "identifier": [{
            "system": "https://fhir.nhs.uk/Id/nhs-number",
            "value": number,
            "extension": [{
                "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus",
                "valueCodeableConcept": {"coding": [{
                    "system": "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatus",
                    "version": "1.0.0",
                    "code": "01",
                    "display": "Number present and verified",
                }]},
            }],
        }],
        "meta": {"versionId": "1", "security": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
            "code": "U",
            "display": "unrestricted",
        }]},
        "name": [{"id": "1", "use": "usual", "period": {"start": "2020-01-01"}, "given": [given], "family": family}],
        "gender": gender,
        "birthDate": birth_date,
    })
}
