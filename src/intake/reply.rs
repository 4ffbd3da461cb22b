//! Application answers: what e-RS's outcome makes of a message, told to its sender.
//!
//! A referral that exists is never answered as failed in a way that makes the sender create it again: the
//! UBRN goes back together with what went wrong later (`hl7/reference.md` 1.4).

use std::time::Duration;

use bytes::Bytes;
use encoding_rs::Encoding;
use serde_json::Value;

use super::answer::DeferredReply;
use super::hl7v2::plain_application_answer;
use super::{Intake, sources::KnownSource};
use crate::command::{MessageId, State};
use crate::hl7::acknowledgement::reply_head;
use crate::hl7::charset::encode_reply;
use crate::hl7::{AckCode, AckError, AnswersWanted, Delimiters, Header};
use crate::mapping::{PlanContext, ReplyLine};
use crate::store::CommandView;

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
        let views = self.settled(reply.outcome_of, limit).await?;
        let raw = self.store.read_message(reply.message, 0..COPIED_BYTES_MAX as u64).await.ok()?;
        let header = Header::scan(&raw).ok()?;
        let success = views.iter().all(|view| matches!(view.state, State::Completed | State::Shadowed));
        if !AnswersWanted::of(&header).after_outcome(success) {
            return None;
        }
        let view = self.store.message(reply.message).await.ok()??;
        let encoding = Encoding::for_label(view.charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
        self.application_answer(&header, &raw, encoding, &views)
    }

    /// AA with the UBRN, or AE with what went wrong (and the UBRN if there is one). `None` while the
    /// outcome is not known: the sender must not take silence, nor a guess, for an answer.
    pub(super) fn application_answer(
        &self,
        header: &Header<'_>,
        raw: &[u8],
        encoding: &'static Encoding,
        views: &[CommandView],
    ) -> Option<Bytes> {
        let mut errors = Vec::new();
        for view in views {
            match &view.state {
                State::Completed | State::Shadowed => {}
                State::Failed { why } => {
                    errors.push(AckError { location: None, code: 207, text: format!("{}: {}", why.code, why.text) })
                }
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
        let stamp = self.stamp(source.map(|source| &**source));
        let typed = source.and_then(|source| typed_answer(self, source, header, views));
        let Some((message_type, lines)) = typed else {
            return Some(plain_application_answer(header, &errors, &stamp, encoding));
        };
        let code = if errors.is_empty() { AckCode::AA } else { AckCode::AE };
        let [kind, event, structure] = message_type.each_ref().map(String::as_str);
        let mut answer = reply_head(header, [kind, event, structure], code, &errors, &stamp, encoding);
        for line in lines {
            match line {
                ReplyLine::Text(text) => {
                    answer.extend_from_slice(&encode_reply(&text, encoding));
                    answer.push(b'\r');
                }
                ReplyLine::Copy(name) => {
                    for segment in segments(raw, name.as_bytes(), header.field(1)) {
                        answer.extend_from_slice(segment);
                        answer.push(b'\r');
                    }
                }
            }
        }
        Some(answer.into())
    }
}

/// The reply that the source's dialect has for this message, if what it needs is known.
fn typed_answer(
    intake: &Intake,
    source: &KnownSource,
    header: &Header<'_>,
    views: &[CommandView],
) -> Option<([String; 3], Vec<ReplyLine>)> {
    let set = intake.mappings.current();
    let dialect = source.dialect(|name| set.dialect(name).is_some());
    let reply = set.reply(dialect, &header.message_type(), &header.trigger())?;
    let view = views.first()?;
    let settings = Value::Object(source.settings.clone());
    let context = PlanContext {
        command: &view.name,
        body: &view.body,
        known: &view.known,
        connection: &Value::Null,
        settings: &settings,
        now: "",
    };
    let delimiters = header.delimiters().unwrap_or(Delimiters::STANDARD);
    match reply.lines(&context, &delimiters) {
        Ok(lines) => lines.map(|lines| (reply.message_type.clone(), lines)),
        Err(problem) => {
            tracing::error!(source = %source.config.name, %problem, "a typed reply could not be made; a plain one goes");
            None
        }
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

/// So much of a message is read for its reply: MSH, and the segments that a reply repeats.
const COPIED_BYTES_MAX: usize = 64 * 1024;

fn at_rest(state: &State) -> bool {
    !matches!(state, State::Queued | State::Running { .. } | State::Waiting { .. })
}
