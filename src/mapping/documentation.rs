//! The interface specification of a dialect, written from its mappings: what to hand to the people who
//! run the sending system.

use std::fmt::Write;

use super::dialect::{Dialect, InboundMapping};
use super::inbound::{Leaf, LetterSource, Outcome, Read, Source};
use super::source::{Language, Selector};

/// Markdown.
pub fn specification(dialect: &Dialect) -> String {
    let mut text = format!("# Interface specification: {}\n", dialect.name());
    let mut mappings: Vec<(String, &InboundMapping)> =
        dialect.all().map(|mapping| (mapping.from.to_string(), mapping)).collect();
    mappings.sort_by(|(a, this), (b, other)| a.cmp(b).then(other.when.len().cmp(&this.when.len())));
    for (from, mapping) in mappings {
        write_mapping(&mut text, &from, mapping);
    }
    text.push_str("\n## Code tables\n");
    for (name, table) in dialect.tables() {
        let _ = write!(text, "\n### {name}\n\n| Sent | e-RS |\n|---|---|\n");
        for (local, ers) in table.rows() {
            let _ = writeln!(text, "| `{local}` | `{ers}` |");
        }
    }
    text
}

fn write_mapping(text: &mut String, from: &str, mapping: &InboundMapping) {
    let makes = match &mapping.outcome {
        Outcome::Command(name) => format!("makes the command {name}"),
        Outcome::Notice(name) => format!("is noted ({name}); nothing is sent to e-RS"),
        Outcome::Refuse { code, text, .. } => format!("is refused with code {code}: {text}"),
    };
    let _ = write!(text, "\n## {from} {makes}\n\nMapping: `mappings/{}`\n", mapping.file);
    for condition in &mapping.when {
        let named = |value: &'_ String| match value.as_str() {
            "*" => "any value".to_owned(),
            "" => "absent".to_owned(),
            value => value.to_owned(),
        };
        let values: Vec<String> = condition.values.iter().map(named).collect();
        let _ = writeln!(text, "\nOnly when {} is {}.", condition.on, values.join(" or "));
    }
    if !mapping.requires.is_empty() {
        let _ = writeln!(text, "\nRequired segments: {}.", mapping.requires.join(", "));
    }
    if !mapping.body.is_empty() {
        let language = mapping.from.language().name();
        let _ = write!(text, "\n| {language} | Command | Rules |\n|---|---|---|\n");
        for leaf in mapping.thread.iter().map(|(_, leaf)| leaf).chain(&mapping.body) {
            write_leaf(text, leaf, "", None);
        }
    }
    for letter in &mapping.letters {
        let what = match &letter.content {
            LetterSource::Data { data, .. } => {
                let places: Vec<String> = data.iter().map(|data| in_segment(data, Some(&letter.each))).collect();
                format!("the document in {} becomes a letter", places.join(", else "))
            }
            LetterSource::Text(selector) => {
                format!("the text in {} becomes a letter (text/plain)", in_segment(selector, Some(&letter.each)))
            }
            LetterSource::Refuse(why) => format!("is refused: {why}"),
        };
        let finished: Vec<String> = letter
            .finished
            .iter()
            .map(|(selector, values)| {
                let values: Vec<&str> =
                    values.iter().map(|value| if value.is_empty() { "absent" } else { value }).collect();
                format!(" {} must be {}.", in_segment(selector, Some(&letter.each)), values.join(" or "))
            })
            .collect();
        let _ = writeln!(text, "\nEach {}: {what}.{}", letter.each, finished.concat());
    }
    if let Some(clinical) = &mapping.clinical_text {
        let sections: Vec<String> = clinical.sections.iter().map(|section| section.each.to_string()).collect();
        let _ = writeln!(text, "\nClinical text in {} goes along as `{}`.", sections.join(", "), clinical.file_name);
    }
}

/// `7.1` inside `each: ZRS` is `ZRS-7.1` to the sender, `value` inside `each: X.y` is `X.y.value`.
fn in_segment(selector: &Selector, within: Option<&Selector>) -> String {
    match within {
        Some(each) if !selector.is_absolute() => match each.language() {
            Language::Hl7v2 => format!("{each}-{selector}"),
            Language::Fhir if selector.to_string().starts_with("->") => format!("{each} {selector}"),
            Language::Fhir => format!("{each}.{selector}"),
        },
        _ => selector.to_string(),
    }
}

fn write_leaf(text: &mut String, leaf: &Leaf, above: &str, within: Option<&Selector>) {
    let key = format!("{above}{}", leaf.key);
    match &leaf.source {
        Source::Constant(value) => {
            let _ = writeln!(text, "| – | {key} | always `{value}` |");
        }
        Source::Read(read) => {
            let at: Vec<String> =
                read.at.iter().map(|selector| format!("`{}`", in_segment(selector, within))).collect();
            let _ = writeln!(
                text,
                "| {} | {key} | {} |",
                at.join(", else ").replace('|', "\\|"),
                rules(read).replace('|', "\\|")
            );
        }
        Source::Each { over, of, .. } => {
            let _ = writeln!(text, "| each `{}` | {key} | one entry each |", over.to_string().replace('|', "\\|"));
            for member in of {
                write_leaf(text, member, &format!("{key}[]."), Some(over));
            }
        }
        Source::Expression { with, expression } => {
            let at: Vec<String> =
                with.iter().map(|(_, selector)| format!("`{}`", in_segment(selector, within))).collect();
            let _ = writeln!(
                text,
                "| {} | {key} | `{}` |",
                at.join(", ").replace('|', "\\|"),
                expression.source().replace('|', "\\|")
            );
        }
    }
}

fn rules(read: &Read) -> String {
    let mut rules = Vec::new();
    if read.required {
        rules.push("required".to_owned());
    }
    if let Some(setting) = &read.required_unless {
        rules.push(format!("required unless the source's setting {setting} is on"));
    }
    if let Some(code) = &read.code {
        rules.push(format!("by code table {code}"));
    }
    if let Some((values, _)) = &read.accept {
        rules.push(format!("only {}", values.join(", ")));
    }
    if let Some(default) = &read.default {
        rules.push(format!("`{default}` if absent"));
    }
    if read.agree {
        rules.push("all that are sent must agree".to_owned());
    }
    for filter in &read.then {
        rules.push(filter.name().to_owned());
    }
    rules.join("; ")
}
