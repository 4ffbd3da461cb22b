//! A dialect: the mappings, tables and ignored fields of one sending system, inheritance resolved.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::codes::CodeTable;
use super::fhir::{Elements, FhirDocument};
use super::inbound::{
    ClinicalText, CodeTables, Condition, ConditionOn, Ignored, InboundFile, Leaf, LetterSource, LetterSpec, Nulls,
    Outcome, Source, ThreadKey,
};
use super::problem::{Location, Problem};
use super::source::{Document, Origin, Selector};
use crate::command::CommandSchemas;
use crate::hl7::Message;

/// One resolved mapping: a default file with the dialect's own over it.
#[derive(Debug)]
pub struct InboundMapping {
    pub file: String,
    pub from: Origin,
    pub when: Vec<Condition>,
    pub outcome: Outcome,
    pub requires: Vec<String>,
    pub nulls: Nulls,
    pub thread: Vec<(ThreadKey, Arc<Leaf>)>,
    pub body: Vec<Arc<Leaf>>,
    pub letters: Vec<Arc<LetterSpec>>,
    pub clinical_text: Option<Arc<ClinicalText>>,
    pub coverage: Coverage,
}

pub struct Dialect {
    name: String,
    mappings: HashMap<String, HashMap<String, Vec<Arc<InboundMapping>>>>,
    /// For FHIR, in the order in which they are asked.
    by_resource: Vec<Arc<InboundMapping>>,
    tables: CodeTables,
    schemas: Arc<CommandSchemas>,
}

impl Dialect {
    /// Of resolved files by name; those with more conditions are asked first.
    pub fn new(
        name: &str,
        files: &BTreeMap<String, InboundFile>,
        ignore: &[Ignored],
        tables: CodeTables,
        schemas: Arc<CommandSchemas>,
    ) -> Self {
        let mut mappings: HashMap<String, HashMap<String, Vec<Arc<InboundMapping>>>> = HashMap::new();
        let mut by_resource = Vec::new();
        for file in files.values() {
            let (Some(from), Some(outcome)) = (file.from.clone(), file.outcome.clone()) else { continue };
            let mapping = Arc::new(InboundMapping {
                file: file.file.clone(),
                from: from.clone(),
                when: file.when.clone().unwrap_or_default(),
                outcome,
                requires: file.requires.clone().unwrap_or_default(),
                nulls: file.nulls.unwrap_or_default(),
                thread: file.thread.clone(),
                body: file.body.clone(),
                letters: file.letters.clone().unwrap_or_default(),
                clinical_text: file.clinical_text.clone(),
                coverage: Coverage::of(file, ignore),
            });
            match from {
                Origin::Hl7v2(types) => {
                    for (code, trigger) in types {
                        mappings.entry(code).or_default().entry(trigger).or_default().push(mapping.clone());
                    }
                }
                Origin::Fhir { .. } => by_resource.push(mapping),
            }
        }
        by_resource.sort_by_key(|mapping: &Arc<InboundMapping>| std::cmp::Reverse(mapping.when.len()));
        for by_trigger in mappings.values_mut() {
            for candidates in by_trigger.values_mut() {
                candidates.sort_by_key(|mapping| std::cmp::Reverse(mapping.when.len()));
            }
        }
        Self { name: name.to_owned(), mappings, by_resource, tables, schemas }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn mappings(&self, code: &str, trigger: &str) -> &[Arc<InboundMapping>] {
        self.mappings.get(code).and_then(|by_trigger| by_trigger.get(trigger)).map_or(&[], Vec::as_slice)
    }

    /// For resources that a message has.
    pub fn mappings_by_resource(&self, has: impl Fn(&str) -> bool) -> impl Iterator<Item = &InboundMapping> {
        self.by_resource.iter().map(|mapping| &**mapping).filter(move |mapping| match &mapping.from {
            Origin::Fhir { kind, .. } => has(kind),
            Origin::Hl7v2(_) => false,
        })
    }

    /// Each once, however many messages it takes.
    pub fn all(&self) -> impl Iterator<Item = &InboundMapping> {
        let mut seen = std::collections::HashSet::new();
        let by_type = self.mappings.values().flat_map(HashMap::values).flatten();
        by_type
            .chain(&self.by_resource)
            .filter(move |mapping| seen.insert(Arc::as_ptr(mapping)))
            .map(|mapping| &**mapping)
    }

    pub fn knows_type(&self, code: &str) -> bool {
        self.mappings.contains_key(code)
    }

    pub fn table(&self, name: &str) -> Option<&CodeTable> {
        self.tables.get(name).map(|table| &**table)
    }

    pub fn tables(&self) -> &CodeTables {
        &self.tables
    }

    pub fn schemas(&self) -> &CommandSchemas {
        &self.schemas
    }
}

impl InboundMapping {
    /// The place and the name that people use for a member of the command.
    pub fn place_of(&self, document: &Document<'_>, pointer: &str) -> (Location, String) {
        let path: Vec<&str> = pointer.split('/').skip(1).collect();
        let found = self.body.iter().filter_map(|leaf| matching(leaf, &path)).max_by_key(|(length, _)| *length);
        let Some((length, leaf)) = found else {
            return match path.first() {
                Some(&"letters") => (
                    self.letters.first().map_or(Location::Message, |spec| spec.each.nominal_location(document, None)),
                    "letter".into(),
                ),
                Some(&"localId") => (self.thread_place(document, ThreadKey::LocalId), "localId".into()),
                Some(&"ubrn") => (self.thread_place(document, ThreadKey::Ubrn), "ubrn".into()),
                _ => (Location::Message, path.join(".")),
            };
        };
        match &leaf.source {
            Source::Read(read) => {
                let label = read.label.clone().unwrap_or_else(|| leaf.key.clone());
                let found = read.at.iter().find_map(|selector| selector.first(document, None));
                let place =
                    found.map_or_else(|| read.at[0].nominal_location(document, None), |found| found.location(document));
                (place, label)
            }
            Source::Each { over, of, label } => {
                let label = label.clone().unwrap_or_else(|| leaf.key.clone());
                let entry = path.get(length).and_then(|index| index.parse::<usize>().ok());
                let entries = over.entries(document);
                let entry = entry.and_then(|index| entries.get(index)).copied();
                let (Some(entry), Some(member)) = (entry, path.get(length + 1)) else {
                    return (over.nominal_location(document, None), label);
                };
                let member = of.iter().find(|leaf| leaf.path.first().is_some_and(|first| first == member));
                match member.map(|leaf| &leaf.source) {
                    Some(Source::Read(read)) => {
                        let found = read.at.iter().find_map(|selector| selector.first(document, Some(entry)));
                        let place = found.map_or_else(
                            || read.at[0].nominal_location(document, Some(entry)),
                            |found| found.location(document),
                        );
                        (place, read.label.clone().unwrap_or(label))
                    }
                    _ => (document.location_of(entry), label),
                }
            }
            Source::Expression { with, .. } => (
                with.first().map_or(Location::Message, |(_, selector)| selector.nominal_location(document, None)),
                leaf.key.clone(),
            ),
            Source::Constant(_) => (Location::Message, leaf.key.clone()),
        }
    }

    fn thread_place(&self, document: &Document<'_>, wanted: ThreadKey) -> Location {
        self.thread
            .iter()
            .find(|(key, _)| *key == wanted)
            .and_then(|(_, leaf)| match &leaf.source {
                Source::Read(read) => read.at.first(),
                _ => None,
            })
            .map_or(Location::Message, |selector| selector.nominal_location(document, None))
    }
}

/// The leaf itself, when its path is the start of `path` or the other way round; and how much they share.
fn matching<'l>(leaf: &'l Arc<Leaf>, path: &[&str]) -> Option<(usize, &'l Leaf)> {
    let shared = leaf.path.iter().zip(path).take_while(|(a, b)| a == *b).count();
    (shared == leaf.path.len() || shared == path.len()).then_some((shared, &**leaf)).filter(|(shared, _)| *shared > 0)
}

/// Which fields of which segments, or which elements, a mapping uses or names as ignored.
#[derive(Debug, Default)]
pub struct Coverage {
    segments: HashMap<String, Fields>,
    elements: Elements,
}

#[derive(Debug, Default, Clone)]
struct Fields {
    whole: bool,
    numbers: std::collections::BTreeSet<u16>,
}

impl Coverage {
    fn of(file: &InboundFile, ignore: &[Ignored]) -> Self {
        let mut coverage = Self::default();
        for condition in file.when.iter().flatten() {
            if let ConditionOn::Message(selector) = &condition.on {
                coverage.add(selector, None);
            }
        }
        for leaf in file.body.iter().chain(file.thread.iter().map(|(_, leaf)| leaf)) {
            coverage.add_leaf(leaf, None);
        }
        for spec in file.letters.iter().flatten() {
            let content: Vec<&Selector> = match &spec.content {
                LetterSource::Data { data, encoding } => data.iter().chain(encoding).collect(),
                LetterSource::Text(text) => vec![text],
                LetterSource::Refuse(_) => Vec::new(),
            };
            match spec.content {
                // Refused as it stands, with all that is in it.
                LetterSource::Refuse(_) => coverage.add(&spec.each, None),
                LetterSource::Data { .. } | LetterSource::Text(_) => coverage.add_each(&spec.each),
            }
            let finished = spec.finished.iter().map(|(selector, _)| selector);
            let others = spec.name.iter().chain(&spec.description).chain(&spec.types).chain(finished);
            for selector in content.into_iter().chain(others) {
                coverage.add(selector, Some(&spec.each));
            }
        }
        for section in file.clinical_text.iter().flat_map(|text| &text.sections) {
            coverage.add_each(&section.each);
            for selector in &section.line {
                coverage.add(selector, Some(&section.each));
            }
        }
        for ignored in ignore.iter().chain(&file.ignore) {
            match ignored {
                Ignored::Element(element) => coverage.elements.ignore(element),
                Ignored::Field { segment, field, .. } => {
                    let fields = coverage.segments.entry(segment.clone()).or_default();
                    match field {
                        None => fields.whole = true,
                        Some(field) => {
                            fields.numbers.insert(*field);
                        }
                    }
                }
            }
        }
        coverage
    }

    fn add_leaf(&mut self, leaf: &Leaf, within: Option<&Selector>) {
        match &leaf.source {
            Source::Constant(_) => {}
            Source::Read(read) => read.at.iter().for_each(|selector| self.add(selector, within)),
            Source::Expression { with, .. } => with.iter().for_each(|(_, selector)| self.add(selector, within)),
            Source::Each { over, of, .. } => {
                self.add_each(over);
                of.iter().for_each(|leaf| self.add_leaf(leaf, Some(over)));
            }
        }
    }

    fn add(&mut self, selector: &Selector, within: Option<&Selector>) {
        let selector = match selector {
            Selector::Hl7v2(selector) => selector,
            Selector::Fhir(selector) => {
                self.elements.add(selector, within.and_then(Selector::as_fhir));
                return;
            }
        };
        let around = within.and_then(Selector::as_hl7v2).and_then(|within| within.segment.as_ref());
        let Some(segment) = selector.segment.as_ref().or(around) else { return };
        let fields = self.segments.entry(segment.name.clone()).or_default();
        fields.numbers.extend(selector.fields_read());
    }

    /// What others read the entries of.
    fn add_each(&mut self, selector: &Selector) {
        match selector {
            Selector::Hl7v2(_) => self.add(selector, None),
            Selector::Fhir(selector) => self.elements.add_each(selector),
        }
    }

    pub fn covers(&self, segment: &str, field: u16) -> bool {
        self.segments.get(segment).is_some_and(|fields| fields.whole || fields.numbers.contains(&field))
    }

    /// Populated fields or elements that nobody mentions, each once.
    pub fn unused(&self, document: &Document<'_>) -> Vec<String> {
        match document {
            Document::Hl7v2 { message, .. } => self.unused_fields(message),
            Document::Fhir(document) => self.elements.unused(document),
        }
    }

    pub fn unread(&self, document: &FhirDocument<'_>) -> Vec<Problem> {
        self.elements.unread(document)
    }

    pub fn astray(&self, kind: &str, document: &FhirDocument<'_>) -> Vec<Problem> {
        self.elements.astray(kind, document)
    }

    pub fn modifiers(&self, document: &FhirDocument<'_>) -> Vec<Problem> {
        self.elements.modifiers(document)
    }

    fn unused_fields(&self, message: &Message<'_>) -> Vec<String> {
        let mut unused: Vec<String> = Vec::new();
        for segment in message.segments() {
            let fields = self.segments.get(segment.name());
            if fields.is_some_and(|fields| fields.whole) {
                continue;
            }
            for number in 1..=segment.field_count() {
                let covered = fields.is_some_and(|fields| fields.numbers.contains(&number));
                if covered || segment.field(number).is_none_or(|field| field.is_empty()) {
                    continue;
                }
                let name = format!("{}-{number}", segment.name());
                if !unused.contains(&name) {
                    unused.push(name);
                }
            }
        }
        unused
    }
}
