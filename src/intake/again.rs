//! A message taken in once more, by a person: one that was refused, when what was wrong with it is so no longer (the
//! referral is known by now, a code table was completed, a source was set otherwise); or one that was given up before
//! anything of it was sent, which then takes its turn behind whatever came since.
//!
//! Enters: a message that the store holds as refused, or whose commands are all discarded; and what somebody changed in it, if
//! anything. Leaves: a new message of that content, or what is still wrong with it, and then nothing is stored. Guarantees: it is taken once, however often
//! somebody asks: its control id names the first; who had it taken, and why, is in the audit log with the same commit.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::admission::{Decision, Received};
use super::answer::{Answer, Outcome};
use super::fhir_reading::read_fhir;
use super::hl7v2::kind_of;
use super::keeping::Kept;
use super::sources::KnownSource;
use super::wire::Wire;
use super::{Content, Inbound, Intake};
use crate::command::{MessageId, State, Verdict};
use crate::hl7::Header;
use crate::hl7::continuation::Piece;
use crate::mapping::{Problem, hex};
use crate::store::{Act, MessageView, StoreError, TakenAgain, Transport};

/// What became of it.
#[derive(Debug)]
pub enum Again {
    Taken(Answer),
    StillRefused(Vec<Problem>),
    /// Why it cannot be taken again at all.
    Impossible(&'static str),
}

/// How many are taken with it, because of one decision.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    OneOfMany,
}

impl Intake {
    /// `edited`: with this content instead of its own. Without an act it is only said what would become of it.
    pub(super) async fn take_again(
        &self,
        message: MessageId,
        edited: Option<Bytes>,
        act: Option<(&Act, Company)>,
    ) -> Result<Again, StoreError> {
        let view = self.store.message(message).await?.ok_or(StoreError::NotFound)?;
        if view.verdict != Verdict::Rejected
            && let Some(why) = self.why_not_given_up(message).await?
        {
            return Ok(Again::Impossible(why));
        }
        let Some(source) = self.sources.named(&view.source) else {
            return Ok(Again::Impossible("Its source is not configured any more."));
        };
        let own = self.store.read_message(message, 0..u64::MAX).await?;
        if let Some(why) = edited.as_ref().and_then(|edited| why_not_edited(edited, &own, source)) {
            return Ok(Again::Impossible(why));
        }
        let is_edited = edited.is_some();
        let wire = Wire::of(edited.unwrap_or(own));
        if let Some(why) = why_only_anew(source, &wire) {
            return Ok(Again::Impossible(why));
        }
        let inbound = Inbound {
            source: Some(view.source.clone()),
            transport: Transport::Replay,
            received_at: self.environment.now(),
            peer: None,
            content: content_of(&view, &wire),
        };
        let Some((mut received, decision)) = self.read_once_more(&inbound, source, &view, &wire) else {
            return Ok(Again::Impossible("It cannot be read: have it sent anew."));
        };
        received.control_id = Some(match is_edited {
            // Each other content once.
            true => format!("{EDITED}{message}:{}", &hex(&received.sha256)[..16]),
            false => format!("{AGAIN}{message}"),
        });
        let decision = match self.review(&received, decision).await? {
            Decision::Refuse(problems) => return Ok(Again::StillRefused(problems)),
            decision => decision,
        };
        let Some((act, company)) = act else { return Ok(Again::Taken(Answer::bare(Outcome::Accepted, Vec::new()))) };
        tracing::info!(message.id = %message, by = act.by, "a message is taken in once more");
        let taken_again = TakenAgain { first: message, edited: is_edited, act: act.clone() };
        Ok(match self.keep_reviewed(&received, decision, Some((taken_again, company))).await? {
            Kept::Answered(answer) => Again::Taken(answer),
            Kept::KeyReused { problems, .. } => Again::StillRefused(problems),
        })
    }

    /// `None`: all that it made was discarded, and none of it had begun to be written to e-RS.
    async fn why_not_given_up(&self, message: MessageId) -> Result<Option<&'static str>, StoreError> {
        let commands = self.store.commands_of(message).await?;
        if commands.is_empty() || commands.iter().any(|command| command.state != State::Discarded) {
            return Ok(Some("It was not refused, nor are all its commands discarded: replay its commands instead."));
        }
        for command in commands {
            if self.store.attempts(command.id).await?.iter().any(|attempt| attempt.is_write) {
                return Ok(Some("Some of it was sent to e-RS already: have the rest sent anew."));
            }
        }
        Ok(None)
    }

    fn read_once_more<'i>(
        &self,
        inbound: &'i Inbound,
        source: &'i KnownSource,
        view: &MessageView,
        wire: &Wire,
    ) -> Option<(Received<'i>, Decision)> {
        let mut received = Received {
            inbound,
            source,
            raw: wire.raw.clone(),
            sha256: Sha256::digest(&wire.raw).into(),
            charset: encoding_rs::UTF_8.name(),
            control_id: None,
            kind: view.kind.clone(),
            places: BTreeMap::new(),
            expected: None,
        };
        let decision = match &inbound.content {
            Content::Hl7v2 { .. } => {
                let header = Header::scan(&wire.text).ok()?;
                let reading = self.read(source, &header, wire, None);
                (received.charset, received.kind) = (reading.charset, kind_of(&header));
                reading.decision
            }
            Content::Fhir { .. } => {
                let reading = read_fhir(&self.mappings.current(), source, &wire.raw);
                (received.kind, received.places) = (reading.kind, reading.places);
                reading.decision
            }
            Content::Command { name, .. } => {
                let text = std::str::from_utf8(&wire.raw).ok()?;
                self.check_command(name, text, serde_json::from_str(text).ok()?)
            }
        };
        Some((received, decision))
    }
}

/// Control ids of messages that were taken in once more, as they came or edited, begin so.
const AGAIN: &str = "again:";
const EDITED: &str = "edited:";

/// The message that this one is another taking in of, by its control id; and whether it was edited.
pub fn taken_from(control_id: &str) -> Option<(MessageId, bool)> {
    let (first, edited) = match control_id.strip_prefix(EDITED) {
        Some(rest) => (rest.split(':').next().unwrap_or_default(), true),
        None => (control_id.strip_prefix(AGAIN)?, false),
    };
    Some((first.parse().ok()?, edited))
}

fn why_not_edited(edited: &[u8], own: &[u8], source: &KnownSource) -> Option<&'static str> {
    if edited == own {
        return Some("Nothing was changed: replay the message as it is.");
    }
    (edited.len() > source.config.message_bytes_max).then_some("It is larger than its source may send.")
}

/// What stands in a row of its sender's is never taken alone, nor out of its turn.
fn why_only_anew(source: &KnownSource, wire: &Wire) -> Option<&'static str> {
    let header = Header::scan(&wire.text).ok()?;
    if source.config.sequence_protocol {
        return Some("Its source numbers its messages: have it sent anew, in its turn.");
    }
    (!Piece::of(&header, &wire.text).is_whole()).then_some("It is a piece of a message: have the whole sent anew.")
}

/// By its first bytes: HL7 v2, a FHIR resource, or else a command, whose name the store keeps.
fn content_of(view: &MessageView, wire: &Wire) -> Content {
    if wire.text.starts_with(b"MSH") {
        return Content::Hl7v2 { bytes: wire.raw.clone(), charset: None };
    }
    let body: Value = serde_json::from_slice(&wire.raw).unwrap_or_default();
    match body.get("resourceType") {
        Some(_) => Content::Fhir { bytes: wire.raw.clone(), idempotency_key: None },
        None => Content::Command { name: view.kind.clone(), bytes: wire.raw.clone(), idempotency_key: None },
    }
}
