//! `/console/messages/{id}/explain`: which field of a message made which member of its command and which element of the calls;
//! and for a field, where it went.
//!
//! Guarantees: only for who may see content; each look is in the audit log; it reads without scripts: what is chosen stands in
//! the address, and is lit on the page.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use encoding_rs::Encoding;
use serde::Deserialize;
use serde_json::Value;

use super::hl7_view;
use super::message::{Head, head, message_of};
use super::page::{self, Frame, Trouble};
use crate::inbound::http::Shared;
use crate::inbound::http::looks::Look;
use crate::mapping::Explained;
use crate::trials::NotTried;

const VALUE_CHARS_MAX: usize = 300;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chosen {
    /// `PID-3`, or an element of FHIR.
    field: String,
    /// JSON pointer of the command.
    member: String,
}

#[derive(Template)]
#[template(path = "explain.html")]
struct ExplainPage {
    frame: Frame,
    head: Head,
    /// Why there is nothing to explain.
    refusal: Option<String>,
    mapping: String,
    /// Another set made it than the one in use.
    is_old: bool,
    command: String,
    chosen: Option<String>,
    fields: Vec<FieldRow>,
    members: Vec<MemberRow>,
    calls: Vec<CallRow>,
    unused: Vec<String>,
    problems: Vec<(String, String)>,
}

struct FieldRow {
    place: String,
    name: &'static str,
    value: String,
    members: Vec<String>,
    is_unused: bool,
    is_lit: bool,
}

struct MemberRow {
    member: String,
    value: String,
    /// The place in full, and the field that it is in.
    from: String,
    field: String,
    file: String,
    elements: Vec<String>,
    is_present: bool,
    is_lit: bool,
}

struct CallRow {
    title: String,
    lines: Vec<Line>,
}

struct Line {
    text: String,
    is_lit: bool,
}

pub async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    chosen: Result<web::Query<Chosen>, actix_web::Error>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let Chosen { field, member } = chosen.map(web::Query::into_inner).unwrap_or_default();
    let message = message_of(&shared, &id).await?;
    shared.looked(&request, Look::at(format!("explanation of message {}", message.id), &message.source, true)).await?;
    let mut page = ExplainPage {
        frame: Frame::of(&request, &shared, "Explanation of a message"),
        head: head(&shared, &message).await?,
        refusal: None,
        mapping: String::new(),
        is_old: false,
        command: String::new(),
        chosen: [&field, &member].into_iter().find(|one| !one.is_empty()).cloned(),
        fields: Vec::new(),
        members: Vec::new(),
        calls: Vec::new(),
        unused: Vec::new(),
        problems: Vec::new(),
    };
    let explained = match shared.trials()?.explain(&message).await {
        Ok(explained) => explained,
        Err(NotTried::Impossible(why)) => {
            page.refusal = Some(why);
            return Ok(page::ok(&page));
        }
        Err(NotTried::Store(error)) => return Err(error.into()),
    };
    let is_old = !explained.is_current;
    let explanation = explained.explanation;
    let is_chosen = |row: &Explained| {
        row.present
            && (!field.is_empty() && field_of(&row.field) == field || !member.is_empty() && row.member == member)
    };
    let lit: Vec<&Explained> = explanation.rows.iter().filter(|row| is_chosen(row)).collect();
    let elements: Vec<&str> = lit.iter().flat_map(|row| row.elements.iter().map(String::as_str)).collect();
    let fields_of_lit: Vec<&str> = lit.iter().map(|row| field_of(&row.field)).collect();
    let mut became: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in explanation.rows.iter().filter(|row| row.present) {
        became.entry(field_of(&row.field)).or_default().push(row.member.clone());
    }
    let raw = shared.deps.store.read_message(message.id, 0..u64::MAX).await?;
    let encoding = Encoding::for_label(message.charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    let text = encoding.decode(&raw).0;
    page.fields = fields(&text, &became)
        .into_iter()
        .map(|(place, name, value)| FieldRow {
            is_lit: fields_of_lit.contains(&place.as_str()) || place == field,
            members: became.get(place.as_str()).cloned().unwrap_or_default(),
            is_unused: explanation.unused.contains(&place),
            place,
            name,
            value: cut(&value),
        })
        .collect();
    page.members = explanation
        .rows
        .iter()
        .map(|row| MemberRow {
            member: row.member.clone(),
            value: explanation.body.pointer(&row.member).map(value_text).unwrap_or_default(),
            from: row.field.clone(),
            field: field_of(&row.field).to_owned(),
            file: row.file.clone(),
            elements: row.elements.clone(),
            is_present: row.present,
            is_lit: is_chosen(row),
        })
        .collect();
    page.calls = explanation.calls.iter().map(|call| call_row(call, &elements)).collect();
    page.mapping = explanation.mapping.unwrap_or_default();
    page.is_old = is_old;
    page.command = explanation.command;
    page.unused = explanation.unused;
    page.problems =
        explanation.problems.iter().map(|problem| (problem.location.to_string(), problem.text.clone())).collect();
    Ok(page::ok(&page))
}

/// The field that a place of HL7 v2 is in: `PID-3` of `PID-3(2).1`; any other place is itself.
fn field_of(place: &str) -> &str {
    let Some((segment, rest)) = place.split_once('-') else { return place };
    let is_segment = segment.get(..3).is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if is_segment && digits > 0 { &place[..segment.len() + 1 + digits] } else { place }
}

/// Fields of HL7 v2, or of FHIR the elements that something was made of.
fn fields(text: &str, became: &BTreeMap<&str, Vec<String>>) -> Vec<(String, &'static str, String)> {
    let segments = hl7_view::segments(text);
    if segments.is_empty() {
        return became
            .keys()
            .filter(|place| !place.is_empty())
            .map(|place| ((*place).to_owned(), "", String::new()))
            .collect();
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut fields = Vec::new();
    for segment in segments {
        let ordinal = seen.entry(segment.name.clone()).or_insert(0);
        *ordinal += 1;
        for field in segment.fields {
            let number = field.place.rsplit('-').next().unwrap_or_default();
            let place = match *ordinal {
                1 => field.place,
                ordinal => format!("{}({ordinal})-{number}", segment.name),
            };
            fields.push((place, field.name, field.value));
        }
    }
    fields
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        other => cut(&other.to_string()),
    }
}

/// The elements of a call, one a line; those lit that carry what was chosen.
fn call_row(call: &Value, lit: &[&str]) -> CallRow {
    let name = call["call"].as_str().unwrap_or_default();
    let mut lines = Vec::new();
    let mut add = |place: String, value: String| {
        let is_lit = lit.contains(&format!("{name} {place}").as_str());
        lines.push(Line { text: format!("{place}: {value}"), is_lit });
    };
    let path = call["path"].as_str().unwrap_or_default();
    add("path".into(), path.to_owned());
    for (header, value) in call["headers"].as_object().into_iter().flatten() {
        add(format!("header {header}"), value_text(value));
    }
    walk(&call["body"], &mut String::new(), &mut add);
    CallRow { title: format!("{name} {}", call["method"].as_str().unwrap_or_default()), lines }
}

fn walk(value: &Value, pointer: &mut String, add: &mut dyn FnMut(String, String)) {
    let mut inside = |step: &str, value: &Value, add: &mut dyn FnMut(String, String)| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(step);
        walk(value, pointer, add);
        pointer.truncate(length);
    };
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| inside(&at.to_string(), item, add)),
        Value::Object(members) => members.iter().for_each(|(name, member)| inside(name, member, add)),
        leaf => add(pointer.clone(), value_text(leaf)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_a_field() {
        for (place, field) in [
            ("PID-3.1", "PID-3"),
            ("OBX(2)-5.5", "OBX(2)-5"),
            ("PID-13(2).1", "PID-13"),
            ("ZRX", "ZRX"),
            ("ServiceRequest.note[0].text", "ServiceRequest.note[0].text"),
        ] {
            assert_eq!(field_of(place), field);
        }
    }
}
