//! `sources`: modes while running, and going live.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{CliError, Done};
use super::records::{Records, Where};
use super::runtime;
use super::table::{cell, table};
use crate::modes::Wish;

/// Pause, shadow and resume sources, connections and destinations of a running gateway
#[derive(Subcommand)]
pub enum Sources {
    List(List),
    /// Let what comes wait: messages are stored and acknowledged, nothing of them is sent
    #[command(after_help = "\
Examples:
  ers-gateway sources pause northmoor --why 'the PAS sends twice'
  ers-gateway sources pause e-rs --connection --preview            what it would come to; nothing is switched
  ers-gateway sources pause pas-answers --destination --why 'upgrade of the PAS'")]
    Pause(Switch),
    /// Rehearse only: everything but the sending
    #[command(after_help = "\
Examples:
  ers-gateway sources shadow northmoor --why 'back to the old interface'
  ers-gateway sources shadow northmoor --service 11014 --why 'not this service yet'")]
    Shadow(Switch),
    /// Send from now on, or from a time on
    #[command(after_help = "\
Examples:
  ers-gateway sources live northmoor --preview                     what it would come to; nothing is switched
  ers-gateway sources live northmoor --service 11014 --why 'first service'
  ers-gateway sources live northmoor --from 2026-03-16T08:00:00Z --why 'agreed with the ward'

What was only rehearsed is never sent by itself: to be sent it must come again, under a new control id.")]
    Live(Switch),
    /// End a pause: whatever held before it holds again
    #[command(after_help = "\
Examples:
  ers-gateway sources resume northmoor --why 'mended'
  ers-gateway sources resume e-rs --connection --why 'the certificate is in place'")]
    Resume(Switch),
    /// Take back everything that was switched: as the settings say
    #[command(after_help = "\
Examples:
  ers-gateway sources reset northmoor --why 'the settings say live by now'
  ers-gateway sources reset northmoor --service 11014 --why 'goes with the others'")]
    Reset(Switch),
    Compare(Compare),
}

/// List sources, connections and destinations: how they stand, since when and by whom
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway sources list           what is live, in shadow or paused
  ers-gateway sources list --json    the same for a program")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// A decision about a mode.
#[derive(Args)]
pub struct Switch {
    #[command(flatten)]
    place: Where,
    /// As in the settings
    name: String,
    /// NAME is a connection to e-RS
    #[arg(long, conflicts_with_all = ["destination", "service"])]
    connection: bool,
    /// NAME is a hospital system that is sent messages, or a folder that gets documents
    #[arg(long, conflicts_with = "service")]
    destination: bool,
    /// One service of the source alone, by its id
    #[arg(long)]
    service: Option<String>,
    /// From this instant on, such as 2026-03-16T08:00:00Z
    #[arg(long, value_name = "INSTANT")]
    from: Option<Timestamp>,
    /// Only say what it would come to
    #[arg(long)]
    preview: bool,
    /// The version that a preview told: refused if somebody has switched it since
    #[arg(long, value_name = "VERSION", conflicts_with = "preview")]
    seen: Option<u64>,
    /// Why; goes to the audit log
    #[arg(long, required_unless_present = "preview", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: Option<String>,
}

/// Put what a source in shadow would have sent beside what was sent the old way
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway sources compare northmoor --sent old.csv                 by members of the command
  ers-gateway sources compare northmoor --sent old.jsonl --json        by bodies of calls, for a program
  ers-gateway sources compare northmoor --sent old.csv --ers           and beside what e-RS shows of them now

A CSV has a column localId and members of the command by path: localId,priority,shortlist.0.service,patient.nhsNumber.
A line of JSON is {\"localId\": \"…\", \"call\": \"A011\", \"body\": {…}} or {\"localId\": \"…\", \"members\": {…}}.
A column ubrn, or \"ubrn\" in a line, says under which UBRN e-RS has a referral: with --ers a hundred at most are read (A005),
and their priority, patient and services compared. Exit code 1 where something differs.")]
pub struct Compare {
    #[command(flatten)]
    place: Where,
    /// As in the settings
    source: String,
    /// What the old interface sent
    #[arg(long, value_name = "FILE")]
    sent: PathBuf,
    /// Read e-RS as well, for referrals whose UBRN the file says
    #[arg(long)]
    ers: bool,
    /// Only what was received since this instant
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

impl Sources {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
                Self::Pause(switch) => switch.run(Wish::Paused).await,
                Self::Shadow(switch) => switch.run(Wish::Shadow).await,
                Self::Live(switch) => switch.run(Wish::Live).await,
                Self::Resume(switch) => switch.run(Wish::Resumed).await,
                Self::Reset(switch) => switch.run(Wish::Settings).await,
                Self::Compare(compare) => compare.run().await,
            }
        })
    }
}

fn of_a_running_gateway() -> CliError {
    CliError::Usage("modes are switched at a gateway that runs: name it with --api".into())
}

impl List {
    async fn run(self) -> Done {
        let Records::Api(api) = self.place.open().await? else { return Err(of_a_running_gateway()) };
        let found = api.get("v1/sources", &[]).await?;
        if self.json {
            println!("{found:#}");
            return Ok(());
        }
        let mut rows = Vec::new();
        for (kind, name) in [("source", "sources"), ("connection", "connections"), ("destination", "destinations")] {
            for target in found[name].as_array().into_iter().flatten() {
                rows.push(row(kind, target, &cell(&target["name"])));
                for service in target["services"].as_array().into_iter().flatten() {
                    rows.push(row("", service, &format!("  service {}", cell(&service["service"]))));
                }
            }
        }
        print!("{}", table(&["", "name", "mode", "since", "by", "planned"], &rows));
        Ok(())
    }
}

fn row(kind: &str, target: &Value, name: &str) -> Vec<String> {
    let (switched, planned) = (&target["switched"], &target["planned"]);
    let by = match switched.is_null() {
        true if target["mode"].is_null() => "with its source".to_owned(),
        true => "the settings".to_owned(),
        false => cell(&switched["by"]),
    };
    let planned = match planned.is_null() {
        true => String::new(),
        false => format!("{} from {}", cell(&planned["mode"]), cell(&planned["from"])),
    };
    vec![kind.to_owned(), name.to_owned(), cell(&target["mode"]), cell(&switched["from"]), by, planned]
}

impl Switch {
    async fn run(self, wish: Wish) -> Done {
        let Records::Api(api) = self.place.open().await? else { return Err(of_a_running_gateway()) };
        let kind = match (self.connection, self.destination) {
            (true, _) => "connections",
            (_, true) => "destinations",
            _ => "sources",
        };
        let path = format!("v1/{kind}/{}/mode", self.name);
        let mut asked = json!({ "mode": wish });
        if let Some(service) = &self.service {
            asked["service"] = service.as_str().into();
        }
        if let Some(from) = self.from {
            asked["from"] = from.to_string().into();
        }
        let told = api.put(&format!("{path}?preview=true"), &asked).await?;
        for consequence in told["consequences"].as_array().into_iter().flatten() {
            println!("{}", cell(consequence));
        }
        let Some(why) = self.why.filter(|_| !self.preview) else {
            if let Some(version) = told["version"].as_u64() {
                println!("To decide on just this: --seen {version}");
            }
            return Ok(());
        };
        // A gateway of an older version tells none, and takes none.
        if let Some(seen) = self.seen.or(told["version"].as_u64()) {
            asked["seen"] = seen.into();
        }
        (asked["by"], asked["why"]) = (self.place.by()?.into(), why.into());
        let stands = api.put(&path, &asked).await?;
        match self.from {
            Some(from) => println!("{} is {} until {from}", self.name, cell(&stands["mode"])),
            None => println!("{} is {}", self.name, cell(&stands["mode"])),
        }
        Ok(())
    }
}

impl Compare {
    async fn run(self) -> Done {
        let Records::Api(api) = self.place.open_to_look(None).await? else { return Err(of_a_running_gateway()) };
        let sent = std::fs::read_to_string(&self.sent)
            .map_err(|error| CliError::Usage(format!("{}: {error}", self.sent.display())))?;
        let since = self.since.map(|since| format!("&since={since}")).unwrap_or_default();
        let ers = if self.ers { "&ers=true" } else { "" };
        let query = format!("{since}{ers}").replacen('&', "?", 1);
        let found = api.post_text(&format!("v1/sources/{}/comparison{query}", self.source), sent).await?;
        match self.json {
            true => println!("{found:#}"),
            false => print!("{}", told(&found)),
        }
        let differs = ["different", "onlySent", "onlyRehearsed"]
            .iter()
            .any(|name| found[*name].as_array().is_some_and(|list| !list.is_empty()))
            || ["different", "unread"]
                .iter()
                .any(|name| found["ers"][*name].as_array().is_some_and(|list| !list.is_empty()));
        if differs { Err(CliError::No("they are not the same".into())) } else { Ok(()) }
    }
}

fn told(found: &Value) -> String {
    let mut out = format!("{} referrals compared, {} the same\n", found["compared"], found["equal"]);
    for (member, count) in found["members"].as_object().into_iter().flatten() {
        out += &format!("  {member} differs in {count}\n");
    }
    for different in found["different"].as_array().into_iter().flatten() {
        out += &format!("{} (message {})\n", cell(&different["localId"]), cell(&different["message"]));
        for change in different["changes"].as_array().into_iter().flatten() {
            let value = |name: &str| match change[name].as_str() {
                Some(text) => format!("{text:?}"),
                None => "nothing".to_owned(),
            };
            out +=
                &format!("  {}: sent {}, would send {}\n", cell(&change["member"]), value("sent"), value("wouldSend"));
        }
    }
    for local_id in found["onlySent"].as_array().into_iter().flatten() {
        out += &format!("{} was sent and not rehearsed\n", cell(local_id));
    }
    for rehearsed in found["onlyRehearsed"].as_array().into_iter().flatten() {
        let (local_id, message) = (cell(&rehearsed["localId"]), cell(&rehearsed["message"]));
        out += &format!("{local_id} was rehearsed (message {message}) and not sent\n");
    }
    if found["ers"].is_object() {
        out += &told_of_ers(&found["ers"]);
    }
    if found["more"] == true {
        out += "There is more than is told here.\n";
    }
    out
}

fn told_of_ers(found: &Value) -> String {
    let mut out = format!("{} referrals read from e-RS, {} the same\n", found["read"], found["equal"]);
    for different in found["different"].as_array().into_iter().flatten() {
        out += &format!("{} (UBRN {})\n", cell(&different["localId"]), cell(&different["ubrn"]));
        for change in different["changes"].as_array().into_iter().flatten() {
            let value = |name: &str| match change[name].as_str() {
                Some(text) => format!("{text:?}"),
                None => "nothing".to_owned(),
            };
            let (member, shows, would) = (cell(&change["member"]), value("inErs"), value("wouldSend"));
            out += &format!("  {member}: e-RS shows {shows}, would send {would}\n");
        }
    }
    for unread in found["unread"].as_array().into_iter().flatten() {
        out += &format!("{} was not read: {}\n", cell(&unread["localId"]), cell(&unread["why"]));
    }
    if found["more"] == true {
        out += "e-RS has more of them than were read.\n";
    }
    out
}
