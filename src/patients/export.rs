//! Everything that the store has of a patient, for a subject access request.
//!
//! Enters: an NHS number. Leaves: one JSON object: messages that mention the number, or have an answer of e-RS that does, and all
//! others of their referrals; their commands, calls and answers; events; what was sent to hospital systems; a list of documents.
//! Guarantees: no more than a message with what came of it is in memory at once; what mentions other patients says so,
//! or is left out and says so.

use std::collections::BTreeSet;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command::{MessageId, NhsNumber, nhs_numbers_in};
use crate::events::cloud_event;
use crate::inbound::http::views;
use crate::mapping::hex;
use crate::store::{CommandView, DispatchFilter, KeptDocument, PatientDigest, PlacedMessage, Store, StoreError};

/// Messages, events or dispatches read at a time.
const PAGE: usize = 100;
/// Handed on when there is so much.
const PART_BYTES: usize = 64 * 1024;

/// Why an export is not whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the export cannot be written: {0}")]
    Unwritable(#[from] io::Error),
}

/// Where an export goes, part by part.
#[async_trait]
pub trait TakesExport: Send {
    async fn take(&mut self, part: Bytes) -> io::Result<()>;
    /// How far it is.
    fn told(&mut self, _count: u64, _what: &'static str) {}
}

/// One JSON object, written part by part.
pub struct Export<'a, T> {
    store: &'a dyn Store,
    number: NhsNumber,
    to: T,
    /// What was not handed on yet.
    part: Vec<u8>,
    is_first: bool,
    /// Identifiers of messages and commands, as events and dispatches name them.
    subjects: BTreeSet<String>,
    /// As events name them.
    threads: BTreeSet<String>,
    documents: Vec<Value>,
}

impl<'a, T: TakesExport> Export<'a, T> {
    pub fn new(store: &'a dyn Store, number: NhsNumber, to: T) -> Self {
        Self {
            store,
            number,
            to,
            part: Vec::new(),
            is_first: true,
            subjects: BTreeSet::new(),
            threads: BTreeSet::new(),
            documents: Vec::new(),
        }
    }

    /// All of it, as the store knows the patient. How many messages, and where they went to.
    pub async fn write(mut self, patient: PatientDigest, now: Timestamp) -> Result<(u64, T), ExportError> {
        let about = json!({
            "exportedAt": now,
            "version": env!("CARGO_PKG_VERSION"),
            "nhsNumber": self.number.as_str(),
        });
        self.text(&format!("{{\"about\": {about:#},\n\"messages\": ["));
        let (mut messages, mut after) = (0, 0);
        loop {
            let page = self.store.messages_of_patient(patient, after, PAGE).await?;
            for PlacedMessage { number, id } in &page {
                self.message(*id).await?;
                after = *number;
                messages += 1;
                self.to.told(messages, "messages written");
            }
            if page.len() < PAGE {
                break;
            }
        }
        self.next_list("events");
        self.events().await?;
        self.next_list("sentToHospitalSystems");
        self.dispatches().await?;
        self.next_list("documents");
        for document in std::mem::take(&mut self.documents) {
            self.entry(&document).await?;
        }
        self.text("]}\n");
        self.to.take(std::mem::take(&mut self.part).into()).await?;
        Ok((messages, self.to))
    }

    async fn message(&mut self, id: MessageId) -> Result<(), ExportError> {
        let store = self.store;
        // Purged since it was found.
        let Some(view) = store.message(id).await? else { return Ok(()) };
        let raw = match store.read_message(id, 0..u64::MAX).await {
            Err(StoreError::NotFound) => return Ok(()),
            raw => raw?,
        };
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
        self.entry(&shown).await
    }

    async fn command(&mut self, command: &CommandView) -> Result<Value, ExportError> {
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
    async fn events(&mut self) -> Result<(), ExportError> {
        let mut after = 0;
        loop {
            let page = self.store.events_after(after, PAGE).await?;
            for event in &page {
                if self.threads.contains(&event.thread) || self.subjects.contains(&event.subject) {
                    self.subjects.insert(event.id.to_string());
                    let mut shown = cloud_event(event);
                    shown["data"] = self.unless_of_others(&shown["data"]);
                    self.entry(&shown).await?;
                }
                after = event.position;
            }
            self.to.told(after, "events read");
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn dispatches(&mut self) -> Result<(), ExportError> {
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
                    self.entry(&shown).await?;
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

    fn next_list(&mut self, name: &str) {
        self.is_first = true;
        self.text(&format!("],\n\"{name}\": ["));
    }

    async fn entry(&mut self, value: &Value) -> Result<(), ExportError> {
        let before = if std::mem::replace(&mut self.is_first, false) { "\n" } else { ",\n" };
        self.text(before);
        serde_json::to_writer_pretty(&mut self.part, value).map_err(io::Error::from)?;
        if self.part.len() >= PART_BYTES {
            self.to.take(std::mem::take(&mut self.part).into()).await?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.part.extend_from_slice(text.as_bytes());
    }
}

/// Text as people read it: HL7 has one segment a line.
fn in_words(bytes: &[u8], charset: &str) -> String {
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    encoding.decode(bytes).0.replace('\r', "\n")
}
