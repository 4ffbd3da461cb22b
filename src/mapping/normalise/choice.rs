//! Which mapping is for a message.

use std::borrow::Cow;

use serde_json::Value;

use super::super::dialect::InboundMapping;
use super::super::inbound::{Condition, ConditionOn};
use super::super::problem::{Location, Problem};
use super::super::source::Document;
use super::{Normaliser, UNSUPPORTED_EVENT_CODE, UNSUPPORTED_MESSAGE_TYPE};
use crate::hl7::Message;

impl<'m> Normaliser<'m, '_> {
    /// The mapping for the message; the one with the most conditions is asked first.
    pub(super) fn dispatch(&mut self) -> Option<&'m InboundMapping> {
        let candidates = match self.document {
            Document::Hl7v2 { message, .. } => self.candidates_by_type(message)?,
            Document::Fhir(_) => self.candidates_by_resource()?,
        };
        let holds = |condition: &Condition| {
            let value = match &condition.on {
                ConditionOn::Message(selector) => match selector.first(&self.document, None) {
                    Some(found) => found.raw,
                    // An element with others in it, or a resource.
                    None if selector.is_there(&self.document) => Cow::Borrowed("*"),
                    None => Cow::Borrowed(""),
                },
                ConditionOn::Setting(name) => match self.settings.get(name) {
                    Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
                    Some(value) if !value.is_null() => Cow::Owned(value.to_string()),
                    _ => Cow::Borrowed(""),
                },
            };
            condition.takes(&value)
        };
        let chosen = candidates.into_iter().find(|mapping| mapping.when.iter().all(holds));
        if chosen.is_none() {
            let location = match self.document {
                Document::Hl7v2 { .. } => Location::field("MSH", 9),
                Document::Fhir(_) => Location::Message,
            };
            let text = "Unsupported event code: no mapping's conditions hold for this message";
            self.problems.push(Problem::new(location, UNSUPPORTED_EVENT_CODE, text));
        }
        chosen
    }

    /// By MSH-9.1 and MSH-9.2; the structure component is not looked at.
    fn candidates_by_type(&mut self, message: &Message<'_>) -> Option<Vec<&'m InboundMapping>> {
        let header = message.segment("MSH");
        let part = |number| {
            header
                .and_then(|header| header.field(9))
                .and_then(|field| field.repetitions().next())
                .and_then(|repetition| repetition.component(number))
                .map_or("", |component| component.raw())
        };
        let (code, trigger) = (part(1), part(2));
        let dialect = self.dialect;
        let candidates = dialect.mappings(code, trigger);
        if candidates.is_empty() {
            let problem = if dialect.knows_type(code) {
                Problem::new(
                    Location::component("MSH", 9, Some(2)),
                    UNSUPPORTED_EVENT_CODE,
                    format!("Unsupported event code: no mapping of dialect {} takes it", dialect.name()),
                )
            } else {
                Problem::new(
                    Location::component("MSH", 9, Some(1)),
                    UNSUPPORTED_MESSAGE_TYPE,
                    format!("Unsupported message type: no mapping of dialect {} takes it", dialect.name()),
                )
            };
            self.problems.push(problem);
            return None;
        }
        Some(candidates.iter().map(|mapping| &**mapping).collect())
    }
}
