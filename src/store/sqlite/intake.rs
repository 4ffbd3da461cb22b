//! Admission: one commit for a message and everything that intake decided about it.

use bytes::Bytes;
use rusqlite::OptionalExtension;
use serde_json::json;

use super::books::{Books, Placed};
use super::columns;
use super::content;
use super::outbox::EventText;
use crate::command::{CommandId, Failure, MessageId, State, Verdict};
use crate::store::pieces::{Document, Raw, sealed_raw};
use crate::store::standing::Standing;
use crate::store::vault::{Column, Sealer, Vault};
use crate::store::{
    Admission, Admitted, Cause, GATEWAY, NewCommand, NewMessage, RESENT_WITH_A_CHANGE, Result, Settled, Stored,
};

/// Messages whose rows of `mention` are made together.
const MENTIONS_GATHERED: i64 = 256;

/// An admission with its JSON already written out and all content sealed: that work is the caller's, not the one writer's.
pub(super) struct Prepared {
    /// Without what is taken out of it.
    admission: Admission,
    commands: Vec<CommandText>,
    size: usize,
    raw: Raw,
    documents: Vec<Document>,
    acknowledgement: Bytes,
    problems: Option<String>,
    /// Why it is refused.
    causes: Vec<Cause>,
    events: Vec<EventText>,
}

/// What stands of a command in sealed columns.
struct CommandText {
    body: String,
    plan: Option<String>,
    /// Only where the body is sealed.
    local_id: Option<String>,
}

impl CommandText {
    fn of(command: &mut NewCommand, sealer: &Sealer<'_>) -> Self {
        // Taken out, so that it is freed here and not by the writer.
        let body = std::mem::take(&mut command.body);
        let local_id = body["localId"].as_str().filter(|_| sealer.seals()).map(str::to_owned);
        let sealed = |column: Column, text| sealer.text(column.of_id(command.id.0), text);
        Self {
            body: sealed(Column::CommandBody, body.to_string()),
            plan: (!command.plan.is_null()).then(|| sealed(Column::CommandPlan, columns::text(&command.plan))),
            local_id: local_id.map(|id| sealed(Column::CommandLocalId, id)),
        }
    }
}

impl Prepared {
    pub(super) fn new(mut admission: Admission, vault: &Vault) -> Self {
        let sealer = vault.sealer();
        let commands = admission.commands.iter_mut().map(|command| CommandText::of(command, &sealer)).collect();
        let id = admission.message.id;
        let raw = std::mem::take(&mut admission.message.raw);
        let acknowledgement = std::mem::take(&mut admission.acknowledgement);
        let documents = std::mem::take(&mut admission.documents);
        let message = &admission.message;
        let causes = match admission.verdict {
            Verdict::Rejected => Cause::of_message(&message.source, &message.problems),
            _ => Vec::new(),
        };
        Self {
            commands,
            size: raw.len(),
            raw: sealed_raw(id, raw, &sealer),
            documents: documents.into_iter().map(|document| Document::sealed(id, document, &sealer)).collect(),
            acknowledgement: sealer.shared(Column::MessageAcknowledgement.of_id(id.0), acknowledgement),
            causes,
            problems: columns::optional_text(&admission.message.problems),
            events: admission.events.iter().map(|event| EventText::of(event, &sealer)).collect(),
            admission,
        }
    }

    /// Bytes of content that it writes.
    pub(super) fn weight(&self) -> usize {
        self.size + self.documents.iter().map(Document::size).sum::<usize>()
    }
}

/// What became of the commands of an admission.
#[derive(Default)]
struct Enqueued {
    first: i64,
    stored: i64,
    repeats: Option<CommandId>,
    thread: Option<i64>,
}

impl Books {
    pub(super) fn admit(&mut self, prepared: &Prepared) -> Result<Admitted> {
        let admission = &prepared.admission;
        let message = &admission.message;
        let source = self.source_number(&message.source)?;
        if let Some(control_id) = &message.control_id {
            if let Some(known) = self.known_message(source, control_id, message)? {
                return Ok(known);
            }
            self.connection
                .prepare_cached("INSERT INTO dedup (source, control_id, sha256, message) VALUES (?1, ?2, ?3, ?4)")?
                .execute((source, control_id, message.sha256, message.id.0.into_bytes()))?;
        }
        let enqueued = self.enqueue_all(prepared, source)?;
        let verdict = match enqueued.repeats {
            // Where other commands of the message are new, it is more than a duplicate.
            Some(_) if enqueued.stored == 0 => Verdict::Duplicate,
            _ => admission.verdict,
        };
        let number = self.store_message(prepared, source, verdict, &enqueued)?;
        if number >= self.mentions_made + MENTIONS_GATHERED {
            self.make_mentions()?;
        }
        self.blame(number, &prepared.causes, message.received_at)?;
        if let Some(again) = &admission.taken_again {
            self.note_act(&again.noted())?;
            self.absolve(again.first)?;
        }
        content::store_documents(&self.connection, number, &prepared.documents)?;
        if !admission.events.is_empty() {
            let thread = match enqueued.thread {
                Some(thread) => self.surviving(thread)?,
                None => self.begin_thread(message.id.0)?,
            };
            for (event, text) in admission.events.iter().zip(&prepared.events) {
                self.publish(thread, event, text)?;
            }
        }
        Ok(Admitted::New { stored: Stored::committed(message.id), repeats: enqueued.repeats })
    }

    /// The answer to a message whose control id is known.
    fn known_message(&self, source: i64, control_id: &str, message: &NewMessage) -> Result<Option<Admitted>> {
        let known = self
            .connection
            .prepare_cached("SELECT sha256, message FROM dedup WHERE source = ?1 AND control_id = ?2")?
            .query_row((source, control_id), |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, [u8; 16]>(1)?)))
            .optional()?;
        let Some((sha256, first)) = known else { return Ok(None) };
        let first_id = MessageId(uuid::Uuid::from_bytes(first));
        if sha256 != message.sha256 {
            return Ok(Some(Admitted::ControlIdReused { message: first_id }));
        }
        // Empty when the first message was purged, or its answer cannot be read: who asks then makes the answer anew.
        let acknowledgement: Option<Option<Vec<u8>>> = self
            .connection
            .prepare_cached(
                "SELECT opened_if_whole('message.acknowledgement', id, acknowledgement) FROM message WHERE id = ?1",
            )?
            .query_row([first], |row| row.get(0))
            .optional()?;
        Ok(Some(Admitted::Resend {
            stored: Stored::committed(first_id),
            acknowledgement: acknowledgement.flatten().unwrap_or_default().into(),
            message: first_id,
        }))
    }

    fn enqueue_all(&mut self, prepared: &Prepared, source: i64) -> Result<Enqueued> {
        let mut enqueued = Enqueued { first: self.next_command_number(), ..Enqueued::default() };
        for (command, text) in prepared.admission.commands.iter().zip(&prepared.commands) {
            let thread = self.thread_of(&command.aliases, command.id.0)?;
            enqueued.thread.get_or_insert(thread);
            let changed = match self.repeated(thread, command)? {
                Some((earlier, true)) => {
                    enqueued.repeats.get_or_insert(earlier);
                    continue;
                }
                Some((earlier, false)) => Some(earlier),
                None => None,
            };
            self.enqueue(&prepared.admission.message, command, text, thread, source, changed)?;
            enqueued.stored += 1;
        }
        Ok(enqueued)
    }

    /// The command that already makes (or made) the referral which `command` would make, and whether it
    /// says the same.
    fn repeated(&self, thread: i64, command: &NewCommand) -> Result<Option<(CommandId, bool)>> {
        let Some(creates) = command.creates else { return Ok(None) };
        let earlier = self
            .connection
            .prepare_cached(
                "SELECT coalesce(c.id, t.purged_creator_id), coalesce(c.creates, t.purged_creates)
                 FROM thread t LEFT JOIN command c ON c.number = t.created_by
                 WHERE t.number = ?1 AND t.created_by IS NOT NULL",
            )?
            .query_row([thread], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, [u8; 32]>(1)?)))
            .optional()?;
        Ok(earlier.map(|(id, digest)| (CommandId(uuid::Uuid::from_bytes(id)), digest == creates)))
    }

    fn enqueue(
        &mut self,
        message: &NewMessage,
        command: &NewCommand,
        text: &CommandText,
        thread: i64,
        source: i64,
        changed: Option<CommandId>,
    ) -> Result<()> {
        let at = message.received_at;
        let state = match changed {
            Some(earlier) => State::Failed {
                why: Failure {
                    code: RESENT_WITH_A_CHANGE.into(),
                    text: format!("command {earlier} makes the same referral and says something else"),
                },
            },
            None => command.state.clone(),
        };
        let is_behind = self.is_busy(thread)?;
        let standing = match Standing::of(&state) {
            Standing::Held if !is_behind => Standing::Ready,
            standing => standing,
        };
        let cause = match Cause::of_command(&message.source, &command.name, &state) {
            Some(cause) => Some(self.note_cause(&cause, at)?),
            None => None,
        };
        let number = self.take_command_number();
        self.connection
            .prepare_cached(
                "INSERT INTO command (
                   number, id, message, source, thread, name, class, standing, state, received_at, changed_at,
                   not_after, deferrals, changes, fence, creates, mapping_set, body, plan,
                   cause, local_id
                 ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, 0, ?12, 0, ?13, ?14, ?15, ?16, ?17, ?18)",
            )?
            .execute(rusqlite::params![
                number,
                command.id.0.into_bytes(),
                message.id.0.into_bytes(),
                source,
                thread,
                command.name,
                command.class.rank(),
                standing.code(),
                columns::text(&state),
                at.as_microsecond(),
                command.not_after.map(|at| at.as_microsecond()),
                i64::from(changed.is_some()),
                command.creates,
                command.mapping_set,
                text.body,
                text.plan,
                cause,
                text.local_id,
            ])?;
        let placed = Placed { number, thread, standing, class: command.class, source };
        self.enter(placed.place());
        if standing.is_at_rest() {
            self.settled(Settled { message: message.id, command: command.id });
        }
        if is_behind && !standing.is_final() {
            self.raise(thread)?;
        }
        if command.creates.is_some() && changed.is_none() && standing != Standing::Shadowed {
            self.connection
                .prepare_cached("UPDATE thread SET created_by = ?2 WHERE number = ?1")?
                .execute((thread, number))?;
        }
        if let State::Failed { why } = &state
            && changed.is_some()
        {
            self.note_transition(number, 1, at, None, state.name(), &why.text, GATEWAY)?;
            let more = json!({ "code": why.code, "text": why.text });
            self.publish_about(number, "CommandFailed", at, more)?;
        }
        Ok(())
    }

    fn store_message(
        &mut self,
        prepared: &Prepared,
        source: i64,
        verdict: Verdict,
        enqueued: &Enqueued,
    ) -> Result<i64> {
        let message = &prepared.admission.message;
        let number = self.take_message_number();
        let raw = match &prepared.raw {
            Raw::Inline(raw) => Some(&raw[..]),
            Raw::Chunks(_) => None,
        };
        self.connection
            .prepare_cached(
                "INSERT INTO message (
                   number, id, source, transport, control_id, kind, charset, received_at, verdict, size, sha256,
                   problems, first_command, commands, acknowledgement, raw, patients
                 ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?
            .execute(rusqlite::params![
                number,
                message.id.0.into_bytes(),
                source,
                message.transport.name(),
                message.control_id,
                message.kind,
                message.charset,
                message.received_at.as_microsecond(),
                verdict.name(),
                columns::signed(prepared.size as u64),
                message.sha256,
                prepared.problems,
                enqueued.first,
                enqueued.stored,
                &prepared.acknowledgement[..],
                raw,
                prepared.admission.patients.as_flattened(),
            ])?;
        if let Raw::Chunks(chunks) = &prepared.raw {
            content::store_chunks(&self.connection, number, chunks)?;
        }
        Ok(number)
    }

    /// That senders got their answers.
    pub(super) fn acknowledged(&mut self, messages: &[(MessageId, jiff::Timestamp)]) -> Result<()> {
        let mut note = self.connection.prepare_cached(
            "INSERT INTO acknowledged (message, at) SELECT number, ?2 FROM message WHERE id = ?1
             ON CONFLICT (message) DO NOTHING",
        )?;
        for (message, at) in messages {
            note.execute((message.0.into_bytes(), at.as_microsecond()))?;
        }
        Ok(())
    }
}
