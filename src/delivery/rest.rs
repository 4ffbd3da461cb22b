//! The ways in which a run ends: each is one commit of state, plan and event, and one count.

use std::time::Duration;

use serde_json::{Value, json};

use super::backoff;
use super::ledger::Abandoned;
use super::plan_record::Needs;
use super::run::{Flow, Run};
use super::settle::ASK_AGAIN;
use crate::command::{Class, Failure, Happened, State, WaitReason};
use crate::mapping::{Halt, PlanState, Settling};
use crate::store::StoreError;
use crate::telemetry::{Span, SpanKind};

/// A locked record is waited for so many times in a row: about an hour at the default ceiling.
const LOCKED_TRIES_MAX: u32 = 20;
/// Code of a command that the store cannot read.
pub(super) const UNREADABLE: &str = "UNREADABLE";
/// From one look to the next whether the pause of a service has ended. Each is two rows of a command's story.
const HELD_AT_FIRST: Duration = Duration::from_secs(5);
const HELD_AT_MOST: Duration = Duration::from_mins(10);
/// Text of a failure that goes into rows and events.
const TEXT_CHARS_MAX: usize = 1_000;

impl Run {
    /// Somebody waits for its answer; it changes nothing.
    pub(super) fn is_read(&self) -> bool {
        self.command.class == Class::Interactive
    }

    pub(super) async fn complete(&mut self, result: Value) -> Result<Flow, Abandoned> {
        self.plan.result = result;
        self.end(Happened::StepDone { next: None }, "all calls are done".into()).await
    }

    /// Refused, or not to be sent as it is: a person decides.
    pub(super) async fn fail(&mut self, code: &str, text: &str) -> Result<Flow, Abandoned> {
        self.fail_at(code, text, None).await
    }

    /// A plan that failed before its first write was done begins anew when it is replayed: what it read is old by then.
    pub(super) async fn fail_at(&mut self, code: &str, text: &str, call: Option<&str>) -> Result<Flow, Abandoned> {
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        if self.is_in_doubt() {
            return match self.looking {
                Some(_) => self.nothing_proved(&text).await,
                None => self.ask_later(None, &text).await,
            };
        }
        tracing::warn!(code, text, "a command failed");
        self.publish_halt(Halt::Failed);
        let step = call.map(|_| self.step());
        self.publish("CommandFailed", json!({ "code": code, "text": text, "step": step, "call": call }));
        if !self.plan.wrote {
            self.plan.state = PlanState::default();
            self.plan.begun = false;
        } else if let (Some(ground), Some(_)) = (&self.ground, call) {
            // What was done stays done; what was read for the call that was refused is read anew.
            ground.set.mappings.go_back(&self.command.name, &mut self.plan.state);
        }
        self.plan.rereads = 0;
        let why = Failure { code: code.to_owned(), text: text.clone() };
        self.end(Happened::Refused { why }, text).await
    }

    /// Again later. `asked`: what e-RS or the breaker said, as the least.
    pub(super) async fn wait(
        &mut self,
        why: WaitReason,
        asked: Option<Duration>,
        text: &str,
    ) -> Result<Flow, Abandoned> {
        if self.is_in_doubt() {
            return self.ask_later(asked, text).await;
        }
        if self.progressed {
            self.plan.held = 0;
        }
        let deferrals = if self.progressed { 0 } else { self.command.deferrals.saturating_sub(self.plan.held) };
        if why == WaitReason::Locked && deferrals >= LOCKED_TRIES_MAX {
            return self.fail("RECORD_LOCKED", "the record stayed locked: see in e-RS who holds it, then replay").await;
        }
        let settings = &self.shared.settings;
        let fraction = self.shared.environment.fraction();
        let attempt = deferrals.saturating_add(2);
        let wait = backoff::delay(attempt, settings.backoff_base, settings.backoff_ceiling, asked, fraction);
        let until = self.shared.environment.now() + wait;
        // Who replays a read asks now: it has no deadline of its own.
        if self.is_read() && self.command.not_after.is_none_or(|deadline| until > deadline) {
            return self.fail("EXPIRED", &format!("no answer in time: {text}. Ask again later")).await;
        }
        if !self.plan.waiting_told {
            self.plan.waiting_told = true;
            self.publish_halt(Halt::Waiting);
        }
        tracing::info!(wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), text, "a command waits");
        self.end(Happened::Deferred { until, why }, text.to_owned()).await
    }

    /// Until the pause of its service ends, which is looked for ever more rarely.
    pub(super) async fn hold_for_service(&mut self) -> Result<Flow, Abandoned> {
        let text = "a service that it is for is paused";
        if self.is_in_doubt() {
            return self.ask_later(None, text).await;
        }
        if self.progressed {
            self.plan.held = 0;
        }
        let wait = HELD_AT_FIRST.saturating_mul(1 << self.plan.held.min(8)).min(HELD_AT_MOST);
        self.plan.held += 1;
        // Those that were held together do not all look at once.
        let until = self.shared.environment.now() + wait.mul_f64(1.0 - self.shared.environment.fraction() / 4.0);
        if self.is_read() && self.command.not_after.is_none_or(|deadline| until > deadline) {
            return self.fail("EXPIRED", &format!("no answer in time: {text}. Ask again later")).await;
        }
        self.end(Happened::Deferred { until, why: WaitReason::Paused }, text.to_owned()).await
    }

    /// As long as its plan says.
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<Flow, Abandoned> {
        let until = self.shared.environment.now() + pause;
        self.end(Happened::Deferred { until, why: WaitReason::Planned }, "its plan asks no sooner".into()).await
    }

    /// Waits for a user, or for a connection that may do this.
    pub(super) async fn unauthorised(&mut self, connection: &str, text: &str) -> Result<Flow, Abandoned> {
        if self.is_in_doubt() {
            return self.ask_with_user(connection, text).await;
        }
        if self.is_read() {
            // Whoever asked will not be waiting when somebody has signed in.
            return self.fail("NOT_AUTHORISED", text).await;
        }
        let since = self.shared.environment.now();
        tracing::warn!(connection, text, "a command needs authorisation");
        self.publish_halt(Halt::Unauthorised);
        let step = self.step();
        let user = self.whose().user().map(str::to_owned).filter(|_| self.shared.people.sign_in_at(connection));
        let data = json!({ "connection": connection, "user": user, "since": since.to_string(), "step": step });
        self.plan.needs = Some(Needs { connection: connection.to_owned(), user, why: text.to_owned() });
        self.publish("AuthorisationRequired", data);
        self.end(Happened::NotAuthorised { since }, text.to_owned()).await
    }

    /// A write may have been carried out. Never sent again from here.
    pub(super) async fn in_doubt(&mut self, call: &str, text: &str) -> Result<Flow, Abandoned> {
        let since = self.shared.environment.now();
        tracing::warn!(call, text, "a command is in doubt");
        self.shared.doubts.known_for(self.command.id, self.shared.environment.instant());
        self.publish_halt(Halt::InDoubt);
        let step = self.step();
        self.publish("CommandInDoubt", json!({ "call": call, "step": step, "since": since.to_string() }));
        let settling = self.ground.as_ref().and_then(|ground| ground.set.mappings.settling(call));
        let after = settling.map(Settling::after).unwrap_or_default();
        self.end(Happened::Unanswered { since, look_at: Some(since + after) }, text.to_owned()).await
    }

    pub(super) async fn shadowed(&mut self, text: &str) -> Result<Flow, Abandoned> {
        self.end(Happened::Shadowed, text.to_owned()).await
    }

    /// Back into the queue, nothing lost and nothing in flight.
    pub(super) async fn give_back(&mut self, text: &str) -> Result<Flow, Abandoned> {
        if self.is_in_doubt() {
            let now = self.shared.environment.now();
            return self.look_at(now, text).await;
        }
        self.end(Happened::LeaseExpired, text.to_owned()).await
    }

    /// How far it came is not known, so nothing is sent; what the store has of it stays as it is. If it was in doubt, it stays
    /// that, and a person decides.
    pub(super) async fn end_unreadable(&mut self, text: String) -> Result<Flow, Abandoned> {
        tracing::error!(text, "a command cannot be read");
        self.command.body = Value::Null;
        self.known.clear();
        let happened = match self.state {
            State::InDoubt { .. } if self.is_decided() => {
                let text = format!("a person has decided about its write; {text}");
                self.publish("CommandFailed", json!({ "code": UNREADABLE, "text": text }));
                Happened::Refused { why: Failure { code: UNREADABLE.to_owned(), text } }
            }
            State::InDoubt { since, .. } => {
                let attempts = match self.shared.store.attempts(self.command.id).await {
                    Err(StoreError::Unavailable(_)) => {
                        let next = self.shared.environment.now() + ASK_AGAIN;
                        return self.rest(Happened::LookedInVain { look_at: Some(next) }, text).await;
                    }
                    attempts => attempts.unwrap_or_default(),
                };
                if let Some(written) = attempts.iter().rfind(|attempt| attempt.is_write) {
                    let (call, step, since) = (&written.call, &written.step, since.to_string());
                    self.publish("DecisionNeeded", json!({ "call": call, "step": step, "since": since, "text": text }));
                }
                Happened::LookedInVain { look_at: None }
            }
            _ => {
                self.publish("CommandFailed", json!({ "code": UNREADABLE, "text": text }));
                Happened::Refused { why: Failure { code: UNREADABLE.to_owned(), text: text.clone() } }
            }
        };
        self.rest(happened, text).await
    }

    fn is_decided(&self) -> bool {
        self.command.plan.pointer("/doubt/said").is_some_and(|said| !said.is_null())
    }

    pub(super) async fn end(&mut self, happened: Happened, why: String) -> Result<Flow, Abandoned> {
        self.ledger.plan(self.plan.to_value());
        self.rest(happened, why).await
    }

    async fn rest(&mut self, happened: Happened, why: String) -> Result<Flow, Abandoned> {
        let after = self.state.clone().after(happened).expect("a running command takes every outcome");
        self.ledger.state(after.clone(), why);
        self.ledger.commit().await?;
        self.shared.metrics.settled.with_label_values(&[self.command.name.as_str(), after.name()]).inc();
        self.trace_command(&after);
        self.state = after;
        Ok(Flow::Ended)
    }

    /// A command as a whole, once nothing more is done for it by itself.
    fn trace_command(&self, after: &State) {
        let message = self.command.message;
        let failed = match after {
            State::Failed { why } => Some(why.code.clone()),
            State::Completed | State::Discarded | State::Shadowed => None,
            _ => return,
        };
        if !self.shared.traces.has(message) {
            return;
        }
        let span = Span {
            id: self.command.id.0,
            parent: Some(message.0),
            name: self.command.name.clone().into(),
            kind: SpanKind::Internal,
            from: self.command.received_at,
            to: self.shared.environment.now(),
            attributes: vec![
                ("gateway.source", self.command.source.clone().into()),
                ("gateway.class", self.command.class.name().into()),
                ("gateway.state", after.name().into()),
            ],
            failed,
        };
        self.shared.traces.tell(message, span);
    }
}
