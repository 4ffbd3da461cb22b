//! Clinical text without a home in e-RS (NTE, DG1, AL1, text OBX) becomes a letter; it is never dropped
//! (`design.md` section 9).

use std::fmt::Write;

use encoding_rs::Encoding;

use super::inbound::{ClinicalText, Section};
use super::normalise::with_crlf;
use crate::hl7::{Message, is_null, unescape};

/// The letter's text, or `None` when there is nothing that needs one.
pub fn write(spec: &ClinicalText, message: &Message<'_>, encoding: &'static Encoding) -> Option<String> {
    let sections: Vec<(&Section, Vec<String>)> = spec
        .sections
        .iter()
        .map(|section| (section, lines(section, message, encoding)))
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    if sections.iter().all(|(section, _)| section.supplement) {
        return None;
    }
    let mut text = format!("{}\n", spec.title);
    for (section, lines) in sections {
        let _ = write!(text, "\n{}\n", section.title);
        for line in lines {
            let _ = writeln!(text, "- {line}");
        }
    }
    Some(with_crlf(&text))
}

fn lines(section: &Section, message: &Message<'_>, encoding: &'static Encoding) -> Vec<String> {
    let mut lines = Vec::new();
    for segment in section.each.segments(message) {
        let parts: Vec<String> = section
            .line
            .iter()
            .flat_map(|selector| selector.all(message, Some(segment)))
            .filter(|found| !is_null(found.raw))
            .map(|found| unescape(found.raw, message.delimiters(), encoding).into_owned())
            .filter(|text| !text.trim().is_empty())
            .collect();
        if !parts.is_empty() {
            lines.push(parts.join(", "));
        }
    }
    lines
}
