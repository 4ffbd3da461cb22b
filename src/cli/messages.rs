//! `messages`: what came in and what became of it; what a person decides about what waits for one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cases::{Explain, MakeBundle};
use super::exit::{CliError, Done};
use super::patient::Number;
use super::records::{Records, Sought, Where};
use super::runtime;
use super::table::{cell, table};
use crate::command::{CommandId, MessageId, State, Ubrn, Verdict};
use crate::store::{CauseId, MessageFilter};

/// Look at messages and their commands; replay, release or discard what waits for a person
#[derive(Subcommand)]
pub enum Messages {
    List(List),
    Show(Show),
    /// Let failed commands go on; recorded with who decided and why
    #[command(after_help = "\
Examples:
  ers-gateway messages replay 0199f2c4-… --why 'service reopened'     every failed command of a message
  ers-gateway messages replay 0199f2c4-… --why 'code table mended'    or one command, or a message that was refused
  ers-gateway messages replay 0199f2c4-… --why 'in the other order'   a message whose commands were discarded

A replayed command goes on at the step where it stopped; calls known to be done are not made again. A message that was
refused, or discarded before anything of it was sent, is taken in once more and stands behind what came since.")]
    Replay(Decide),
    Edit(Edit),
    Difference(Difference),
    Explain(Explain),
    Bundle(MakeBundle),
    /// Let unauthorised commands go on, once somebody has signed in; recorded with who decided and why
    #[command(after_help = "\
Examples:
  ers-gateway messages list --state unauthorised
  ers-gateway messages release 0199f2c4-… --why 'signed in again'     every unauthorised command of a message, or
                                                                      one command")]
    Release(Decide),
    /// Give failed commands up for good; recorded with who decided and why
    #[command(after_help = "\
Examples:
  ers-gateway messages discard 0199f2c4-… --why 'sent by hand, UBRN known to the practice'

Of a message the failed commands are meant; one that is in doubt, or waits otherwise, is named by itself.

A discarded command is not sent again, and those that it held go on.")]
    Discard(Decide),
    /// Let held commands go past what holds them, which is discarded; recorded with who decided and why
    #[command(after_help = "\
Examples:
  ers-gateway messages pass 0199f2c4-… --why 'the patient died'     a cancellation behind a letter that failed

What holds it is discarded, but never what is on its way or in doubt. To change the order, have its message replayed
afterwards: it is taken in once more, behind the one that passed.")]
    Pass(Decide),
}

/// List messages, newest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway messages list                                the newest 50
  ers-gateway messages list --state failed                 with a command that waits for a person
  ers-gateway messages list --verdict rejected --json      refused messages, for a program
  ers-gateway messages list --ubrn '0000 4997 3145'        of one referral
  ers-gateway messages list --nhs-number-file -            of one patient; the number is asked for, or read
  ers-gateway messages list --store /var/lib/ers-gateway/store.db   of a gateway that does not run")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// Of this source only
    #[arg(long)]
    source: Option<String>,
    /// accepted, rejected, duplicate or notice
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// With a command in this state: queued, running, waiting, unauthorised, in_doubt, failed, completed, …
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(State::NAMES))]
    state: Option<String>,
    /// MSH-10 or Idempotency-Key
    #[arg(long, value_name = "ID")]
    control_id: Option<String>,
    /// Refused for this cause, or with a command that does not get on for it; `problems` has them
    #[arg(long)]
    cause: Option<CauseId>,
    /// Of the referral that its source knows by this id; with --source
    #[arg(long, value_name = "ID", requires = "source", conflicts_with = "ubrn")]
    local_id: Option<String>,
    /// Of the referral that e-RS knows by this number
    #[arg(long, value_parser = ubrn)]
    ubrn: Option<Ubrn>,
    /// Of the patient whose NHS number is in this file; `-` asks for it, or reads standard input
    #[arg(long, value_name = "FILE")]
    nhs_number_file: Option<PathBuf>,
    /// With this text in it, as its sender wrote it: messages are opened and looked through one by one, newest first
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["local_id", "ubrn", "nhs_number_file"])]
    containing: Option<String>,
    /// Received at or after this instant, such as 2026-03-16T09:30:00Z
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// Received before this instant
    #[arg(long, value_name = "INSTANT")]
    until: Option<Timestamp>,
    /// Older than this message: the next page
    #[arg(long, value_name = "MESSAGE")]
    before: Option<MessageId>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// Show one message, its commands, their transitions and e-RS calls
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway messages show 0199f2c4-…           a message with all its commands
  ers-gateway messages show 0199f2c4-… --json    the same for a program
  ers-gateway messages show 0199f2c4-… --why 'the practice telephoned'    who looked goes to the audit log, with the reason")]
pub struct Show {
    #[command(flatten)]
    place: Where,
    /// Identifier from `messages list`
    message: MessageId,
    /// Why you look; goes to the audit log, as that you did
    #[arg(long)]
    why: Option<String>,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// Take a refused or given up message in once more, with a content that was changed; recorded with who edited it and why
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway messages edit 0199f2c4-… --file mended.hl7 --why 'priority as the practice told by telephone'

The original stays as it came; the new message is linked to it, and `messages difference` says what was changed. Only a gateway
that runs takes it. Needs the right to content.")]
pub struct Edit {
    #[command(flatten)]
    place: Where,
    /// The message that was refused, or whose commands are all discarded
    message: MessageId,
    /// The whole message as it should have been, in its own character set
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Why; goes to the audit log
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: String,
}

/// Show what was changed in an edited message
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway messages difference 0199f2c4-…           place by place, what it was and what it is
  ers-gateway messages difference 0199f2c4-… --json    the same for a program")]
pub struct Difference {
    #[command(flatten)]
    place: Where,
    /// The edited message
    message: MessageId,
    /// Why you look; goes to the audit log
    #[arg(long)]
    why: Option<String>,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// A decision about commands that wait for a person; recorded with who decided and why
#[derive(Args)]
pub struct Decide {
    #[command(flatten)]
    place: Where,
    /// Messages (all their commands that wait for this decision) or commands
    #[arg(required = true, value_name = "MESSAGE|COMMAND")]
    ids: Vec<uuid::Uuid>,
    /// Why; goes to the audit log
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: String,
}

fn ubrn(text: &str) -> Result<Ubrn, String> {
    Ubrn::parse(text).ok_or_else(|| "has twelve digits".to_owned())
}

fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::ALL
        .into_iter()
        .find(|verdict| verdict.name() == text)
        .ok_or_else(|| "must be accepted, rejected, duplicate or notice".to_owned())
}

impl Messages {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
                Self::Show(show) => show.run().await,
                Self::Replay(decide) => decide.run(Decision::Replay).await,
                Self::Edit(edit) => edit.run().await,
                Self::Difference(difference) => difference.run().await,
                Self::Explain(explain) => explain.run().await,
                Self::Bundle(bundle) => bundle.run().await,
                Self::Release(decide) => decide.run(Decision::Release).await,
                Self::Discard(decide) => decide.run(Decision::Discard).await,
                Self::Pass(decide) => decide.run(Decision::Pass).await,
            }
        })
    }
}

impl List {
    async fn run(self) -> Done {
        let records = self.place.open_to_look(None).await?;
        let filter = MessageFilter {
            source: self.source,
            verdict: self.verdict,
            state: self.state,
            control_id: self.control_id,
            cause: self.cause,
            referral: None,
            patient: None,
            since: self.since,
            until: self.until,
            before: self.before,
            max: usize::from(self.limit),
        };
        let nhs_number = self.nhs_number_file.map(|file| Number::in_file(file).read()).transpose()?;
        let sought = Sought { local_id: self.local_id, ubrn: self.ubrn, nhs_number };
        let found = match (&self.containing, sought.is_nothing()) {
            (Some(text), _) => looked_through(&records, filter, text).await?,
            (None, true) => records.messages(filter).await?,
            (None, false) => records.messages_of(filter, &sought).await?,
        };
        if self.json {
            println!("{found:#}");
            return Ok(());
        }
        let rows: Vec<Vec<String>> = list(&found["messages"])
            .map(|message| {
                ["receivedAt", "source", "kind", "verdict", "controlId", "id"]
                    .iter()
                    .map(|member| cell(&message[*member]))
                    .collect()
            })
            .collect();
        print!("{}", table(&["received", "source", "kind", "verdict", "control id", "message"], &rows));
        if let Some(next) = found["next"].as_str() {
            println!("older ones: --before {next}");
        }
        Ok(())
    }
}

/// Part by part, until there are as many as wanted or none are left.
async fn looked_through(records: &Records, mut filter: MessageFilter, text: &str) -> Result<Value, CliError> {
    let style = ProgressStyle::with_template("{spinner} {human_pos} messages looked through  {per_sec}")
        .expect("the template is a literal");
    let progress = ProgressBar::new_spinner().with_style(style);
    let (mut found, wanted) = (Vec::new(), filter.max);
    loop {
        let mut part = records.messages_containing(filter.clone(), text).await?;
        progress.inc(part["looked"].as_u64().unwrap_or_default());
        if let Some(messages) = part["messages"].as_array_mut() {
            found.append(messages);
        }
        filter.max = wanted.saturating_sub(found.len());
        filter.before = part["next"].as_str().and_then(|id| id.parse().ok());
        if filter.before.is_none() || filter.max == 0 {
            progress.finish_and_clear();
            return Ok(json!({ "messages": found, "next": part["next"] }));
        }
    }
}

impl Show {
    async fn run(self) -> Done {
        let records = self.place.open_to_look(self.why.as_deref()).await?;
        let mut message = records.message(self.message).await?;
        let mut commands = Vec::new();
        for command in list(&message["commands"]) {
            if let Some(id) = command["id"].as_str().and_then(|id| id.parse().ok()) {
                commands.push(records.command(id).await?);
            }
        }
        if self.json {
            message["commands"] = Value::Array(commands);
            println!("{message:#}");
            return Ok(());
        }
        print!("{}", describe(&message, &commands));
        Ok(())
    }
}

impl Edit {
    async fn run(self) -> Done {
        let (records, by) = (self.place.open().await?, self.place.by()?);
        let content = std::fs::read(&self.file).map_err(|error| CliError::unavailable(self.file.display(), error))?;
        let taken = records.edit_message(self.message, &content, by, &self.why).await?;
        println!("took message {} in as {}", self.message, cell(&taken["message"]));
        Ok(())
    }
}

impl Difference {
    async fn run(self) -> Done {
        let records = self.place.open_to_look(self.why.as_deref()).await?;
        let found = records.difference(self.message).await?;
        if self.json {
            println!("{found:#}");
            return Ok(());
        }
        println!("edited from message {}", cell(&found["editedFrom"]));
        for change in list(&found["changes"]) {
            println!("  {}: {} → {}", cell(&change["place"]), cell(&change["was"]), cell(&change["is"]));
        }
        Ok(())
    }
}

fn describe(message: &Value, commands: &[Value]) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "message {}: {} from {} over {}, {}",
        cell(&message["id"]),
        cell(&message["kind"]),
        cell(&message["source"]),
        cell(&message["transport"]),
        cell(&message["verdict"])
    ));
    line(format!(
        "  received {}, acknowledged {}, control id {}, {} bytes, {}",
        cell(&message["receivedAt"]),
        cell(&message["acknowledgedAt"]),
        cell(&message["controlId"]),
        cell(&message["bytes"]),
        cell(&message["charset"]),
    ));
    if message["legalHold"] == true {
        line("  under a legal hold: not removed until it is lifted".to_owned());
    }
    for problem in list(&message["problems"]) {
        line(format!("  {} {}: {}", cell(&problem["location"]), cell(&problem["code"]), cell(&problem["text"])));
    }
    for command in commands {
        line(format!("command {}: {} is {}", cell(&command["id"]), cell(&command["name"]), cell(&command["state"])));
        if let Some(why) = command["why"].as_object() {
            line(format!("  because of {}: {}", cell(&why["code"]), cell(&why["text"])));
        }
        if let Some(held_by) = command["heldBy"].as_str() {
            line(format!("  held by command {held_by}, which is before it in the same thread"));
        }
        if let Some(estimate) = command["estimate"].as_str() {
            match command["estimatedAt"].as_str() {
                Some(at) => line(format!("  its first call to e-RS is estimated to leave at {at} ({estimate})")),
                None => line(format!("  when it is sent {estimate}")),
            }
        }
        for transition in list(&command["transitions"]) {
            line(format!("  {}  → {}: {}", cell(&transition["at"]), cell(&transition["to"]), cell(&transition["why"])));
        }
        for attempt in list(&command["attempts"]) {
            line(format!(
                "  {}  {} {}: {} {} in {} ms",
                cell(&attempt["startedAt"]),
                cell(&attempt["call"]),
                cell(&attempt["step"]),
                cell(&attempt["status"]),
                cell(&attempt["outcome"]),
                cell(&attempt["durationMs"]),
            ));
        }
    }
    out
}

#[derive(Clone, Copy)]
enum Decision {
    Replay,
    Release,
    Discard,
    Pass,
}

impl Decision {
    /// State of the commands that it is about where a message is named.
    fn of_state(self) -> &'static str {
        match self {
            Self::Replay | Self::Discard => "failed",
            Self::Release => "unauthorised",
            Self::Pass => "queued",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Release => "released",
            Self::Discard => "discarded",
            Self::Pass => "let past what held it:",
        }
    }
}

impl Decide {
    async fn run(self, decision: Decision) -> Done {
        let (records, by) = (self.place.open().await?, self.place.by()?);
        let mut decided = 0;
        for id in &self.ids {
            if let (Decision::Replay, Ok(message)) = (decision, records.message(MessageId(*id)).await)
                && (message["verdict"] == Verdict::Rejected.name() || is_given_up(&message))
            {
                records.replay_message(MessageId(*id), by, &self.why).await?;
                decided += 1;
                println!("took message {id} in once more");
                continue;
            }
            for command in commands_of(&records, *id, decision.of_state()).await? {
                match decision {
                    Decision::Replay => records.replay(command, by, &self.why).await?,
                    Decision::Release => records.release(command, by, &self.why).await?,
                    Decision::Discard => records.discard(command, by, &self.why).await?,
                    Decision::Pass => records.pass(command, by, &self.why).await?,
                }
                decided += 1;
                println!("{} command {command}", decision.past());
            }
        }
        if decided == 0 {
            return Err(CliError::No(format!("none of them has a command that is {}", decision.of_state())));
        }
        Ok(())
    }
}

/// All that it made is discarded.
fn is_given_up(message: &Value) -> bool {
    let mut commands = list(&message["commands"]).peekable();
    commands.peek().is_some() && commands.all(|command| command["state"] == "discarded")
}

/// The commands of a message in that state, or the command itself.
async fn commands_of(records: &Records, id: uuid::Uuid, state: &str) -> Result<Vec<CommandId>, CliError> {
    match records.message(MessageId(id)).await {
        Ok(message) => Ok(list(&message["commands"])
            .filter(|command| command["state"] == state)
            .filter_map(|command| command["id"].as_str()?.parse().ok())
            .collect()),
        Err(CliError::NotFound(_)) => records.command(CommandId(id)).await.map(|_| vec![CommandId(id)]),
        Err(error) => Err(error),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queued_command_is_described_with_its_estimate_or_why_there_is_none() {
        let message = json!({"id": "m1", "problems": []});
        let command = |estimate| json!({"id": "c1", "state": "queued", "estimate": estimate});
        let mut first = command("as the queue stands");
        first["estimatedAt"] = "2026-03-16T09:41:07Z".into();
        let told = describe(&message, &[first, command("cannot be estimated: its source is paused")]);
        for part in ["leave at 2026-03-16T09:41:07Z (as the", "when it is sent cannot be estimated: its source is"] {
            assert!(told.contains(part), "{part} is not in\n{told}");
        }
    }

    #[test]
    fn a_failed_command_is_described_with_its_reason_and_calls() {
        let message = json!({"id": "m1", "legalHold": true, "kind": "REF^I12", "source": "northmoor", "transport": "mllp",
            "verdict": "accepted", "controlId": "NM1", "problems": []});
        let command = json!({"id": "c1", "name": "CreateReferral", "state": "failed",
            "why": {"code": "INVALID_VALUE", "text": "e-RS refused a field"},
            "transitions": [{"at": "T", "to": "failed", "why": "refused"}],
            "attempts": [{"startedAt": "T", "call": "A011", "step": "create", "status": 422, "outcome": "INVALID_VALUE",
                "durationMs": 12}]});
        let told = describe(&message, &[command]);
        for part in [
            "under a legal hold",
            "REF^I12 from northmoor",
            "because of INVALID_VALUE",
            "A011 create: 422 INVALID_VALUE in 12 ms",
        ] {
            assert!(told.contains(part), "{part} is not in\n{told}");
        }
    }
}
