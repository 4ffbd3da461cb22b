//! Templates: the JSON of an e-RS call, written as YAML, with values taken from declared paths.
//!
//! | Form | Meaning |
//! |---|---|
//! | `"{command.patient.nhsNumber}"` | the value at that path, of whatever type; an error if absent |
//! | `"{command.specialty?}"` | the same, or nothing: the member is dropped |
//! | `"{connection.codeSystemBase}/STU3/…"` | text with values in it |
//! | `"{{ reply.body.contained \| length }}"` | an expression, where a path is not enough |
//! | `$need: command.specialty` | in a mapping: dropped unless that path has a value |
//! | `$if: { command.then: triage }` | in a mapping: dropped unless all conditions hold |
//! | `$where: "{{ … }}"` | in a mapping: dropped unless the expression is true |
//! | `$each: command.shortlist` | in a mapping inside a list: once for each entry, as `item` (and `index`) |
//! | `$mentions: saved.patient` | beside `$each`: only entries in which that text is a value somewhere; looked for before anything is evaluated |
//! | `$use: ServiceSearchCriteria` | in a mapping: the fragment of that name |
//!
//! Roots: `command`, `known`, `connection`, `settings`, `saved`, `now`, in repetition `item` and `index`,
//! after an answer `reply`. In the reply to a message: `result`, `failure`, `document`. In a message out of an event: `event`,
//! `message`, `document`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::diagnostic::{Diagnostics, Place, did_you_mean};
use super::expression::Expression;
use super::plan::Reply;
use super::set::{PlanContext, PlanProblem};
use super::yaml::{Key, Node, Yaml, texts};

/// Where a template or path was written.
#[derive(Clone, Debug)]
pub struct Written {
    pub file: Arc<str>,
    pub at: Place,
}

#[derive(Debug)]
pub enum Template {
    Constant(Value),
    Path(Path),
    Text(Vec<Piece>),
    Expression(Expression, Written),
    List(Vec<Template>),
    Map(Mapping),
}

#[derive(Debug)]
pub enum Piece {
    Literal(String),
    Path(Path),
}

#[derive(Debug)]
pub struct Mapping {
    need: Vec<Path>,
    conditions: Vec<Condition>,
    filter: Option<Box<Template>>,
    each: Option<Path>,
    mentions: Option<Path>,
    inner: Option<Arc<Template>>,
    members: Vec<(String, Template)>,
}

#[derive(Debug)]
pub struct Condition {
    path: Path,
    values: Vec<Value>,
}

/// `saved.binaries[index]`
#[derive(Clone, Debug)]
pub struct Path {
    pub root: Root,
    pub steps: Vec<Step>,
    optional: bool,
    pub written: Written,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Member(String),
    Index(usize),
    /// `[index]`
    ByIndex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Command,
    Known,
    Connection,
    Settings,
    Saved,
    Item,
    Index,
    Reply,
    Now,
    CommandId,
    /// Of replies to messages: what the plan answers, why it failed, and the document that e-RS made.
    Result,
    Failure,
    Document,
    /// Of messages out of events: the event's data, and what the gateway gives the message.
    Event,
    Message,
}

/// Of plans.
pub const ROOTS: &[(&str, Root)] = &[
    ("command", Root::Command),
    ("known", Root::Known),
    ("connection", Root::Connection),
    ("settings", Root::Settings),
    ("saved", Root::Saved),
    ("item", Root::Item),
    ("index", Root::Index),
    ("reply", Root::Reply),
    ("now", Root::Now),
    ("commandId", Root::CommandId),
];

/// Of replies to messages.
pub const REPLY_ROOTS: &[(&str, Root)] = &[
    ("command", Root::Command),
    ("known", Root::Known),
    ("settings", Root::Settings),
    ("item", Root::Item),
    ("index", Root::Index),
    ("result", Root::Result),
    ("failure", Root::Failure),
    ("document", Root::Document),
];

/// Of messages out of events.
pub const OUTBOUND_ROOTS: &[(&str, Root)] = &[
    ("event", Root::Event),
    ("message", Root::Message),
    ("settings", Root::Settings),
    ("item", Root::Item),
    ("index", Root::Index),
    ("document", Root::Document),
];

fn all_roots() -> impl Iterator<Item = &'static (&'static str, Root)> {
    ROOTS.iter().chain(REPLY_ROOTS).chain(OUTBOUND_ROOTS)
}

impl Root {
    fn name(self) -> &'static str {
        all_roots().find(|(_, root)| *root == self).map_or("", |(name, _)| name)
    }

    /// Kept among what is saved, under its own name.
    fn is_saved_by_name(self) -> bool {
        matches!(self, Self::Result | Self::Failure | Self::Document | Self::Event | Self::Message)
    }
}

/// What a template may look at.
#[derive(Clone, Copy)]
pub struct Scope<'s> {
    pub context: &'s PlanContext<'s>,
    pub saved: &'s Map<String, Value>,
    pub item: Option<&'s Value>,
    pub index: usize,
    pub reply: Option<&'s SeenReply<'s>>,
}

/// `{status, headers, body, document}` as templates see an answer: its body stays where it is, for it may be large.
#[derive(Serialize)]
pub struct SeenReply<'r> {
    body: &'r Value,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl<'r> SeenReply<'r> {
    pub fn of(reply: &'r Reply) -> Self {
        let headers: Map<String, Value> =
            reply.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().into())).collect();
        let document = serde_json::to_value(&reply.document).unwrap_or_default();
        let others = [("status", reply.status.into()), ("headers", Value::Object(headers)), ("document", document)];
        let others = others.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { body: reply.body.tree(), others }
    }

    fn member(&self, name: &str) -> Option<&Value> {
        match name {
            "body" => Some(self.body),
            _ => self.others.get(name),
        }
    }
}

/// A root as an expression gets it: nothing is copied that is kept elsewhere.
#[derive(Serialize)]
#[serde(untagged)]
enum Lent<'s> {
    Value(Cow<'s, Value>),
    Saved(&'s Map<String, Value>),
    Reply(&'s SeenReply<'s>),
}

impl Scope<'_> {
    fn root(&self, root: Root) -> Option<Cow<'_, Value>> {
        Some(match root {
            Root::Command => Cow::Borrowed(self.context.body),
            Root::Known => Cow::Borrowed(self.context.known),
            Root::Connection => Cow::Borrowed(self.context.connection),
            Root::Settings => Cow::Borrowed(self.context.settings),
            Root::Item => Cow::Borrowed(self.item?),
            Root::Index => Cow::Owned(Value::from(self.index)),
            Root::Now => Cow::Owned(Value::from(self.context.now)),
            Root::CommandId => Cow::Owned(Value::from(self.context.id)),
            Root::Saved | Root::Reply | Root::Result | Root::Failure | Root::Document | Root::Event | Root::Message => {
                return None;
            }
        })
    }

    /// `None` when nothing is there, or null.
    pub fn lookup(&self, path: &Path) -> Option<Cow<'_, Value>> {
        if matches!(path.root, Root::Saved | Root::Reply) {
            let (first, rest) = path.steps.split_first()?;
            let Step::Member(name) = first else { return None };
            let member = match path.root {
                Root::Saved => self.saved.get(name)?,
                _ => self.reply?.member(name)?,
            };
            return walk(member, rest, self.index).map(Cow::Borrowed);
        }
        if path.root.is_saved_by_name() {
            return walk(self.saved.get(path.root.name())?, &path.steps, self.index).map(Cow::Borrowed);
        }
        match self.root(path.root)? {
            Cow::Borrowed(root) => walk(root, &path.steps, self.index).map(Cow::Borrowed),
            Cow::Owned(value) => path.steps.is_empty().then_some(Cow::Owned(value)),
        }
    }

    pub fn has(&self, path: &Path) -> bool {
        self.lookup(path).is_some_and(|value| match &*value {
            Value::Array(items) => !items.is_empty(),
            Value::String(text) => !text.is_empty(),
            _ => true,
        })
    }

    /// Only what the expression names: an answer of e-RS may be large, and an expression may stand in each of its entries.
    fn for_expression(&self, expression: &Expression) -> minijinja::Value {
        let mut context: BTreeMap<&str, Lent<'_>> = BTreeMap::new();
        for (name, root) in all_roots().filter(|(name, _)| expression.mentions(name)) {
            let value = match root {
                Root::Saved => Some(Lent::Saved(self.saved)),
                Root::Reply => self.reply.map(Lent::Reply),
                _ if root.is_saved_by_name() => self.saved.get(*name).map(|value| Lent::Value(Cow::Borrowed(value))),
                _ => self.root(*root).map(Lent::Value),
            };
            context.extend(value.map(|value| (*name, value)));
        }
        minijinja::Value::from(minijinja::value::Serde(&context))
    }
}

/// Whether `text` is one of its values, however deep.
fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(members) => members.values().any(|member| mentions(member, text)),
        _ => false,
    }
}

fn walk<'v>(value: &'v Value, steps: &[Step], index: usize) -> Option<&'v Value> {
    let mut value = value;
    for step in steps {
        value = match step {
            Step::Member(name) => value.get(name.as_str())?,
            Step::Index(number) => value.get(*number)?,
            Step::ByIndex => value.get(index)?,
        };
    }
    (!value.is_null()).then_some(value)
}

impl Condition {
    /// An absent value is matched by `null` and by `false`.
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        match scope.lookup(&self.path) {
            Some(value) => self.values.contains(&value),
            None => self.values.iter().any(|wanted| matches!(wanted, Value::Bool(false) | Value::Null)),
        }
    }
}

impl Template {
    /// `None` when the value is optional and absent, or a condition does not hold.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Option<Value>, PlanProblem> {
        match self {
            Self::Constant(value) => Ok(Some(value.clone())),
            Self::Path(path) => path.resolve(scope),
            Self::Text(pieces) => render_text(pieces, scope),
            Self::Expression(expression, written) => expression
                .evaluate(scope.for_expression(expression))
                .map_err(|why| written.problem(&format!("`{}`: {why}", expression.source()))),
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    item.render_into(scope, &mut list)?;
                }
                Ok(Some(Value::Array(list)))
            }
            Self::Map(mapping) => mapping.render(scope),
        }
    }

    fn render_into(&self, scope: &Scope<'_>, list: &mut Vec<Value>) -> Result<(), PlanProblem> {
        let Self::Map(Mapping { each: Some(each), .. }) = self else {
            list.extend(self.render(scope)?);
            return Ok(());
        };
        let Self::Map(mapping) = self else { return Ok(()) };
        let items = scope.lookup(each);
        let wanted = match &mapping.mentions {
            None => None,
            Some(path) => path.resolve(scope)?,
        };
        let wanted = wanted.as_ref().and_then(Value::as_str);
        for (index, item) in items.iter().filter_map(|value| value.as_array()).flatten().enumerate() {
            if wanted.is_some_and(|text| !mentions(item, text)) {
                continue;
            }
            list.extend(mapping.render(&Scope { item: Some(item), index, ..*scope })?);
        }
        Ok(())
    }
}

fn render_text(pieces: &[Piece], scope: &Scope<'_>) -> Result<Option<Value>, PlanProblem> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Path(path) => match path.resolve(scope)? {
                None => return Ok(None),
                Some(Value::String(value)) => text.push_str(&value),
                Some(value) => text.push_str(&value.to_string()),
            },
        }
    }
    Ok(Some(Value::String(text)))
}

impl Mapping {
    fn render(&self, scope: &Scope<'_>) -> Result<Option<Value>, PlanProblem> {
        let wanted = self.need.iter().all(|path| scope.has(path)) && self.conditions.iter().all(|c| c.holds(scope));
        if !wanted {
            return Ok(None);
        }
        if let Some(filter) = &self.filter
            && filter.render(scope)? != Some(Value::Bool(true))
        {
            return Ok(None);
        }
        if let Some(inner) = &self.inner {
            return inner.render(scope);
        }
        let mut map = Map::new();
        for (name, template) in &self.members {
            if let Some(value) = template.render(scope)? {
                map.insert(name.clone(), value);
            }
        }
        Ok(Some(Value::Object(map)))
    }
}

impl Path {
    fn resolve(&self, scope: &Scope<'_>) -> Result<Option<Value>, PlanProblem> {
        match scope.lookup(self) {
            Some(value) => Ok(Some(value.into_owned())),
            None if self.optional => Ok(None),
            None => Err(self.written.problem(&format!("`{self}` has no value"))),
        }
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.root.name())?;
        for step in &self.steps {
            match step {
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Index(number) => write!(f, "[{number}]")?,
                Step::ByIndex => f.write_str("[index]")?,
            }
        }
        Ok(())
    }
}

impl Written {
    pub fn problem(&self, text: &str) -> PlanProblem {
        PlanProblem {
            code: "MAPPING".into(),
            text: format!("mappings/{}:{}:{}: {text}", self.file, self.at.line, self.at.column),
        }
    }
}

/// Compiles templates of one file; fragments come from `ers/fragments.yaml`.
pub struct TemplateCompiler<'c> {
    pub file: Arc<str>,
    /// What its paths may start with.
    pub roots: &'static [(&'static str, Root)],
    pub fragments: &'c BTreeMap<String, Arc<Template>>,
    pub diagnostics: &'c mut Diagnostics,
    /// Every path met, for checks against the schema and against what is saved.
    pub paths: Vec<Path>,
}

impl TemplateCompiler<'_> {
    fn written(&self, at: Place) -> Written {
        Written { file: self.file.clone(), at }
    }

    pub fn template(&mut self, node: &Node) -> Template {
        match &node.yaml {
            Yaml::Text(text) => self.text(text, node.at),
            Yaml::List(items) => Template::List(items.iter().map(|item| self.template(item)).collect()),
            Yaml::Map(entries) => self.mapping(entries, node.at),
            _ => Template::Constant(node.to_json()),
        }
    }

    fn text(&mut self, text: &str, at: Place) -> Template {
        if let Some(source) = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
            return match Expression::compile(source) {
                Ok(expression) => {
                    self.check_names(&expression, at);
                    Template::Expression(expression, self.written(at))
                }
                Err(why) => {
                    self.diagnostics.report(&self.file, at, why);
                    Template::Constant(Value::Null)
                }
            };
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let Some(length) = rest[open..].find('}') else {
                self.diagnostics.report(&self.file, at, "`{` is not closed");
                break;
            };
            if open > 0 {
                pieces.push(Piece::Literal(rest[..open].to_owned()));
            }
            if let Some(path) = self.path(&rest[open + 1..open + length], at) {
                pieces.push(Piece::Path(path));
            }
            rest = &rest[open + length + 1..];
        }
        if pieces.is_empty() {
            return Template::Constant(Value::from(text));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        match pieces.as_mut_slice() {
            [Piece::Path(path)] => Template::Path(path.clone()),
            _ => Template::Text(pieces),
        }
    }

    fn check_names(&mut self, expression: &Expression, at: Place) {
        for name in expression.names() {
            if !self.roots.iter().any(|(known, _)| known == name) {
                let hint = did_you_mean(name, self.roots.iter().map(|(known, _)| *known));
                self.diagnostics.report_with_hint(&self.file, at, format!("unknown name `{name}`"), hint);
            }
        }
    }

    fn mapping(&mut self, entries: &[(Key, Node)], at: Place) -> Template {
        let mut mapping = Mapping {
            need: Vec::new(),
            conditions: Vec::new(),
            filter: None,
            each: None,
            mentions: None,
            inner: None,
            members: Vec::new(),
        };
        for (key, node) in entries {
            match key.name.as_str() {
                "$need" => mapping.need = self.paths_of(node),
                "$if" => mapping.conditions = self.conditions(node),
                "$where" => mapping.filter = Some(Box::new(self.template(node))),
                "$each" => mapping.each = self.paths_of(node).into_iter().next(),
                "$mentions" => mapping.mentions = self.paths_of(node).into_iter().next(),
                "$use" => mapping.inner = self.fragment(node),
                name if name.starts_with('$') => {
                    let hint = did_you_mean(name, ["$need", "$if", "$where", "$each", "$mentions", "$use"]);
                    self.diagnostics.report_with_hint(&self.file, key.at, format!("unknown form `{name}`"), hint);
                }
                name => {
                    let template = self.template(node);
                    mapping.members.push((name.to_owned(), template));
                }
            }
        }
        if mapping.inner.is_some() && !mapping.members.is_empty() {
            self.diagnostics.report(&self.file, at, "`$use` stands alone: the fragment is the whole value");
        }
        if mapping.mentions.is_some() && mapping.each.is_none() {
            self.diagnostics.report(&self.file, at, "`$mentions` stands beside `$each`: it picks entries");
        }
        Template::Map(mapping)
    }

    fn fragment(&mut self, node: &Node) -> Option<Arc<Template>> {
        let name = node.as_text().unwrap_or_default();
        let found = self.fragments.get(name).cloned();
        if found.is_none() {
            let hint = did_you_mean(name, self.fragments.keys().map(String::as_str));
            self.diagnostics.report_with_hint(&self.file, node.at, format!("unknown fragment `{name}`"), hint);
        }
        found
    }

    pub fn paths_of(&mut self, node: &Node) -> Vec<Path> {
        let listed = texts(&self.file, node, self.diagnostics);
        listed.into_iter().filter_map(|(text, at)| self.path(&text, at)).collect()
    }

    /// `{ path: value }` or `{ path: [value, value] }`; all must hold.
    pub fn conditions(&mut self, node: &Node) -> Vec<Condition> {
        let Some(entries) = node.as_map() else {
            self.diagnostics.report(&self.file, node.at, "conditions are a mapping of paths to values");
            return Vec::new();
        };
        entries
            .iter()
            .filter_map(|(key, node)| {
                let path = self.path(&key.name, key.at)?;
                let values = match &node.yaml {
                    Yaml::List(items) => items.iter().map(Node::to_json).collect(),
                    _ => vec![node.to_json()],
                };
                Some(Condition { path, values })
            })
            .collect()
    }

    pub fn path(&mut self, text: &str, at: Place) -> Option<Path> {
        match parse_path(text, self.roots, self.written(at)) {
            Ok(path) => {
                self.paths.push(path.clone());
                Some(path)
            }
            Err((why, hint)) => {
                self.diagnostics.report_with_hint(&self.file, at, format!("`{text}` is not a path: {why}"), hint);
                None
            }
        }
    }
}

fn parse_path(text: &str, roots: &[(&'static str, Root)], written: Written) -> Result<Path, (String, Option<String>)> {
    let (text, optional) = match text.strip_suffix('?') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let root = roots.iter().find(|(known, _)| *known == name).map(|(_, root)| *root).ok_or_else(|| {
        (format!("it starts with `{name}`"), did_you_mean(name, roots.iter().map(|(known, _)| *known)))
    })?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let close = after.find(']').ok_or_else(|| ("`[` is not closed".to_owned(), None))?;
            let inside = &after[..close];
            steps.push(match inside {
                "index" => Step::ByIndex,
                _ => Step::Index(
                    inside.parse().map_err(|_| ("inside `[ ]` stands a number or `index`".to_owned(), None))?,
                ),
            });
            rest = &after[close + 1..];
        } else {
            let after = rest.strip_prefix('.').ok_or_else(|| ("parts are separated by dots".to_owned(), None))?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Err(("an empty part".to_owned(), None));
            }
            steps.push(Step::Member(after[..end].to_owned()));
            rest = &after[end..];
        }
    }
    Ok(Path { root, steps, optional, written })
}
