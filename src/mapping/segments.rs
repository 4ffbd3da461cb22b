//! Segments of a message that is made, as mapping files write them: by number, with lists of components.
//!
//! ```yaml
//! segments:
//!   - RF1: { 1: [P, Pending, HL70283], 11: ["{event.ubrn}", ERS, "", UBRN] }
//!   - PRD: { 1: [RT], 7: ["{item}", ERS] }
//!     each: event.services
//!   - NTE: { 1: "1", 3: "{event.comments}" }
//!     needs: event.comments
//! ```
//!
//! Enters: the list of a file. Leaves: lines, for what a template may look at. Guarantees: values are escaped, so that none
//! of them can end its field; what is absent at the end of a field or of a segment leaves no separators.

use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::Place;
use super::set::PlanProblem;
use super::template::{Path, Scope, Template, TemplateCompiler};
use super::yaml::{Node, Yaml};
use crate::hl7::{Delimiters, escape};

#[derive(Debug)]
pub(super) struct Segment {
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

/// A line, or the name of segments to be repeated from the message that is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Made(Vec<Piece>),
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
pub enum Piece {
    /// To be encoded.
    Text(String),
    /// A field of the message, as it was sent.
    Field { segment: String, number: u16 },
}

/// Fields of a made segment beyond this are a mistake.
const FIELDS_MAX: u16 = 200;
/// Segments that one list makes.
const EACH_MAX: usize = 200;

/// Whether segments and fields of another message may be repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    OfTheMessage,
    /// There is none.
    Nothing,
}

/// The list under `segments`; every mistake is reported.
pub(super) fn compile(
    compiler: &mut TemplateCompiler<'_>,
    list: Option<&Node>,
    at: Place,
    copies: Copies,
) -> Vec<Segment> {
    match list {
        Some(Node { yaml: Yaml::List(items), .. }) => {
            items.iter().filter_map(|item| segment(compiler, item, copies)).collect()
        }
        _ => {
            let file: Arc<str> = compiler.file.clone();
            compiler.diagnostics.report(&file, at, "`segments` is a list of segments, in their order");
            Vec::new()
        }
    }
}

fn segment(compiler: &mut TemplateCompiler<'_>, node: &Node, copies: Copies) -> Option<Segment> {
    let form = match copies {
        Copies::OfTheMessage => {
            "a segment is `NAME: { number: value }` or `copy: NAME`, with `needs`, `lacks` or `each`"
        }
        Copies::Nothing => "a segment is `NAME: { number: value }`, with `needs`, `lacks` or `each`",
    };
    let file: Arc<str> = compiler.file.clone();
    let (mut needs, mut lacks, mut each, mut content) = (Vec::new(), Vec::new(), None, None);
    for (key, value) in node.as_map().unwrap_or_default() {
        match key.name.as_str() {
            "needs" => needs = compiler.paths_of(value),
            "lacks" => lacks = compiler.paths_of(value),
            "each" => each = compiler.paths_of(value).into_iter().next(),
            "copy" if copies == Copies::OfTheMessage => {
                content = value.as_text().and_then(CopiedSegments::parse).map(Content::Copied)
            }
            name if is_segment_name(name) => content = made(compiler, name, value, copies),
            name => {
                let text = format!("`{name}` is neither a segment nor `needs`, `lacks` or `each`");
                compiler.diagnostics.report(&file, key.at, text);
            }
        }
    }
    if content.is_none() {
        compiler.diagnostics.report(&file, node.at, form);
    }
    Some(Segment { needs, lacks, each, content: content? })
}

/// `PID`, `ZRX`
fn is_segment_name(name: &str) -> bool {
    name.len() == 3
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn made(compiler: &mut TemplateCompiler<'_>, name: &str, node: &Node, copies: Copies) -> Option<Content> {
    let file: Arc<str> = compiler.file.clone();
    let Some(entries) = node.as_map() else {
        compiler.diagnostics.report(&file, node.at, format!("the fields of {name} are a mapping"));
        return None;
    };
    let mut fields = Vec::new();
    for (number, value) in entries {
        match number.name.parse::<u16>().ok().filter(|number| (1..=FIELDS_MAX).contains(number)) {
            Some(number) => fields.extend(field(compiler, value, copies).map(|field| (number, field))),
            None => {
                let text = format!("`{}` is not the number of a field", number.name);
                compiler.diagnostics.report(&file, number.at, text);
            }
        }
    }
    fields.sort_by_key(|(number, _)| *number);
    Some(Content::Made { name: name.to_owned(), fields })
}

fn field(compiler: &mut TemplateCompiler<'_>, node: &Node, copies: Copies) -> Option<Field> {
    if let Some([(key, copied)]) = node.as_map()
        && key.name == "copy"
        && copies == Copies::OfTheMessage
    {
        let place = copied.as_text().and_then(|text| text.split_once('-'));
        let place = place.and_then(|(segment, number)| Some((segment.to_owned(), number.parse().ok()?)));
        if place.is_none() {
            let file: Arc<str> = compiler.file.clone();
            compiler.diagnostics.report(&file, node.at, "`copy` names a field of the message, such as ARQ-1");
        }
        return place.map(|(segment, number)| Field::Copied(segment, number));
    }
    if node.as_map().is_some() {
        let file: Arc<str> = compiler.file.clone();
        compiler.diagnostics.report(&file, node.at, "a field is text, or a list of components");
        return None;
    }
    Some(Field::Components(match &node.yaml {
        Yaml::List(items) => items.iter().map(|item| compiler.template(item)).collect(),
        _ => vec![compiler.template(node)],
    }))
}

/// The lines of these segments, in their order.
pub(super) fn lines(
    segments: &[Segment],
    scope: &Scope<'_>,
    delimiters: &Delimiters,
) -> Result<Vec<Line>, PlanProblem> {
    let mut lines = Vec::with_capacity(segments.len());
    for segment in segments {
        let wanted = segment.needs.iter().all(|path| scope.has(path));
        if !wanted || segment.lacks.iter().any(|path| scope.has(path)) {
            continue;
        }
        match &segment.each {
            None => lines.push(segment.line(scope, delimiters)?),
            Some(each) => {
                let listed = scope.lookup(each);
                let items = listed.iter().filter_map(|value| value.as_array()).flatten().take(EACH_MAX);
                for (index, item) in items.enumerate() {
                    lines.push(segment.line(&Scope { item: Some(item), index, ..*scope }, delimiters)?);
                }
            }
        }
    }
    Ok(lines)
}

impl Segment {
    fn line(&self, scope: &Scope<'_>, delimiters: &Delimiters) -> Result<Line, PlanProblem> {
        let (name, fields) = match &self.content {
            Content::Copied(copied) => return Ok(Line::Copy(copied.clone())),
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
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Field { segment: segment.clone(), number: *number });
                }
            }
        }
        text.truncate(text.trim_end_matches(char::from(delimiters.field)).len());
        pieces.push(Piece::Text(text));
        Ok(Line::Made(pieces))
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
