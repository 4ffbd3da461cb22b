//! Inbound mappings, compiled: `inbound/<dialect>/<MESSAGE>.yaml`, message to command.
//!
//! Enters: the YAML of one file. Leaves: an [`InboundFile`], which a dialect's file of the same name
//! overlays: what it does not say is inherited. Guarantees: every mistake is reported with its place.

mod compile;
mod documents;
mod ignored;

use std::sync::Arc;

use serde_json::Value;

use super::codes::CodeTable;
use super::diagnostic::Place;
use super::expression::Expression;
use super::fhir::IgnoredElement;
use super::filter::Filter;
use super::source::{Origin, Selector};

pub(super) use compile::{compile, message_types};
pub(super) use ignored::ignored;

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
