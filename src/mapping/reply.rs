//! Replies, compiled: `replies/<dialect>/<MESSAGE>.yaml`, what became of a message to its application answer.
//!
//! ```yaml
//! for: { hl7v2: [REF^I12, REF^I13] }
//! reply: RRI^*^RRI_I12                  # `*`: the trigger event of the message
//! needs: known.ubrn                     # without it, a plain ACK is the answer
//! segments:
//!   - RF1: { 1: [P, Pending, HL70283], 6: "{command.localId?}", 11: ["{known.ubrn}", ERS, "", UBRN] }
//!   - PRD: { 1: [RT], 7: ["{item.service}", ERS] }
//!     each: command.shortlist
//!   - copy: "PRD[1=RP]"                 # those whose PRD-1.1 is RP
//!   - SCH: { 1: { copy: ARQ-1 } }
//!   - NTE: { 1: "1", 3: "{failure.text}" }
//!     needs: failure
//! ```
//!
//! A field is text, or a list of components, or a field of the message. Values are escaped; `copy` repeats what the
//! message has as it was sent. MSH, MSA and ERR are the gateway's. Roots: `command`, `known`, `settings`, `result` (what
//! the plan answers), `failure` (`code`, `text`; absent where nothing failed), `document` (`contentType`, `base64`: of the
//! step that `result.step` names), with `each` also `item` and `index`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::diagnostic::Diagnostics;
use super::inbound::message_types;
use super::set::{PlanContext, PlanProblem};
use super::template::{Path, REPLY_ROOTS, Root, Scope, Template, TemplateCompiler};
use super::yaml::{Keys, Node, Yaml};
use crate::hl7::{Delimiters, escape};

#[derive(Debug)]
pub struct ReplyMapping {
    /// MSH-9.1 and MSH-9.2 of the messages answered.
    answers: Vec<(String, String)>,
    /// MSH-9 of the reply; `*` is the trigger event of the message.
    message_type: [String; 3],
    needs: Vec<Path>,
    segments: Vec<Segment>,
    wants_document: bool,
}

#[derive(Debug)]
struct Segment {
    needs: Vec<Path>,
    /// Left out where one of these has a value.
    lacks: Vec<Path>,
    /// A list: once for each of its entries.
    each: Option<Path>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Made { name: String, fields: Vec<(u16, Field)> },
    Copied(CopiedSegments),
}

#[derive(Debug)]
enum Field {
    Components(Vec<Template>),
    /// Of the first segment of that name in the message.
    Copied(String, u16),
}

/// What a reply speaks of, besides the command and what is known.
#[derive(Clone, Debug, Default)]
pub struct ReplyOutcome {
    /// What the plan answers; null if it did not come to its end.
    pub result: Value,
    /// `{"code", "text"}`, or null.
    pub failure: Value,
    /// `{"contentType", "base64"}`, or null.
    pub document: Value,
}

/// A line of a reply, or the name of segments to be repeated from the message.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplyLine {
    Made(Vec<ReplyPiece>),
    Copy(CopiedSegments),
}

/// Segments of the message, as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedSegments {
    pub name: String,
    /// Only those whose field has this as its first component.
    pub only: Option<(u16, String)>,
}

impl CopiedSegments {
    /// `PRD` or `PRD[1=RP]`
    fn parse(text: &str) -> Option<Self> {
        let (name, only) = match text.split_once('[') {
            None => (text, None),
            Some((name, rest)) => {
                let (field, value) = rest.strip_suffix(']')?.split_once('=')?;
                (name, Some((field.parse().ok()?, value.to_owned())))
            }
        };
        let is_name = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_name.then(|| Self { name: name.to_owned(), only })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum ReplyPiece {
    /// To be encoded.
    Text(String),
    /// A field of the message, as it was sent.
    Field { segment: String, number: u16 },
}

/// Fields of a made segment beyond this are a mistake.
const FIELDS_MAX: u16 = 200;
/// Segments that one list makes.
const EACH_MAX: usize = 200;

pub fn compile(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<ReplyMapping> {
    let keys = Keys::of(file, node, &["for", "reply", "needs", "segments", "about"], diagnostics)?;
    let answers = keys
        .get("for")
        .and_then(|node| Keys::of(file, node, &["hl7v2"], diagnostics))
        .and_then(|keys| message_types(file, keys.get("hl7v2")?, diagnostics));
    let reply = keys.text("reply", diagnostics);
    let parts: Vec<&str> = reply.as_deref().unwrap_or_default().split('^').collect();
    let (Some(answers), [kind, event, structure]) = (answers, parts.as_slice()) else {
        let text = "a reply needs `for: { hl7v2: REF^I12 }` and `reply: RRI^I12^RRI_I12`";
        diagnostics.report(file, node.at, text);
        return None;
    };
    let none = BTreeMap::new();
    let mut compiler =
        TemplateCompiler { file: file.into(), roots: REPLY_ROOTS, fragments: &none, diagnostics, paths: Vec::new() };
    let needs = keys.get("needs").map(|node| compiler.paths_of(node)).unwrap_or_default();
    let mut segments = Vec::new();
    match keys.get("segments") {
        Some(Node { yaml: Yaml::List(items), .. }) => {
            segments.extend(items.iter().filter_map(|item| segment(&mut compiler, item)));
        }
        _ => compiler.diagnostics.report(file, node.at, "`segments` is a list of segments, in their order"),
    }
    Some(ReplyMapping {
        answers,
        message_type: [(*kind).to_owned(), (*event).to_owned(), (*structure).to_owned()],
        needs,
        segments,
        wants_document: compiler.paths.iter().any(|path| path.root == Root::Document),
    })
}

fn segment(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Option<Segment> {
    const FORM: &str = "a segment is `NAME: { number: value }` or `copy: NAME`, with `needs`, `lacks` or `each`";
    let file: Arc<str> = compiler.file.clone();
    let (mut needs, mut lacks, mut each, mut content) = (Vec::new(), Vec::new(), None, None);
    for (key, value) in node.as_map().unwrap_or_default() {
        match key.name.as_str() {
            "needs" => needs = compiler.paths_of(value),
            "lacks" => lacks = compiler.paths_of(value),
            "each" => each = compiler.paths_of(value).into_iter().next(),
            "copy" => content = value.as_text().and_then(CopiedSegments::parse).map(Content::Copied),
            name => content = made(compiler, name, value),
        }
    }
    if content.is_none() {
        compiler.diagnostics.report(&file, node.at, FORM);
    }
    Some(Segment { needs, lacks, each, content: content? })
}

fn made(compiler: &mut TemplateCompiler<'_>, name: &str, node: &Node) -> Option<Content> {
    let file: Arc<str> = compiler.file.clone();
    let Some(entries) = node.as_map() else {
        compiler.diagnostics.report(&file, node.at, format!("the fields of {name} are a mapping"));
        return None;
    };
    let mut fields = Vec::new();
    for (number, value) in entries {
        match number.name.parse::<u16>().ok().filter(|number| (1..=FIELDS_MAX).contains(number)) {
            Some(number) => fields.extend(field(compiler, value).map(|field| (number, field))),
            None => {
                let text = format!("`{}` is not the number of a field", number.name);
                compiler.diagnostics.report(&file, number.at, text);
            }
        }
    }
    fields.sort_by_key(|(number, _)| *number);
    Some(Content::Made { name: name.to_owned(), fields })
}

fn field(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Option<Field> {
    if let Some([(key, copied)]) = node.as_map()
        && key.name == "copy"
    {
        let place = copied.as_text().and_then(|text| text.split_once('-'));
        let place = place.and_then(|(segment, number)| Some((segment.to_owned(), number.parse().ok()?)));
        if place.is_none() {
            let file: Arc<str> = compiler.file.clone();
            compiler.diagnostics.report(&file, node.at, "`copy` names a field of the message, such as ARQ-1");
        }
        return place.map(|(segment, number)| Field::Copied(segment, number));
    }
    Some(Field::Components(match &node.yaml {
        Yaml::List(items) => items.iter().map(|item| compiler.template(item)).collect(),
        _ => vec![compiler.template(node)],
    }))
}

impl ReplyMapping {
    pub fn answers(&self, code: &str, trigger: &str) -> bool {
        self.answers.iter().any(|(known, event)| known == code && event == trigger)
    }

    /// MSH-9 of the reply to a message with this trigger event.
    pub fn message_type(&self, trigger: &str) -> [String; 3] {
        self.message_type.clone().map(|part| if part == "*" { trigger.to_owned() } else { part })
    }

    /// Whether it carries a document that e-RS made.
    pub fn wants_document(&self) -> bool {
        self.wants_document
    }

    /// The lines below MSH and MSA; `None` when what the reply needs is not known.
    pub fn lines(
        &self,
        context: &PlanContext<'_>,
        outcome: ReplyOutcome,
        delimiters: &Delimiters,
    ) -> Result<Option<Vec<ReplyLine>>, PlanProblem> {
        let ReplyOutcome { result, failure, document } = outcome;
        let saved: Map<String, Value> = [("result", result), ("failure", failure), ("document", document)]
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let scope = Scope { context, saved: &saved, item: None, index: 0, reply: None };
        if !self.needs.iter().all(|path| scope.has(path)) {
            return Ok(None);
        }
        let mut lines = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let wanted = segment.needs.iter().all(|path| scope.has(path));
            if !wanted || segment.lacks.iter().any(|path| scope.has(path)) {
                continue;
            }
            match &segment.each {
                None => lines.push(segment.line(&scope, delimiters)?),
                Some(each) => {
                    let listed = scope.lookup(each);
                    let items = listed.iter().filter_map(|value| value.as_array()).flatten().take(EACH_MAX);
                    for (index, item) in items.enumerate() {
                        lines.push(segment.line(&Scope { item: Some(item), index, ..scope }, delimiters)?);
                    }
                }
            }
        }
        Ok(Some(lines))
    }
}

impl Segment {
    fn line(&self, scope: &Scope<'_>, delimiters: &Delimiters) -> Result<ReplyLine, PlanProblem> {
        let (name, fields) = match &self.content {
            Content::Copied(copied) => return Ok(ReplyLine::Copy(copied.clone())),
            Content::Made { name, fields } => (name, fields),
        };
        let mut pieces = Vec::new();
        let mut text = name.clone();
        let mut at = 0;
        for (number, field) in fields {
            while at < *number {
                text.push(char::from(delimiters.field));
                at += 1;
            }
            match field {
                Field::Components(components) => text.push_str(&written(components, scope, delimiters)?),
                Field::Copied(segment, number) => {
                    pieces.push(ReplyPiece::Text(std::mem::take(&mut text)));
                    pieces.push(ReplyPiece::Field { segment: segment.clone(), number: *number });
                }
            }
        }
        pieces.push(ReplyPiece::Text(text));
        Ok(ReplyLine::Made(pieces))
    }
}

/// Components that are absent at the end are left out with their separators.
fn written(components: &[Template], scope: &Scope<'_>, delimiters: &Delimiters) -> Result<String, PlanProblem> {
    let mut texts = Vec::with_capacity(components.len());
    for component in components {
        let text = match component.render(scope)? {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
        };
        texts.push(escape(&text, delimiters).into_owned());
    }
    while texts.last().is_some_and(String::is_empty) {
        texts.pop();
    }
    Ok(texts.join(&char::from(delimiters.component).to_string()))
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
            id: "",
            body: &body,
            known,
            connection: &nothing,
            settings: &nothing,
            now: "",
        };
        let outcome = ReplyOutcome { result: json!({"ids": ["1", "2"]}), ..ReplyOutcome::default() };
        reply.lines(&context, outcome, &Delimiters::STANDARD).expect("rendered")
    }

    fn text(text: &str) -> ReplyLine {
        ReplyLine::Made(vec![ReplyPiece::Text(text.into())])
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
                text("RF1||||||A\\F\\1|||||000000070000^ERS^^UBRN"),
                ReplyLine::Copy(CopiedSegments { name: "PID".into(), only: None })
            ])
        );
    }

    #[test]
    fn without_what_it_needs_there_is_no_typed_reply() {
        let (reply, _) = compiled(REPLY);
        assert_eq!(lines(&reply.expect("compiles"), &json!({})), None);
    }

    #[test]
    fn a_segment_may_be_made_for_each_of_a_list_or_need_something_or_repeat_a_field() {
        let file = "for: { hl7v2: [SRM^S01, SRM^S04] }\nreply: SRR^*^SRR_S01\nsegments:\n  \
            - SCH: { 1: { copy: ARQ-1 }, 3: x }\n  \
            - PRD: { 7: [\"{item}\", ERS, \"{failure.code?}\"] }\n    each: result.ids\n  \
            - NTE: { 3: \"{failure.text}\" }\n    needs: failure\n";
        let (reply, problems) = compiled(file);
        assert_eq!(problems, 0);
        let reply = reply.expect("compiles");
        assert!(reply.answers("SRM", "S04") && !reply.answers("SRM", "S02") && !reply.wants_document());
        assert_eq!(reply.message_type("S04").join("^"), "SRR^S04^SRR_S01");
        let copied = ReplyPiece::Field { segment: "ARQ".into(), number: 1 };
        let schedule = ReplyLine::Made(vec![ReplyPiece::Text("SCH|".into()), copied, ReplyPiece::Text("||x".into())]);
        let expected = vec![schedule, text("PRD|||||||1^ERS"), text("PRD|||||||2^ERS")];
        assert_eq!(lines(&reply, &json!({})), Some(expected));
    }

    #[test]
    fn mistakes_are_reported() {
        for text in [
            "reply: RRI^I12^RRI_I12\nsegments: []\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI\nsegments: []\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: { x: 1 } } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: 1 } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: { 1: { copy: ARQ } } } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: { 1: \"{saved.x}\" } } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { copy: \"PRD[1]\" } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { needs: known.ubrn } ]\n",
        ] {
            assert!(compiled(text).1 > 0, "{text}");
        }
    }
}
