//! Origin a parsed message to commands, by a dialect's mapping. Pure.
//!
//! Enters: a message, the dialect, the source's settings. Leaves: commands with their letters as handles,
//! or a notice, or every problem found with its place. Guarantees: no value of the message stands in a
//! problem's text; what a trace asks for costs nothing when nobody asks.

mod letters;
mod resources;

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::clinical_text;
use super::dialect::{Dialect, InboundMapping};
use super::filter::Refusal;
use super::inbound::{Condition, ConditionOn, Leaf, Nulls, Outcome, Read, Source, ThreadKey};
use super::letter::{LETTERS_MAX, make_names_differ};
use super::problem::{Location, Problem};
use super::source::{Document, Entry, Found, Selector};
use crate::command::NhsNumber;
use crate::hl7::{Message, Zones};

const SEGMENT_SEQUENCE_ERROR: u16 = 100;
const REQUIRED_FIELD_MISSING: u16 = 101;
const DATA_TYPE_ERROR: u16 = 102;
const TABLE_VALUE_NOT_FOUND: u16 = 103;
const UNSUPPORTED_MESSAGE_TYPE: u16 = 200;
const UNSUPPORTED_EVENT_CODE: u16 = 201;
const INTERNAL_ERROR: u16 = 207;

/// Values that differ from the first one: so many are told of each member.
const DIFFERING_MAX: usize = 20;

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

enum Evaluated {
    Absent,
    Null,
    Present(Value),
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
    /// The mapping for the message; the one with the most conditions is asked first.
    fn dispatch(&mut self) -> Option<&'m InboundMapping> {
        let candidates = match self.document {
            Document::Hl7v2 { message, .. } => self.candidates_by_type(message)?,
            Document::Fhir(_) => self.candidates_by_resource()?,
        };
        let holds = |condition: &Condition| {
            let value = match &condition.on {
                ConditionOn::Message(selector) => match selector.first(&self.document, None) {
                    Some(found) => found.raw,
                    // An element with others in it, or a resource.
                    None if selector.is_there(&self.document) => Cow::Borrowed("*"),
                    None => Cow::Borrowed(""),
                },
                ConditionOn::Setting(name) => match self.settings.get(name) {
                    Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
                    Some(value) if !value.is_null() => Cow::Owned(value.to_string()),
                    _ => Cow::Borrowed(""),
                },
            };
            condition.takes(&value)
        };
        let chosen = candidates.into_iter().find(|mapping| mapping.when.iter().all(holds));
        if chosen.is_none() {
            let location = match self.document {
                Document::Hl7v2 { .. } => Location::field("MSH", 9),
                Document::Fhir(_) => Location::Message,
            };
            let text = "Unsupported event code: no mapping's conditions hold for this message";
            self.problems.push(Problem::new(location, UNSUPPORTED_EVENT_CODE, text));
        }
        chosen
    }

    /// By MSH-9.1 and MSH-9.2; the structure component is not looked at.
    fn candidates_by_type(&mut self, message: &Message<'_>) -> Option<Vec<&'m InboundMapping>> {
        let header = message.segment("MSH");
        let part = |number| {
            header
                .and_then(|header| header.field(9))
                .and_then(|field| field.repetitions().next())
                .and_then(|repetition| repetition.component(number))
                .map_or("", |component| component.raw())
        };
        let (code, trigger) = (part(1), part(2));
        let dialect = self.dialect;
        let candidates = dialect.mappings(code, trigger);
        if candidates.is_empty() {
            let problem = if dialect.knows_type(code) {
                Problem::new(
                    Location::component("MSH", 9, Some(2)),
                    UNSUPPORTED_EVENT_CODE,
                    format!("Unsupported event code: no mapping of dialect {} takes it", dialect.name()),
                )
            } else {
                Problem::new(
                    Location::component("MSH", 9, Some(1)),
                    UNSUPPORTED_MESSAGE_TYPE,
                    format!("Unsupported message type: no mapping of dialect {} takes it", dialect.name()),
                )
            };
            self.problems.push(problem);
            return None;
        }
        Some(candidates.iter().map(|mapping| &**mapping).collect())
    }

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

    fn leaf(
        &mut self,
        leaf: &Leaf,
        within: Option<Entry<'d>>,
        nulls: Nulls,
        base: &str,
        into: &mut Map<String, Value>,
    ) {
        let evaluated = match &leaf.source {
            Source::Constant(value) => Evaluated::Present(value.clone()),
            Source::Read(read) => self.read(leaf, read, within, base),
            Source::Each { over, of, .. } => self.each(leaf, over, of, nulls, base),
            Source::Expression { with, expression } => {
                let mut context: BTreeMap<&str, Option<String>> = std::collections::BTreeMap::new();
                for (name, selector) in with {
                    let found = selector.first(&self.document, within);
                    self.note(leaf, selector, found.as_ref(), found.is_some(), base, within);
                    context.insert(name, found.map(|found| found.text(&self.document).into_owned()));
                }
                match expression.evaluate(minijinja::Value::from(minijinja::value::Serde(&context))) {
                    Ok(Some(Value::Null) | None) => Evaluated::Absent,
                    Ok(Some(value)) => Evaluated::Present(value),
                    Err(why) => {
                        let location = with.first().map_or(Location::Message, |(_, selector)| {
                            selector.nominal_location(&self.document, within)
                        });
                        let text = format!("mappings/{}:{}: {}: {why}", leaf.file, leaf.at.line, leaf.key);
                        self.problems.push(Problem::new(location, INTERNAL_ERROR, text));
                        Evaluated::Absent
                    }
                }
            }
        };
        match evaluated {
            Evaluated::Present(value) => insert(into, &leaf.path, value),
            Evaluated::Null if nulls == Nulls::Keep => insert(into, &leaf.path, Value::Null),
            Evaluated::Null | Evaluated::Absent => {}
        }
    }

    fn each(
        &mut self,
        leaf: &Leaf,
        over: &Selector,
        of: &[std::sync::Arc<Leaf>],
        nulls: Nulls,
        base: &str,
    ) -> Evaluated {
        let pointer = format!("{base}/{}", leaf.path.join("/"));
        let mut entries = Vec::new();
        for within in over.entries(&self.document) {
            let mut entry = Map::new();
            let entry_base = if self.trace.is_some() { format!("{pointer}/{}", entries.len()) } else { String::new() };
            for member in of {
                self.leaf(member, Some(within), nulls, &entry_base, &mut entry);
            }
            if !entry.is_empty() {
                entries.push(Value::Object(entry));
            }
        }
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.rows.push(TraceRow {
                pointer,
                selector: over.to_string(),
                location: over.nominal_location(&self.document, None),
                present: !entries.is_empty(),
                file: leaf.file.clone(),
            });
        }
        if entries.is_empty() { Evaluated::Absent } else { Evaluated::Present(Value::Array(entries)) }
    }

    fn read(&mut self, leaf: &Leaf, read: &Read, within: Option<Entry<'d>>, base: &str) -> Evaluated {
        if read.agree {
            return self.read_agreeing(leaf, read, within, base);
        }
        if let Some(separator) = &read.join {
            let texts: Vec<String> = read
                .at
                .iter()
                .flat_map(|selector| selector.all(&self.document, within))
                .map(|found| found.text(&self.document).into_owned())
                .collect();
            self.note(leaf, &read.at[0], None, !texts.is_empty(), base, within);
            return if texts.is_empty() {
                self.absent(leaf, read, within)
            } else {
                Evaluated::Present(Value::from(texts.join(separator)))
            };
        }
        let found = read.at.iter().find_map(|selector| Some((selector, selector.first(&self.document, within)?)));
        match found {
            None => {
                self.note(leaf, &read.at[0], None, false, base, within);
                self.absent(leaf, read, within)
            }
            Some((selector, found)) => {
                self.note(leaf, selector, Some(&found), true, base, within);
                if found.is_null() {
                    return Evaluated::Null;
                }
                match self.refine(read, &found) {
                    Some(value) => Evaluated::Present(value),
                    None => Evaluated::Absent,
                }
            }
        }
    }

    /// Every match is refined; they must all say the same (two NHS numbers in one PID are refused).
    fn read_agreeing(&mut self, leaf: &Leaf, read: &Read, within: Option<Entry<'d>>, base: &str) -> Evaluated {
        let matches: Vec<(&Selector, Found<'d>)> = read
            .at
            .iter()
            .flat_map(|selector| selector.all(&self.document, within).into_iter().map(move |found| (selector, found)))
            .filter(|(_, found)| !found.is_null())
            .collect();
        let Some((selector, first)) = matches.first() else {
            self.note(leaf, &read.at[0], None, false, base, within);
            return self.absent(leaf, read, within);
        };
        self.note(leaf, selector, Some(first), true, base, within);
        let Some(value) = self.refine(read, first) else { return Evaluated::Absent };
        let told_before = self.problems.len();
        for (_, other) in &matches[1..] {
            if other.stands_where(first) {
                continue;
            }
            if self.problems.len() >= told_before + DIFFERING_MAX {
                break;
            }
            if self.refine(read, other).is_some_and(|other| other != value) {
                let label = read.label.as_deref().unwrap_or(&leaf.key);
                self.problems.push(Problem::new(
                    other.location(&self.document),
                    DATA_TYPE_ERROR,
                    format!("Data type error: differs from another {label} in the same message"),
                ));
            }
        }
        Evaluated::Present(value)
    }

    fn absent(&mut self, leaf: &Leaf, read: &Read, within: Option<Entry<'d>>) -> Evaluated {
        // Something was said, where nobody here can read it: that is not the same as absent.
        let astray: Vec<Problem> =
            read.at.iter().flat_map(|selector| selector.astray(&self.document, within)).collect();
        if !astray.is_empty() {
            self.tell(astray);
            return Evaluated::Absent;
        }
        if let Some(default) = &read.default {
            return Evaluated::Present(default.clone());
        }
        let excused = |name: &String| self.settings.get(name).is_some_and(|setting| *setting == Value::Bool(true));
        let required = read.required || read.required_unless.as_ref().is_some_and(|name| !excused(name));
        if required {
            let label = read.label.as_deref().unwrap_or(&leaf.key);
            let location = read.at[0].nominal_location(&self.document, within);
            self.problems.push(Problem::new(
                location,
                REQUIRED_FIELD_MISSING,
                format!("Required field missing, {label}"),
            ));
        }
        Evaluated::Absent
    }

    /// Filters, code table, accepted values; a refusal becomes a problem at the value's own place.
    fn refine(&mut self, read: &Read, found: &Found<'d>) -> Option<Value> {
        let text = found.text(&self.document);
        let mut value = Value::from(text.as_ref());
        for filter in &read.then {
            let refined = match &value {
                Value::String(text) => filter.apply(text, &self.zones),
                _ => Err(Refusal { code: DATA_TYPE_ERROR, text: "a filter needs text".into() }),
            };
            match refined {
                Ok(refined) => value = refined,
                Err(refusal) => {
                    let kind =
                        if refusal.code == TABLE_VALUE_NOT_FOUND { "Table value not found" } else { "Data type error" };
                    let text = format!("{kind}, {}", refusal.text);
                    self.problems.push(Problem::new(found.location(&self.document), refusal.code, text));
                    return None;
                }
            }
        }
        if let Some(name) = &read.code {
            let local = value.as_str().unwrap_or_default();
            let table = self.dialect.table(name);
            match table.and_then(|table| table.get(local)) {
                Some(code) => value = Value::from(code),
                None => {
                    let text = table.map_or_else(
                        || format!("there is no code table {name}"),
                        |table| format!("Table value not found: {}", table.unknown(name, local)),
                    );
                    self.problems.push(Problem::new(found.location(&self.document), TABLE_VALUE_NOT_FOUND, text));
                    return None;
                }
            }
        }
        if let Some((accepted, otherwise)) = &read.accept
            && !value.as_str().is_some_and(|text| accepted.iter().any(|known| known == text))
        {
            self.problems.push(Problem::new(found.location(&self.document), TABLE_VALUE_NOT_FOUND, otherwise.clone()));
            return None;
        }
        (value != "").then_some(value)
    }

    /// A schema cannot count a check digit, and a number made by an expression or without a filter has met none.
    fn check_nhs_number(&mut self, mapping: &'m InboundMapping, body: &Value) {
        const POINTER: &str = "/patient/nhsNumber";
        let number = body.pointer(POINTER).and_then(Value::as_str);
        if let Some(Err(error)) = number.map(NhsNumber::parse) {
            let (location, _) = mapping.place_of(&self.document, POINTER);
            self.problems.push(Problem::new(location, DATA_TYPE_ERROR, format!("Data type error, {error}")));
        }
    }

    /// The command's schema, its violations put at the places that their values come from.
    fn check_schema(&mut self, mapping: &'m InboundMapping, name: &str, body: &Value) {
        for violation in self.dialect.schemas().violations(name, body) {
            let (location, label) = mapping.place_of(&self.document, &violation.pointer);
            let (code, text) = match violation.keyword.as_str() {
                "required" | "minItems" => (REQUIRED_FIELD_MISSING, format!("Required field missing, {label}")),
                "enum" | "const" => {
                    (TABLE_VALUE_NOT_FOUND, format!("Table value not found: {label} {}", violation.text))
                }
                "maxLength" | "maxItems" => (104, format!("Value too long: {label} {}", violation.text)),
                _ => (DATA_TYPE_ERROR, format!("Data type error: {label} {}", violation.text)),
            };
            let problem = Problem::new(location, code, text);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    /// Each problem once, however many members come upon it.
    fn tell(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    fn note(
        &mut self,
        leaf: &Leaf,
        selector: &Selector,
        found: Option<&Found<'d>>,
        present: bool,
        base: &str,
        within: Option<Entry<'d>>,
    ) {
        let Some(trace) = self.trace.as_deref_mut() else { return };
        trace.rows.push(TraceRow {
            pointer: format!("{base}/{}", leaf.path.join("/")),
            selector: selector.to_string(),
            location: found.map_or_else(
                || selector.nominal_location(&self.document, within),
                |found| found.location(&self.document),
            ),
            present,
            file: leaf.file.clone(),
        });
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

/// `a.b.c` into nested objects.
fn insert(into: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            into.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let entry = into.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

/// Text files go to e-RS with CRLF line ends.
pub fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}
