//! From the YAML of one inbound mapping to an [`InboundFile`]. What is broken is reported with its place, and left out.

use std::sync::Arc;

use super::super::diagnostic::{Diagnostics, Place, did_you_mean};
use super::super::expression::Expression;
use super::super::filter::{FILTERS, Filter};
use super::super::source::{Language, Origin, Selector};
use super::super::yaml::{Key, Keys, Node, Yaml, texts};
use super::ignored::ignored;
use super::{Condition, ConditionOn, InboundFile, Leaf, Nulls, Outcome, Read, Source, ThreadKey};

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
pub(in crate::mapping) fn compile(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> InboundFile {
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

/// `REF^I12`, or a list of such.
pub(in crate::mapping) fn message_types(
    file: &str,
    node: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<(String, String)>> {
    let mut types = Vec::new();
    for (text, at) in texts(file, node, diagnostics) {
        match text.split_once('^') {
            Some((code, trigger)) => types.push((code.to_owned(), trigger.to_owned())),
            None => diagnostics.report(file, at, "`hl7v2` is a message type and a trigger event, such as REF^I12"),
        }
    }
    (!types.is_empty()).then_some(types)
}

pub(super) struct Compiler<'c> {
    pub(super) file: &'c str,
    /// `None` where a file inherits what it is for: then each selector's looks tell.
    language: Option<Language>,
    pub(super) diagnostics: &'c mut Diagnostics,
}

impl Compiler<'_> {
    pub(super) fn report(&mut self, at: Place, text: impl Into<String>) {
        self.diagnostics.report(self.file, at, text);
    }

    pub(super) fn map<'n>(&mut self, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        let map = node.as_map();
        if map.is_none() {
            self.report(node.at, format!("expected a mapping here, found {}", node.kind()));
        }
        map
    }

    pub(super) fn strings(&mut self, node: &Node) -> Vec<String> {
        texts(self.file, node, self.diagnostics).into_iter().map(|(text, _)| text).collect()
    }

    pub(super) fn selectors(&mut self, node: &Node) -> Vec<Selector> {
        let listed = texts(self.file, node, self.diagnostics);
        listed.into_iter().filter_map(|(text, at)| self.selector(&text, at)).collect()
    }

    pub(super) fn selector(&mut self, text: &str, at: Place) -> Option<Selector> {
        let language = self.language.unwrap_or_else(|| Language::of_selector(text));
        Selector::parse(text, language).map_err(|why| self.report(at, why)).ok()
    }

    pub(super) fn one_selector(&mut self, node: &Node) -> Option<Selector> {
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
    pub(super) fn wanted_values(&mut self, node: &Node) -> Vec<(Selector, Vec<String>)> {
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

    pub(super) fn filters(&mut self, keys: &Keys<'_>) -> Vec<Filter> {
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
}
