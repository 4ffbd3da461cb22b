//! `subject export`: everything that the store has of a patient, for a subject access request.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::exit::{CliError, Done};
use super::patient::{self, Number};
use super::store::{Actor, Place};
use super::{private_file, runtime};
use crate::command::{MessageId, NhsNumber, nhs_numbers_in};
use crate::environment::Environment;
use crate::events::cloud_event;
use crate::inbound::http::views;
use crate::mapping::hex;
use crate::store::{CommandView, DispatchFilter, KeptDocument, PlacedMessage, Store};

/// Messages, events or dispatches read at a time.
const PAGE: usize = 100;

/// Everything about a patient
#[derive(Subcommand)]
pub enum Subject {
    Export(Export),
}

/// Write everything that the store has of a patient into one file, for a subject access request
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway subject export --to sar-4711.json --why 'request 4711' --config gateway.yaml      asks for the NHS number
  ers-gateway subject export --to sar-4711.json --why 'request 4711' --nhs-number-file number.txt --store store.db

Found are messages that mention the NHS number, or have an answer of e-RS that does, and all others of their referrals: as they
came, with their commands, calls and answers, events, what was sent to hospital systems, and a list of documents
(`GET /v1/commands/{id}/documents/{step}` has them). Messages of versions before this one are read for it first, once. What was
purged is not there any more; how worklists were at their last look, and the gateway's log, are not in it.

Somebody must read it before it is handed out: `othersMentioned` says of each message how many other NHS numbers it has, and
answers with others (a worklist) are left out and say so.

The file is made for its owner only, and one that is there is not overwritten. That it was exported is in the audit log, never of
whom. A gateway on a file must not run meanwhile, those on a database may.

Exit codes: 0 done, 1 the file is there already, 2 no NHS number, 3 not there or in use, 4 nothing of this patient.")]
pub struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    number: Number,
    /// A new file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    actor: Actor,
}

impl Subject {
    pub fn run(self) -> Done {
        let Self::Export(export) = self;
        runtime()?.block_on(export.run())
    }
}

impl Export {
    async fn run(self) -> Done {
        let (_, store) = self.place.open().await?;
        let number = self.number.read()?;
        let keys = patient::keys(&*store)?;
        // Before anything is shown; also where nothing is found, for it was looked for.
        self.actor.note(&*store, "export patient", "everything of a patient".into()).await?;
        patient::read_unread(&*store, &keys).await?;
        let patient = keys.patient_digest(&number);
        if store.messages_of_patient(patient, 0, 1).await?.is_empty() {
            return Err(CliError::NotFound(
                "nothing of this patient is there: is it the right number, and the right key file?".into(),
            ));
        }
        let file = private_file::create(&self.to)?;
        let style = ProgressStyle::with_template("{spinner} {human_pos} {msg}").expect("the template is a literal");
        let mut report = Report {
            store: &*store,
            number,
            out: BufWriter::new(file),
            is_first: true,
            subjects: BTreeSet::new(),
            threads: BTreeSet::new(),
            documents: Vec::new(),
            progress: ProgressBar::new_spinner().with_style(style),
        };
        let messages = report.write(patient).await?;
        report.progress.finish_and_clear();
        println!("{messages} messages and what came of them were written to {}", self.to.display());
        Ok(())
    }
}

/// One JSON object, written part by part.
struct Report<'a> {
    store: &'a dyn Store,
    number: NhsNumber,
    out: BufWriter<File>,
    is_first: bool,
    /// Identifiers of messages and commands, as events and dispatches name them.
    subjects: BTreeSet<String>,
    /// As events name them.
    threads: BTreeSet<String>,
    documents: Vec<Value>,
    progress: ProgressBar,
}

impl Report<'_> {
    async fn write(&mut self, patient: [u8; 32]) -> Result<u64, CliError> {
        let about = json!({
            "exportedAt": Environment::system().now(),
            "version": env!("CARGO_PKG_VERSION"),
            "nhsNumber": self.number.as_str(),
        });
        self.text(&format!("{{\"about\": {about:#},\n\"messages\": ["))?;
        let (mut messages, mut after) = (0, 0);
        loop {
            let page = self.store.messages_of_patient(patient, after, PAGE).await?;
            for PlacedMessage { number, id } in &page {
                self.message(*id).await?;
                after = *number;
                messages += 1;
                self.told(messages, "messages written");
            }
            if page.len() < PAGE {
                break;
            }
        }
        self.next_list("events")?;
        self.events().await?;
        self.next_list("sentToHospitalSystems")?;
        self.dispatches().await?;
        self.next_list("documents")?;
        for document in std::mem::take(&mut self.documents) {
            self.entry(&document)?;
        }
        self.text("]}\n")?;
        self.out.flush().and_then(|()| self.out.get_ref().sync_all()).map_err(unwritable)?;
        Ok(messages)
    }

    async fn message(&mut self, id: MessageId) -> Result<(), CliError> {
        let store = self.store;
        // Purged since it was found.
        let Some(view) = store.message(id).await? else { return Ok(()) };
        let raw = store.read_message(id, 0..u64::MAX).await?;
        let mut shown = views::message(&view);
        shown["sha256"] = hex(&Sha256::digest(&raw)).into();
        shown["othersMentioned"] = self.others(&raw).into();
        shown["content"] = in_words(&raw, &view.charset).into();
        shown["acknowledgement"] = in_words(&view.acknowledgement, &view.charset).into();
        drop(raw);
        self.subjects.insert(id.to_string());
        let mut commands = Vec::new();
        for command in store.commands_of(id).await? {
            commands.push(self.command(&command).await?);
        }
        shown["commands"] = commands.into();
        self.entry(&shown)
    }

    async fn command(&mut self, command: &CommandView) -> Result<Value, CliError> {
        self.subjects.insert(command.id.to_string());
        self.threads.insert(crate::store::thread_of_events(command.thread));
        let attempts = self.store.attempts(command.id).await?;
        for attempt in &attempts {
            if let Some(document) = KeptDocument::of(attempt.id, &attempt.response) {
                self.documents.push(json!({
                    "command": command.id,
                    "step": attempt.step,
                    "call": attempt.call,
                    "at": attempt.finished_at,
                    "contentType": document.content_type(),
                    "bytes": document.bytes,
                }));
            }
        }
        let mut shown = views::command(command, None, &self.store.transitions(command.id).await?, &attempts);
        if let Some(calls) = shown["attempts"].as_array_mut() {
            for (call, attempt) in calls.iter_mut().zip(&attempts) {
                call["request"] = self.unless_of_others(&attempt.request);
                call["response"] = self.unless_of_others(&attempt.response);
            }
        }
        shown["result"] = self.unless_of_others(&shown["result"]);
        shown["body"] = self.unless_of_others(&command.body);
        shown["plan"] = self.unless_of_others(&command.plan);
        shown["knownOfReferral"] = self.unless_of_others(&command.known);
        Ok(shown)
    }

    /// By who stands in them: the outbox has no index of patients, so it is read once.
    async fn events(&mut self) -> Result<(), CliError> {
        let mut after = 0;
        loop {
            let page = self.store.events_after(after, PAGE).await?;
            for event in &page {
                if self.threads.contains(&event.thread) || self.subjects.contains(&event.subject) {
                    self.subjects.insert(event.id.to_string());
                    let mut shown = cloud_event(event);
                    shown["data"] = self.unless_of_others(&shown["data"]);
                    self.entry(&shown)?;
                }
                after = event.position;
            }
            self.told(after, "events read");
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn dispatches(&mut self) -> Result<(), CliError> {
        let mut filter = DispatchFilter { destination: None, state: None, before: None, max: PAGE };
        loop {
            let page = self.store.dispatches(filter.clone()).await?;
            for dispatch in &page {
                let subject = dispatch.subject.rsplit(' ').next().unwrap_or_default();
                if self.subjects.contains(subject) {
                    let content = self.store.dispatch_content(dispatch.id).await?;
                    let mut shown = views::dispatch(dispatch);
                    shown["othersMentioned"] = self.others(&content).into();
                    shown["content"] = in_words(&content, "UTF-8").into();
                    self.entry(&shown)?;
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => filter.before = Some(last.id),
                _ => return Ok(()),
            }
        }
    }

    /// How many other patients a text mentions.
    fn others(&self, text: &[u8]) -> usize {
        nhs_numbers_in(text).iter().filter(|number| **number != self.number).count()
    }

    fn unless_of_others(&self, value: &Value) -> Value {
        match self.others(value.to_string().as_bytes()) {
            0 => value.clone(),
            others => json!({ "leftOut": format!("it mentions {others} other patients") }),
        }
    }

    fn told(&self, count: u64, what: &'static str) {
        self.progress.set_message(what);
        self.progress.set_position(count);
        self.progress.tick();
    }

    fn next_list(&mut self, name: &str) -> Result<(), CliError> {
        self.is_first = true;
        self.text(&format!("],\n\"{name}\": ["))
    }

    fn entry(&mut self, value: &Value) -> Result<(), CliError> {
        let before = if std::mem::replace(&mut self.is_first, false) { "\n" } else { ",\n" };
        self.text(before)?;
        serde_json::to_writer_pretty(&mut self.out, value).map_err(|error| unwritable(error.into()))
    }

    fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).map_err(unwritable)
    }
}

fn unwritable(error: io::Error) -> CliError {
    CliError::unavailable("the export", error)
}

/// Text as people read it: HL7 has one segment a line.
fn in_words(bytes: &[u8], charset: &str) -> String {
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    encoding.decode(bytes).0.replace('\r', "\n")
}
