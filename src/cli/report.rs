//! `report`: a day's reconciliation.

use clap::Args;
use jiff::civil::Date;
use serde_json::Value;

use super::exit::{CliError, Done};
use super::records::Where;
use super::runtime;
use super::table::{cell, table};
use crate::reports;

/// Reconcile a day: messages against what was decided, commands against what became of them, e-RS and events against both
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway report --day 2026-03-16           for people
  ers-gateway report --day 2026-03-16 --csv     for a spreadsheet, or to send to a supplier
  ers-gateway report --day 2026-03-16 --json    for a program

A day is from midnight to midnight, UTC. Counted is what was received then, as it stands now.
Exit codes: 0 everything comes out even, 1 there are differences, 3 not there.")]
pub struct Report {
    #[command(flatten)]
    place: Where,
    /// Such as 2026-03-16
    #[arg(long)]
    day: Date,
    /// JSON, for a program
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV, one count a line
    #[arg(long)]
    csv: bool,
}

impl Report {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            let report = self.place.open().await?.report(self.day).await?;
            match (self.json, self.csv) {
                (true, _) => println!("{report:#}"),
                (_, true) => print!("{}", reports::as_csv(&report)),
                _ => print!("{}", told(&report)),
            }
            match report["balanced"] == true {
                true => Ok(()),
                false => Err(CliError::No("the report has differences".into())),
            }
        })
    }
}

fn told(report: &Value) -> String {
    let sources = || report["sources"].as_array().into_iter().flatten();
    let rows = |part: &str, members: &[&str]| -> Vec<Vec<String>> {
        sources()
            .map(|source| {
                let counts = members.iter().map(|member| cell(&source[part][*member]));
                std::iter::once(cell(&source["source"])).chain(counts).collect()
            })
            .collect()
    };
    let messages = ["received", "accepted", "rejected", "duplicates", "notices"];
    let commands = [
        "made",
        "completed",
        "queued",
        "running",
        "waiting",
        "unauthorised",
        "in_doubt",
        "failed",
        "discarded",
        "shadowed",
    ];
    let heads =
        |members: &'static [&'static str]| std::iter::once("source").chain(members.iter().copied()).collect::<Vec<_>>();
    let mut out = format!("{}, as it stands now\n\nmessages\n", cell(&report["day"]));
    out +=
        &table(&heads(&["received", "accepted", "refused", "known already", "notices"]), &rows("messages", &messages));
    out += "\ncommands\n";
    out += &table(
        &heads(&[
            "made",
            "completed",
            "queued",
            "running",
            "waiting",
            "unauthorised",
            "in doubt",
            "failed",
            "discarded",
            "shadowed",
        ]),
        &rows("commands", &commands),
    );
    for source in sources() {
        for cause in source["causes"].as_array().into_iter().flatten() {
            out += &format!(
                "\n{} {} {} {} {}: {}",
                cell(&cause["count"]),
                cell(&source["source"]),
                cell(&cause["state"]),
                cell(&cause["code"]),
                cell(&cause["place"]),
                cell(&cause["text"])
            );
        }
    }
    let differences = report["differences"].as_array().into_iter().flatten();
    let differences: Vec<String> = differences
        .map(|one| {
            format!(
                "\n{} of {}: {}\n  {}",
                cell(&one["count"]),
                cell(&one["source"]),
                cell(&one["what"]),
                cell(&one["find"])
            )
        })
        .collect();
    match differences.is_empty() {
        true => out += "\n\neverything comes out even\n",
        false => out += &format!("\n\ndifferences{}\n", differences.concat()),
    }
    if report["eventsAreKept"] == false {
        out += "events of that day are not kept any more: nothing is said of them\n";
    }
    out
}
