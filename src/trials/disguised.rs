//! A message, a command, a call with other values: which places are somebody's, and which hold codes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::disguise::{Disguise, shape_of};

/// Fields that are somebody's, whatever stands in them.
const PERSONAL: [(&str, &[u16]); 13] = [
    ("PID", &[2, 3, 4, 5, 6, 9, 11, 12, 13, 14, 18, 19, 20, 21, 23]),
    ("PRD", &[2, 3, 5]),
    ("NK1", &[2, 4, 5, 6, 12, 13, 16, 30, 31, 32, 33]),
    ("GT1", &[2, 3, 4, 5, 6, 7, 8, 12, 16, 17, 18, 19]),
    ("IN1", &[2, 4, 5, 6, 7, 8, 9, 16, 18, 19, 36, 49]),
    ("NTE", &[3]),
    ("OBX", &[5, 16]),
    ("DG1", &[4, 16]),
    ("AL1", &[5]),
    ("PV1", &[7, 8, 9, 17, 19, 50, 52]),
    ("ROL", &[4]),
    ("RF1", &[6, 10, 11, 14]),
    ("MSH", &[8, 10]),
];
/// Dates of somebody: of birth, of death.
const DATES: [(&str, &[u16]); 3] = [("PID", &[7, 29]), ("NK1", &[16]), ("GT1", &[8])];
const CODE_CHARS_MAX: usize = 20;
/// The header says who sends what to whom, in which form.
const HEADER: u16 = 20;

/// `kept`: places of codes, as problems name them.
pub(super) fn disguised_hl7(disguise: &mut Disguise, text: &str, kept: &BTreeSet<String>) -> String {
    if !text.starts_with("MSH") {
        return disguise.secret(text);
    }
    // Codes first, so that they are known wherever else they stand; then whose dates there are.
    for_each_value(text, &mut |place, value| {
        if !is_personal(&place) && kept.iter().any(|kept| place.is_in(kept)) && has_form_of_code(value) {
            disguise.keep(value);
        }
        if stands_in(&DATES, &place) {
            disguise.date(value);
        }
        None
    });
    for_each_value(text, &mut |place, value| {
        Some(match place {
            _ if stands_in(&DATES, &place) => disguise.date(value),
            // An identifier in full; who gave it and of what kind it is are codes.
            Place { segment: "PID", field: 2..=4, component: 2.., .. } => disguise.value(value),
            _ if is_personal(&place) => disguise.secret(value),
            Place { segment: "MSH", field: ..=HEADER, .. } => value.to_owned(),
            _ => disguise.value(value),
        })
    })
}

/// As code tables show one that they do not know: anything else in its place might be somebody's name.
fn has_form_of_code(value: &str) -> bool {
    let is_of_code = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    value.chars().count() <= CODE_CHARS_MAX && value.chars().all(is_of_code)
}

fn stands_in(fields: &[(&str, &[u16])], place: &Place<'_>) -> bool {
    fields.iter().any(|(segment, fields)| *segment == place.segment && fields.contains(&place.field))
}

fn is_personal(place: &Place<'_>) -> bool {
    // What OBX-5 says of its own kind, and how it is written.
    let is_kind_of_data = matches!(place, Place { segment: "OBX", field: 5, component: 2..=4, .. });
    stands_in(&PERSONAL, place) && !is_kind_of_data
}

#[derive(Clone, Copy)]
struct Place<'p> {
    segment: &'p str,
    ordinal: u32,
    field: u16,
    repetition: usize,
    component: usize,
    subcomponent: usize,
}

impl Place<'_> {
    /// As a problem names a place, or one above it.
    fn is_in(&self, place: &str) -> bool {
        let ordinal = if self.ordinal > 1 { format!("({})", self.ordinal) } else { String::new() };
        let repetition = if self.repetition > 1 { format!("({})", self.repetition) } else { String::new() };
        let field = format!("{}{ordinal}-{}{repetition}", self.segment, self.field);
        let component = format!("{field}.{}", self.component);
        place == field || place == component || place == format!("{component}.{}", self.subcomponent)
    }
}

/// Every value at the ends of a message, with its place; what is answered stands in its place. HL7 null stays.
fn for_each_value(text: &str, change: &mut dyn FnMut(Place<'_>, &str) -> Option<String>) -> String {
    let separators: Vec<char> = text.chars().skip(3).take(5).collect();
    let [field, component, repetition, _, subcomponent] = separators[..] else { return text.to_owned() };
    let mut seen: Vec<(&str, u32)> = Vec::new();
    let mut out = Vec::new();
    for line in text.split_inclusive(['\r', '\n']) {
        let segment = line.trim_end_matches(['\r', '\n']);
        let end = &line[segment.len()..];
        let mut fields = segment.split(field);
        let name = fields.next().unwrap_or_default();
        let is_segment = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !is_segment {
            out.push(shape_of(segment) + end);
            continue;
        }
        let ordinal = match seen.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                seen.push((name, 1));
                1
            }
        };
        let is_header = name == "MSH";
        let mut parts = vec![name.to_owned()];
        for (index, raw) in fields.enumerate() {
            // MSH-1 is the separator itself, MSH-2 the others.
            let number = index as u16 + if is_header { 2 } else { 1 };
            if is_header && number == 2 {
                parts.push(raw.to_owned());
                continue;
            }
            let repetitions = raw.split(repetition).enumerate().map(|(r, raw)| {
                let components = raw.split(component).enumerate().map(|(c, raw)| {
                    let subcomponents = raw.split(subcomponent).enumerate().map(|(s, value)| {
                        let place = Place {
                            segment: name,
                            ordinal,
                            field: number,
                            repetition: r + 1,
                            component: c + 1,
                            subcomponent: s + 1,
                        };
                        match value {
                            "" | "\"\"" => value.to_owned(),
                            value => change(place, value).unwrap_or_else(|| value.to_owned()),
                        }
                    });
                    subcomponents.collect::<Vec<_>>().join(&subcomponent.to_string())
                });
                components.collect::<Vec<_>>().join(&component.to_string())
            });
            parts.push(repetitions.collect::<Vec<_>>().join(&repetition.to_string()));
        }
        out.push(parts.join(&field.to_string()) + end);
    }
    out.concat()
}

/// Members of a command that hold codes, with everything below them.
const CODED: [&str; 15] = [
    "priority",
    "specialty",
    "specialtyLocal",
    "clinicType",
    "criteria",
    "service",
    "then",
    "letterIntention",
    "firstReminderDays",
    "conversion",
    "contentType",
    "type",
    "nhsNumberStatus",
    "list",
    "watch",
];

pub(super) fn disguised_command(disguise: &mut Disguise, json: &mut Value) {
    walk(json, "", &mut |name, value| match (name, value) {
        (name, _) if CODED.contains(&name) => {}
        ("birthDate" | "deathDate", Value::String(text)) => *text = disguise.date(text),
        (_, Value::String(text)) if is_constant(text) => {}
        (_, Value::String(text)) => *text = disguise.value(text),
        (_, value) => disguised_number(disguise, value),
    });
}

/// Elements of FHIR that say what something is, not whose.
const STRUCTURAL: [&str; 16] = [
    "resourceType",
    "system",
    "code",
    "url",
    "name",
    "status",
    "use",
    "type",
    "contentType",
    "versionId",
    "mode",
    "op",
    "rel",
    "intent",
    "severity",
    "priority",
];
/// Sentences of e-RS, of which only what is known to be somebody's is replaced.
const SENTENCES: [&str; 2] = ["diagnostics", "details"];

pub(super) fn disguised_fhir(disguise: &mut Disguise, json: &mut Value) {
    walk(json, "", &mut |name, value| match (name, value) {
        ("birthDate" | "deceasedDateTime", Value::String(text)) => *text = disguise.date(text),
        // Of an organisation; those of parameters are words of the standard.
        ("name", Value::String(text)) if !is_parameter_name(text) => *text = disguise.value(text),
        (name, Value::String(text)) if SENTENCES.contains(&name) => *text = disguise.sentence(text),
        (name, Value::String(text)) if STRUCTURAL.contains(&name) => *text = disguise.known_words(text),
        ("reference" | "fullUrl", Value::String(text)) => *text = disguise.known_words(text),
        (_, Value::String(text)) if is_constant(text) => {}
        (_, Value::String(text)) => *text = disguise.value(text),
        (_, value) => disguised_number(disguise, value),
    });
}

/// `referralLetterFile`
fn is_parameter_name(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `NEED_TO_ADD_LATER`
fn is_constant(text: &str) -> bool {
    text.contains('_') && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn disguised_number(disguise: &mut Disguise, value: &mut Value) {
    if let Value::Number(number) = value
        && let Some(digits) = number.as_u64().map(|number| number.to_string()).filter(|digits| digits.len() >= 6)
    {
        *value = disguise.secret(&digits).trim_start_matches('0').parse::<u64>().unwrap_or_default().into();
    }
}

/// Every end of a tree, with the member that it is of.
fn walk(value: &mut Value, name: &str, change: &mut dyn FnMut(&str, &mut Value)) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| walk(member, name, change)),
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, name, change)),
        leaf => change(name, leaf),
    }
}
