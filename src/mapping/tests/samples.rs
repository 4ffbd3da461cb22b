//! The published samples of e-RS, each in a file of `tests/data/commands`: the command that makes exactly this request,
//! and what is read of exactly this answer.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::walk::{Ground, Walk, walk_on};
use super::*;
use crate::events::EventSchemas;
use crate::mapping::diagnostic::Diagnostics;
use crate::mapping::letter::hex;
use crate::mapping::{Document, yaml};

const COMMANDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/commands");
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ers/examples");

/// What is not of one operation.
const LATER: [&str; 1] = ["errors"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    command: String,
    body: Value,
    #[serde(default)]
    known: Map<String, Value>,
    /// Absent: unattended software.
    business_function: Option<String>,
    #[serde(default = "base")]
    code_system_base: String,
    #[serde(default)]
    settings: Map<String, Value>,
    calls: Vec<Call>,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    call: String,
    /// Method and path.
    request: String,
    #[serde(default)]
    headers: Map<String, Value>,
    /// A sample, or JSON as it is; absent: the request has none.
    body: Option<Value>,
    #[serde(default = "ok")]
    status: u16,
    answer: Answer,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Sample(String),
    Changed(Changed),
    Given(Given),
}

/// A sample with other values at some places; `null` takes one out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    sample: String,
    with: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// Unless the command fails.
    result: Option<Value>,
    /// The code with which it fails.
    fails: Option<String>,
    #[serde(default)]
    events: Vec<Event>,
    /// All that is known of the referral at the end.
    #[serde(default)]
    known: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    event: String,
    data: Value,
}

fn base() -> String {
    "_baseUrl_".into()
}

fn ok() -> u16 {
    200
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn cases() -> Vec<(String, Case)> {
    let files = names_in(COMMANDS).into_iter().filter(|name| name.ends_with(".yaml"));
    files
        .map(|name| {
            let text = std::fs::read_to_string(Path::new(COMMANDS).join(&name)).expect("text");
            let mut diagnostics = Diagnostics::default();
            let node = yaml::parse(&name, &text, &mut diagnostics).unwrap_or_else(|| panic!("{name} is no YAML"));
            let case = Case::deserialize(with_samples(node.to_json())).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, case)
        })
        .collect()
}

/// `{ $sample: file }` and `{ $sample: file#/pointer }` stand for what is there.
fn with_samples(value: Value) -> Value {
    match value {
        Value::Object(members) => match members.get("$sample").and_then(Value::as_str) {
            Some(named) => {
                let (file, pointer) = named.split_once('#').unwrap_or((named, ""));
                official(file).pointer(pointer).unwrap_or_else(|| panic!("{named} is not there")).clone()
            }
            None => members.into_iter().map(|(name, member)| (name, with_samples(member))).collect(),
        },
        Value::Array(items) => items.into_iter().map(with_samples).collect(),
        other => other,
    }
}

fn bytes_of(sample: &str) -> Vec<u8> {
    std::fs::read(Path::new(SAMPLES).join(sample)).unwrap_or_else(|error| panic!("{sample}: {error}"))
}

impl Answer {
    fn sample(&self) -> Option<&str> {
        match self {
            Self::Sample(sample) | Self::Changed(Changed { sample, .. }) => Some(sample),
            Self::Given(_) => None,
        }
    }

    fn reply(&self, status: u16) -> Reply {
        match self {
            Self::Sample(sample) if sample.ends_with(".pdf") => {
                let bytes = bytes_of(sample);
                let (content_type, sha256) = ("application/pdf".into(), hex(&Sha256::digest(&bytes)));
                let document = Document { content_type, bytes: bytes.len() as u64, sha256 };
                Reply { document: Some(document), ..answer(status, &[], Value::Null) }
            }
            Self::Sample(sample) => answer(status, &[], official(sample)),
            Self::Changed(Changed { sample, with }) => {
                let mut body = official(sample);
                for (pointer, value) in with {
                    change(&mut body, pointer, value).unwrap_or_else(|| panic!("{sample} has no {pointer}"));
                }
                answer(status, &[], body)
            }
            Self::Given(Given { headers, body }) => {
                let headers = texts(headers);
                let headers: Vec<(&str, &str)> = headers.iter().map(|(name, text)| (&**name, &**text)).collect();
                answer(status, &headers, body.clone())
            }
        }
    }
}

/// Replaces what is at the pointer, or takes it out; nothing that was not there is added.
fn change(body: &mut Value, pointer: &str, value: &Value) -> Option<()> {
    let (parent, name) = pointer.rsplit_once('/')?;
    if value.is_null() {
        return body.pointer_mut(parent)?.as_object_mut()?.shift_remove(name).map(|_| ());
    }
    *body.pointer_mut(pointer)? = value.clone();
    Some(())
}

fn texts(members: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("headers are text").to_owned();
    members.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn carried_out(set: &MappingSet, name: &str, case: &Case) -> Walk {
    let mut connection = json!({"codeSystemBase": case.code_system_base});
    if let Some(function) = &case.business_function {
        connection["businessFunction"] = function.as_str().into();
    }
    let ground =
        Ground { connection, settings: case.settings.clone().into(), known: Value::Object(case.known.clone()) };
    let given = Cell::new(0);
    let walk = walk_on(set, (&case.command, &case.body), &ground, &|call| {
        let expected = case.calls.get(given.get()).unwrap_or_else(|| panic!("{name}: {} is too much", call.call));
        given.set(given.get() + 1);
        assert_eq!(call.call, expected.call, "{name}");
        assert_eq!(format!("{} {}", call.method, call.path), expected.request, "{name}");
        assert_eq!(call.headers, texts(&expected.headers), "{name}: {}", call.call);
        check_body(name, call, expected.body.as_ref());
        expected.answer.reply(expected.status)
    });
    assert_eq!(walk.calls.len(), case.calls.len(), "{name}: {:?} and no more", walk.names());
    walk
}

fn check_body(name: &str, call: &PreparedCall, expected: Option<&Value>) {
    match (&call.body, expected) {
        (CallBody::None, None) => {}
        (CallBody::Json(body), Some(Value::String(sample))) => {
            assert_eq!(body, &official(sample), "{name}: {sample}");
        }
        (CallBody::Json(body), Some(expected)) => assert_eq!(body, expected, "{name}: {}", call.call),
        (CallBody::Letter(letter), Some(Value::String(sample))) => {
            let bytes = bytes_of(sample);
            let (length, digest) = (bytes.len() as u64, hex(&Sha256::digest(&bytes)));
            assert_eq!((letter.bytes, &letter.sha256), (length, &digest), "{name}: {sample}");
        }
        // A letter of the command that is no sample.
        (CallBody::Letter(_), None) => {}
        (body, expected) => panic!("{name}: {} has {body:?}, and {expected:?} was expected", call.call),
    }
}

#[test]
fn every_command_makes_its_sample_requests_and_reads_its_sample_answers() {
    let (set, schemas) = (set(), EventSchemas::built_in());
    for (name, case) in cases() {
        let walk = carried_out(&set, &name, &case);
        match (&walk.end, &case.expect.result, &case.expect.fails) {
            (Ok(result), Some(expected), None) => assert_eq!(result, expected, "{name}"),
            (Err(problem), None, Some(code)) => assert_eq!(&problem.code, code, "{name}: {problem}"),
            (end, ..) => panic!("{name} ended with {end:?}"),
        }
        let told: Vec<Value> = walk.events.iter().map(|told| json!({"event": told.name, "data": told.data})).collect();
        let expected: Vec<Value> =
            case.expect.events.iter().map(|told| json!({"event": told.event, "data": told.data})).collect();
        assert_eq!(told, expected, "{name}");
        for event in &walk.events {
            let mut data = event.data.clone();
            for added in ["message", "command"] {
                data[added] = json!("0190a5d8-0000-7000-8000-000000000001");
            }
            assert_eq!(schemas.violations(&event.name, &data), [], "{name}: {}", event.name);
        }
        assert_eq!(walk.known, case.expect.known, "{name}");
    }
}

/// Relative to the folder of samples, of the operations that plans call.
fn published() -> BTreeSet<PathBuf> {
    let folders = names_in(SAMPLES).into_iter().filter(|name| Path::new(SAMPLES).join(name).is_dir());
    folders
        .filter(|folder| !LATER.iter().any(|later| folder.starts_with(later)))
        .flat_map(|folder| {
            names_in(&format!("{SAMPLES}/{folder}")).into_iter().map(move |name| Path::new(&folder).join(name))
        })
        .collect()
}

#[test]
fn no_published_sample_is_left_out() {
    let mut used = BTreeSet::new();
    for (_, case) in cases() {
        for call in case.calls {
            used.extend(call.body.as_ref().and_then(Value::as_str).map(PathBuf::from));
            used.extend(call.answer.sample().map(PathBuf::from));
        }
    }
    let published = published();
    let named = |prefix: &str| {
        let is = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        published.iter().filter(is).count()
    };
    assert_eq!(named("request-") + named("response-"), published.len(), "each is a request or an answer");
    let left_out: Vec<&PathBuf> = published.difference(&used).collect();
    assert!(left_out.is_empty(), "no file of tests/data/commands has {left_out:#?}");
}
