//! `map explain`: which field or element made which e-RS element, and the other way round.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::subject::{self, Subject};
use crate::cli::exit::{CliError, Done};
use crate::cli::table::table;
use crate::intake::{Sources, explain_message};
use crate::mapping::{Explained, Language};

/// Show which HL7 field or FHIR element made which e-RS element, in both directions, with what is unused
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway map explain referral.hl7 --source eastvale
  ers-gateway map explain referral.hl7 --source eastvale --field ZRX-3      where did this field go?
  ers-gateway map explain referral.hl7 --source eastvale --element priority where did this come from?
  ers-gateway map explain referral.json --source eastvale                   FHIR")]
pub struct Explain {
    /// A file with one HL7 v2 message, or one FHIR resource or Bundle as JSON
    file: PathBuf,
    /// The sending system; without it, MSH-3 and MSH-4 choose (FHIR names none)
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only rows whose field or element starts so: PID-3, ZRX, ServiceRequest.note
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// Only rows whose command member or e-RS element contains this
    #[arg(long, value_name = "TEXT")]
    element: Option<String>,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    subject: Subject,
}

impl Explain {
    pub fn run(self) -> Done {
        let config = self.subject.config()?;
        let set = self.subject.set(&config)?;
        let sources = Sources::new(&config.sources);
        let bytes = subject::message(&self.file)?;
        let source = subject::source(&sources, self.source.as_deref(), &bytes)?;
        let connection = subject::connection(&config, &source.config, None);
        let explained = explain_message(&set, source, &connection, &bytes).map_err(CliError::No)?;
        let rows: Vec<Explained> = explained.rows.into_iter().filter(|row| self.wants(row)).collect();
        if self.json {
            let shown = json!({
                "mapping": explained.mapping, "rows": rows, "unused": explained.unused, "problems": explained.problems,
            });
            println!("{shown:#}");
        } else {
            print!("{}", in_words(explained.language, &rows, &explained.unused));
            for problem in &explained.problems {
                println!("{} (code {}): {}", problem.location, problem.code, problem.text);
            }
        }
        Ok(())
    }

    fn wants(&self, row: &Explained) -> bool {
        let field = self.field.as_ref().is_none_or(|field| row.field.starts_with(field.as_str()));
        let element = self.element.as_ref().is_none_or(|element| {
            row.member.contains(element.as_str()) || row.elements.iter().any(|found| found.contains(element.as_str()))
        });
        field && element
    }
}

fn in_words(language: Language, rows: &[Explained], unused: &[String]) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let state = if row.present { row.field.clone() } else { format!("{} (absent)", row.field) };
        let mut elements = row.elements.iter();
        let first = elements.next().cloned().unwrap_or_else(|| if row.present { "–".into() } else { String::new() });
        lines.push(vec![state, row.member.clone(), first]);
        lines.extend(elements.map(|element| vec![String::new(), String::new(), element.clone()]));
    }
    let mut text = table(&[language.name(), "command", "e-RS"], &lines);
    if unused.is_empty() {
        text.push_str("\nEverything that is populated is used, or named as ignored.\n");
    } else {
        text.push_str(&format!("\nNot used, and not named as ignored: {}\n", unused.join(", ")));
    }
    text
}
