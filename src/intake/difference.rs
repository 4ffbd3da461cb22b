//! What somebody changed in a message: place by place, what it was and what it is.
//!
//! Enters: two messages of one form. Leaves: the places that differ, as the mapping and the sender name them. Guarantees: both are
//! only read; a list is never longer than its limit.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

/// Places in one answer.
const PLACES_MAX: usize = 1_000;
const VALUE_CHARS_MAX: usize = 1_000;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `PID-5`, `OBX(2)-5`; a JSON pointer.
    pub place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
}

pub fn difference(was: &[u8], is: &[u8]) -> Vec<Change> {
    let (was, is) = (places(was), places(is));
    let all: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    all.into_iter()
        .filter(|place| was.get(*place) != is.get(*place))
        .take(PLACES_MAX)
        .map(|place| Change { place: place.clone(), was: was.get(place).cloned(), is: is.get(place).cloned() })
        .collect()
}

/// Values by their places, in the order of these.
fn places(message: &[u8]) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    match serde_json::from_slice::<Value>(message) {
        Ok(json) => members(&json, String::new(), &mut places),
        Err(_) => fields(&String::from_utf8_lossy(message), &mut places),
    }
    places
}

fn fields(message: &str, places: &mut BTreeMap<String, String>) {
    let separator = message.strip_prefix("MSH").and_then(|rest| rest.chars().next()).unwrap_or('|');
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for segment in message.split(['\r', '\n']).filter(|segment| !segment.is_empty()) {
        let mut parts = segment.split(separator);
        let name = parts.next().unwrap_or_default();
        let ordinal = seen.entry(name).or_insert(0);
        *ordinal += 1;
        let segment = if *ordinal == 1 { name.to_owned() } else { format!("{name}({ordinal})") };
        // MSH-1 is the separator itself.
        let first = if name == "MSH" { 2 } else { 1 };
        let values: Vec<(usize, &str)> = parts.enumerate().filter(|(_, value)| !value.is_empty()).collect();
        if values.is_empty() {
            places.insert(segment, String::new());
            continue;
        }
        for (at, value) in values {
            places.insert(format!("{segment}-{}", at + first), cut(value));
        }
    }
}

fn members(value: &Value, pointer: String, places: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, member) in object {
                members(member, format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            for (at, entry) in entries.iter().enumerate() {
                members(entry, format!("{pointer}/{at}"), places);
            }
        }
        Value::String(text) => {
            places.insert(pointer, cut(text));
        }
        other => {
            places.insert(pointer, cut(&other.to_string()));
        }
    }
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(place: &str, was: Option<&str>, is: Option<&str>) -> Change {
        Change { place: place.into(), was: was.map(Into::into), is: is.map(Into::into) }
    }

    #[test]
    fn what_was_changed_is_told_place_by_place() {
        let was = b"MSH|^~\\&|PAS|A|\rRF1|P|4|110\rOBX|1|ST\rOBX|2|ST||one\r";
        let is = b"MSH|^~\\&|PAS|A|\rRF1|P|3|110\rOBX|1|ST\rOBX|2|ST||two\rNTE|1\r";
        let expected = [
            change("NTE-1", None, Some("1")),
            change("OBX(2)-4", Some("one"), Some("two")),
            change("RF1-2", Some("4"), Some("3")),
        ];
        assert_eq!(difference(was, is), expected);
        assert_eq!(difference(was, was), []);
    }

    #[test]
    fn json_is_told_by_pointers() {
        let was = br#"{"priority": "ROUTINE", "shortlist": [{"service": "1"}], "a/b": true}"#;
        let is = br#"{"priority": "URGENT", "shortlist": [{"service": "1"}, {"service": "2"}]}"#;
        let expected = [
            change("/a~1b", Some("true"), None),
            change("/priority", Some("ROUTINE"), Some("URGENT")),
            change("/shortlist/1/service", None, Some("2")),
        ];
        assert_eq!(difference(was, is), expected);
    }
}
