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
use crate::hl7::{AckCode, AckError, AnswersWanted, Delimiters, Header, escape};
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
        let raw = self.store.read_message(reply.message, 0..HEADER_BYTES_MAX).await.ok()?;
        let header = Header::scan(&raw).ok()?;
        let success = views.iter().all(|view| view.state == State::Completed);
        if !AnswersWanted::of(&header).after_outcome(success) {
            return None;
        }
        let view = self.store.message(reply.message).await.ok()??;
        let encoding = Encoding::for_label(view.charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
        self.application_answer(&header, encoding, &views)
    }

    /// AA with the UBRN, or AE with what went wrong (and the UBRN if there is one). `None` while the
    /// outcome is not known: the sender must not take silence, nor a guess, for an answer.
    pub(super) fn application_answer(
        &self,
        header: &Header<'_>,
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
        let stamp = self.stamp(None::<&KnownSource>);
        let ubrn = views.iter().find_map(|view| view.known.get("ubrn")).and_then(Value::as_str);
        if header.message_type() != "REF" {
            return Some(plain_application_answer(header, &errors, &stamp, encoding));
        }
        let Some(ubrn) = ubrn else { return Some(plain_application_answer(header, &errors, &stamp, encoding)) };
        let code = if errors.is_empty() { AckCode::AA } else { AckCode::AE };
        let trigger = header.trigger();
        let mut answer = reply_head(header, ["RRI", &trigger, "RRI_I12"], code, &errors, &stamp, encoding);
        let delimiters = header.delimiters().unwrap_or(Delimiters::STANDARD);
        let local_id =
            views.iter().find_map(|view| view.body.get("localId")).and_then(Value::as_str).unwrap_or_default();
        answer.extend_from_slice(&referral_segment(&delimiters, local_id, ubrn));
        Some(answer.into())
    }
}

/// Enough of a message to hold its MSH.
const HEADER_BYTES_MAX: u64 = 16 * 1024;

fn at_rest(state: &State) -> bool {
    !matches!(state, State::Queued | State::Running { .. } | State::Waiting { .. })
}

/// `RF1|A|||||LOCAL-1|||||000000070000^ERS^^UBRN`: RF1-6 as the sender named it, RF1-11 what e-RS calls it.
fn referral_segment(delimiters: &Delimiters, local_id: &str, ubrn: &str) -> Vec<u8> {
    let (field, component) = (char::from(delimiters.field), char::from(delimiters.component));
    let five = field.to_string().repeat(5);
    format!("RF1{field}A{five}{}{five}{ubrn}{component}ERS{component}{component}UBRN\r", escape(local_id, delimiters))
        .into_bytes()
}
