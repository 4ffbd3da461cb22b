//! `dispatches`: messages of the gateway to hospital systems, what became of them, and what a person decides about those that
//! were refused.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::exit::{CliError, Done};
use super::records::Where;
use super::runtime;
use super::table::{cell, table};
use crate::command::DispatchId;
use crate::store::{DispatchFilter, DispatchState};

/// Look at messages to hospital systems; send those again that were refused, or give them up
#[derive(Subcommand)]
pub enum Dispatches {
    List(List),
    /// Send refused ones again, as they are; recorded with who decided and why
    #[command(after_help = "\
Examples:
  ers-gateway dispatches replay 0199f2c4-… --why 'the PAS knows the patient now'

The same bytes with the same control id go out again, before those made after them.")]
    Replay(Decide),
    /// Give up those that are not delivered; recorded with who decided and why
    #[command(after_help = "\
Examples:
  ers-gateway dispatches discard 0199f2c4-… --why 'told by telephone'

One that waits is not sent any more, and those behind it go on.")]
    Discard(Decide),
}

/// List messages to hospital systems, newest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway dispatches list --state refused              those that a person must look at
  ers-gateway dispatches list --destination pas --json     of one receiver, for a program")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// To this destination only
    #[arg(long)]
    destination: Option<String>,
    /// waiting, delivered, refused, unmade or discarded
    #[arg(long, value_parser = state)]
    state: Option<DispatchState>,
    /// Older than this one: the next page
    #[arg(long, value_name = "DISPATCH")]
    before: Option<DispatchId>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// A decision; recorded with who decided and why
#[derive(Args)]
pub struct Decide {
    #[command(flatten)]
    place: Where,
    /// Identifiers from `dispatches list`
    #[arg(required = true, value_name = "DISPATCH")]
    ids: Vec<DispatchId>,
    /// Why; goes to the audit log
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: String,
}

fn state(text: &str) -> Result<DispatchState, String> {
    let names = || DispatchState::ALL.map(DispatchState::name).join(", ");
    DispatchState::named(text).ok_or_else(|| format!("must be one of {}", names()))
}

impl Dispatches {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
                Self::Replay(decide) => decide.run("replay", "sent again").await,
                Self::Discard(decide) => decide.run("discard", "given up").await,
            }
        })
    }
}

impl List {
    async fn run(self) -> Done {
        let records = self.place.open().await?;
        let max = usize::from(self.limit);
        let filter = DispatchFilter { destination: self.destination, state: self.state, before: self.before, max };
        let found = records.dispatches(filter).await?;
        if self.json {
            println!("{found:#}");
            return Ok(());
        }
        let columns = ["createdAt", "destination", "kind", "state", "tries", "why", "id"];
        let dispatches = found["dispatches"].as_array().into_iter().flatten();
        let rows: Vec<Vec<String>> =
            dispatches.map(|one: &Value| columns.iter().map(|member| cell(&one[*member])).collect()).collect();
        print!("{}", table(&["made", "destination", "kind", "state", "tries", "why", "dispatch"], &rows));
        if let Some(next) = found["next"].as_str() {
            println!("older ones: --before {next}");
        }
        Ok(())
    }
}

impl Decide {
    async fn run(self, act: &str, past: &str) -> Done {
        let (records, by) = (self.place.open().await?, self.place.by()?);
        for id in &self.ids {
            records.decide_dispatch(*id, act, by, &self.why).await.map_err(|error| match error {
                CliError::NotFound(_) => CliError::NotFound(format!("there is no dispatch {id}")),
                error => error,
            })?;
            println!("{past}: dispatch {id}");
        }
        Ok(())
    }
}
