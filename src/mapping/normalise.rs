//! From a parsed message to commands, by a dialect's mapping. Pure.
//!
//! Enters: a message, the dialect, the source's settings. Leaves: commands with their letters as handles,
//! or a notice, or every problem found with its place. Guarantees: no value of the message stands in a
//! problem's text; what a trace asks for costs nothing when nobody asks.

mod checks;
mod choice;
mod letters;
mod resources;
mod values;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::clinical_text;
use super::dialect::{Dialect, InboundMapping};
use super::inbound::{Leaf, Nulls, Outcome, Source, ThreadKey};
use super::letter::{LETTERS_MAX, make_names_differ};
use super::problem::{Location, Problem};
use super::source::{Document, Selector};
use crate::hl7::Zones;

const SEGMENT_SEQUENCE_ERROR: u16 = 100;
const REQUIRED_FIELD_MISSING: u16 = 101;
const DATA_TYPE_ERROR: u16 = 102;
const TABLE_VALUE_NOT_FOUND: u16 = 103;
const UNSUPPORTED_MESSAGE_TYPE: u16 = 200;
const UNSUPPORTED_EVENT_CODE: u16 = 201;
const INTERNAL_ERROR: u16 = 207;

/// What a message became.
#[derive(Debug, Default)]
pub struct Normalised {
    pub kind: Kind,
    /// Empty unless the message is refused.
    pub problems: Vec<Problem>,
    /// Fields that are populated but neither used nor named as ignored: `PID-15`.
    pub unused: Vec<String>,
    /// The mapping file that was applied.
    pub mapping: Option<String>,
    /// FHIR: where members of the command stand that are checked later, by pointer.
    pub places: BTreeMap<String, Location>,
}

/// What is asked of the store or the settings, and may be refused then.
const CHECKED_LATER: [&str; 9] = [
    "/patient/nhsNumber",
    "/patient/family",
    "/patient/birthDate",
    "/windowStart",
    "/localId",
    "/ubrn",
    "/documentId",
    "/replaces",
    "/placerAppointment",
];

#[derive(Debug, Default)]
pub enum Kind {
    Command(Box<Draft>),
    Notice {
        name: String,
        thread: Box<ThreadNames>,
        body: Value,
    },
    #[default]
    Refused,
}

/// A command before it meets its schema and the store.
#[derive(Debug)]
pub struct Draft {
    pub name: String,
    pub thread: ThreadNames,
    pub body: Value,
    /// Contents of letters that are not slices of the message, by number.
    pub documents: Documents,
}

pub type Documents = Vec<(u32, Bytes)>;

/// The names a message gives to its thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadNames {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ubrn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub appointment: Option<String>,
}

/// Who made which member of the command: for *explain* and for error locations.
#[derive(Debug, Default)]
pub struct Trace {
    pub rows: Vec<TraceRow>,
}

#[derive(Debug, Clone)]
pub struct TraceRow {
    /// JSON pointer in the command's body.
    pub pointer: String,
    pub selector: String,
    /// Where the value stood; the selector's own place when it was absent.
    pub location: Location,
    pub present: bool,
    pub file: String,
}

pub struct Normaliser<'m, 'd> {
    document: Document<'d>,
    dialect: &'m Dialect,
    settings: &'m Map<String, Value>,
    zones: Zones,
    problems: Vec<Problem>,
    trace: Option<&'m mut Trace>,
}

/// Applies `dialect` to a message.
pub fn normalise<'m>(
    dialect: &'m Dialect,
    document: Document<'_>,
    settings: &'m Map<String, Value>,
    trace: Option<&'m mut Trace>,
) -> Normalised {
    let zones = document.zones(settings.get("timeZone").and_then(Value::as_str).unwrap_or("Europe/London"));
    let mut normaliser = Normaliser { document, dialect, settings, zones, problems: Vec::new(), trace };
    let Some(mapping) = normaliser.dispatch() else {
        return Normalised { problems: normaliser.problems, ..Normalised::default() };
    };
    normaliser.apply(mapping)
}

impl<'m, 'd> Normaliser<'m, 'd> {
    fn apply(mut self, mapping: &'m InboundMapping) -> Normalised {
        self.check_one_request(mapping);
        let kind = match &mapping.outcome {
            Outcome::Refuse { location, code, text } => {
                let location = location.nominal_location(&self.document, None);
                self.problems.push(Problem::new(location, *code, text.clone()));
                Kind::Refused
            }
            Outcome::Command(name) => self.command(mapping, name),
            Outcome::Notice(name) => {
                let (thread, body, _) = self.content(mapping);
                Kind::Notice { name: name.clone(), thread: Box::new(thread), body }
            }
        };
        self.check_all_was_searched();
        let kind = if self.problems.is_empty() { kind } else { Kind::Refused };
        Normalised {
            kind,
            problems: self.problems,
            unused: mapping.coverage.unused(&self.document),
            mapping: Some(mapping.file.clone()),
            places: match self.document {
                Document::Hl7v2 { .. } => BTreeMap::new(),
                Document::Fhir(_) => CHECKED_LATER
                    .iter()
                    .map(|pointer| ((*pointer).to_owned(), mapping.place_of(&self.document, pointer).0))
                    .collect(),
            },
        }
    }

    fn command(&mut self, mapping: &'m InboundMapping, name: &str) -> Kind {
        let (thread, mut body, documents) = self.content(mapping);
        if let Some(map) = body.as_object_mut() {
            if let Some(local_id) = &thread.local_id {
                map.entry("localId").or_insert_with(|| Value::from(local_id.as_str()));
            }
            if let Some(ubrn) = &thread.ubrn {
                map.entry("ubrn").or_insert_with(|| Value::from(ubrn.as_str()));
            }
        }
        self.check_nothing_is_lost(mapping);
        self.check_nhs_number(mapping, &body);
        if self.problems.is_empty() {
            self.check_schema(mapping, name, &body);
        }
        Kind::Command(Box::new(Draft { name: name.to_owned(), thread, body, documents }))
    }

    fn content(&mut self, mapping: &'m InboundMapping) -> (ThreadNames, Value, Documents) {
        let missing: Vec<&String> = match self.document {
            Document::Hl7v2 { message, .. } => {
                mapping.requires.iter().filter(|name| message.segment(name).is_none()).collect()
            }
            Document::Fhir(_) => Vec::new(),
        };
        for name in &missing {
            self.problems.push(Problem::new(
                Location::segment(name),
                SEGMENT_SEQUENCE_ERROR,
                format!("Segment sequence error: {name} is required"),
            ));
        }
        let mut body = Map::new();
        for leaf in &mapping.body {
            // A missing segment is one problem, not one for each of its fields.
            if missing.iter().any(|name| leaf_reads_only(leaf, name)) {
                continue;
            }
            self.leaf(leaf, None, mapping.nulls, "", &mut body);
        }
        let thread = self.thread(mapping);
        let mut documents = Vec::new();
        let mut letters = self.letters(mapping, &mut documents);
        if let Some(spec) = &mapping.clinical_text
            && let Some(text) = clinical_text::write(spec, &self.document)
        {
            letters.extend(self.generated_letter(&spec.file_name, &spec.title, text, &mut documents));
        }
        if !letters.is_empty() {
            make_names_differ(&mut letters);
            let letters = letters.iter().map(|letter| serde_json::to_value(letter).unwrap_or_default()).collect();
            body.insert("letters".into(), Value::Array(letters));
        }
        (thread, Value::Object(body), documents)
    }

    fn thread(&mut self, mapping: &'m InboundMapping) -> ThreadNames {
        let mut names = ThreadNames::default();
        for (key, leaf) in &mapping.thread {
            let mut holder = Map::new();
            self.leaf(leaf, None, Nulls::Absent, "/thread", &mut holder);
            let value = holder.into_iter().next().and_then(|(_, value)| value.as_str().map(str::to_owned));
            match key {
                ThreadKey::LocalId => names.local_id = value,
                ThreadKey::Ubrn => names.ubrn = value,
                ThreadKey::Document => names.document = value,
                ThreadKey::Replaces => names.replaces = value,
                ThreadKey::Appointment => names.appointment = value,
            }
        }
        names
    }

    /// Each problem once, however many members come upon it.
    fn tell(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }
}

fn leaf_reads_only(leaf: &Leaf, segment: &str) -> bool {
    match &leaf.source {
        Source::Read(read) => read.at.iter().all(|selector| is_of_segment(selector, segment)),
        Source::Each { over, .. } => is_of_segment(over, segment),
        Source::Constant(_) | Source::Expression { .. } => false,
    }
}

fn is_of_segment(selector: &Selector, name: &str) -> bool {
    let segment = selector.as_hl7v2().and_then(|selector| selector.segment.as_ref());
    segment.is_some_and(|segment| segment.name == name)
}

/// Text files go to e-RS with CRLF line ends.
pub fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}
