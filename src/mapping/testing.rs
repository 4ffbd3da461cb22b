//! Tests as files: `inbound/<dialect>/tests/<name>.yaml`, a message and what must come of it.
//!
//! ```yaml
//! about: An old PAS sends its NHS number in PID-2
//! message: |
//!   MSH|^~\&|NMPAS|…
//! expect:
//!   ack: AA
//!   command: CreateReferral
//!   body: { /priority: ROUTINE }
//!   calls: [A011]
//!   request: { "A011 /parameter/0/name": patient }
//!   unused: []
//! ```

use serde::Deserialize;
use serde_json::Value;

/// One test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingTest {
    #[serde(default)]
    pub about: String,
    /// Segments end in LF here.
    pub message: String,
    /// Settings of the source for this test.
    #[serde(default)]
    pub settings: serde_json::Map<String, Value>,
    /// Business function of the connection.
    #[serde(default, rename = "as")]
    pub business_function: Option<String>,
    pub expect: Expectation,
}

/// What is not said is not checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    pub ack: Option<String>,
    /// `PID-3.1 102`, in order.
    pub errors: Option<Vec<String>>,
    pub notice: Option<bool>,
    pub command: Option<String>,
    /// JSON pointers into the command's body; `null` means absent.
    pub body: serde_json::Map<String, Value>,
    /// A-numbers in order.
    pub calls: Option<Vec<String>>,
    /// A call, or a call and a pointer into its body.
    pub request: serde_json::Map<String, Value>,
    pub unused: Option<Vec<String>>,
}

/// What came of the message, in the shape of `map try --json`.
pub struct Outcome<'o> {
    pub trial: &'o Value,
}

impl Expectation {
    /// Every difference, in words; empty when the test passes.
    pub fn differences(&self, outcome: &Outcome<'_>) -> Vec<String> {
        let trial = outcome.trial;
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: Option<Value>, found: Value| {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                differences.push(format!("{what}: expected {expected}, found {found}"));
            }
        };
        compare("ack", self.ack.clone().map(Value::from), trial["ack"]["code"].clone());
        let errors: Vec<Value> = trial["ack"]["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| Value::from(format!("{} {}", error["location"].as_str().unwrap_or_default(), error["code"])))
            .collect();
        compare("errors", self.errors.clone().map(Value::from), Value::Array(errors));
        compare("notice", self.notice.map(Value::from), trial["notice"].clone());
        compare("command", self.command.clone().map(Value::from), trial["commands"][0]["name"].clone());
        for (pointer, expected) in &self.body {
            let found = trial["commands"][0]["body"].pointer(pointer).cloned().unwrap_or_default();
            compare(&format!("body {pointer}"), Some(expected.clone()), found);
        }
        let plan = trial["plan"].as_array().cloned().unwrap_or_default();
        let calls: Vec<Value> = plan.iter().map(|call| call["call"].clone()).collect();
        compare("calls", self.calls.clone().map(Value::from), Value::Array(calls));
        for (place, expected) in &self.request {
            let (call, pointer) = place.split_once(' ').unwrap_or((place, ""));
            let body = plan.iter().find(|prepared| prepared["call"] == call).map(|prepared| &prepared["body"]);
            let found = body.and_then(|body| body.pointer(pointer)).cloned().unwrap_or_default();
            compare(&format!("request {place}"), Some(expected.clone()), found);
        }
        compare("unused", self.unused.clone().map(Value::from), trial["unused"].clone());
        differences
    }
}
