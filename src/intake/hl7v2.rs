//! HL7 v2 through the door: header, charset, structure, mapping, commit, acknowledgement
//! (`hl7/reference.md` section 9, in this order).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use encoding_rs::Encoding;
use jiff::Zoned;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::admission::{Decision, Received, key_reused};
use super::answer::{Answer, DeferredReply, HeldAnswer, Outcome};
use super::reading::{Reading, read};
use super::sources::KnownSource;
use super::wire::Wire;
use super::{Inbound, Intake};
use crate::command::{MessageId, State};
use crate::config::{ControlIdReuse, ReplyMode};
use crate::hl7::{AckCode, AckError, AnswersWanted, Batch, ErrorLocation, Header, Phase, Stamp, acknowledge};
use crate::mapping::{Location, Problem, hex};
use crate::store::{Admitted, OwedAnswer, StoreError, Transport};

/// The message that is answered, and how.
pub(super) struct Subject<'s> {
    pub header: &'s Header<'s>,
    /// What is read: of a message in pieces, the whole.
    pub wire: &'s Wire,
    pub wanted: AnswersWanted,
    pub http_charset: Option<&'s str>,
}

/// What became of one attempt to store a decision.
enum Attempt {
    Stored(Box<Answer>),
    /// The control id belongs to this earlier message, which said something else.
    KeyReused(MessageId),
}

impl Intake {
    pub(super) async fn receive_hl7v2(&self, inbound: &Inbound, bytes: Bytes, http_charset: Option<&str>) -> Answer {
        let wire = Wire::of(bytes);
        if Batch::starts(&wire.text) {
            // Its messages are kept one by one, as they are read.
            return self.receive_batch(inbound, wire.text.clone(), wire.http_charset(http_charset)).await;
        }
        self.receive_one(inbound, &wire, http_charset).await
    }

    /// Each message on its own, in order; one reply batch. Refused as a whole if one is: a transport that takes
    /// no replies has no other way to show which.
    async fn receive_batch(&self, inbound: &Inbound, bytes: Bytes, http_charset: Option<&str>) -> Answer {
        let batch = Batch::split(&bytes);
        if !batch.problems().is_empty() {
            let problems = batch.problems().iter().map(to_problem).collect();
            let hl7 = Some(batch.refusal(&self.stamp(None)));
            return Answer { hl7, ..Answer::bare(Outcome::Rejected, problems) };
        }
        let mut replies = Vec::new();
        let mut whole = Answer::bare(Outcome::Accepted, Vec::new());
        for range in batch.messages() {
            let wire = Wire::as_it_is(bytes.slice(range));
            let answer = self.receive_one(inbound, &wire, http_charset).await;
            if answer.outcome == Outcome::Unavailable {
                // What was stored stays stored; the sender's resend of the batch is answered from the record.
                return Answer::bare(Outcome::Unavailable, Vec::new());
            }
            if whole.message.is_none() {
                whole.message = answer.message;
            }
            whole.commands.extend(answer.commands);
            whole.problems.extend(answer.problems);
            replies.push(answer.hl7);
        }
        if !whole.problems.is_empty() {
            whole.outcome = Outcome::Rejected;
        }
        whole.hl7 = Some(batch.reply(&replies, &self.stamp(None)));
        whole
    }

    async fn receive_one(&self, inbound: &Inbound, wire: &Wire, http_charset: Option<&str>) -> Answer {
        let header = match Header::scan(&wire.text) {
            Ok(header) => header,
            Err(unreadable) => {
                let problem = Problem::new(Location::Message, 102, unreadable.to_string());
                return self.unreadable(inbound, &wire.raw, problem).await;
            }
        };
        let Some(source) = self.source_of(inbound, &header) else {
            let error = AckError {
                location: Some(ErrorLocation::field("MSH", 3)),
                code: 207,
                text: "MSH-3 and MSH-4 name no configured source; ask the gateway's operators to add it".into(),
            };
            return self.refuse_unstored(&header, Outcome::UnknownSource, error);
        };
        if !source.takes_from(inbound.peer.as_ref()) {
            tracing::warn!(source = source.config.name, "a message from a machine that does not send as its source");
            let error = AckError {
                location: Some(ErrorLocation::field("MSH", 3)),
                code: 207,
                text: "this machine does not send as that source: its certificate or address is another; ask the \
                       gateway's operators"
                    .into(),
            };
            return self.refuse_unstored(&header, Outcome::UnknownSource, error);
        }
        if wire.raw.len() > source.config.message_bytes_max {
            let text = format!("the message is larger than {} bytes", source.config.message_bytes_max);
            let error = AckError { location: None, code: 207, text };
            return self.refuse_unstored(&header, Outcome::TooLarge, error);
        }
        // Numbers of one link are judged one after the other.
        let _turn = match source.config.sequence_protocol {
            true => Some(source.link.lock().await),
            false => None,
        };
        let taken = self.take(inbound, source, &header, wire, http_charset).await;
        taken.unwrap_or_else(|error| {
            tracing::error!(source = %source.config.name, %error, "a message could not be stored and was not acknowledged");
            let text = "the gateway cannot store messages now; send it again".into();
            let error = AckError { location: None, code: 207, text };
            self.refuse_unstored(&header, Outcome::Unavailable, error)
        })
    }

    /// Stores the decision; a control id that was used for other content is refused, or taken by setting.
    pub(super) async fn store_all(
        &self,
        mut received: Received<'_>,
        subject: &Subject<'_>,
        encoding: &'static Encoding,
        decision: Decision,
    ) -> Result<Answer, StoreError> {
        let first = match self.store_decision(&received, subject, encoding, decision).await? {
            Attempt::Stored(answer) => return Ok(*answer),
            Attempt::KeyReused(first) => first,
        };
        tracing::warn!(first.message.id = %first, "a control id came again with other content");
        if received.source.config.same_control_id_other_content == ControlIdReuse::Accept {
            // Known from now on by its control id and its content together.
            let digest = hex(&received.sha256[..4]);
            received.control_id = received.control_id.map(|id| format!("{id} ({digest})"));
            let Subject { header, wire, http_charset, .. } = *subject;
            let Reading { decision, encoding, .. } = self.read(received.source, header, wire, http_charset);
            let again = self.store_decision(&received, subject, encoding, decision).await?;
            if let Attempt::Stored(answer) = again {
                return Ok(*answer);
            }
        }
        received.control_id = None;
        let problems = vec![key_reused(Location::field("MSH", 10))];
        let refusal = Decision::Refuse(problems.clone());
        match self.store_decision(&received, subject, encoding, refusal).await? {
            Attempt::Stored(answer) => Ok(*answer),
            Attempt::KeyReused(_) => Ok(Answer::bare(Outcome::Rejected, problems)),
        }
    }

    async fn store_decision(
        &self,
        received: &Received<'_>,
        subject: &Subject<'_>,
        encoding: &'static Encoding,
        decision: Decision,
    ) -> Result<Attempt, StoreError> {
        let Subject { header, wanted, .. } = *subject;
        let decision = self.review(received, decision).await?;
        let is_read = matches!(&decision, Decision::Command { name, .. } if self.is_read(name));
        let problems = match &decision {
            Decision::Refuse(problems) => problems.clone(),
            _ => Vec::new(),
        };
        let outcome = match &decision {
            Decision::Refuse(_) => Outcome::Rejected,
            Decision::Notice { .. } => Outcome::Notice,
            Decision::Command { .. } | Decision::Hold => Outcome::Accepted,
        };
        let mut prepared = self.prepare(received, decision);
        let (message, commands) = (prepared.message, prepared.commands.clone());
        let held = HeldAnswer::new(self.answer(header, wanted, &problems, encoding, received));
        prepared.admission.acknowledgement = held.to_be_kept();
        let mut answer = match self.admit(received, prepared).await? {
            Admitted::New { repeats: Some(earlier), stored } => Answer {
                message: Some(message),
                commands: vec![earlier],
                hl7: held.release(&stored),
                ..Answer::bare(Outcome::Duplicate, Vec::new())
            },
            Admitted::New { stored, .. } => {
                let hl7 = held.release(&stored);
                Answer { message: Some(message), commands, hl7, ..Answer::bare(outcome, problems) }
            }
            Admitted::Resend { acknowledgement, message, stored } => {
                let kept = if !acknowledgement.is_empty() {
                    Some(acknowledgement)
                } else if self.store.message(message).await?.is_none() {
                    // Purged, and taken when it came: one that was refused is new when it comes again.
                    self.answer(header, wanted, &[], encoding, received)
                } else {
                    None
                };
                let hl7 = HeldAnswer::new(kept).release(&stored);
                let problems = self.problems_of_first(message, problems).await?;
                Answer { message: Some(message), hl7, ..Answer::bare(Outcome::Duplicate, problems) }
            }
            Admitted::ControlIdReused { message } => return Ok(Attempt::KeyReused(message)),
        };
        if matches!(answer.outcome, Outcome::Accepted | Outcome::Notice | Outcome::Duplicate) {
            self.await_result(received, subject, encoding, is_read, &mut answer).await?;
        }
        Ok(Attempt::Stored(Box::new(answer)))
    }

    pub(super) fn read(
        &self,
        source: &KnownSource,
        header: &Header<'_>,
        wire: &Wire,
        http_charset: Option<&str>,
    ) -> Reading {
        let reading = read(&self.mappings.current(), source, header, wire, http_charset);
        if reading.mislabelled {
            tracing::warn!(source = %source.config.name, "MSH-18 names another charset, but the bytes are UTF-8; read as UTF-8");
        }
        for field in &reading.unused {
            self.metrics.unused(&source.config.name, field);
        }
        reading
    }

    fn source_of(&self, inbound: &Inbound, header: &Header<'_>) -> Option<&KnownSource> {
        let found = match &inbound.source {
            Some(name) => self.sources.named(name),
            None => self.sources.by_header(header.sending_application().trim(), header.sending_facility().trim()),
        };
        found.map(|source| &**source)
    }

    /// The answer on arrival: AA/AE/AR or CA/CE/CR, or none where the sender wants none.
    fn answer(
        &self,
        header: &Header<'_>,
        wanted: AnswersWanted,
        problems: &[Problem],
        encoding: &'static Encoding,
        received: &Received<'_>,
    ) -> Option<Bytes> {
        let phase = wanted.on_arrival(problems.is_empty())?;
        let errors: Vec<AckError> = problems.iter().map(to_ack_error).collect();
        let code = AckCode::of(&errors, phase);
        let stamp = Stamp { expected: received.expected, ..self.stamp(Some(received.source)) };
        Some(acknowledge(header, code, &errors, &stamp, encoding))
    }

    /// Nothing could be stored: a negative answer, or none.
    fn refuse_unstored(&self, header: &Header<'_>, outcome: Outcome, error: AckError) -> Answer {
        let wanted = AnswersWanted::of(header);
        let problems = vec![to_problem(&error)];
        let hl7 = wanted.on_arrival(false).map(|phase| {
            let errors = [error];
            acknowledge(header, AckCode::of(&errors, phase), &errors, &self.stamp(None), encoding_rs::UTF_8)
        });
        Answer { hl7, ..Answer::bare(outcome, problems) }
    }

    /// There is nothing to answer to; kept for people if the source is known.
    async fn unreadable(&self, inbound: &Inbound, bytes: &Bytes, problem: Problem) -> Answer {
        let source = inbound.source.as_ref().and_then(|name| self.sources.named(name));
        let mut answer = Answer::bare(Outcome::Unreadable, vec![problem.clone()]);
        if let Some(source) = source.filter(|source| bytes.len() <= source.config.message_bytes_max) {
            let received = Received {
                inbound,
                source,
                raw: bytes.clone(),
                sha256: Sha256::digest(bytes).into(),
                charset: encoding_rs::UTF_8.name(),
                control_id: None,
                kind: "not HL7 v2".to_owned(),
                places: BTreeMap::new(),
                expected: None,
            };
            let prepared = self.prepare(&received, Decision::Refuse(vec![problem]));
            let message = prepared.message;
            match self.admit(&received, prepared).await {
                Ok(_) => answer.message = Some(message),
                Err(error) => {
                    tracing::error!(%error, "an unreadable message could not be stored");
                    answer.outcome = Outcome::Unavailable;
                }
            }
        }
        answer
    }

    /// `reply: result` waits for e-RS up to a cap, and so does whoever asks e-RS something: nothing else carries the
    /// answer. Enhanced mode may want an application answer later; over HTTP, if it wants no other, in its place.
    /// Whoever sends again because the first answer was lost wants the same.
    async fn await_result(
        &self,
        received: &Received<'_>,
        subject: &Subject<'_>,
        encoding: &'static Encoding,
        is_read: bool,
        answer: &mut Answer,
    ) -> Result<(), StoreError> {
        let Subject { header, wire, wanted, .. } = *subject;
        let Some(message) = answer.message else { return Ok(()) };
        let config = &received.source.config;
        // A queue takes no reply: waiting would only hold what is behind.
        let replies = received.inbound.transport != Transport::Amqp;
        let original = wanted == AnswersWanted::Original && (config.reply == ReplyMode::Result || is_read);
        let is_only_answer = received.inbound.transport == Transport::Http && wanted.on_arrival(true).is_none();
        let now = replies && (original || (is_only_answer && wanted.may_follow()));
        if !now && !wanted.may_follow() {
            return Ok(());
        }
        // Nothing is done about a notice, so nothing is waited for.
        if now && answer.outcome == Outcome::Notice {
            if is_only_answer && wanted.after_outcome(true) {
                answer.hl7 = Some(plain_application_answer(header, &[], &self.stamp(Some(received.source)), encoding));
            }
            return Ok(());
        }
        // A referral that repeats an earlier one has no command of its own.
        let outcome_of = match (answer.outcome, answer.commands.first()) {
            (Outcome::Duplicate, Some(earlier)) => {
                self.store.command(*earlier).await?.map_or(message, |view| view.message)
            }
            _ => message,
        };
        if now {
            let limit = if is_read { self.ages.read_deadline + READ_GRACE } else { config.reply_wait };
            let settled = self.settled(outcome_of, limit).await.unwrap_or_default();
            let success = settled.iter().all(|view| matches!(view.state, State::Completed | State::Shadowed));
            let reply = match settled.as_slice() {
                [] => None,
                views => self.application_answer(header, &wire.text, encoding, views, received.expected, false).await,
            };
            let reply = reply.or_else(|| is_read.then(|| self.unanswered(header, encoding)));
            if reply.is_some() && (original || wanted.after_outcome(success)) {
                answer.hl7 = reply;
            }
        } else if let Some(destination) = config.answers_to.clone() {
            let at = received.inbound.received_at;
            // Remembered before anything is answered: without that the sender comes again.
            self.store.owe_answer(OwedAnswer { message, outcome_of, destination, at }).await?;
        } else {
            answer.deferred = Some(DeferredReply { message, outcome_of });
        }
        Ok(())
    }

    pub(super) fn stamp(&self, source: Option<&KnownSource>) -> Stamp {
        let zone = source.map_or("Europe/London", |source| source.config.time_zone.as_str());
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let id = self.environment.new_id().simple().to_string();
        // Up to v2.6 a control id has 20 characters; the end of a version 7 UUID is its random part.
        let control_id = id[id.len() - 20..].to_ascii_uppercase();
        Stamp { at: Zoned::new(self.environment.now(), zone), control_id, expected: None, wants_commit: false }
    }
}

/// A read that is not answered by its deadline fails a moment later.
const READ_GRACE: Duration = Duration::from_secs(2);

/// `REF^I12`. What is longer than any message type came from the wrong field, and is cut.
pub(super) fn kind_of(header: &Header<'_>) -> String {
    const PART_CHARS_MAX: usize = 20;
    let cut = |part: Cow<'_, str>| part.chars().take(PART_CHARS_MAX).collect::<String>();
    format!("{}^{}", cut(header.message_type()), cut(header.trigger()))
}

pub(super) fn to_problem(error: &AckError) -> Problem {
    let location = error.location.as_ref().map_or(Location::Message, |at| Location::Hl7 {
        segment: at.segment.to_string(),
        ordinal: at.ordinal,
        field: at.field,
        repetition: at.repetition,
        component: at.component,
        subcomponent: at.subcomponent,
    });
    Problem::new(location, error.code, error.text.clone())
}

pub(super) fn to_ack_error(problem: &Problem) -> AckError {
    let location = match &problem.location {
        Location::Hl7 { segment, ordinal, field, repetition, component, subcomponent } => Some(ErrorLocation {
            segment: Cow::Owned(segment.clone()),
            ordinal: *ordinal,
            field: *field,
            repetition: *repetition,
            component: *component,
            subcomponent: *subcomponent,
        }),
        Location::Json(_) | Location::Fhir(_) | Location::Message => None,
    };
    AckError { location, code: problem.code, text: problem.text.clone() }
}

/// An application answer without segments of its own: what became of the message, as AA, AE or AR.
pub(super) fn plain_application_answer(
    header: &Header<'_>,
    errors: &[AckError],
    stamp: &Stamp,
    encoding: &'static Encoding,
) -> Bytes {
    acknowledge(header, AckCode::of(errors, Phase::Application), errors, stamp, encoding)
}
