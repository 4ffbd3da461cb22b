//! What can be said about a FHIR message without the store: JSON, resources, mapping. Pure, so that a message can be
//! tried without being sent.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::admission::Decision;
use super::reading::decision_of;
use super::sources::KnownSource;
use crate::mapping::{FhirDocument, Json, Location, MappingSet, Problem};

pub(super) struct FhirReading {
    pub decision: Decision,
    /// `ServiceRequest`, `Bundle^message`
    pub kind: String,
    /// Where members of the command stand in the message, for what is found out later.
    pub places: BTreeMap<String, Location>,
    /// What the message calls itself.
    pub own_id: Option<String>,
    /// It is not JSON at all.
    pub is_unreadable: bool,
    /// Populated elements that the mapping neither uses nor names as ignored.
    pub unused: Vec<String>,
}

impl FhirReading {
    fn refused(problems: Vec<Problem>) -> Self {
        Self {
            decision: Decision::Refuse(problems),
            kind: "not FHIR".to_owned(),
            places: BTreeMap::new(),
            own_id: None,
            is_unreadable: false,
            unused: Vec::new(),
        }
    }

    fn unreadable(text: String) -> Self {
        Self { is_unreadable: true, ..Self::refused(vec![Problem::new(Location::Message, 102, text)]) }
    }
}

/// Whether a file or a message looks like FHIR: JSON begins with a brace, HL7 v2 with MSH.
pub fn is_fhir(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

pub(super) fn read_fhir(set: &MappingSet, source: &KnownSource, bytes: &Bytes) -> FhirReading {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return FhirReading::unreadable(format!("not UTF-8 at byte {}", error.valid_up_to())),
    };
    let json = match Json::read(text) {
        Ok(json) => json,
        Err(error) if error.is_not_json() => return FhirReading::unreadable(error.to_string()),
        Err(error) => {
            let code = if error.is_a_limit() { 104 } else { 102 };
            return FhirReading::refused(vec![Problem::new(Location::Message, code, error.to_string())]);
        }
    };
    let document = match FhirDocument::of(text, &json) {
        Ok(document) => document,
        Err(problems) => return FhirReading::refused(problems),
    };
    let name = source.dialect(|name| set.dialect(name).is_some());
    let Some(dialect) = set.dialect(name) else {
        let text = format!("the gateway has no dialect {name}: its operators must add mappings/inbound/{name}");
        return FhirReading::refused(vec![Problem::new(Location::Message, 207, text)]);
    };
    let kind = document.kind();
    let is_known = kind.starts_with("Bundle^") || dialect.mappings_by_resource(|known| known == kind).next().is_some();
    let normalised = set.normalise_fhir(dialect, &document, &source.settings, None);
    FhirReading {
        // Any other type may be anything.
        kind: if is_known { kind.to_owned() } else { "unknown resource".to_owned() },
        places: normalised.places,
        own_id: document.control_id(),
        is_unreadable: false,
        unused: normalised.unused,
        decision: decision_of(set, normalised.kind, normalised.problems),
    }
}
