//! `indoubt`: writes whose outcome is not known, and what a person finds out about them.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{CliError, Done};
use super::records::{Records, Where};
use super::runtime;
use super::table::{cell, table};
use crate::command::{CommandId, Ubrn};
use crate::store::{Finding, MessageFilter};

/// As many messages at a time as one answer gives.
const PAGE: usize = 500;

/// Look at writes whose outcome is not known, and say what became of them
#[derive(Subcommand)]
pub enum InDoubt {
    List(List),
    Decide(Decide),
}

/// List commands in doubt: since when, and when e-RS is read again to find out
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway indoubt list           those without a time wait for your decision
  ers-gateway indoubt list --json    the same for a program
  ers-gateway messages show MESSAGE  what was sent, what was read, and what that came to")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// Say of a command in doubt whether e-RS carried its write out; recorded with who decided and why
#[derive(Args)]
#[command(group(ArgGroup::new("finding").required(true).args(["done", "not_done"])), after_help = "\
Examples:
  ers-gateway indoubt decide 0199f2c4-… --not-done --why 'no referral of that day in e-RS'    it is sent again
  ers-gateway indoubt decide 0199f2c4-… --done --ubrn 000000070001 --why 'found in e-RS'      it goes on behind it
  ers-gateway indoubt decide 0199f2c4-… --done --why 'cancelled, seen in e-RS'

A UBRN is needed where the write made a referral or a request for advice: whether it is this patient's is asked of e-RS.")]
pub struct Decide {
    #[command(flatten)]
    place: Where,
    /// From `indoubt list`
    command: CommandId,
    /// e-RS carried it out
    #[arg(long)]
    done: bool,
    /// e-RS did not carry it out, and will not
    #[arg(long)]
    not_done: bool,
    /// Of the record that it made
    #[arg(long, requires = "done", conflicts_with = "not_done", value_parser = ubrn)]
    ubrn: Option<String>,
    /// What you found; goes to the audit log
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: String,
}

fn ubrn(text: &str) -> Result<String, String> {
    Ubrn::parse(text).map(String::from).ok_or_else(|| "a UBRN has 12 digits".to_owned())
}

impl InDoubt {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
                Self::Decide(decide) => decide.run().await,
            }
        })
    }
}

impl List {
    async fn run(self) -> Done {
        let records = self.place.open().await?;
        let found = in_doubt(&records).await?;
        if self.json {
            println!("{:#}", json!({ "commands": found }));
            return Ok(());
        }
        let rows: Vec<Vec<String>> = found
            .iter()
            .map(|command| {
                let next = command["lookAt"].as_str().unwrap_or("your decision");
                vec![
                    cell(&command["since"]),
                    cell(&command["name"]),
                    cell(&command["step"]),
                    next.to_owned(),
                    cell(&command["id"]),
                    cell(&command["message"]),
                ]
            })
            .collect();
        print!("{}", table(&["since", "command", "step", "waits for", "id", "message"], &rows));
        Ok(())
    }
}

async fn in_doubt(records: &Records) -> Result<Vec<Value>, CliError> {
    let mut filter = MessageFilter { state: Some("in_doubt".into()), max: PAGE, ..MessageFilter::default() };
    let mut found = Vec::new();
    loop {
        let page = records.messages(filter.clone()).await?;
        for message in page["messages"].as_array().into_iter().flatten() {
            let Some(id) = message["id"].as_str().and_then(|id| id.parse().ok()) else { continue };
            let message = records.message(id).await?;
            let commands = message["commands"].as_array().into_iter().flatten();
            for command in commands.filter(|command| command["state"] == "in_doubt") {
                let Some(id) = command["id"].as_str().and_then(|id| id.parse().ok()) else { continue };
                found.push(records.command(id).await?);
            }
        }
        match page["next"].as_str().and_then(|next| next.parse().ok()) {
            Some(next) => filter.before = Some(next),
            None => return Ok(found),
        }
    }
}

impl Decide {
    async fn run(self) -> Done {
        let (records, by) = (self.place.open().await?, self.place.by()?);
        let finding = Finding { done: self.done, ubrn: self.ubrn };
        let words = finding.in_words();
        records.decide(self.command, finding, by, &self.why).await?;
        println!("decided of command {}: {words}", self.command);
        Ok(())
    }
}
