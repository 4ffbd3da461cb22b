//! Inbound mappings, compiled: `inbound/<dialect>/<MESSAGE>.yaml`, message to command.
//!
//! Enters: the YAML of one file. Leaves: an [`InboundFile`], which a dialect's file of the same name
//! overlays: what it does not say is inherited. Guarantees: every mistake is reported with its place.

use serde_json::Value;

use super::codes::CodeTable;
use super::diagnostic::{Diagnostics, Place, did_you_mean};
use super::expression::Expression;
use super::fhir::IgnoredElement;
use super::filter::{FILTERS, Filter};
use super::source::{Language, Origin, Selector};
use super::yaml::{Key, Keys, Node, Yaml, texts};
use std::sync::Arc;

/// One file as written; absent parts are inherited.
#[derive(Clone, Debug, Default)]
pub struct InboundFile {
    pub file: String,
    pub from: Option<Origin>,
    pub when: Option<Vec<Condition>>,
    pub outcome: Option<Outcome>,
    pub requires: Option<Vec<String>>,
    pub nulls: Option<Nulls>,
    pub thread: Vec<(ThreadKey, Arc<Leaf>)>,
    pub body: Vec<Arc<Leaf>>,
    /// Keys of `body` that a dialect takes out (`key: null`).
    pub without: Vec<String>,
    pub letters: Option<Vec<Arc<LetterSpec>>>,
    pub clinical_text: Option<Arc<ClinicalText>>,
    pub ignore: Vec<Ignored>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    Command(String),
    Notice(String),
    /// Understood, but not done: the sender is told why.
    Refuse {
        location: Selector,
        code: u16,
        text: String,
    },
}

/// What an HL7 null (`""`) in a value becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nulls {
    /// Nothing to delete in a new thing: left out.
    #[default]
    Absent,
    /// JSON null: delete.
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadKey {
    LocalId,
    Ubrn,
    Document,
    /// The document that this one replaces.
    Replaces,
    /// The sender's own identifier of an appointment.
    Appointment,
}

#[derive(Clone, Debug)]
pub struct Condition {
    pub on: ConditionOn,
    /// Any of them; empty text matches an absent value, `*` any value that is there.
    pub values: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum ConditionOn {
    Message(Selector),
    /// `settings.bookByWish`: of the source.
    Setting(String),
}

impl std::fmt::Display for ConditionOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(selector) => selector.fmt(f),
            Self::Setting(name) => write!(f, "the setting {name}"),
        }
    }
}

impl Condition {
    pub fn takes(&self, value: &str) -> bool {
        self.values.iter().any(|wanted| wanted == value || (wanted == "*" && !value.is_empty()))
    }
}

/// One member of the command and where it comes from.
#[derive(Debug)]
pub struct Leaf {
    /// Dotted path in the command's body.
    pub key: String,
    pub path: Vec<String>,
    pub source: Source,
    pub file: String,
    pub at: Place,
}

#[derive(Debug)]
pub enum Source {
    Constant(Value),
    Read(Read),
    Each { over: Selector, of: Vec<Arc<Leaf>>, label: Option<String> },
    Expression { with: Vec<(String, Selector)>, expression: Expression },
}

#[derive(Debug, Default)]
pub struct Read {
    /// The first that is there wins.
    pub at: Vec<Selector>,
    pub then: Vec<Filter>,
    pub code: Option<String>,
    pub default: Option<Value>,
    pub required: bool,
    /// A setting of the source that makes it optional.
    pub required_unless: Option<String>,
    /// The only values taken, after filters, and what to tell otherwise.
    pub accept: Option<(Vec<String>, String)>,
    /// Every match must be the same.
    pub agree: bool,
    /// All matches, joined.
    pub join: Option<String>,
    /// What people call it, for errors.
    pub label: Option<String>,
}

#[derive(Debug)]
pub struct LetterSpec {
    pub each: Selector,
    pub content: LetterSource,
    pub name: Vec<Selector>,
    pub description: Vec<Selector>,
    pub types: Vec<Selector>,
    /// Fields that must have one of these values for a letter to be finished.
    pub finished: Vec<(Selector, Vec<String>)>,
}

#[derive(Debug)]
pub enum LetterSource {
    /// `data` is base64 where `encoding` says so.
    /// The first of `data` that is there.
    Data { data: Vec<Selector>, encoding: Option<Selector> },
    /// Formatted text: becomes a text file with CRLF line ends. Segments that follow each other are one letter.
    Text(Selector),
    /// A document that cannot be taken: the sender is told why.
    Refuse(String),
}

/// Clinical text that has no home in e-RS becomes a letter (`design.md` section 9).
#[derive(Debug)]
pub struct ClinicalText {
    pub file_name: String,
    pub title: String,
    pub sections: Vec<Section>,
}

#[derive(Debug)]
pub struct Section {
    pub title: String,
    pub each: Selector,
    pub line: Vec<Selector>,
    /// Added when there is something else to say; not a reason for a letter of its own.
    pub supplement: bool,
}

/// What a mapping names as not wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A segment, field or component.
    Field { segment: String, field: Option<u16>, component: Option<u16> },
    /// A resource or an element of FHIR.
    Element(IgnoredElement),
}

const FILE_KEYS: &[&str] = &[
    "from",
    "when",
    "command",
    "notice",
    "refuse",
    "requires",
    "nulls",
    "thread",
    "body",
    "letters",
    "clinicalText",
    "ignore",
    "about",
];

/// Compiles one file. What is broken is reported and left out.
pub fn compile(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> InboundFile {
    let mut compiled = InboundFile { file: file.to_owned(), ..InboundFile::default() };
    let Some(keys) = Keys::of(file, node, FILE_KEYS, diagnostics) else { return compiled };
    let mut c = Compiler { file, language: None, diagnostics };
    compiled.from = keys.get("from").and_then(|node| c.from(node));
    c.language = compiled.from.as_ref().map(Origin::language);
    compiled.when = keys.get("when").map(|node| c.conditions(node));
    compiled.outcome = c.outcome(&keys);
    compiled.requires = keys.get("requires").map(|node| c.strings(node));
    if let (Some(node), Some(Language::Fhir)) = (keys.get("requires"), c.language) {
        c.report(node.at, "`requires` names segments of HL7 v2; in a FHIR mapping give members `required: true`");
    }
    compiled.nulls = keys.get("nulls").and_then(|node| c.nulls(node));
    if let Some(entries) = keys.get("thread").and_then(|node| c.map(node)) {
        compiled.thread = entries.iter().filter_map(|(key, node)| c.thread_key(key, node)).collect();
    }
    if let Some(entries) = keys.get("body").and_then(|node| c.map(node)) {
        for (key, node) in entries {
            match node.yaml {
                Yaml::Null => compiled.without.push(key.name.clone()),
                _ => compiled.body.extend(c.leaf(key, node, None).map(Arc::new)),
            }
        }
    }
    compiled.letters = keys.get("letters").map(|node| c.letters(node));
    compiled.clinical_text = keys.get("clinicalText").and_then(|node| c.clinical_text(node)).map(Arc::new);
    if let Some(node) = keys.get("ignore") {
        compiled.ignore = ignored(file, node, c.diagnostics);
    }
    compiled
}

/// `[ IN1, "PID-18", "PID-5.5" ]`
pub fn ignored(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Vec<Ignored> {
    let mut entries = Vec::new();
    for (text, at) in texts(file, node, diagnostics) {
        match Ignored::parse(&text) {
            Some(entry) => entries.push(entry),
            None => diagnostics.report(
                file,
                at,
                format!(
                    "`{text}` is not a segment, field or component such as IN1, PID-18 or PID-5.5, nor a resource or \
                     element such as Location, Patient.telecom or *.meta"
                ),
            ),
        }
    }
    entries
}

impl Ignored {
    fn parse(text: &str) -> Option<Self> {
        if let Some(element) = IgnoredElement::parse(text) {
            return Some(Self::Element(element));
        }
        let (segment, rest) = text.split_once('-').map_or((text, None), |(segment, rest)| (segment, Some(rest)));
        if segment.len() != 3 || !segment.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (field, component) = match rest {
            None => (None, None),
            Some(rest) => match rest.split_once('.') {
                None => (Some(rest.parse().ok()?), None),
                Some((field, component)) => (Some(field.parse().ok()?), Some(component.parse().ok()?)),
            },
        };
        Some(Self::Field { segment: segment.to_owned(), field, component })
    }
}

/// `REF^I12`, or a list of such.
pub fn message_types(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<(String, String)>> {
    let mut types = Vec::new();
    for (text, at) in texts(file, node, diagnostics) {
        match text.split_once('^') {
            Some((code, trigger)) => types.push((code.to_owned(), trigger.to_owned())),
            None => diagnostics.report(file, at, "`hl7v2` is a message type and a trigger event, such as REF^I12"),
        }
    }
    (!types.is_empty()).then_some(types)
}

struct Compiler<'c> {
    file: &'c str,
    /// `None` where a file inherits what it is for: then each selector's looks tell.
    language: Option<Language>,
    diagnostics: &'c mut Diagnostics,
}

impl Compiler<'_> {
    fn report(&mut self, at: Place, text: impl Into<String>) {
        self.diagnostics.report(self.file, at, text);
    }

    fn map<'n>(&mut self, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        let map = node.as_map();
        if map.is_none() {
            self.report(node.at, format!("expected a mapping here, found {}", node.kind()));
        }
        map
    }

    fn strings(&mut self, node: &Node) -> Vec<String> {
        texts(self.file, node, self.diagnostics).into_iter().map(|(text, _)| text).collect()
    }

    fn selectors(&mut self, node: &Node) -> Vec<Selector> {
        let listed = texts(self.file, node, self.diagnostics);
        listed.into_iter().filter_map(|(text, at)| self.selector(&text, at)).collect()
    }

    fn selector(&mut self, text: &str, at: Place) -> Option<Selector> {
        let language = self.language.unwrap_or_else(|| Language::of_selector(text));
        Selector::parse(text, language).map_err(|why| self.report(at, why)).ok()
    }

    fn one_selector(&mut self, node: &Node) -> Option<Selector> {
        let mut all = self.selectors(node);
        if all.len() > 1 {
            self.report(node.at, "one selector is wanted here");
        }
        if all.is_empty() { None } else { Some(all.swap_remove(0)) }
    }

    fn from(&mut self, node: &Node) -> Option<Origin> {
        let keys = Keys::of(self.file, node, &["hl7v2", "fhir", "several"], self.diagnostics)?;
        let several = keys.flag("several", self.diagnostics);
        if let Some(kind) = keys.text("fhir", self.diagnostics) {
            if Language::of_selector(&kind) == Language::Fhir && kind.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Some(Origin::Fhir { kind, several });
            }
            self.report(node.at, "`fhir` is the type of a resource, such as ServiceRequest");
            return None;
        }
        if several {
            self.report(node.at, "`several` is for FHIR");
        }
        message_types(self.file, keys.get("hl7v2")?, self.diagnostics).map(Origin::Hl7v2)
    }

    fn conditions(&mut self, node: &Node) -> Vec<Condition> {
        let Some(entries) = self.map(node) else { return Vec::new() };
        entries
            .iter()
            .filter_map(|(key, node)| {
                let on = match key.name.strip_prefix("settings.") {
                    Some(name) => ConditionOn::Setting(name.to_owned()),
                    None => ConditionOn::Message(self.selector(&key.name, key.at)?),
                };
                Some(Condition { on, values: self.strings(node) })
            })
            .collect()
    }

    /// `{ "11": [F, C] }`: selectors and the values that do.
    fn wanted_values(&mut self, node: &Node) -> Vec<(Selector, Vec<String>)> {
        let Some(entries) = self.map(node) else { return Vec::new() };
        entries.iter().filter_map(|(key, node)| Some((self.selector(&key.name, key.at)?, self.strings(node)))).collect()
    }

    fn outcome(&mut self, keys: &Keys<'_>) -> Option<Outcome> {
        if let Some(command) = keys.text("command", self.diagnostics) {
            return Some(Outcome::Command(command));
        }
        if let Some(notice) = keys.text("notice", self.diagnostics) {
            return Some(Outcome::Notice(notice));
        }
        let node = keys.get("refuse")?;
        let keys = Keys::of(self.file, node, &["location", "code", "text"], self.diagnostics)?;
        let location = keys.get("location").and_then(|node| self.one_selector(node))?;
        let code = keys.text("code", self.diagnostics).and_then(|code| code.parse().ok()).unwrap_or(200);
        let text = keys.text("text", self.diagnostics).unwrap_or_default();
        Some(Outcome::Refuse { location, code, text })
    }

    fn nulls(&mut self, node: &Node) -> Option<Nulls> {
        match node.as_text() {
            Some("absent") => Some(Nulls::Absent),
            Some("keep") => Some(Nulls::Keep),
            _ => {
                self.report(node.at, "`nulls` is `absent` or `keep`");
                None
            }
        }
    }

    fn thread_key(&mut self, key: &Key, node: &Node) -> Option<(ThreadKey, Arc<Leaf>)> {
        let kind = match key.name.as_str() {
            "localId" => ThreadKey::LocalId,
            "ubrn" => ThreadKey::Ubrn,
            "document" => ThreadKey::Document,
            "replaces" => ThreadKey::Replaces,
            "appointment" => ThreadKey::Appointment,
            _ => {
                let hint = did_you_mean(&key.name, ["localId", "ubrn", "document", "replaces", "appointment"]);
                self.diagnostics.report_with_hint(
                    self.file,
                    key.at,
                    format!(
                        "a thread is known by localId, ubrn, document, replaces or appointment, not by `{}`",
                        key.name
                    ),
                    hint,
                );
                return None;
            }
        };
        self.leaf(key, node, None).map(|leaf| (kind, Arc::new(leaf)))
    }

    fn leaf(&mut self, key: &Key, node: &Node, within: Option<&Selector>) -> Option<Leaf> {
        let source = self.source(node, within)?;
        Some(Leaf {
            key: key.name.clone(),
            path: key.name.split('.').map(str::to_owned).collect(),
            source,
            file: self.file.to_owned(),
            at: key.at,
        })
    }

    fn source(&mut self, node: &Node, within: Option<&Selector>) -> Option<Source> {
        match &node.yaml {
            Yaml::Text(_) | Yaml::List(_) => {
                let at = self.read_selectors(node, within);
                return (!at.is_empty()).then_some(Source::Read(Read { at, ..Read::default() }));
            }
            Yaml::Integer(number) if within.is_some() => {
                let at = self.selector(&number.to_string(), node.at)?;
                return Some(Source::Read(Read { at: vec![at], ..Read::default() }));
            }
            Yaml::Map(_) => {}
            _ => {
                self.report(node.at, format!("expected a selector or a mapping with `at`, found {}", node.kind()));
                return None;
            }
        }
        if node.get("each").is_some() {
            return self.each(node);
        }
        if node.get("expr").is_some() {
            return self.expression(node);
        }
        if let Some(value) = node.get("value") {
            Keys::of(self.file, node, &["value"], self.diagnostics)?;
            return Some(Source::Constant(value.to_json()));
        }
        self.read(node, within).map(Source::Read)
    }

    /// Selectors with a segment outside of `each`, with or without one inside.
    fn read_selectors(&mut self, node: &Node, within: Option<&Selector>) -> Vec<Selector> {
        let found = self.selectors(node);
        for selector in &found {
            if selector.as_hl7v2().is_some_and(|selector| selector.field.is_none()) {
                self.report(node.at, format!("`{selector}` names a segment; a field is wanted"));
            } else if !selector.is_absolute() && within.is_none() {
                let part = if selector.as_fhir().is_some() { "type" } else { "segment" };
                self.report(node.at, format!("`{selector}` has no {part}, and there is no `each` around it"));
            }
        }
        found
    }

    fn each(&mut self, node: &Node) -> Option<Source> {
        let keys = Keys::of(self.file, node, &["each", "of", "label"], self.diagnostics)?;
        let over = keys.get("each").and_then(|node| self.one_selector(node))?;
        let is_field = over.as_hl7v2().is_some_and(|over| over.field.is_some());
        if is_field || !over.is_absolute() {
            self.report(node.at, "`each` goes over segments, such as ZRS or PRD[1=RT], or over elements and resources");
            return None;
        }
        let of = match keys.get("of") {
            Some(of) => {
                self.map(of)?.iter().filter_map(|(key, node)| self.leaf(key, node, Some(&over))).map(Arc::new).collect()
            }
            None => {
                self.report(node.at, "`each` needs `of`: the members of one entry");
                return None;
            }
        };
        let label = keys.text("label", self.diagnostics);
        Some(Source::Each { over, of, label })
    }

    fn expression(&mut self, node: &Node) -> Option<Source> {
        let keys = Keys::of(self.file, node, &["expr", "with"], self.diagnostics)?;
        let source = keys.text("expr", self.diagnostics)?;
        let at = keys.get("expr").map(|node| node.at).unwrap_or_default();
        let mut with = Vec::new();
        for (key, node) in keys.get("with").and_then(|node| self.map(node)).unwrap_or_default() {
            if let Some(selector) = self.one_selector(node) {
                with.push((key.name.clone(), selector));
            }
        }
        let expression = Expression::compile(&source).map_err(|why| self.report(at, why)).ok()?;
        for name in expression.names() {
            if !with.iter().any(|(known, _)| known == name) {
                let hint = did_you_mean(name, with.iter().map(|(known, _)| known.as_str()))
                    .unwrap_or_else(|| "declare it under `with`".into());
                self.diagnostics.report_with_hint(self.file, at, format!("unknown name `{name}`"), Some(hint));
            }
        }
        Some(Source::Expression { with, expression })
    }

    fn read(&mut self, node: &Node, within: Option<&Selector>) -> Option<Read> {
        const READ_KEYS: &[&str] = &[
            "at",
            "then",
            "code",
            "default",
            "required",
            "requiredUnless",
            "accept",
            "otherwise",
            "agree",
            "join",
            "label",
        ];
        let keys = Keys::of(self.file, node, READ_KEYS, self.diagnostics)?;
        let Some(at_node) = keys.get("at") else {
            self.report(node.at, "a value needs `at` (a selector), `value`, `each` or `expr`");
            return None;
        };
        let accept = keys.get("accept").map(|node| self.strings(node));
        let otherwise = keys.text("otherwise", self.diagnostics);
        let read = Read {
            at: self.read_selectors(at_node, within),
            then: self.filters(&keys),
            code: keys.text("code", self.diagnostics),
            default: keys.get("default").map(Node::to_json),
            required: keys.flag("required", self.diagnostics),
            required_unless: keys.text("requiredUnless", self.diagnostics),
            accept: accept.map(|values| {
                let text =
                    otherwise.unwrap_or_else(|| format!("Table value not acceptable; accepted: {}", values.join(", ")));
                (values, text)
            }),
            agree: keys.flag("agree", self.diagnostics),
            join: keys.text("join", self.diagnostics),
            label: keys.text("label", self.diagnostics),
        };
        (!read.at.is_empty()).then_some(read)
    }

    fn filters(&mut self, keys: &Keys<'_>) -> Vec<Filter> {
        let named = keys.texts("then", self.diagnostics);
        let mut filters = Vec::new();
        for (name, at) in named {
            match Filter::named(&name) {
                Some(filter) => filters.push(filter),
                None => {
                    let known = || FILTERS.iter().map(|(name, _)| *name);
                    let hint = did_you_mean(&name, known())
                        .unwrap_or_else(|| format!("filters: {}", known().collect::<Vec<_>>().join(", ")));
                    self.diagnostics.report_with_hint(self.file, at, format!("unknown filter `{name}`"), Some(hint));
                }
            }
        }
        filters
    }

    fn letters(&mut self, node: &Node) -> Vec<Arc<LetterSpec>> {
        let Yaml::List(items) = &node.yaml else {
            self.report(node.at, format!("`letters` is a list, found {}", node.kind()));
            return Vec::new();
        };
        items.iter().filter_map(|item| self.letter(item)).map(Arc::new).collect()
    }

    fn letter(&mut self, node: &Node) -> Option<LetterSpec> {
        const LETTER_KEYS: &[&str] =
            &["each", "data", "encoding", "text", "refuse", "name", "description", "types", "finished"];
        let keys = Keys::of(self.file, node, LETTER_KEYS, self.diagnostics)?;
        let each = keys.get("each").and_then(|node| self.one_selector(node))?;
        let refuse = keys.text("refuse", self.diagnostics);
        let content = match (keys.get("data"), keys.get("text")) {
            (None, None) if refuse.is_some() => LetterSource::Refuse(refuse.unwrap_or_default()),
            (Some(data), None) => LetterSource::Data {
                data: Some(self.selectors(data)).filter(|data| !data.is_empty())?,
                encoding: keys.get("encoding").and_then(|node| self.one_selector(node)),
            },
            (None, Some(text)) => LetterSource::Text(self.one_selector(text)?),
            _ => {
                self.report(node.at, "a letter has `data` (with `encoding`), `text` or `refuse`");
                return None;
            }
        };
        let mut selectors = |name| keys.get(name).map(|node| self.selectors(node)).unwrap_or_default();
        let (name, description, types) = (selectors("name"), selectors("description"), selectors("types"));
        let finished = match keys.get("finished") {
            Some(node) => self.wanted_values(node),
            None => Vec::new(),
        };
        Some(LetterSpec { each, content, name, description, types, finished })
    }

    fn clinical_text(&mut self, node: &Node) -> Option<ClinicalText> {
        let keys = Keys::of(self.file, node, &["fileName", "title", "sections"], self.diagnostics)?;
        let file_name = keys.text("fileName", self.diagnostics).unwrap_or_else(|| "clinical-information.txt".into());
        let title = keys.text("title", self.diagnostics).unwrap_or_default();
        let Some(Node { yaml: Yaml::List(items), .. }) = keys.get("sections") else {
            self.report(node.at, "`clinicalText` needs a list of `sections`");
            return None;
        };
        let sections = items.iter().filter_map(|item| self.section(item)).collect();
        Some(ClinicalText { file_name, title, sections })
    }

    fn section(&mut self, node: &Node) -> Option<Section> {
        let keys = Keys::of(self.file, node, &["title", "each", "line", "supplement"], self.diagnostics)?;
        Some(Section {
            title: keys.text("title", self.diagnostics).unwrap_or_default(),
            each: keys.get("each").and_then(|node| self.one_selector(node))?,
            line: keys.get("line").map(|node| self.selectors(node)).unwrap_or_default(),
            supplement: keys.flag("supplement", self.diagnostics),
        })
    }
}

impl InboundFile {
    /// This file with what `over` says put over it.
    pub fn overlaid(&self, over: &InboundFile) -> InboundFile {
        let mut body: Vec<Arc<Leaf>> =
            self.body.iter().filter(|leaf| !over.without.contains(&leaf.key)).cloned().collect();
        for leaf in &over.body {
            match body.iter_mut().find(|known| known.key == leaf.key) {
                Some(known) => *known = leaf.clone(),
                None => body.push(leaf.clone()),
            }
        }
        let mut thread = self.thread.clone();
        for (kind, leaf) in &over.thread {
            match thread.iter_mut().find(|(known, _)| known == kind) {
                Some((_, known)) => *known = leaf.clone(),
                None => thread.push((*kind, leaf.clone())),
            }
        }
        InboundFile {
            file: over.file.clone(),
            from: over.from.clone().or_else(|| self.from.clone()),
            when: over.when.clone().or_else(|| self.when.clone()),
            outcome: over.outcome.clone().or_else(|| self.outcome.clone()),
            requires: over.requires.clone().or_else(|| self.requires.clone()),
            nulls: over.nulls.or(self.nulls),
            thread,
            body,
            without: Vec::new(),
            letters: over.letters.clone().or_else(|| self.letters.clone()),
            clinical_text: over.clinical_text.clone().or_else(|| self.clinical_text.clone()),
            ignore: [self.ignore.as_slice(), over.ignore.as_slice()].concat(),
        }
    }

    /// What its members read, with the places.
    pub fn selectors_of_leaves(&self) -> Vec<(&Selector, &str, Place)> {
        fn collect<'l>(leaf: &'l Leaf, found: &mut Vec<(&'l Selector, &'l str, Place)>) {
            let mut add = |selector| found.push((selector, leaf.file.as_str(), leaf.at));
            match &leaf.source {
                Source::Constant(_) => {}
                Source::Read(read) => read.at.iter().for_each(add),
                Source::Expression { with, .. } => with.iter().for_each(|(_, selector)| add(selector)),
                Source::Each { over, of, .. } => {
                    add(over);
                    of.iter().for_each(|leaf| collect(leaf, found));
                }
            }
        }
        let mut found = Vec::new();
        self.body.iter().chain(self.thread.iter().map(|(_, leaf)| leaf)).for_each(|leaf| collect(leaf, &mut found));
        found
    }

    /// Code tables that it asks for, with the places.
    pub fn tables(&self) -> Vec<(&str, &str, Place)> {
        fn collect<'l>(leaves: &'l [Arc<Leaf>], found: &mut Vec<(&'l str, &'l str, Place)>) {
            for leaf in leaves {
                match &leaf.source {
                    Source::Read(Read { code: Some(table), .. }) => found.push((table, &leaf.file, leaf.at)),
                    Source::Each { of, .. } => collect(of, found),
                    _ => {}
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.body, &mut found);
        found
    }
}

/// A dialect's tables by name.
pub type CodeTables = std::collections::BTreeMap<String, Arc<CodeTable>>;
