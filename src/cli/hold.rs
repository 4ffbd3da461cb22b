//! `hold`: what holds up other commands of its referral.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::exit::Done;
use super::records::Where;
use super::runtime;
use super::table::{cell, table};

/// Look at what holds up other commands of its referral
#[derive(Subcommand)]
pub enum Holding {
    List(List),
}

/// List commands that hold others, those first that hold a cancellation
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway hold list           a cancellation that waits behind a failed step stands at the top
  ers-gateway hold list --json    the same for a program

What to do: mend the cause and `messages replay`, sign in and `messages release`, `indoubt decide`; or let a command go past
what holds it with `messages pass`.")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

impl Holding {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
            }
        })
    }
}

impl List {
    async fn run(self) -> Done {
        let found = self.place.open().await?.holds().await?;
        if self.json {
            println!("{found:#}");
            return Ok(());
        }
        let row = |hold: &Value| {
            let holder = &hold["holder"];
            let columns =
                [&hold["cancellations"], &hold["followers"], &holder["name"], &holder["state"], &holder["source"]];
            let ids = [&holder["id"], &holder["message"]];
            columns.into_iter().chain(ids).map(cell).collect()
        };
        let rows: Vec<Vec<String>> = found["holds"].as_array().into_iter().flatten().map(row).collect();
        let heads = ["cancellations", "followers", "held by", "which is", "source", "command", "message"];
        print!("{}", table(&heads, &rows));
        Ok(())
    }
}
