//! Who a destination is to the messages that tell it of events: their MSH, their charset, its settings.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use crate::config::{Acknowledgement, Destination, EnvironmentName};
use crate::hl7::{OwnCharset, OwnHeader};
use crate::mapping::OutboundMapping;
use crate::store::DispatchContent;

pub(super) struct Addressee {
    pub name: String,
    pub dialect: String,
    /// As mappings see them.
    pub settings: Value,
    parties: [String; 4],
    charset: OwnCharset,
    zone: TimeZone,
    processing_id: String,
    /// MSH-15 and MSH-16.
    answers: [&'static str; 2],
}

impl Addressee {
    pub fn of(destination: &Destination, place: EnvironmentName) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Self {
            name: destination.name.clone(),
            dialect: destination.dialect.clone(),
            settings: Value::Object(destination.settings.clone()),
            parties: [
                destination.sending_application.clone(),
                text(&destination.sending_facility),
                text(&destination.application),
                text(&destination.facility),
            ],
            // Both were checked with the settings.
            charset: OwnCharset::labelled(&destination.charset).unwrap_or(OwnCharset::UTF_8),
            zone: TimeZone::get(&destination.time_zone).unwrap_or(TimeZone::UTC),
            processing_id: destination.processing_id(place).to_owned(),
            answers: match destination.acknowledgement {
                Acknowledgement::Application => ["", ""],
                Acknowledgement::Commit => ["AL", "NE"],
                Acknowledgement::None => ["NE", "NE"],
            },
        }
    }

    /// MSH and the lines, each ended by CR; or which segment has a character that the charset lacks.
    pub fn message(
        &self,
        mapping: &OutboundMapping,
        control_id: String,
        at: Timestamp,
        lines: &[String],
    ) -> Result<DispatchContent, String> {
        let at = Zoned::new(at, self.zone.clone());
        let [kind, trigger, structure] = mapping.message_type().each_ref().map(String::as_str);
        let header = OwnHeader {
            parties: self.parties.each_ref().map(String::as_str),
            at: &at,
            message_type: [kind, trigger, structure],
            control_id: &control_id,
            processing_id: &self.processing_id,
            version: mapping.version(),
            answers: self.answers,
            charset: self.charset,
        };
        let mut bytes = Vec::with_capacity(256 + lines.iter().map(|line| line.len() + 1).sum::<usize>());
        for line in std::iter::once(&header.line()).chain(lines) {
            let encoded = self.charset.encode(line).ok_or_else(|| {
                let segment = line.get(..3).unwrap_or_default();
                format!("{segment} has a character that {} has not (charset of the destination)", self.charset.name())
            })?;
            bytes.extend_from_slice(&encoded);
            bytes.push(b'\r');
        }
        Ok(DispatchContent { kind: format!("{kind}^{trigger}"), control_id, bytes: bytes.into() })
    }
}
