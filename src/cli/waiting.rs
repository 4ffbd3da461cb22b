//! `waiting`: what waits for people to sign in, and whose it is.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{CliError, Done};
use super::records::{Records, Where};
use super::runtime;
use super::table::{cell, table};
use crate::command::CommandId;

/// Look at what waits for people to sign in
#[derive(Subcommand)]
pub enum Waiting {
    List(List),
    Assign(Assign),
}

/// List whom commands wait for: since when, how many, how urgent
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway waiting list           one line a person, the most urgent first
  ers-gateway waiting list --json    the same with every command, for a program

What to do: have the person sign in at /v1/sign-in/start of the gateway, choose as whom they act, and confirm. Of what names
nobody make somebody responsible with `waiting assign`; add unknown users to `users` of their source.")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// Make somebody responsible for a command whose message names nobody
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway waiting assign 0199f2c4-0000-7000-8000-000000000000 --user 555000000011 --why \"her clinic\"

The user must sign in and confirm it. A command whose message says whose it is stays theirs.")]
pub struct Assign {
    /// The command
    #[arg(value_name = "ID")]
    id: CommandId,
    /// NHS user id, 12 digits
    #[arg(long, value_name = "USER")]
    user: String,
    /// Why; goes to the audit log
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    place: Where,
}

impl Waiting {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
                Self::Assign(assign) => assign.run().await,
            }
        })
    }
}

async fn api(place: &Where) -> Result<super::api::Api, CliError> {
    match place.open().await? {
        Records::Api(api) => Ok(api),
        Records::Store(..) => {
            Err(CliError::Usage("who is signed in is known to a running gateway: ask it, without --store".into()))
        }
    }
}

impl List {
    async fn run(self) -> Done {
        let found = api(&self.place).await?.get("v1/waiting", &[]).await?;
        if self.json {
            println!("{found:#}");
            return Ok(());
        }
        let row = |who: &Value| {
            let person = match (who["user"].as_str(), who["unknownUser"].as_str()) {
                (Some(user), _) => user.to_owned(),
                (None, Some(unknown)) => format!("unknown: {unknown}"),
                (None, None) => format!("anybody at {}", who["connection"].as_str().unwrap_or("-")),
            };
            let here = match who["signedIn"].as_bool() {
                Some(true) => "yes",
                Some(false) => "no",
                None => "",
            };
            let columns = [&who["count"], &who["tooOld"], &who["mostUrgent"], &who["since"], &who["soonestTooOld"]];
            [person, here.to_owned()].into_iter().chain(columns.into_iter().map(cell)).collect()
        };
        let rows: Vec<Vec<String>> = found["waiting"].as_array().into_iter().flatten().map(row).collect();
        let heads = ["who", "signed in", "commands", "too old", "most urgent", "since", "next too old"];
        print!("{}", table(&heads, &rows));
        Ok(())
    }
}

impl Assign {
    async fn run(self) -> Done {
        let by = self.place.by()?.to_owned();
        let body = json!({ "user": self.user, "by": by, "why": self.why });
        api(&self.place).await?.post(&format!("v1/waiting/{}/assign", self.id), &body).await?;
        println!("user {} is responsible for {} now: they must sign in and confirm it", self.user, self.id);
        Ok(())
    }
}
