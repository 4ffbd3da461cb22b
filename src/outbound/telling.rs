//! The messages that one event makes for one destination, by the files of its dialect.
//!
//! Enters: an event, the files, the documents that go along. Leaves: messages, or why one could not be made. Guarantees: pure;
//! the same event makes messages with the same identifiers, whichever of them are made and when; a reason has no patient
//! data in it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::addressee::Addressee;
use crate::command::Ubrn;
use crate::given::{Given, Which};
use crate::hl7::Delimiters;
use crate::mapping::{OutboundDialect, OutboundEntry, OutboundEvent, OutboundFacts, OutboundMapping, PlanProblem};
use crate::store::{Made, StoredEvent};

/// Gives messages their identifiers.
pub(super) trait Names: Send + Sync {
    /// MSH-10.
    fn control_id(&self, which: &Which<'_>) -> String;
    /// RF1-6 of a referral that has no other.
    fn referral(&self, ubrn: &Ubrn) -> String;
}

impl Names for Given {
    fn control_id(&self, which: &Which<'_>) -> String {
        Self::control_id(self, which)
    }

    fn referral(&self, ubrn: &Ubrn) -> String {
        Self::referral(self, ubrn)
    }
}

pub(super) struct Telling<'t> {
    pub addressee: &'t Addressee,
    pub event: &'t StoredEvent,
    names: &'t dyn Names,
    seen: Map<String, Value>,
}

/// A message that is to be made.
pub(super) struct Planned<'m> {
    pub file: &'m OutboundMapping,
    entry: Result<OutboundEntry, PlanProblem>,
}

impl Planned<'_> {
    /// Where the document is that goes along.
    pub fn document(&self) -> Option<&str> {
        self.entry.as_ref().ok()?.document.as_deref()
    }
}

impl<'t> Telling<'t> {
    pub fn new(addressee: &'t Addressee, event: &'t StoredEvent, names: &'t dyn Names) -> Self {
        let referral = event.data["ubrn"].as_str().and_then(Ubrn::parse).map(|ubrn| names.referral(&ubrn));
        let at = event.at.to_string();
        let facts = OutboundFacts {
            name: &event.name,
            at: &at,
            source: &event.source,
            data: &event.data,
            referral: referral.as_deref(),
        };
        Self { addressee, event, names, seen: facts.seen_by_mappings() }
    }

    /// Its messages in their order; none where no file wants the event.
    pub fn plan<'m>(&self, dialect: &'m OutboundDialect) -> Vec<Planned<'m>> {
        let event = self.seen_by_mappings();
        let mut planned = Vec::new();
        for file in dialect.files_for(&self.event.name) {
            match file.entries(&event) {
                Ok(entries) => planned.extend(entries.into_iter().map(|entry| Planned { file, entry: Ok(entry) })),
                Err(problem) => planned.push(Planned { file, entry: Err(problem) }),
            }
        }
        planned
    }

    pub fn which<'w>(&'w self, planned: &'w Planned<'_>) -> Which<'w> {
        Which {
            destination: &self.addressee.name,
            event: self.event.id,
            file: planned.file.name(),
            entry: planned.entry.as_ref().map_or(0, |entry| entry.index),
        }
    }

    /// `document`: what stands at the planned place, or null.
    pub fn make(&self, planned: &Planned<'_>, document: Value, at: Timestamp) -> Made {
        let made = planned
            .entry
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|entry| {
                let event = self.seen_by_mappings();
                let lines = planned.file.lines(&event, entry, document, &Delimiters::STANDARD);
                lines.map_err(|problem| problem.to_string())
            })
            .and_then(|lines| {
                let control_id = self.names.control_id(&self.which(planned));
                self.addressee.message(planned.file, control_id, at, &lines)
            });
        match made {
            Ok(content) => Made::Message(content),
            Err(why) => Made::Unmade(why),
        }
    }

    fn seen_by_mappings(&self) -> OutboundEvent<'_> {
        OutboundEvent::new(&self.event.name, &self.addressee.settings, &self.seen)
    }
}
