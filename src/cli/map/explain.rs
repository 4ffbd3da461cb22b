//! `map explain`: which field or element made which e-RS element, and the other way round.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::subject::{self, Subject};
use crate::cli::exit::{CliError, Done};
use crate::cli::table::table;
use crate::hl7::{Declared, Header, Message, Undecodable, charset};
use crate::intake::{KnownSource, Sources, is_fhir};
use crate::mapping::{
    Dialect, Explained, FhirDocument, Json, Kind, Language, MappingSet, Normalised, PlanContext, Trace, explain,
};

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
        let name = source.dialect(|name| set.dialect(name).is_some());
        let dialect = set.dialect(name).ok_or_else(|| CliError::Usage(format!("there is no dialect {name}")))?;
        let mut trace = Trace::default();
        let is_fhir = is_fhir(&bytes);
        let normalised = if is_fhir {
            from_fhir(&set, dialect, source, &bytes, &mut trace)?
        } else {
            from_hl7(&set, dialect, source, &bytes, &mut trace)?
        };
        let (command, body) = match &normalised.kind {
            Kind::Command(draft) => (draft.name.clone(), draft.body.clone()),
            Kind::Notice { .. } | Kind::Refused => (String::new(), Value::Null),
        };
        let connection = subject::connection(&config, &source.config, None);
        let known = json!({ "ubrn": body.get("ubrn").cloned().unwrap_or_else(|| "<ubrn>".into()) });
        let settings = Value::Object(source.settings.clone());
        let context = PlanContext {
            command: &command,
            id: "",
            body: &body,
            known: &known,
            connection: &connection,
            settings: &settings,
            now: "<time of sending>",
        };
        let rows: Vec<Explained> =
            explain(&set, &trace.rows, &context).into_iter().filter(|row| self.wants(row)).collect();
        if self.json {
            let shown = json!({
                "mapping": normalised.mapping, "rows": rows, "unused": normalised.unused, "problems": normalised.problems,
            });
            println!("{shown:#}");
        } else {
            let language = if is_fhir { Language::Fhir } else { Language::Hl7v2 };
            print!("{}", in_words(language, &rows, &normalised.unused));
            for problem in &normalised.problems {
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

fn refused(why: &dyn std::fmt::Display) -> CliError {
    CliError::No(format!("the message cannot be read: {why}"))
}

fn from_hl7(
    set: &MappingSet,
    dialect: &Dialect,
    source: &KnownSource,
    bytes: &[u8],
    trace: &mut Trace,
) -> Result<Normalised, CliError> {
    let header = Header::scan(bytes).map_err(|error| refused(&error))?;
    let charsets = header.charsets();
    let declared = Declared { http: None, msh18: &charsets, source: source.encoding };
    let decoded = charset::decode(bytes, declared, Undecodable::Replace).map_err(|error| refused(&error))?;
    let message = Message::parse(&decoded.text).map_err(|error| refused(&error))?;
    Ok(set.normalise(dialect, &message, decoded.encoding, &source.settings, Some(trace)))
}

fn from_fhir(
    set: &MappingSet,
    dialect: &Dialect,
    source: &KnownSource,
    bytes: &[u8],
    trace: &mut Trace,
) -> Result<Normalised, CliError> {
    let text = std::str::from_utf8(bytes).map_err(|error| refused(&error))?;
    let json = Json::read(text).map_err(|error| refused(&error))?;
    match FhirDocument::of(text, &json) {
        Ok(document) => Ok(set.normalise_fhir(dialect, &document, &source.settings, Some(trace))),
        Err(problems) => Ok(Normalised { problems, ..Normalised::default() }),
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
