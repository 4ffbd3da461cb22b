//! A dialect: the mappings, tables and ignored fields of one sending system, inheritance resolved.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::codes::CodeTable;
use super::inbound::{
    ClinicalText, CodeTables, Condition, ConditionOn, Ignored, InboundFile, Leaf, LetterSource, LetterSpec, Nulls,
    Outcome, Source, ThreadKey,
};
use super::problem::Location;
use super::selector::Selector;
use crate::command::CommandSchemas;
use crate::hl7::Message;

/// One resolved mapping: a default file with the dialect's own over it.
#[derive(Debug)]
pub struct InboundMapping {
    pub file: String,
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
        for file in files.values() {
            let (Some(from), Some(outcome)) = (file.from.clone(), file.outcome.clone()) else { continue };
            let mapping = Arc::new(InboundMapping {
                file: file.file.clone(),
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
            for (code, trigger) in from {
                mappings.entry(code).or_default().entry(trigger).or_default().push(mapping.clone());
            }
        }
        for by_trigger in mappings.values_mut() {
            for candidates in by_trigger.values_mut() {
                candidates.sort_by_key(|mapping| std::cmp::Reverse(mapping.when.len()));
            }
        }
        Self { name: name.to_owned(), mappings, tables, schemas }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn mappings(&self, code: &str, trigger: &str) -> &[Arc<InboundMapping>] {
        self.mappings.get(code).and_then(|by_trigger| by_trigger.get(trigger)).map_or(&[], Vec::as_slice)
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &InboundMapping)> {
        self.mappings.iter().flat_map(|(code, by_trigger)| {
            by_trigger.iter().flat_map(move |(trigger, mappings)| {
                mappings.iter().map(move |mapping| (code.as_str(), trigger.as_str(), &**mapping))
            })
        })
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
    /// The HL7 place and the name that people use for a member of the command.
    pub fn place_of(&self, message: &Message<'_>, pointer: &str) -> (Location, String) {
        let path: Vec<&str> = pointer.split('/').skip(1).collect();
        let found = self.body.iter().filter_map(|leaf| matching(leaf, &path)).max_by_key(|(length, _)| *length);
        let Some((length, leaf)) = found else {
            return match path.first() {
                Some(&"letters") => (
                    self.letters.first().map_or(Location::Message, |spec| spec.each.nominal_location(None)),
                    "letter".into(),
                ),
                Some(&"localId") => (self.thread_place(ThreadKey::LocalId), "localId".into()),
                Some(&"ubrn") => (self.thread_place(ThreadKey::Ubrn), "ubrn".into()),
                _ => (Location::Message, path.join(".")),
            };
        };
        match &leaf.source {
            Source::Read(read) => {
                let label = read.label.clone().unwrap_or_else(|| leaf.key.clone());
                let found = read.at.iter().find_map(|selector| selector.first(message, None));
                (found.map_or_else(|| read.at[0].nominal_location(None), |found| found.place.location()), label)
            }
            Source::Each { over, of, label } => {
                let label = label.clone().unwrap_or_else(|| leaf.key.clone());
                let entry = path.get(length).and_then(|index| index.parse::<usize>().ok());
                let segments = over.segments(message);
                let segment = entry.and_then(|index| segments.get(index));
                let (Some(segment), Some(member)) = (segment, path.get(length + 1)) else {
                    return (over.nominal_location(None), label);
                };
                let member = of.iter().find(|leaf| leaf.path.first().is_some_and(|first| first == member));
                match member.map(|leaf| &leaf.source) {
                    Some(Source::Read(read)) => {
                        let found = read.at.iter().find_map(|selector| selector.first(message, Some(segment)));
                        let place = found.map_or_else(
                            || read.at[0].nominal_location(Some(segment.name())),
                            |found| found.place.location(),
                        );
                        (place, read.label.clone().unwrap_or(label))
                    }
                    _ => (Location::segment(segment.name()), label),
                }
            }
            Source::Expression { with, .. } => (
                with.first().map_or(Location::Message, |(_, selector)| selector.nominal_location(None)),
                leaf.key.clone(),
            ),
            Source::Constant(_) => (Location::Message, leaf.key.clone()),
        }
    }

    fn thread_place(&self, wanted: ThreadKey) -> Location {
        self.thread
            .iter()
            .find(|(key, _)| *key == wanted)
            .and_then(|(_, leaf)| match &leaf.source {
                Source::Read(read) => read.at.first(),
                _ => None,
            })
            .map_or(Location::Message, |selector| selector.nominal_location(None))
    }
}

/// The leaf itself, when its path is the start of `path` or the other way round; and how much they share.
fn matching<'l>(leaf: &'l Arc<Leaf>, path: &[&str]) -> Option<(usize, &'l Leaf)> {
    let shared = leaf.path.iter().zip(path).take_while(|(a, b)| a == *b).count();
    (shared == leaf.path.len() || shared == path.len()).then_some((shared, &**leaf)).filter(|(shared, _)| *shared > 0)
}

/// Which fields of which segments a mapping uses or names as ignored.
#[derive(Debug, Default)]
pub struct Coverage {
    segments: HashMap<String, Fields>,
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
            coverage.add(&spec.each, None);
            let content = match &spec.content {
                LetterSource::Data { data, encoding } => vec![Some(data), encoding.as_ref()],
                LetterSource::Text(text) => vec![Some(text)],
                LetterSource::Refuse(_) => Vec::new(),
            };
            let finished = spec.finished.iter().map(|(selector, _)| selector);
            let others = spec.name.iter().chain(&spec.description).chain(&spec.types).chain(finished);
            for selector in content.into_iter().flatten().chain(others) {
                coverage.add(selector, Some(&spec.each));
            }
        }
        for section in file.clinical_text.iter().flat_map(|text| &text.sections) {
            coverage.add(&section.each, None);
            for selector in &section.line {
                coverage.add(selector, Some(&section.each));
            }
        }
        for ignored in ignore.iter().chain(&file.ignore) {
            let fields = coverage.segments.entry(ignored.segment.clone()).or_default();
            match ignored.field {
                None => fields.whole = true,
                Some(field) => {
                    fields.numbers.insert(field);
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
                self.add(over, None);
                of.iter().for_each(|leaf| self.add_leaf(leaf, Some(over)));
            }
        }
    }

    fn add(&mut self, selector: &Selector, within: Option<&Selector>) {
        let segment = selector.segment.as_ref().or_else(|| within.and_then(|within| within.segment.as_ref()));
        let Some(segment) = segment else { return };
        let fields = self.segments.entry(segment.name.clone()).or_default();
        fields.numbers.extend(selector.fields_read());
    }

    pub fn covers(&self, segment: &str, field: u16) -> bool {
        self.segments.get(segment).is_some_and(|fields| fields.whole || fields.numbers.contains(&field))
    }

    /// Populated fields that nobody mentions, each once.
    pub fn unused(&self, message: &Message<'_>) -> Vec<String> {
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
