//! The published specification of the e-RS API, for tests: what a request may be and what an answer is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use super::{Body, Request, Response, Transport, TransportError};

pub const FHIR: &str = "application/fhir+json";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ers/openapi.json");
    let text = std::fs::read_to_string(file).expect("the specification is there");
    serde_json::from_str(&text).expect("the specification is JSON")
});

/// The schema of a documented answer, with everything that it refers to.
pub fn answer(path: &str, method: &str, status: u16) -> jsonschema::Validator {
    let mut answer = &DOCUMENT["paths"][path][method]["responses"][status.to_string()];
    if let Some(reference) = answer["$ref"].as_str() {
        answer = DOCUMENT.pointer(reference.trim_start_matches('#')).expect("a reference inside of the document");
    }
    compiled(&answer["content"], &format!("{method} {path} documents no body for {status}"))
}

/// That of the body of a request.
pub fn request(path: &str, method: &str) -> jsonschema::Validator {
    let body = &DOCUMENT["paths"][path][method]["requestBody"];
    compiled(&body["content"], &format!("{method} {path} documents no body"))
}

fn compiled(content: &Value, otherwise: &str) -> jsonschema::Validator {
    let mut schema = content[FHIR]["schema"].clone();
    assert!(schema.is_object(), "{otherwise}");
    schema["components"] = DOCUMENT["components"].clone();
    jsonschema::draft202012::new(&schema).expect("a schema")
}

pub fn violations(schema: &jsonschema::Validator, value: &Value) -> Vec<String> {
    schema.iter_errors(value).map(|error| format!("{} {error}", error.instance_path())).collect()
}

/// What is wrong with the JSON body of a request: `path` begins after the API's base.
pub fn wrong_with(method: &str, path: &str, body: &Value) -> Vec<String> {
    static SCHEMAS: LazyLock<Mutex<HashMap<String, Arc<jsonschema::Validator>>>> = LazyLock::new(Mutex::default);
    let Some(template) = template_of(method, path) else { return vec![format!("{method} {path} is not specified")] };
    let schema = SCHEMAS
        .lock()
        .entry(format!("{method} {template}"))
        .or_insert_with(|| Arc::new(request(template, &method.to_ascii_lowercase())))
        .clone();
    violations(&schema, body)
}

/// The path of the specification with this method that has the most in common with `path`.
fn template_of(method: &str, path: &str) -> Option<&'static str> {
    let path: Vec<&str> = path.split('?').next()?.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        let same = |(own, given): (&&str, &&str)| own.starts_with('{') || own == given;
        template.len() == path.len() && template.iter().zip(&path).all(same)
    };
    let paths = DOCUMENT["paths"].as_object()?.iter();
    let fitting = paths.filter(|(template, _)| fits(template));
    let known = fitting.filter(|(_, item)| item.get(method.to_ascii_lowercase()).is_some());
    known.min_by_key(|(template, _)| template.matches('{').count()).map(|(template, _)| template.as_str())
}

/// Before another transport: notes what is wrong with the JSON bodies that pass.
pub struct Checked<T> {
    pub inner: T,
    /// What all absolute URLs of the API begin with.
    pub base_url: String,
    pub wrong: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl<T: Transport> Transport for Checked<T> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let is_json =
            request.headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("Content-Type") && value == FHIR);
        if let (true, Some(path), Body::Bytes(body)) =
            (is_json, request.url.strip_prefix(&self.base_url), &request.body)
        {
            let body = serde_json::from_slice(body).unwrap_or_default();
            self.wrong.lock().extend(wrong_with(&request.method, path, &body));
        }
        self.inner.send(request).await
    }
}

#[test]
fn a_request_is_judged_by_the_schema_of_its_path() {
    let sample = |name: &str| -> Value {
        let file = format!("{}/tests/data/ers/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(file).expect("the sample is there")).expect("JSON")
    };
    let mut create = sample("a011-create-referral/request-minimal.json");
    let path = "/STU3/ReferralRequest/$ers.createReferral";
    assert_eq!(wrong_with("POST", path, &create), Vec::<String>::new());
    create["parameter"][0]["name"] = "patience".into();
    assert_ne!(wrong_with("POST", path, &create), Vec::<String>::new());
    let cancel = sample("a036-cancel-referral/request-no-longer-required.json");
    let path = "/STU3/ReferralRequest/000000070000/$ers.cancelReferral";
    assert_eq!(wrong_with("POST", path, &cancel), Vec::<String>::new());
    assert_ne!(wrong_with("POST", "/STU3/ReferralRequest/$ers.createReferral", &cancel), Vec::<String>::new());
    assert_ne!(wrong_with("POST", "/STU3/Nothing", &cancel), Vec::<String>::new());
}

#[tokio::test]
async fn what_passes_is_checked() {
    struct Nobody;
    #[async_trait]
    impl Transport for Nobody {
        async fn send(&self, _: Request) -> Result<Response, TransportError> {
            Err(TransportError::NotSent("nobody is there".into()))
        }
    }
    let wrong = Arc::<Mutex<Vec<String>>>::default();
    let checked = Checked { inner: Nobody, base_url: "https://ers.test/FHIR".into(), wrong: wrong.clone() };
    let request = |body: &'static str| Request {
        method: "POST".into(),
        url: "https://ers.test/FHIR/STU3/Appointment".into(),
        headers: vec![("Content-Type".into(), FHIR.into())],
        body: Body::Bytes(body.into()),
        timeout: std::time::Duration::from_secs(1),
    };
    assert!(checked.send(request("{}")).await.is_err());
    assert!(!wrong.lock().is_empty());
}
