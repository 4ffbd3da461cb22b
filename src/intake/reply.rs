//! Application answers: what e-RS's outcome makes of a message, told to its sender.
//!
//! A referral that exists is never answered as failed in a way that makes the sender create it again: the
//! UBRN goes back together with what went wrong later (`hl7/reference.md` 1.4).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use encoding_rs::Encoding;
use serde_json::{Value, json};

use super::answer::DeferredReply;
use super::hl7v2::{kind_of, plain_application_answer};
use super::wire::Wire;
use super::{AnswerMade, Intake, sources::KnownSource};
use crate::command::{MessageId, State, Verdict};
use crate::hl7::acknowledgement::reply_head;
use crate::hl7::charset::encode_or_question_mark;
use crate::hl7::{AckCode, AckError, AnswersWanted, Delimiters, Header, Stamp};
use crate::mapping::{CopiedSegments, Line, Piece, PlanContext, ReplyMapping, ReplyOutcome};
use crate::store::{CommandView, DispatchContent, KeptDocument, MessageView, OwedAnswer, StoreError};

/// A broadcast can be missed; the store is asked at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Intake {
    /// The message's commands once all of them came to rest; `None` when `limit` passed first, or if it has none.
    pub(super) async fn settled(&self, message: MessageId, limit: Duration) -> Option<Vec<CommandView>> {
        let mut rings = self.store.signals().settled.subscribe();
        let wait = async {
            loop {
                match self.store.commands_of(message).await {
                    Ok(views) if views.is_empty() => return None,
                    Ok(views) if views.iter().all(|view| at_rest(&view.state)) => return Some(views),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(message.id = %message, %error, "cannot see what became of a message"),
                }
                let ring = async {
                    while let Ok(settled) = rings.recv().await {
                        if settled.message == message {
                            return;
                        }
                    }
                };
                let _ = tokio::time::timeout(LOOK_AGAIN, ring).await;
            }
        };
        tokio::time::timeout(limit, wait).await.ok().flatten()
    }

    /// The application answer, once the message's commands came to rest; `None` if the sender wants none
    /// for this outcome, or `limit` passed.
    pub async fn deferred(&self, reply: &DeferredReply, limit: Duration) -> Option<Bytes> {
        let view = self.store.message(reply.message).await.ok()??;
        let views = match view.verdict {
            Verdict::Notice => Vec::new(),
            _ => self.settled(reply.outcome_of, limit).await?,
        };
        let raw = self.store.read_message(reply.message, 0..COPIED_BYTES_MAX as u64).await.ok()?;
        self.answer_to(&view, raw, &views, false).await
    }

    /// The same for an answer that goes over a connection of our own, where the outcome is known already.
    pub(super) async fn answer_owed(&self, owed: &OwedAnswer, wants_commit: bool) -> Result<AnswerMade, StoreError> {
        let lost = || AnswerMade::Unmade("the message that it answers is not kept any more".into());
        let Some(view) = self.store.message(owed.message).await? else { return Ok(lost()) };
        let views = self.store.commands_of(owed.outcome_of).await?;
        if !views.iter().all(|view| at_rest(&view.state)) {
            return Ok(AnswerMade::NotYet);
        }
        let raw = self.store.read_message(owed.message, 0..COPIED_BYTES_MAX as u64).await?;
        let Some(bytes) = self.answer_to(&view, raw, &views, wants_commit).await else {
            return Ok(AnswerMade::NotWanted);
        };
        let Ok(header) = Header::scan(&bytes) else { return Ok(lost()) };
        let (kind, control_id) = (kind_of(&header), header.known_control_id().unwrap_or_default());
        Ok(AnswerMade::Message(DispatchContent { kind, control_id, bytes }))
    }

    async fn answer_to(
        &self,
        view: &MessageView,
        raw: Bytes,
        views: &[CommandView],
        wants_commit: bool,
    ) -> Option<Bytes> {
        let raw = Wire::of(raw).text;
        let header = Header::scan(&raw).ok()?;
        let success = views.iter().all(|view| matches!(view.state, State::Completed | State::Shadowed));
        if !AnswersWanted::of(&header).after_outcome(success) {
            return None;
        }
        // An answer to UTF-16 is UTF-8.
        let encoding =
            Encoding::for_label(view.charset.as_bytes()).map_or(encoding_rs::UTF_8, Encoding::output_encoding);
        let answer = self.application_answer(&header, &raw, encoding, views, None, wants_commit).await;
        let is_read = !views.is_empty() && views.iter().all(|view| self.is_read(&view.name));
        answer.or_else(|| is_read.then(|| self.unanswered(&header, encoding)))
    }

    /// For whoever asked something of e-RS and gets no answer: nothing is on its way either.
    pub(super) fn unanswered(&self, header: &Header<'_>, encoding: &'static Encoding) -> Bytes {
        let text = "e-RS gave no answer in time; ask again later".into();
        let error = AckError { location: None, code: 207, text };
        plain_application_answer(header, &[error], &self.stamp(None), encoding)
    }

    /// AA with the UBRN, or AE with what went wrong (and the UBRN if there is one). `None` while the
    /// outcome is not known: the sender must not take silence, nor a guess, for an answer.
    pub(super) async fn application_answer(
        &self,
        header: &Header<'_>,
        raw: &[u8],
        encoding: &'static Encoding,
        views: &[CommandView],
        expected: Option<i64>,
        wants_commit: bool,
    ) -> Option<Bytes> {
        let mut errors = Vec::new();
        for view in views {
            match &view.state {
                State::Completed | State::Shadowed => {}
                State::Failed { why } => errors.push(AckError {
                    location: None,
                    code: error_code(&why.code),
                    text: format!("{}: {}", why.code, why.text),
                }),
                State::Discarded => errors.push(AckError {
                    location: None,
                    code: 207,
                    text: "an operator of the gateway set this message aside".into(),
                }),
                State::Queued
                | State::Running { .. }
                | State::Waiting { .. }
                | State::InDoubt { .. }
                | State::Unauthorised { .. } => {
                    return None;
                }
            }
        }
        let source = views.first().and_then(|view| self.sources.named(&view.source));
        let stamp = Stamp { expected, wants_commit, ..self.stamp(source.map(|source| &**source)) };
        let typed = match (source, views.first()) {
            // Nothing was asked of e-RS, so there is nothing to say.
            (Some(_), Some(view)) if view.state == State::Shadowed => None,
            (Some(source), Some(view)) => self.typed_answer(source, header, view, &mut errors).await,
            _ => None,
        };
        let Some((message_type, lines)) = typed else {
            return Some(plain_application_answer(header, &errors, &stamp, encoding));
        };
        let code = if errors.is_empty() { AckCode::AA } else { AckCode::AE };
        let delimiters = header.delimiters().unwrap_or(Delimiters::STANDARD);
        let [kind, event, structure] = message_type.each_ref().map(String::as_str);
        let mut answer = reply_head(header, [kind, event, structure], code, &errors, &stamp, encoding);
        for line in lines {
            match line {
                Line::Made(pieces) => {
                    for piece in pieces {
                        match piece {
                            Piece::Text(text) => answer.extend_from_slice(&encode_or_question_mark(&text, encoding)),
                            Piece::Field { segment, number } => {
                                answer.extend_from_slice(field(raw, segment.as_bytes(), header.field(1), number));
                            }
                        }
                    }
                    answer.push(b'\r');
                }
                Line::Copy(CopiedSegments { name, only }) => {
                    let separator = header.field(1);
                    for segment in segments(raw, name.as_bytes(), separator) {
                        let is_wanted = only.as_ref().is_none_or(|(number, value)| {
                            let field = field_of(segment, separator, *number);
                            let first = field.split(|byte| *byte == delimiters.component).next().unwrap_or_default();
                            first == value.as_bytes()
                        });
                        if !is_wanted {
                            continue;
                        }
                        answer.extend_from_slice(segment);
                        answer.push(b'\r');
                    }
                }
            }
        }
        Some(answer.into())
    }

    /// The reply that the source's dialect has for this message, if what it needs is known. A document that should go
    /// with it and cannot is an error.
    async fn typed_answer(
        &self,
        source: &KnownSource,
        header: &Header<'_>,
        view: &CommandView,
        errors: &mut Vec<AckError>,
    ) -> Option<([String; 3], Vec<Line>)> {
        let set = self.mappings.current();
        let dialect = source.dialect(|name| set.dialect(name).is_some());
        let trigger = header.trigger();
        let reply = set.reply(dialect, &header.message_type(), &trigger)?;
        let outcome = self.outcome(reply, view, errors).await;
        let settings = Value::Object(source.settings.clone());
        // As delivery has it: what the command names is known.
        let mut known = view.known.clone();
        if let (Some(known), Some(ubrn)) = (known.as_object_mut(), view.body.get("ubrn")) {
            known.entry("ubrn").or_insert_with(|| ubrn.clone());
        }
        let context = PlanContext {
            command: &view.name,
            id: "",
            body: &view.body,
            known: &known,
            connection: &Value::Null,
            settings: &settings,
            now: "",
        };
        let delimiters = header.delimiters().unwrap_or(Delimiters::STANDARD);
        match reply.lines(&context, outcome, &delimiters) {
            Ok(lines) => lines.map(|lines| (reply.message_type(&trigger), lines)),
            Err(problem) => {
                tracing::error!(source = %source.config.name, %problem, "a typed reply could not be made; a plain one goes");
                None
            }
        }
    }

    async fn outcome(&self, reply: &ReplyMapping, view: &CommandView, errors: &mut Vec<AckError>) -> ReplyOutcome {
        let result = view.plan.get("result").cloned().unwrap_or_default();
        let mut outcome = ReplyOutcome { result, ..ReplyOutcome::default() };
        if let State::Failed { why } = &view.state {
            outcome.failure = json!({ "code": why.code, "text": why.text });
        } else if let Some(error) = errors.first() {
            outcome.failure = json!({ "code": "", "text": error.text });
        } else if reply.wants_document() && view.state == State::Completed {
            outcome.document = self.document(view, &outcome.result).await;
            if outcome.document.is_null() {
                let text = "the document is not kept any more, or too large for a message".into();
                errors.push(AckError { location: None, code: 207, text });
            }
        }
        outcome
    }

    /// What e-RS answered at the step that the result names.
    async fn document(&self, view: &CommandView, result: &Value) -> Value {
        let attempts = match self.store.attempts(view.id).await {
            Ok(attempts) => attempts,
            Err(error) => {
                tracing::error!(command.id = %view.id, %error, "the document for a reply cannot be read");
                return Value::Null;
            }
        };
        let step = result["step"].as_str().unwrap_or_default();
        let kept = KeptDocument::newest(&attempts, step).filter(|kept| kept.bytes <= DOCUMENT_BYTES_MAX);
        let Some(kept) = kept else { return Value::Null };
        match kept.whole(self.store.as_ref(), view.id).await {
            Ok(bytes) => json!({ "contentType": result["contentType"], "base64": STANDARD.encode(&bytes) }),
            Err(error) => {
                tracing::error!(command.id = %view.id, %error, "the document for a reply cannot be read");
                Value::Null
            }
        }
    }
}

/// The code of table 0357 for why a command failed (`hl7/reference.md` 5): a refusal of what the message says is an error of
/// the message; what is to be mended here, or in e-RS, is no fault of its sender.
fn error_code(failure: &str) -> u16 {
    match failure {
        "http_404" | "NO_SUCH_REQUEST" | "REC_NOT_FOUND" => UNKNOWN_KEY_IDENTIFIER,
        "http_409" | "http_412" | "RECORD_LOCKED" | "VERSION_CONFLICT" => APPLICATION_RECORD_LOCKED,
        "MAPPING" | "MAPPING_SET" | "SOURCE_UNKNOWN" | "CONNECTION_UNKNOWN" | "EXPIRED" | "PDS_REFUSED"
        | "FOLLOW_UP" | "LETTER_DAMAGED" | "FORBIDDEN" | "REC_FORBIDDEN" | "NO_ACCESS" | "ACCESS_DENIED"
        | "NOT_AUTHORISED" | "UNREADABLE" | "http_403" | "http_406" | "http_415" => APPLICATION_INTERNAL_ERROR,
        _ => DATA_TYPE_ERROR,
    }
}

/// The segments of that name as they were sent. A line that the read cut off is not among them.
fn segments<'r>(raw: &'r [u8], name: &'r [u8], separator: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
    let whole =
        if raw.len() < COPIED_BYTES_MAX { raw.len() } else { raw.iter().rposition(|b| *b == b'\r').unwrap_or(0) };
    raw[..whole]
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .filter(move |line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(separator)))
}

/// A field of the first segment of that name, as it was sent; nothing if it is absent.
fn field<'r>(raw: &'r [u8], name: &'r [u8], separator: &'r [u8], number: u16) -> &'r [u8] {
    let line = segments(raw, name, separator).next().unwrap_or_default();
    field_of(line, separator, number)
}

fn field_of<'r>(line: &'r [u8], separator: &[u8], number: u16) -> &'r [u8] {
    line.split(|byte| separator.first() == Some(byte)).nth(usize::from(number)).unwrap_or_default()
}

/// Table 0357.
const DATA_TYPE_ERROR: u16 = 102;
const UNKNOWN_KEY_IDENTIFIER: u16 = 204;
const APPLICATION_RECORD_LOCKED: u16 = 206;
const APPLICATION_INTERNAL_ERROR: u16 = 207;

/// Of a document that goes with a reply, before base64.
const DOCUMENT_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// So much of a message is read for its reply: MSH, and the segments that a reply repeats.
const COPIED_BYTES_MAX: usize = 64 * 1024;

fn at_rest(state: &State) -> bool {
    !matches!(state, State::Queued | State::Running { .. } | State::Waiting { .. })
}
