//! What came back of a call, and what follows from it.
//!
//! Guarantees: whatever was answered is recorded before anything else is sent; the outcome table decides,
//! not the HTTP method; nothing of an answer but codes and field names reaches a log, metric or event.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::attempt::{Outgoing, Sent};
use super::keeping::{Keeping, is_text, plain_type};
use super::ledger::Abandoned;
use super::letter::LetterError;
use super::plan_record::Doubt;
use super::run::{Flow, Ground, Run};
use crate::command::{Failure, WaitReason};
use crate::ers::{Classified, Response, TakesDocument as _, TransportError, Verdict, retry_after};
use crate::mapping::{Document, Effect, PreparedCall, Reply, ReplyBody};
use crate::store::{Alias, AliasKind, FinishedAttempt, NewAttempt, PatientDigest};
use crate::telemetry::{Span, SpanKind};

/// A record that somebody else changes each time it was read is left to a person after so many times.
const REREADS_MAX: u32 = 3;

/// Of any other answer's body, this much is kept with its attempt.
const ANSWER_KEPT_BYTES: usize = 64 * 1024;

/// What e-RS answered. A document is in the store, and its bytes are not here.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) body: ReplyBody,
    pub(super) document: Option<Document>,
}

impl Answer {
    /// With its document on disk. What has no type that says so may be one all the same.
    pub(super) async fn of(response: Response, mut keeping: Keeping, is_file: bool) -> Result<Self, TransportError> {
        let body = ReplyBody::of(response.body.clone());
        if is_document(&response, &body, is_file) {
            keeping.take(response.body.clone()).await?;
        }
        let document = keeping.finish(response.header("content-type")).await?;
        Ok(Self { response, body, document })
    }

    /// One that was kept for its next use: reference data.
    pub(super) fn again(response: Response) -> Self {
        let body = ReplyBody::of(response.body.clone());
        Self { response, body, document: None }
    }
}

impl Run {
    pub(super) async fn without_answer(
        &mut self,
        out: Outgoing<'_>,
        attempt: NewAttempt,
        sent: Sent,
        took: Duration,
    ) -> Result<Flow, Abandoned> {
        let Outgoing { call, operation, .. } = out;
        let code = match &sent {
            Sent::LetterUnreadable(_) => "letter_unreadable",
            Sent::NeverLeft(_) => "not_connected",
            Sent::Unanswered(_) | Sent::Answered(_) => "unanswered",
        };
        self.finish(out, attempt, None, code, took);
        match sent {
            Sent::LetterUnreadable(error) => self.letter_unreadable(call, error).await,
            Sent::NeverLeft(why) => {
                self.wait(WaitReason::Unavailable, None, &format!("{} was not sent: {why}", call.call)).await
            }
            Sent::Unanswered(why) if operation.effect.leaves_doubt() => {
                let text = format!("{} was sent and not answered ({why}): it may have been carried out", call.call);
                self.in_doubt(&call.call, &text).await
            }
            Sent::Unanswered(why) => {
                self.wait(WaitReason::Unavailable, None, &format!("{} was not answered: {why}", call.call)).await
            }
            Sent::Answered(_) => Ok(Flow::On),
        }
    }

    pub(super) async fn letter_unreadable(
        &mut self,
        call: &PreparedCall,
        error: LetterError,
    ) -> Result<Flow, Abandoned> {
        let text = error.to_string();
        match error {
            LetterError::Unavailable(_) => self.wait(WaitReason::Unavailable, None, &text).await,
            LetterError::Damaged(_) => self.fail_at("LETTER_DAMAGED", &text, Some(&call.call)).await,
        }
    }

    pub(super) async fn act_on(
        &mut self,
        out: Outgoing<'_>,
        answer: Answer,
        classified: Classified,
    ) -> Result<Flow, Abandoned> {
        let Outgoing { ground, call, operation } = out;
        let response = &answer.response;
        let Classified { verdict, code, text, after, undone } = classified;
        let now = self.shared.environment.now();
        let asked = retry_after::of(response, now).max(after);
        match verdict {
            Verdict::Success => {
                if !operation.keep.is_zero() {
                    self.shared.kept.put(ground.member.client.key(), &call.path, response, operation.keep);
                }
                self.absorb(out, answer).await
            }
            Verdict::Throttled => {
                ground.member.pacer.throttled();
                self.wait(WaitReason::Throttled, asked, &text).await
            }
            Verdict::Locked => self.wait(WaitReason::Locked, asked, &text).await,
            Verdict::Unavailable => self.wait(WaitReason::Unavailable, asked, &text).await,
            Verdict::Authenticate => {
                let name = ground.member.client.name.clone();
                self.unauthorised(&name, &format!("{text}, and a new one was not accepted either")).await
            }
            Verdict::Settle if operation.effect.leaves_doubt() => {
                self.plan.doubt.refused = undone.then(|| Failure { code, text: text.clone() });
                self.in_doubt(&call.call, &text).await
            }
            Verdict::Settle => self.wait(WaitReason::Unavailable, asked, &text).await,
            Verdict::Look => self.decide_again(out, &code, &text).await,
            Verdict::Fix => self.refused(out, &code, &text).await,
            Verdict::Investigate if self.goes_on_without(ground, &code).await? => Ok(Flow::On),
            Verdict::Bug | Verdict::Investigate => {
                tracing::error!(
                    call = call.call,
                    code,
                    status = response.status,
                    "e-RS refused in a way that needs a person"
                );
                self.fail_at(&code, &text, Some(&call.call)).await
            }
        }
    }

    /// The next entry of a list, where one is as good as another; else a person.
    async fn refused(&mut self, out: Outgoing<'_>, code: &str, text: &str) -> Result<Flow, Abandoned> {
        let Outgoing { ground, call, .. } = out;
        match self.goes_on_without(ground, code).await? {
            true => Ok(Flow::On),
            false => self.fail_at(code, text, Some(&call.call)).await,
        }
    }

    /// Whether the plan knows what to do where e-RS refuses with this code: the next entry, or what stands behind.
    async fn goes_on_without(&mut self, ground: &Ground, code: &str) -> Result<bool, Abandoned> {
        let now = self.now();
        if let Some(mut looking) = self.looking.take() {
            let settling = ground.set.mappings.settling(&looking.call);
            let goes_on = self.with_context(ground, &now, |context| {
                settling.is_some_and(|settling| settling.try_next(context, &mut looking.state, code))
            });
            self.looking = Some(looking);
            return Ok(goes_on);
        }
        let mut state = self.plan.state.clone();
        let goes_on =
            self.with_context(ground, &now, |context| ground.set.mappings.try_next(context, &mut state, code));
        if goes_on {
            tracing::info!(code, "refused: the plan goes on without");
            self.plan.state = state;
            self.ledger.plan(self.plan.to_value());
            self.ledger.commit().await?;
        }
        Ok(goes_on)
    }

    /// The record is not what was read: it is read again, and everything that the plan requires is asked anew. A
    /// version guards the write, so the one that was refused did nothing.
    async fn decide_again(&mut self, out: Outgoing<'_>, code: &str, text: &str) -> Result<Flow, Abandoned> {
        let Outgoing { ground, call, operation } = out;
        if self.is_in_doubt() {
            return self.nothing_proved(text).await;
        }
        if self.plan.rereads < REREADS_MAX && ground.set.mappings.go_back(&self.command.name, &mut self.plan.state) {
            tracing::info!(call = call.call, code, "what was read is old: reading again");
            self.plan.rereads += 1;
            self.ledger.plan(self.plan.to_value());
            self.ledger.commit().await?;
            return Ok(Flow::On);
        }
        match operation.effect {
            Effect::Unguarded => self.in_doubt(&call.call, text).await,
            _ => self.fail_at(code, text, Some(&call.call)).await,
        }
    }

    pub(super) async fn absorb(&mut self, out: Outgoing<'_>, answer: Answer) -> Result<Flow, Abandoned> {
        let Outgoing { ground, call, operation } = out;
        let Answer { response, body, document } = answer;
        let headers = response.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        let reply = Reply { status: response.status, headers, body, document };
        if self.looking.is_some() {
            return self.take_in(out, &reply).await;
        }
        let mut state = self.plan.state.clone();
        let now = self.now();
        let absorbed =
            self.with_context(ground, &now, |context| ground.set.mappings.absorb(context, &mut state, call, &reply));
        match absorbed {
            Ok(absorbed) => {
                self.plan.state = state;
                self.progressed = true;
                self.plan.waiting_told = false;
                self.plan.in_doubt.clear();
                if operation.effect.leaves_doubt() {
                    (self.plan.wrote, self.plan.rereads) = (true, 0);
                    self.plan.doubt = Doubt::default();
                }
                self.ledger.plan(self.plan.to_value());
                self.learn(absorbed.known);
                if self.plan.wrote {
                    // Whatever becomes of the rest.
                    self.learn_services();
                }
                for event in absorbed.events {
                    self.publish_planned(event);
                }
                Ok(Flow::On)
            }
            // e-RS did it, and what it answered is not what the plan needs: a person reads the answer.
            Err(problem) if operation.effect.leaves_doubt() => {
                let text = format!("e-RS carried {} out, but its answer cannot be used: {}", call.call, problem.text);
                self.in_doubt(&call.call, &text).await
            }
            Err(problem) => {
                // Perhaps because it is old: whoever comes next asks anew.
                self.shared.kept.forget(ground.member.client.key(), &call.path);
                self.fail_at(&problem.code, &problem.text, Some(&call.call)).await
            }
        }
    }

    /// The answer to a read of a settling.
    async fn take_in(&mut self, out: Outgoing<'_>, reply: &Reply) -> Result<Flow, Abandoned> {
        let Outgoing { ground, call, .. } = out;
        let Some(mut looking) = self.looking.take() else { return Ok(Flow::Ended) };
        let settling = ground.set.mappings.settling(&looking.call);
        let now = self.now();
        let absorbed = self.with_context(ground, &now, |context| {
            settling.map(|settling| settling.absorb(context, &mut looking.state, call, reply))
        });
        self.looking = Some(looking);
        match absorbed {
            Some(Err(problem)) => self.nothing_proved(&problem.text).await,
            _ => Ok(Flow::On),
        }
    }

    pub(super) fn learn(&mut self, known: serde_json::Map<String, Value>) {
        if known.is_empty() {
            return;
        }
        let new_ubrn = known.get("ubrn").filter(|ubrn| self.known.get("ubrn") != Some(*ubrn)).and_then(Value::as_str);
        let aliases = new_ubrn.map(|ubrn| Alias {
            kind: AliasKind::Ubrn,
            digest: self.shared.keys.alias_digest(AliasKind::Ubrn, &[ubrn]),
        });
        self.ledger.learnt(known.clone(), aliases.into_iter().collect());
        self.known.extend(known);
    }

    /// Notes how an attempt went; a read's start is noted with it.
    pub(super) fn finish(
        &mut self,
        out: Outgoing<'_>,
        attempt: NewAttempt,
        answer: Option<&Answer>,
        code: &str,
        took: Duration,
    ) {
        let call = &out.call.call;
        let outcome = match answer {
            Some(answer) if answer.response.status / 100 == 2 => "ok",
            _ => code,
        };
        self.shared.metrics.calls.with_label_values(&[call.as_str(), outcome]).inc();
        self.shared.metrics.call_durations.with_label_values(&[call.as_str()]).observe(took.as_secs_f64());
        self.trace_call(&attempt, answer, outcome, took);
        let finished = self.finished(&attempt, answer, outcome, took);
        match out.operation.effect {
            Effect::Read => self.ledger.read(attempt, finished),
            _ => self.ledger.finished(finished),
        }
    }

    fn trace_call(&self, attempt: &NewAttempt, answer: Option<&Answer>, outcome: &str, took: Duration) {
        let message = self.command.message;
        if !self.shared.traces.has(message) {
            return;
        }
        let now = self.shared.environment.now();
        let mut attributes =
            vec![("ers.step", attempt.step.clone().into()), ("ers.outcome", outcome.to_owned().into())];
        attributes.extend(answer.map(|answer| ("http.response.status_code", i64::from(answer.response.status).into())));
        let span = Span {
            id: attempt.id.0,
            parent: Some(self.command.id.0),
            name: attempt.call.clone().into(),
            kind: SpanKind::Client,
            from: now.checked_sub(took).unwrap_or(now),
            to: now,
            attributes,
            failed: (outcome != "ok").then(|| outcome.to_owned()),
        };
        self.shared.traces.tell(message, span);
    }

    /// A read that another command made, kept with this one as well.
    pub(super) fn keep_evidence(&mut self, attempt: NewAttempt, answer: &Answer) {
        let finished = self.finished(&attempt, Some(answer), "ok", Duration::ZERO);
        self.ledger.read(attempt, finished);
    }

    fn finished(
        &self,
        attempt: &NewAttempt,
        answer: Option<&Answer>,
        outcome: &str,
        took: Duration,
    ) -> FinishedAttempt {
        FinishedAttempt {
            id: attempt.id,
            status: answer.map(|answer| answer.response.status),
            outcome: outcome.to_owned(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            response: answer.map(kept).unwrap_or_default().into(),
            patients: answer.map(|answer| self.patients_kept_of(answer)).unwrap_or_default(),
        }
    }

    /// Whom it mentions. Of what settles a doubt no more is kept than the beginning of each answer: a worklist of thousands
    /// does not make this a message about all of them. A plan may keep anything.
    fn patients_kept_of(&self, answer: &Answer) -> Vec<PatientDigest> {
        let body = &answer.response.body;
        let kept = if self.looking.is_some() { body.len().min(ANSWER_KEPT_BYTES) } else { body.len() };
        self.shared.keys.patients_in(&body[..kept])
    }
}

/// Whether e-RS answered in the place of JSON; of an operation that answers with files, whatever came.
fn is_document(response: &Response, body: &ReplyBody, is_file: bool) -> bool {
    let is_text = is_text(&plain_type(response.header("content-type")));
    let is_good = response.status / 100 == 2 && !response.body.is_empty();
    is_good && (is_file || !is_text && !body.is_json())
}

/// An answer as it is kept with its attempt.
fn kept(answer: &Answer) -> Value {
    let Answer { response, body, document } = answer;
    let headers: serde_json::Map<String, Value> =
        response.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let body = match (document, response.body.len()) {
        // Its bytes are in chunks beside the attempt.
        (Some(document), _) => json!({ "document": document }),
        (None, 0) => Value::Null,
        (None, length) if length > ANSWER_KEPT_BYTES => beginning(&response.body, length),
        (None, _) if !body.is_json() => String::from_utf8_lossy(&response.body).into_owned().into(),
        (None, _) => body.tree().clone(),
    };
    Value::Object([("headers".to_owned(), headers.into()), ("body".to_owned(), body)].into_iter().collect())
}

fn beginning(body: &Bytes, length: usize) -> Value {
    let start = String::from_utf8_lossy(&body[..ANSWER_KEPT_BYTES]).into_owned();
    json!({ "cut": { "bytes": length, "beginning": start } })
}
