//! `problems`: what is refused or does not get on, grouped by its cause.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::exit::Done;
use super::records::Where;
use super::runtime;
use super::table::cell;
use crate::store::{CauseId, ProblemFilter};

/// List what is refused or does not get on, grouped by its cause
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway problems                       what a person has to see to first
  ers-gateway problems --source northmoor    of one source
  ers-gateway problems --cause 1f0c…         one of them
  ers-gateway problems --json                the same for a program
  ers-gateway messages list --cause 1f0c…    its messages")]
pub struct Problems {
    #[command(flatten)]
    place: Where,
    /// Of this source only
    #[arg(long)]
    source: Option<String>,
    /// Only this cause
    #[arg(long)]
    cause: Option<CauseId>,
    /// Only what somebody came to at or after this instant, such as 2026-03-16T09:30:00Z
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

impl Problems {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            let records = self.place.open().await?;
            let filter = ProblemFilter {
                source: self.source,
                cause: self.cause,
                since: self.since,
                max: usize::from(self.limit),
            };
            let found = records.problems(filter).await?;
            match self.json {
                true => println!("{found:#}"),
                false => print!("{}", told(&found)),
            }
            Ok(())
        })
    }
}

fn told(found: &Value) -> String {
    let mut out = String::new();
    for problem in found["problems"].as_array().into_iter().flatten() {
        let place = [&problem["place"], &problem["call"]].map(cell);
        let place: Vec<&str> = place.iter().map(String::as_str).filter(|text| !matches!(*text, "" | "-")).collect();
        out += &format!(
            "{}\n  {} {}, the last {}\n  for patients  {}\n  who           {}\n  do            {}\n  see           \
             messages list --cause {}; docs/{}\n\n",
            cell(&problem["summary"]),
            cell(&problem["code"]),
            place.join(" "),
            cell(&problem["last"]),
            cell(&problem["patients"]),
            cell(&problem["who"]),
            cell(&problem["do"]),
            cell(&problem["cause"]),
            cell(&problem["runbook"]),
        );
    }
    if out.is_empty() { "no problems\n".to_owned() } else { out }
}
