//! Which field of a message made which member of its command and which element of the calls, both ways.
//!
//! Enters: a message, the mapping set, its source. Leaves: rows from field to member to elements, with the values of the
//! members, the calls as they would be made, what nothing read. Pure: nothing is stored or sent.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::admission::Decision;
use super::fhir_reading::{is_fhir, read_fhir};
use super::reading::read;
use super::sources::KnownSource;
use super::trial::shown;
use super::wire::Wire;
use crate::hl7::continuation::Piece;
use crate::hl7::{Declared, Header, Message, Undecodable, charset};
use crate::mapping::{
    Dialect, Explained, FhirDocument, Json, Kind, Language, MappingSet, Normalised, PlanContext, Problem, Trace,
    explain,
};

#[derive(Debug, Serialize)]
pub struct Explanation {
    #[serde(skip)]
    pub language: Language,
    /// The file that was applied.
    pub mapping: Option<String>,
    /// Name of the command; empty where the message makes none.
    pub command: String,
    pub body: Value,
    pub rows: Vec<Explained>,
    pub calls: Vec<Value>,
    pub unused: Vec<String>,
    pub problems: Vec<Problem>,
}

/// Why not, in words.
pub fn explain_message(
    set: &MappingSet,
    source: &KnownSource,
    connection: &Value,
    bytes: &Bytes,
) -> Result<Explanation, String> {
    let name = source.dialect(|name| set.dialect(name).is_some());
    let dialect = set.dialect(name).ok_or_else(|| format!("there is no dialect {name}"))?;
    let mut trace = Trace::default();
    let wire = Wire::of(bytes.clone());
    let (language, normalised) = match is_fhir(&wire.text) {
        true => (Language::Fhir, from_fhir(set, dialect, source, &wire.text, &mut trace)?),
        false => (Language::Hl7v2, from_hl7(set, dialect, source, &wire.text, &mut trace)?),
    };
    let (command, body) = match normalised.kind {
        Kind::Command(draft) => (draft.name, draft.body),
        Kind::Notice { .. } | Kind::Refused => (String::new(), Value::Null),
    };
    let known = json!({ "ubrn": body.get("ubrn").cloned().unwrap_or_else(|| "<ubrn>".into()) });
    let settings = Value::Object(source.settings.clone());
    let context = PlanContext {
        command: &command,
        id: "",
        body: &body,
        known: &known,
        connection,
        settings: &settings,
        now: "<time of sending>",
    };
    let rows = explain(set, &trace.rows, &context);
    let calls = match command.is_empty() {
        true => Vec::new(),
        false => set.preview(&context).map(|calls| calls.iter().map(shown).collect()).unwrap_or_default(),
    };
    let Normalised { mapping, unused, problems, .. } = normalised;
    Ok(Explanation { language, mapping, command, body, rows, calls, unused, problems })
}

fn refused(why: &dyn std::fmt::Display) -> String {
    format!("the message cannot be read: {why}")
}

fn from_hl7(
    set: &MappingSet,
    dialect: &Dialect,
    source: &KnownSource,
    bytes: &[u8],
    trace: &mut Trace,
) -> Result<Normalised, String> {
    let header = Header::scan(bytes).map_err(|error| refused(&error))?;
    let charsets = header.charsets();
    let declared = Declared { http: None, msh18: &charsets, source: source.encoding };
    let decoded = charset::decode(bytes, declared, Undecodable::Replace).map_err(|error| refused(&error))?;
    let message = Message::parse(&decoded.text).map_err(|error| refused(&error))?;
    Ok(set.normalise(dialect, &message, decoded.encoding, &source.settings, Some(trace)))
}

fn from_fhir(
    set: &MappingSet,
    dialect: &Dialect,
    source: &KnownSource,
    bytes: &[u8],
    trace: &mut Trace,
) -> Result<Normalised, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| refused(&error))?;
    let json = Json::read(text).map_err(|error| refused(&error))?;
    match FhirDocument::of(text, &json) {
        Ok(document) => Ok(set.normalise_fhir(dialect, &document, &source.settings, Some(trace))),
        Err(problems) => Ok(Normalised { problems, ..Normalised::default() }),
    }
}

/// What a mapping set makes of a message, without what the store knows: nothing is asked of its referral.
#[derive(Debug)]
pub struct Reread {
    pub verdict: RereadVerdict,
    /// Where members of the command stand in the message: place, JSON pointer.
    pub places: Vec<(String, String)>,
}

#[derive(Debug)]
pub enum RereadVerdict {
    Command { name: String, body: Value },
    Notice,
    Refused(Vec<Problem>),
}

/// `None`: it cannot be read at all.
pub fn reread(set: &MappingSet, source: &KnownSource, bytes: &Bytes) -> Option<Reread> {
    let wire = Wire::of(bytes.clone());
    let decision = match is_fhir(&wire.text) {
        true => read_fhir(set, source, &wire.text).decision,
        false => {
            let header = Header::scan(&wire.text).ok()?;
            if !Piece::of(&header, &wire.text).is_whole() {
                return None;
            }
            read(set, source, &header, &wire, None).decision
        }
    };
    let verdict = match decision {
        Decision::Command { name, body, .. } => RereadVerdict::Command { name, body },
        Decision::Notice { .. } => RereadVerdict::Notice,
        Decision::Refuse(problems) => RereadVerdict::Refused(problems),
        Decision::Hold => return None,
    };
    let mut trace = Trace::default();
    let name = source.dialect(|name| set.dialect(name).is_some());
    if let Some(dialect) = set.dialect(name) {
        // What cannot be traced has no places.
        let _ = match is_fhir(&wire.text) {
            true => from_fhir(set, dialect, source, &wire.text, &mut trace),
            false => from_hl7(set, dialect, source, &wire.text, &mut trace),
        };
    }
    let places = trace.rows.into_iter().filter(|row| row.present).map(|row| (row.location.to_string(), row.pointer));
    Some(Reread { verdict, places: places.collect() })
}
