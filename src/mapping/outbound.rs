//! Messages out of events, compiled: `outbound/<dialect>/<name>.yaml`, a published fact to HL7 v2 for a hospital system.
//!
//! ```yaml
//! from: { event: ReferralReceived }     # or several
//! message: MDM^T02^MDM_T02
//! version: "2.4"
//! when: { settings.documents: inline }  # of the event's data, and of the destination's settings
//! where: "{{ event.state != 'DRAFT' }}" # where a condition is not enough
//! needs: item.sha256
//! each: event.documents                 # a message for each entry, as `item` (and `index`)
//! document: "{item.href?}"              # the file that goes along, where the gateway serves it
//! segments:
//!   - PID: { 1: "1", 3: ["{event.patient}", "", "", NHS, NH] }
//!   - OBX: { 1: "1", 2: ED, 5: ["", application, pdf, Base64, "{document.base64}"], 11: F }
//! ```
//!
//! `skip: true` alone takes out the inherited file of that name. MSH is the gateway's. Roots: `event` (its data, with `at`,
//! `source` and `name`), `settings`, `message` (`referral`: RF1-6 for a referral that has no other), `document`
//! (`contentType`, `base64`), with `each` also `item` and `index`.
//!
//! Guarantees: pure; every mistake is found when the set is loaded, paths into the event's data among them.

mod dialects;
mod event_schemas;
mod testing;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use dialects::OutboundDialect;
pub(super) use dialects::dialects;
pub use event_schemas::event_schema;
pub use testing::OutboundTest;

use super::diagnostic::{Diagnostics, did_you_mean};
use super::segments::{self, Copies, Line, Piece, Segment};
use super::set::{PlanContext, PlanProblem, check_against_schema};
use super::template::{Condition, OUTBOUND_ROOTS, Path, Root, Scope, Step, Template, TemplateCompiler};
use super::yaml::{Keys, Node};
use crate::hl7::{Delimiters, Version};

/// What the gateway adds to an event's data.
const ADDED: [&str; 3] = ["at", "source", "name"];
/// Messages that one list makes.
const EACH_MAX: usize = 200;

#[derive(Debug)]
pub struct OutboundMapping {
    /// Of the file; stays the same where a dialect has its own.
    name: String,
    events: Vec<String>,
    /// MSH-9.
    message_type: [String; 3],
    version: Version,
    when: Vec<Condition>,
    filter: Option<Template>,
    needs: Vec<Path>,
    each: Option<Path>,
    document: Option<Template>,
    segments: Vec<Segment>,
}

/// An event as mappings see it.
#[derive(Clone, Copy)]
pub struct OutboundEvent<'e> {
    name: &'e str,
    settings: &'e Value,
    saved: &'e Map<String, Value>,
}

/// One message that a file makes of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct OutboundEntry {
    /// Of the entry in the list of `each`; 0 without one.
    pub index: usize,
    /// Where the file is that goes along.
    pub document: Option<String>,
}

/// What there is to know of an event, beside its data.
pub struct OutboundFacts<'f> {
    pub name: &'f str,
    /// RFC 3339
    pub at: &'f str,
    pub source: &'f str,
    pub data: &'f Value,
    /// RF1-6 for a referral that has no other.
    pub referral: Option<&'f str>,
}

impl OutboundFacts<'_> {
    /// Owned by the caller, for as long as its messages are made.
    pub fn seen_by_mappings(&self) -> Map<String, Value> {
        let mut event = self.data.as_object().cloned().unwrap_or_default();
        for (name, value) in ADDED.into_iter().zip([self.at, self.source, self.name]) {
            event.insert(name.to_owned(), value.into());
        }
        let mut message = Map::new();
        message.extend(self.referral.map(|referral| ("referral".to_owned(), referral.into())));
        [("event".to_owned(), Value::Object(event)), ("message".to_owned(), Value::Object(message))]
            .into_iter()
            .collect()
    }
}

impl<'e> OutboundEvent<'e> {
    /// `seen`: as [`OutboundFacts::seen_by_mappings`] makes it.
    pub fn new(name: &'e str, settings: &'e Value, seen: &'e Map<String, Value>) -> Self {
        Self { name, settings, saved: seen }
    }

    fn context(&self) -> PlanContext<'e> {
        const NOTHING: &Value = &Value::Null;
        PlanContext {
            command: self.name,
            id: "",
            body: NOTHING,
            known: NOTHING,
            connection: NOTHING,
            settings: self.settings,
            now: "",
        }
    }
}

const KEYS: &[&str] =
    &["from", "message", "version", "when", "where", "needs", "each", "document", "segments", "about"];

fn compile(name: &str, file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<OutboundMapping> {
    let keys = Keys::of(file, node, KEYS, diagnostics)?;
    let events = events(file, &keys, diagnostics);
    let message_type = keys.text("message", diagnostics).and_then(|text| message_type(&text));
    if message_type.is_none() {
        let at = keys.get("message").map_or(node.at, |node| node.at);
        diagnostics.report(file, at, "`message` is type, trigger event and structure: REF^I12^REF_I12");
    }
    let written = keys.text("version", diagnostics);
    let version = written.as_deref().and_then(Version::parse);
    if version.is_none() {
        let at = keys.get("version").map_or(node.at, |node| node.at);
        diagnostics.report(file, at, "`version` is a version of HL7 from \"2.3\" to \"2.8\", such as \"2.4\"");
    }
    let none = BTreeMap::new();
    let mut compiler =
        TemplateCompiler { file: file.into(), roots: OUTBOUND_ROOTS, fragments: &none, diagnostics, paths: Vec::new() };
    let when = keys.get("when").map(|node| compiler.conditions(node)).unwrap_or_default();
    let filter = keys.get("where").map(|node| compiler.template(node));
    let needs = keys.get("needs").map(|node| compiler.paths_of(node)).unwrap_or_default();
    let each = keys.get("each").and_then(|node| compiler.paths_of(node).into_iter().next());
    let document = keys.get("document").map(|node| compiler.template(node));
    let segments = segments::compile(&mut compiler, keys.get("segments"), node.at, Copies::Nothing);
    let paths = std::mem::take(&mut compiler.paths);
    check_paths(&events, &paths, each.as_ref(), document.is_some(), diagnostics);
    let (message_type, version) = (message_type?, version?);
    Some(OutboundMapping {
        name: name.to_owned(),
        events,
        message_type,
        version,
        when,
        filter,
        needs,
        each,
        document,
        segments,
    })
}

/// Those of `from`, as far as there are such.
fn events(file: &str, keys: &Keys<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let from = keys.get("from").and_then(|node| Keys::of(file, node, &["event"], diagnostics));
    let named = from.map(|from| from.texts("event", diagnostics)).unwrap_or_default();
    if named.is_empty() {
        diagnostics.report(file, Default::default(), "`from: { event: ReferralReceived }` is missing");
    }
    let mut events = Vec::new();
    for (name, at) in named {
        if event_schema(&name).is_none() {
            let hint = did_you_mean(&name, event_schemas::names());
            diagnostics.report_with_hint(file, at, format!("there is no event {name}"), hint);
        } else {
            events.push(name);
        }
    }
    events
}

fn message_type(text: &str) -> Option<[String; 3]> {
    let parts: Vec<&str> = text.split('^').collect();
    let [kind, event, structure] = parts.as_slice() else { return None };
    let plain = |part: &str, most: usize| {
        (3..=most).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    (plain(kind, 3) && plain(event, 3) && plain(structure, 7))
        .then(|| [(*kind).to_owned(), (*event).to_owned(), (*structure).to_owned()])
}

/// Paths into the event must exist in its schema, for each event that the file is for.
fn check_paths(
    events: &[String],
    paths: &[Path],
    each: Option<&Path>,
    has_document: bool,
    diagnostics: &mut Diagnostics,
) {
    for path in paths.iter().filter(|path| path.root == Root::Document && !has_document) {
        let hint = Some("`document: \"{item.href?}\"` says which file goes along".to_owned());
        let text = format!("`{path}`: the file has no `document`");
        diagnostics.report_with_hint(&path.written.file, path.written.at, text, hint);
    }
    for path in paths.iter().filter(|path| path.root == Root::Message) {
        if !matches!(path.steps.as_slice(), [Step::Member(name)] if name == "referral") {
            let text = format!("`{path}`: of the message only `message.referral` is known");
            diagnostics.report(&path.written.file, path.written.at, text);
        }
    }
    for schema in events.iter().filter_map(|name| event_schema(name)) {
        let is_added =
            |path: &Path| matches!(path.steps.first(), Some(Step::Member(name)) if ADDED.contains(&name.as_str()));
        for path in paths.iter().filter(|path| path.root == Root::Event && !is_added(path)) {
            check_against_schema("event", &schema, &schema, path, diagnostics);
        }
        let Some(each) = each.filter(|each| each.root == Root::Event) else { continue };
        let mut entry = Some(&schema);
        for step in &each.steps {
            entry = match step {
                Step::Member(name) => entry.and_then(|schema| schema.get("properties")?.get(name)),
                Step::Index(_) | Step::ByIndex => entry.and_then(|schema| schema.get("items")),
            };
        }
        let Some(entry) = entry.and_then(|list| list.get("items")) else { continue };
        for path in paths.iter().filter(|path| path.root == Root::Item) {
            check_against_schema("entry", &schema, entry, path, diagnostics);
        }
    }
}

impl OutboundMapping {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn takes(&self, event: &str) -> bool {
        self.events.iter().any(|name| name == event)
    }

    /// MSH-9.
    pub fn message_type(&self) -> &[String; 3] {
        &self.message_type
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The messages that it makes of an event, in their order; none where it does not want it.
    pub fn entries(&self, event: &OutboundEvent<'_>) -> Result<Vec<OutboundEntry>, PlanProblem> {
        let context = event.context();
        let scope = Scope { context: &context, saved: event.saved, item: None, index: 0, reply: None };
        let mut entries = Vec::new();
        match &self.each {
            None => entries.extend(self.entry(&scope)?),
            Some(each) => {
                let listed = scope.lookup(each);
                let items = listed.iter().filter_map(|value| value.as_array()).flatten().take(EACH_MAX);
                for (index, item) in items.enumerate() {
                    entries.extend(self.entry(&Scope { item: Some(item), index, ..scope })?);
                }
            }
        }
        Ok(entries)
    }

    fn entry(&self, scope: &Scope<'_>) -> Result<Option<OutboundEntry>, PlanProblem> {
        let wanted = self.needs.iter().all(|path| scope.has(path)) && self.when.iter().all(|c| c.holds(scope));
        if !wanted {
            return Ok(None);
        }
        if let Some(filter) = &self.filter
            && filter.render(scope)? != Some(Value::Bool(true))
        {
            return Ok(None);
        }
        let document = match &self.document {
            None => None,
            Some(place) => match place.render(scope)? {
                Some(Value::String(place)) => Some(place),
                _ => return Ok(None),
            },
        };
        Ok(Some(OutboundEntry { index: scope.index, document }))
    }

    /// The lines below MSH of one of its messages. `document`: what stands at the entry's place, or null.
    pub fn lines(
        &self,
        event: &OutboundEvent<'_>,
        entry: &OutboundEntry,
        document: Value,
        delimiters: &Delimiters,
    ) -> Result<Vec<String>, PlanProblem> {
        let context = event.context();
        let with_document;
        let saved = match document {
            Value::Null => event.saved,
            document => {
                let mut saved = event.saved.clone();
                saved.insert("document".to_owned(), document);
                with_document = saved;
                &with_document
            }
        };
        let scope = Scope { context: &context, saved, item: None, index: 0, reply: None };
        let listed = self.each.as_ref().and_then(|each| scope.lookup(each));
        let item = listed.as_deref().and_then(|listed| listed.get(entry.index));
        let lines = segments::lines(&self.segments, &Scope { item, index: entry.index, ..scope }, delimiters)?;
        Ok(lines.into_iter().map(text_of).collect())
    }
}

/// Nothing is copied, for there is no message to copy from.
fn text_of(line: Line) -> String {
    let pieces = match line {
        Line::Made(pieces) => pieces,
        Line::Copy(_) => Vec::new(),
    };
    let texts = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Field { .. } => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests;
