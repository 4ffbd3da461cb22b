//! What can be said about a message without the store: charset, header, structure, mapping
//! (`hl7/reference.md` section 9, steps 2 to 10). Pure, so that a message can be tried without being sent.

use std::borrow::Cow;

use encoding_rs::Encoding;

use serde_json::Value;

use super::admission::Decision;
use super::hl7v2::to_problem;
use super::sources::KnownSource;
use super::wire::Wire;
use crate::config::UndecodableText;
use crate::hl7::{AckError, Declared, Header, Message, Undecodable, charset};
use crate::mapping::{Kind, Location, MappingSet, Problem};

pub(super) struct Reading {
    pub decision: Decision,
    /// What the answer is written in.
    pub encoding: &'static Encoding,
    /// By what name of a charset the stored bytes become the message's text again.
    pub charset: &'static str,
    /// MSH-18 named another charset than the bytes have.
    pub mislabelled: bool,
    /// Populated fields that the mapping neither uses nor names as ignored.
    pub unused: Vec<String>,
}

impl Reading {
    fn of(decision: Decision, encoding: &'static Encoding) -> Self {
        Self { decision, encoding, charset: encoding.name(), mislabelled: false, unused: Vec::new() }
    }

    fn refused(errors: &[AckError], encoding: &'static Encoding) -> Self {
        Self::of(Decision::Refuse(errors.iter().map(to_problem).collect()), encoding)
    }
}

pub(super) fn read(
    set: &MappingSet,
    source: &KnownSource,
    header: &Header<'_>,
    wire: &Wire,
    http_charset: Option<&str>,
) -> Reading {
    let mut reading = read_text(set, source, header, wire, wire.http_charset(http_charset));
    if let Some(name) = wire.stored_name() {
        reading.charset = name;
    }
    reading
}

fn read_text(
    set: &MappingSet,
    source: &KnownSource,
    header: &Header<'_>,
    wire: &Wire,
    http_charset: Option<&str>,
) -> Reading {
    let bytes = &wire.text;
    let shape = header.problems(&source.config.processing_ids);
    if header.delimiters().is_err() {
        return Reading::refused(&shape, encoding_rs::UTF_8);
    }
    if let Some(error) = wire.undecodable(header, source.config.undecodable_text) {
        return Reading::refused(&[&[error], shape.as_slice()].concat(), encoding_rs::UTF_8);
    }
    let charsets: Vec<Cow<'_, str>> = header.charsets();
    let declared = Declared { http: http_charset, msh18: &charsets, source: source.encoding };
    let undecodable = match source.config.undecodable_text {
        UndecodableText::Refuse => Undecodable::Refuse,
        UndecodableText::Replace => Undecodable::Replace,
    };
    let decoded = match charset::decode(bytes, declared, undecodable) {
        Ok(decoded) => decoded,
        Err(error) => {
            let errors: Vec<AckError> = [error.to_ack_error(header, bytes)].into_iter().chain(shape).collect();
            return Reading::refused(&errors, encoding_rs::UTF_8);
        }
    };
    let encoding = if decoded.is_identical() { encoding_rs::UTF_8 } else { decoded.encoding };
    if !shape.is_empty() {
        return Reading::refused(&shape, encoding);
    }
    let message = match Message::parse(&decoded.text) {
        Ok(message) => message,
        Err(error) => {
            let problem = Problem::new(Location::Message, 102, error.to_string());
            return Reading::of(Decision::Refuse(vec![problem]), encoding);
        }
    };
    let (decision, unused) = map(set, source, &message, decoded.encoding);
    Reading { decision, encoding, charset: decoded.stored_name(), mislabelled: decoded.mislabelled, unused }
}

fn map(
    set: &MappingSet,
    source: &KnownSource,
    message: &Message<'_>,
    encoding: &'static Encoding,
) -> (Decision, Vec<String>) {
    let name = source.dialect(|name| set.dialect(name).is_some());
    let Some(dialect) = set.dialect(name) else {
        let text = format!("the gateway has no dialect {name}: its operators must add mappings/inbound/{name}");
        return (Decision::Refuse(vec![Problem::new(Location::Message, 207, text)]), Vec::new());
    };
    let normalised = set.normalise(dialect, message, encoding, &source.settings, None);
    (decision_of(set, normalised.kind, normalised.problems), normalised.unused)
}

pub(super) fn decision_of(set: &MappingSet, kind: Kind, problems: Vec<Problem>) -> Decision {
    match kind {
        Kind::Refused => Decision::Refuse(problems),
        Kind::Notice { name, thread, body } => {
            Decision::Notice { name, thread: *thread, merged: texts_of(&body["merged"]) }
        }
        Kind::Command(draft) => Decision::Command {
            name: draft.name,
            thread: draft.thread,
            body: draft.body,
            documents: draft.documents,
            mapping_set: set.digest().to_owned(),
        },
    }
}

/// Every text in a value.
fn texts_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts_of).collect(),
        Value::Object(members) => members.values().flat_map(texts_of).collect(),
        _ => Vec::new(),
    }
}
