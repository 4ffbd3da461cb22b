//! `replay`: many failed commands or refused messages, because of one decision.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::exit::{CliError, Done};
use super::records::{Records, Where};
use super::runtime;
use super::table::{cell, table};
use crate::config::EnvironmentName;
use crate::mapping::MappingFiles;
use crate::store::{CauseId, ReplayFilter, ReplayOf, ReplayStanding, Share};
use crate::trials::Rerun;

/// Replay many failed commands or refused messages because of one decision
#[derive(Subcommand)]
pub enum Replay {
    Preview(Preview),
    Start(Start),
    List(List),
    Show(Show),
    /// Stop for now; what is on its way goes on
    #[command(after_help = "\
Examples:
  ers-gateway replay pause 0199f2c4-… --why 'the first ones fail'")]
    Pause(Stand),
    /// Go on where it was
    #[command(after_help = "\
Examples:
  ers-gateway replay resume 0199f2c4-… --why 'mended'")]
    Resume(Stand),
    /// Stop for good; what was sent stays sent
    #[command(after_help = "\
Examples:
  ers-gateway replay cancel 0199f2c4-… --why 'the hospital sends them again'")]
    Cancel(Stand),
}

/// What is to be replayed.
#[derive(Args)]
pub struct Which {
    /// Messages that were refused, instead of commands that failed
    #[arg(long)]
    rejected: bool,
    /// Of this source only
    #[arg(long)]
    source: Option<String>,
    /// Of this cause only; `problems` has them
    #[arg(long)]
    cause: Option<CauseId>,
    /// Commands of this name only, such as CreateReferral
    #[arg(long, conflicts_with = "rejected")]
    command: Option<String>,
    /// Received at or after this instant, such as 2026-03-16T09:30:00Z
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// Received before this instant
    #[arg(long, value_name = "INSTANT")]
    until: Option<Timestamp>,
    /// Also what something later of the same referral has overtaken
    #[arg(long)]
    overtaken: bool,
}

impl Which {
    fn filter(&self) -> ReplayFilter {
        ReplayFilter {
            of: if self.rejected { ReplayOf::Rejected } else { ReplayOf::Failed },
            source: self.source.clone(),
            cause: self.cause,
            command: self.command.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

/// Show what a replay would come to; nothing is sent
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway replay preview --cause 1f0c…                  what failed for one cause
  ers-gateway replay preview --rejected --source northmoor  refused messages, some of them read once more as they would be now
  ers-gateway replay preview --rejected --cause 1f0c… --mappings mappings   with the files of a folder, before they are loaded
  ers-gateway replay preview --json                         everything that failed, for a program

With --mappings or --on-disk nothing is stored, sent or loaded; it needs the right to content, for values are told.")]
pub struct Preview {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
    /// Read the messages once more with the mappings of this folder, and tell which members would be others
    #[arg(long, value_name = "FOLDER", conflicts_with = "on_disk")]
    mappings: Option<PathBuf>,
    /// The same with the mappings as they are on the gateway's disk now
    #[arg(long)]
    on_disk: bool,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// Begin a replay, which goes on by itself
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway replay start --cause 1f0c… --why 'service reopened' --in production
  ers-gateway replay start --rejected --source northmoor --share 0.5 --why 'table mended' --in production

A running gateway carries it out, one of several on one store. Live messages have precedence: no more of it is on its way than its
share. What fails after it began is not part of it. If nothing of the first ones gets through it pauses itself.
With --store it begins when the gateway next starts.")]
pub struct Start {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
    /// Share of the quota of e-RS, above 0 and at most 1
    #[arg(long, default_value = "0.25", value_parser = share)]
    share: Share,
    /// The environment that it is meant for; only the simulator need not be named
    #[arg(long = "in", value_name = "ENVIRONMENT", value_parser = environment)]
    environment: Option<EnvironmentName>,
    /// Why; goes to the audit log, also of each command
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: String,
}

fn share(text: &str) -> Result<Share, String> {
    text.parse().ok().and_then(Share::of).ok_or_else(|| "must be above 0 and at most 1".to_owned())
}

fn environment(text: &str) -> Result<EnvironmentName, String> {
    EnvironmentName::ALL
        .into_iter()
        .find(|name| name.name() == text)
        .ok_or_else(|| "must be simulator, int or production".to_owned())
}

/// List replays, the newest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway replay list           with their progress
  ers-gateway replay list --json    the same for a program")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// Show a replay: how far it is, and what became of each
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway replay show 0199f2c4-…           counts, and what did not get through
  ers-gateway replay show 0199f2c4-… --json    with every item, for a program")]
pub struct Show {
    #[command(flatten)]
    place: Where,
    /// Identifier from `replay list`
    replay: Uuid,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// A decision about a replay.
#[derive(Args)]
pub struct Stand {
    #[command(flatten)]
    place: Where,
    /// Identifier from `replay list`
    replay: Uuid,
    /// Why; goes to the audit log
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: String,
}

impl Replay {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::Preview(preview) => preview.run().await,
                Self::Start(start) => start.run().await,
                Self::List(list) => list.run().await,
                Self::Show(show) => show.run().await,
                Self::Pause(stand) => stand.run(ReplayStanding::Paused).await,
                Self::Resume(stand) => stand.run(ReplayStanding::Running).await,
                Self::Cancel(stand) => stand.run(ReplayStanding::Cancelled).await,
            }
        })
    }
}

impl Preview {
    async fn run(self) -> Done {
        let records = self.place.open().await?;
        let mut found = records.preview_replay(&self.which.filter(), self.which.overtaken).await?;
        let tried = self.tried(&records, found["candidates"].as_u64()).await?;
        if self.json {
            if let Some(tried) = tried {
                found["tried"] = json!(tried);
            }
            println!("{found:#}");
            return Ok(());
        }
        print!("{}", told(&found));
        tried.iter().for_each(|tried| print!("{}", told_of_trial(tried, self.which.rejected)));
        Ok(())
    }

    /// With other mappings, page by page.
    async fn tried(&self, records: &Records, candidates: Option<u64>) -> Result<Option<Rerun>, CliError> {
        let archive = match &self.mappings {
            None if !self.on_disk => return Ok(None),
            None => None,
            Some(folder) => {
                let files = MappingFiles::from_folder(folder)
                    .map_err(|error| CliError::unavailable("the mappings cannot be read", error))?;
                Some(STANDARD.encode(files.to_archive()))
            }
        };
        let Records::Api(api) = records else {
            return Err(CliError::Usage("mappings are tried by a gateway that runs: name it with --api".into()));
        };
        let bar = ProgressBar::new(candidates.unwrap_or_default());
        let mut whole = Rerun::default();
        let mut after = Some(0);
        while let Some(from) = after.filter(|_| whole.messages < TRIED_MAX) {
            let mut asked = json!({ "filter": self.which.filter(), "after": from });
            if let Some(archive) = &archive {
                asked["base64"] = archive.as_str().into();
            }
            let page = api.post_as_said("v1/trials", &asked).await?;
            let page: Rerun =
                serde_json::from_value(page).map_err(|error| CliError::unavailable("the gateway's answer", error))?;
            after = page.next;
            let (mapping_set, is_current) = (page.mapping_set.clone(), page.is_current);
            whole = Rerun { mapping_set, is_current, ..whole.and(page) };
            bar.set_position(whole.messages);
        }
        bar.finish_and_clear();
        Ok(Some(whole))
    }
}

/// Messages that one preview tries.
const TRIED_MAX: u64 = 100_000;
const CHANGES_SHOWN: usize = 100;

fn told_of_trial(tried: &Rerun, of_refused: bool) -> String {
    let taken: u64 = tried.taken.values().sum();
    let mut out = format!("with these mappings, of {} messages {taken} would be taken", tried.messages);
    let names: Vec<String> = tried.taken.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if !names.is_empty() {
        out += &format!(" ({})", names.join(", "));
    }
    out += &format!(", {} refused, {} not tried\n", tried.refused, tried.not_tried);
    if tried.is_current {
        out += "they are the mappings in use\n";
    }
    for change in tried.changes.iter().take(CHANGES_SHOWN) {
        out += &format!("  {}\n", change.in_words());
    }
    for (text, count) in &tried.problems {
        out += &format!("  still wrong in {count}: {text}\n");
    }
    if !of_refused {
        out += "a command that failed keeps its mappings: for these, discard it and replay its message\n";
    }
    if tried.next.is_some() {
        out += &format!("there are more than {TRIED_MAX}: name a cause or a time\n");
    }
    out
}

fn told(found: &Value) -> String {
    let more = if found["more"] == true { " or more" } else { "" };
    let mut out = format!("{}{more} would be sent", found["wouldBeSent"]);
    for (name, count) in found["byName"].as_object().into_iter().flatten() {
        out += &format!("\n  {count} {name}");
    }
    let overtaken = match found["overtakenAreSent"] == true {
        true => "sent all the same",
        false => "left out (--overtaken sends them)",
    };
    out += &format!("\n{} are overtaken by something later of the same referral: {overtaken}\n", found["overtaken"]);
    if let Some(begun) = found["begun"].as_u64() {
        out += &format!("{begun} are partly done: what is done is not made again\n");
        out += &format!(
            "{} were made with another mapping set than the one in use, and go on with theirs\n",
            found["onAnotherMappingSet"]
        );
    }
    if found["readOnceMore"]["messages"].as_u64().is_some_and(|read| read > 0) {
        let read = &found["readOnceMore"];
        out += &format!(
            "of {} that were read once more, {} would be taken now, {} refused again\n",
            read["messages"], read["taken"], read["stillRefused"]
        );
        for (problem, count) in read["problems"].as_object().into_iter().flatten() {
            out += &format!("  {count} {problem}\n");
        }
    }
    out
}

impl Start {
    async fn run(self) -> Done {
        let (records, by) = (self.place.open().await?, self.place.by()?);
        let filter = self.which.filter();
        let replay =
            records.begin_replay(filter, self.share, self.which.overtaken, self.environment, by, &self.why).await?;
        println!("replay {} begins; `replay show {}` says how far it is", cell(&replay["id"]), cell(&replay["id"]));
        Ok(())
    }
}

impl List {
    async fn run(self) -> Done {
        let found = self.place.open().await?.replays().await?;
        if self.json {
            println!("{found:#}");
            return Ok(());
        }
        let row = |replay: &Value| {
            let counts = &replay["counts"];
            let columns = [
                &replay["createdAt"],
                &replay["state"],
                &replay["items"],
                &counts["sent"],
                &counts["completed"],
                &counts["failed"],
                &replay["by"],
                &replay["id"],
            ];
            columns.into_iter().map(cell).collect()
        };
        let rows: Vec<Vec<String>> = found["replays"].as_array().into_iter().flatten().map(row).collect();
        let heads = ["begun", "is", "came to", "on their way", "completed", "failed again", "by", "replay"];
        print!("{}", table(&heads, &rows));
        Ok(())
    }
}

impl Show {
    async fn run(self) -> Done {
        let records = self.place.open().await?;
        let mut shown = records.replay_of_many(self.replay, None).await?;
        let mut items = Vec::new();
        let mut page = shown.clone();
        loop {
            items.extend(page["list"].as_array().into_iter().flatten().cloned());
            let Some(next) = page["next"].as_str().and_then(|next| next.parse().ok()) else { break };
            page = records.replay_of_many(self.replay, Some(next)).await?;
        }
        if self.json {
            shown["list"] = Value::Array(items);
            if let Some(members) = shown.as_object_mut() {
                members.remove("next");
            }
            println!("{shown:#}");
            return Ok(());
        }
        println!(
            "replay {} is {}, begun {} by {}",
            cell(&shown["id"]),
            cell(&shown["state"]),
            cell(&shown["createdAt"]),
            cell(&shown["by"])
        );
        for (outcome, count) in shown["counts"].as_object().into_iter().flatten() {
            if count.as_u64().is_some_and(|count| count > 0) {
                println!("  {count} {}", outcome.replace('_', " "));
            }
        }
        let is_told = |item: &&Value| !matches!(item["outcome"].as_str(), Some("sent" | "completed"));
        for item in items.iter().filter(is_told).take(NOT_THROUGH_SHOWN) {
            println!("  {}  message {}: {}", cell(&item["outcome"]), cell(&item["message"]), cell(&item["why"]));
        }
        Ok(())
    }
}

/// Of what did not get through; `--json` has all.
const NOT_THROUGH_SHOWN: usize = 50;

impl Stand {
    async fn run(self, to: ReplayStanding) -> Done {
        let (records, by) = (self.place.open().await?, self.place.by()?);
        let shown = records.stand_replay(self.replay, to, by, &self.why).await?;
        println!("replay {} is {}", self.replay, cell(&shown["state"]));
        Ok(())
    }
}
