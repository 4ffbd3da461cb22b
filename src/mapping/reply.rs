//! Replies, compiled: `replies/<dialect>/<MESSAGE>.yaml`, what became of a message to its application answer.
//!
//! ```yaml
//! for: { hl7v2: REF^I12 }
//! reply: RRI^I12^RRI_I12
//! needs: known.ubrn                     # without it, a plain ACK is the answer
//! segments:
//!   - RF1: { 1: [P, Pending, HL70283], 6: "{command.localId?}", 11: ["{known.ubrn}", ERS, "", UBRN] }
//!   - copy: PRD
//! ```
//!
//! A field is text, or a list of components. Values are escaped; `copy` repeats the segments of the message
//! as they were sent. MSH, MSA and ERR are the gateway's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::diagnostic::Diagnostics;
use super::set::{PlanContext, PlanProblem};
use super::template::{Path, Scope, Template, TemplateCompiler};
use super::yaml::{Keys, Node, Yaml};
use crate::hl7::{Delimiters, escape};

#[derive(Debug)]
pub struct ReplyMapping {
    /// MSH-9.1 and MSH-9.2 of the message answered.
    pub answers: (String, String),
    /// MSH-9 of the reply.
    pub message_type: [String; 3],
    needs: Vec<Path>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Made { name: String, fields: Vec<(u16, Vec<Template>)> },
    Copied(String),
}

/// A line of a reply: text to be encoded, or the name of segments to be repeated from the message.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplyLine {
    Text(String),
    Copy(String),
}

/// Fields of a made segment beyond this are a mistake.
const FIELDS_MAX: u16 = 200;

pub fn compile(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<ReplyMapping> {
    let keys = Keys::of(file, node, &["for", "reply", "needs", "segments", "about"], diagnostics)?;
    let answers = keys
        .get("for")
        .and_then(|node| Keys::of(file, node, &["hl7v2"], diagnostics))
        .and_then(|keys| keys.text("hl7v2", diagnostics));
    let reply = keys.text("reply", diagnostics);
    let answers = answers.as_deref().and_then(|text| text.split_once('^'));
    let parts: Vec<&str> = reply.as_deref().unwrap_or_default().split('^').collect();
    let (Some((code, trigger)), [kind, event, structure]) = (answers, parts.as_slice()) else {
        let text = "a reply needs `for: { hl7v2: REF^I12 }` and `reply: RRI^I12^RRI_I12`";
        diagnostics.report(file, node.at, text);
        return None;
    };
    let none = BTreeMap::new();
    let mut compiler = TemplateCompiler { file: file.into(), fragments: &none, diagnostics, paths: Vec::new() };
    let needs = keys.get("needs").map(|node| compiler.paths_of(node)).unwrap_or_default();
    let mut segments = Vec::new();
    match keys.get("segments") {
        Some(Node { yaml: Yaml::List(items), .. }) => {
            segments.extend(items.iter().filter_map(|item| segment(&mut compiler, item)));
        }
        _ => compiler.diagnostics.report(file, node.at, "`segments` is a list of segments, in their order"),
    }
    Some(ReplyMapping {
        answers: (code.to_owned(), trigger.to_owned()),
        message_type: [(*kind).to_owned(), (*event).to_owned(), (*structure).to_owned()],
        needs,
        segments,
    })
}

fn segment(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Option<Segment> {
    let file: Arc<str> = compiler.file.clone();
    let Some([(key, value)]) = node.as_map() else {
        compiler.diagnostics.report(&file, node.at, "a segment is `NAME: { number: value }` or `copy: NAME`");
        return None;
    };
    if key.name == "copy" {
        return value.as_text().map(|name| Segment::Copied(name.to_owned()));
    }
    let Some(entries) = value.as_map() else {
        compiler.diagnostics.report(&file, value.at, format!("the fields of {} are a mapping", key.name));
        return None;
    };
    let mut fields = Vec::new();
    for (number, value) in entries {
        match number.name.parse::<u16>().ok().filter(|number| (1..=FIELDS_MAX).contains(number)) {
            Some(number) => {
                let components = match &value.yaml {
                    Yaml::List(items) => items.iter().map(|item| compiler.template(item)).collect(),
                    _ => vec![compiler.template(value)],
                };
                fields.push((number, components));
            }
            None => {
                let text = format!("`{}` is not the number of a field", number.name);
                compiler.diagnostics.report(&file, number.at, text);
            }
        }
    }
    fields.sort_by_key(|(number, _)| *number);
    Some(Segment::Made { name: key.name.clone(), fields })
}

impl ReplyMapping {
    /// The lines below MSH and MSA; `None` when what the reply needs is not known.
    pub fn lines(
        &self,
        context: &PlanContext<'_>,
        delimiters: &Delimiters,
    ) -> Result<Option<Vec<ReplyLine>>, PlanProblem> {
        let saved = Map::new();
        let scope = Scope { context, saved: &saved, item: None, index: 0, reply: None };
        if !self.needs.iter().all(|path| scope.has(path)) {
            return Ok(None);
        }
        let mut lines = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            match segment {
                Segment::Copied(name) => lines.push(ReplyLine::Copy(name.clone())),
                Segment::Made { name, fields } => lines.push(ReplyLine::Text(line(name, fields, &scope, delimiters)?)),
            }
        }
        Ok(Some(lines))
    }
}

fn line(
    name: &str,
    fields: &[(u16, Vec<Template>)],
    scope: &Scope<'_>,
    delimiters: &Delimiters,
) -> Result<String, PlanProblem> {
    let mut line = name.to_owned();
    let mut at = 0;
    for (number, components) in fields {
        while at < *number {
            line.push(char::from(delimiters.field));
            at += 1;
        }
        let mut texts = Vec::with_capacity(components.len());
        for component in components {
            let text = match component.render(scope)? {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text,
                Some(value) => value.to_string(),
            };
            texts.push(escape(&text, delimiters).into_owned());
        }
        line.push_str(&texts.join(&char::from(delimiters.component).to_string()));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::yaml;

    fn compiled(text: &str) -> (Option<ReplyMapping>, usize) {
        let mut diagnostics = Diagnostics::default();
        let node = yaml::parse("replies/x/REF_I12.yaml", text, &mut diagnostics).expect("YAML");
        let reply = compile("replies/x/REF_I12.yaml", &node, &mut diagnostics);
        (reply, diagnostics.into_vec().len())
    }

    fn lines(reply: &ReplyMapping, known: &Value) -> Option<Vec<ReplyLine>> {
        let (body, nothing) = (json!({"localId": "A|1"}), json!({}));
        let context = PlanContext {
            command: "CreateReferral",
            body: &body,
            known,
            connection: &nothing,
            settings: &nothing,
            now: "",
        };
        reply.lines(&context, &Delimiters::STANDARD).expect("rendered")
    }

    const REPLY: &str = "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nneeds: known.ubrn\nsegments:\n  - RF1: { 6: \"{command.localId?}\", 11: [\"{known.ubrn}\", ERS, \"\", UBRN] }\n  - copy: PID\n";

    #[test]
    fn fields_stand_at_their_numbers_and_values_are_escaped() {
        let (reply, problems) = compiled(REPLY);
        assert_eq!(problems, 0);
        let made = lines(&reply.expect("compiles"), &json!({"ubrn": "000000070000"}));
        assert_eq!(
            made,
            Some(vec![
                ReplyLine::Text("RF1||||||A\\F\\1|||||000000070000^ERS^^UBRN".into()),
                ReplyLine::Copy("PID".into())
            ])
        );
    }

    #[test]
    fn without_what_it_needs_there_is_no_typed_reply() {
        let (reply, _) = compiled(REPLY);
        assert_eq!(lines(&reply.expect("compiles"), &json!({})), None);
    }

    #[test]
    fn mistakes_are_reported() {
        for text in [
            "reply: RRI^I12^RRI_I12\nsegments: []\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI\nsegments: []\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: { x: 1 } } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: 1 } ]\n",
        ] {
            assert!(compiled(text).1 > 0, "{text}");
        }
    }
}
