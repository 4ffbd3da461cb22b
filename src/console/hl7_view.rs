//! An HL7 v2 message for people: segment by segment, each populated field with its name.
//!
//! Enters: text. Leaves: segments with their fields, or none if it is no HL7 v2. Guarantees: everything that stands in the
//! message is shown as it came, up to a limit; names are those of HL7 v2 chapter 3 to 11 (the newest of a field that was
//! renamed), and a field without a known name has its number.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::hl7::Message;

/// Of one field: a letter in it would fill the page.
const FIELD_CHARS_MAX: usize = 500;
const SEGMENTS_SHOWN_MAX: usize = 500;
const FIELD_NAMES: &str = include_str!("hl7_fields.csv");

pub struct SegmentView {
    pub name: String,
    pub title: &'static str,
    pub fields: Vec<FieldView>,
}

pub struct FieldView {
    pub place: String,
    pub name: &'static str,
    pub value: String,
}

/// `PID`, `Patient identification`, and its fields from the first.
struct Known {
    title: &'static str,
    fields: Vec<&'static str>,
}

static KNOWN: LazyLock<HashMap<&'static str, Known>> = LazyLock::new(|| {
    let lines = FIELD_NAMES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut parts = line.split(';');
            let (segment, title) = (parts.next()?, parts.next()?);
            Some((segment, Known { title, fields: parts.collect() }))
        })
        .collect()
});

pub fn segments(text: &str) -> Vec<SegmentView> {
    let Ok(message) = Message::parse(text) else { return Vec::new() };
    message
        .segments()
        .iter()
        .take(SEGMENTS_SHOWN_MAX)
        .map(|segment| {
            let known = KNOWN.get(segment.name());
            let fields = (1..=segment.field_count()).filter_map(|number| {
                let raw = segment.field(number)?.raw();
                (!raw.is_empty()).then(|| FieldView {
                    place: format!("{}-{number}", segment.name()),
                    name: known
                        .and_then(|known| known.fields.get(usize::from(number) - 1))
                        .copied()
                        .unwrap_or_default(),
                    value: shown(raw),
                })
            });
            SegmentView {
                name: segment.name().to_owned(),
                title: known.map(|known| known.title).unwrap_or_default(),
                fields: fields.collect(),
            }
        })
        .collect()
}

fn shown(raw: &str) -> String {
    match raw.char_indices().nth(FIELD_CHARS_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &raw[..end], raw.len()),
        None => raw.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_message_is_shown_with_its_names() {
        let segments =
            segments("MSH|^~\\&|EPR|RXX00|||20260316||REF^I12|C1|P|2.4\rPID|1||9994120034||FAUX^<B>\rZZZ|x||y");
        let told: Vec<_> = segments
            .iter()
            .flat_map(|segment| {
                segment.fields.iter().map(|field| (field.place.as_str(), field.name, field.value.as_str()))
            })
            .collect();
        assert!(told.contains(&("MSH-10", "Message control ID", "C1")), "{told:?}");
        assert!(told.contains(&("PID-5", "Patient name", "FAUX^<B>")), "{told:?}");
        assert!(told.contains(&("ZZZ-3", "", "y")), "{told:?}");
        assert_eq!(segments[1].title, "Patient identification");
        assert!(super::segments("{}").is_empty());
    }

    #[test]
    fn a_long_field_is_cut() {
        let segments = segments(&format!("MSH|^~\\&|{}", "é".repeat(FIELD_CHARS_MAX + 1)));
        let value = &segments[0].fields.last().expect("a field").value;
        assert!(value.ends_with("… (1002 bytes)"), "{value}");
    }

    #[test]
    fn each_segment_is_named_once() {
        let lines = FIELD_NAMES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(KNOWN.len(), lines);
        assert!(KNOWN.values().all(|known| !known.title.is_empty() && known.fields.len() > 2));
    }
}
