//! Clinical text without a home in e-RS (NTE, DG1, AL1, text OBX) becomes a letter; it is never dropped
//! (`design.md` section 9).

use std::fmt::Write;

use super::inbound::{ClinicalText, Section};
use super::normalise::with_crlf;
use super::source::Document;

/// The letter's text, or `None` when there is nothing that needs one.
pub fn write(spec: &ClinicalText, document: &Document<'_>) -> Option<String> {
    let sections: Vec<(&Section, Vec<String>)> = spec
        .sections
        .iter()
        .map(|section| (section, lines(section, document)))
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

fn lines(section: &Section, document: &Document<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in section.each.entries(document) {
        let parts: Vec<String> = section
            .line
            .iter()
            .flat_map(|selector| selector.all(document, Some(entry)))
            .filter(|found| !found.is_null())
            .map(|found| found.text(document).into_owned())
            .filter(|text| !text.trim().is_empty())
            .collect();
        if !parts.is_empty() {
            lines.push(parts.join(", "));
        }
    }
    lines
}
