//! What a file names as ignored: segments, fields and components of HL7 v2, resources and elements of FHIR.

use super::super::diagnostic::Diagnostics;
use super::super::fhir::IgnoredElement;
use super::super::yaml::{Node, texts};
use super::Ignored;

/// `[ IN1, "PID-18", "PID-5.5" ]`
pub(in crate::mapping) fn ignored(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Vec<Ignored> {
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
