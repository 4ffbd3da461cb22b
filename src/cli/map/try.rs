//! `map try`: the acknowledgement, the commands and the plan of one message, without sending.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::subject::{self, Subject};
use crate::cli::exit::{CliError, Done};
use crate::intake::{Sources, Trial, try_message};

/// Show what one message would become: acknowledgement, commands, e-RS calls; nothing is sent
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway map try referral.hl7 --source northmoor
  ers-gateway map try referral.json --source northmoor
  ers-gateway map try referral.hl7 --source northmoor --json | jq .plan
  ers-gateway map try referral.hl7 --config gateway.yaml --as REFERRING_CLINICIAN

Exit codes: 0 the message would be accepted, 1 it would be refused.")]
pub struct Try {
    /// A file with one HL7 v2 message, or one FHIR resource or Bundle as JSON
    file: PathBuf,
    /// The sending system; without it, MSH-3 and MSH-4 choose (FHIR names none)
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Business function to act in, in place of the connection's own
    #[arg(long = "as", value_name = "ROLE")]
    business_function: Option<String>,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    subject: Subject,
}

impl Try {
    pub fn run(self) -> Done {
        let config = self.subject.config()?;
        let set = self.subject.set(&config)?;
        let sources = Sources::new(&config.sources);
        let message = subject::message(&self.file)?;
        let source = subject::source(&sources, self.source.as_deref(), &message)?;
        let connection = subject::connection(&config, &source.config, self.business_function.as_deref());
        let trial = try_message(&set, source, &connection, &message)
            .map_err(|problem| CliError::No(format!("the plan cannot be made: {problem}")))?;
        if self.json {
            println!("{:#}", serde_json::to_value(&trial).unwrap_or_default());
        } else {
            print!("{}", in_words(&trial));
        }
        let refused = trial.ack.errors.len();
        if refused == 0 { Ok(()) } else { Err(CliError::No(format!("the message would be refused: {refused} found"))) }
    }
}

fn in_words(trial: &Trial) -> String {
    use std::fmt::Write;
    let mut text = format!("Answer: {}\n", trial.ack.code);
    for error in &trial.ack.errors {
        let _ = writeln!(text, "  {} (code {}): {}", error.location, error.code, error.text);
    }
    if trial.notice {
        text.push_str("A notice: kept and published as an event; nothing is sent to e-RS\n");
    }
    for command in &trial.commands {
        let _ = writeln!(text, "\nCommand: {}\n{:#}", command.name, command.body);
    }
    for (number, call) in trial.plan.iter().enumerate() {
        let member = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(text, "\nCall {}: {} {} {}", number + 1, member("call"), member("method"), member("path"));
        for (name, value) in call["headers"].as_object().into_iter().flatten() {
            let _ = writeln!(text, "  {name}: {}", value.as_str().unwrap_or_default());
        }
        if call["body"] != Value::Null {
            let _ = writeln!(text, "{:#}", call["body"]);
        }
    }
    if !trial.unused.is_empty() {
        let _ = writeln!(text, "\nNot used, and not named as ignored: {}", trial.unused.join(", "));
    }
    text
}
