//! What is asked of a FHIR message besides its members: which mapping may be for it, and that nothing in it is lost.

use super::super::dialect::InboundMapping;
use super::super::problem::{Location, Problem};
use super::super::source::{Document, Origin};
use super::{Normaliser, UNSUPPORTED_MESSAGE_TYPE};

/// HL7 table 0357, segment sequence error: the structure is not as expected.
const STRUCTURE: u16 = 100;
const TOO_LONG: u16 = 104;

impl<'m> Normaliser<'m, '_> {
    /// Mappings for a type of resource that the message has.
    pub(super) fn candidates_by_resource(&mut self) -> Option<Vec<&'m InboundMapping>> {
        let Document::Fhir(document) = self.document else { return None };
        let dialect = self.dialect;
        let candidates: Vec<&InboundMapping> =
            dialect.mappings_by_resource(|kind| document.first(kind).is_some()).collect();
        if candidates.is_empty() {
            let text = format!("Unsupported message type: no mapping of dialect {} takes it", dialect.name());
            self.problems.push(Problem::new(Location::Message, UNSUPPORTED_MESSAGE_TYPE, text));
            return None;
        }
        Some(candidates)
    }

    /// One request in a message: two would be one command, and one of them lost.
    pub(super) fn check_one_request(&mut self, mapping: &InboundMapping) {
        let Document::Fhir(document) = self.document else { return };
        document.begin();
        let Origin::Fhir { kind, several: false } = &mapping.from else { return };
        let others = document.resources().iter().filter(|resource| resource.kind == kind).skip(1);
        let problems = others.map(|other| {
            let text = format!("Segment sequence error: one {kind} in a message; send each in a message of its own");
            Problem::new(Location::fhir(&other.place), STRUCTURE, text)
        });
        self.problems.extend(problems);
    }

    /// A message too large to be searched: what was found in it says nothing of what is there.
    pub(super) fn check_all_was_searched(&mut self) {
        if let Document::Fhir(document) = self.document
            && document.is_exhausted()
        {
            let text =
                "Value too long: too many entries, or too many references between them; send less in one message";
            self.problems = vec![Problem::new(Location::Message, TOO_LONG, text)];
        }
    }

    /// Resources that nothing read, references that lead away, elements that change the meaning of others.
    pub(super) fn check_nothing_is_lost(&mut self, mapping: &InboundMapping) {
        let Document::Fhir(document) = self.document else { return };
        let unread = mapping.coverage.unread(document);
        let modifiers = mapping.coverage.modifiers(document);
        if let Origin::Fhir { kind, .. } = &mapping.from {
            let astray = mapping.coverage.astray(kind, document);
            self.tell(astray);
        }
        self.tell(unread);
        self.tell(modifiers);
    }
}
