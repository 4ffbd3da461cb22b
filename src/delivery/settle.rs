//! A write whose outcome is unknown: found out by reading e-RS back, never by sending again (`design.md` section 8).
//!
//! Enters: a command in doubt, what was sent, and how that operation is settled (`mappings/ers/settling.yaml`). Leaves: the
//! command behind its write, or before it, or still in doubt: until the next look, or for a person. Guarantees: nothing but
//! reads leaves from here; what was proved, and what follows from it, are one commit.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ledger::Abandoned;
use super::run::{Flow, Ground, Run};
use crate::command::{Happened, State};
use crate::mapping::{NextCall, PlanState, Proof, Reply, Settling};
use crate::store::{Alias, AliasKind, AttemptView, Finding, ThreadView, why_unreadable};

/// After so many looks that proved nothing a person decides: three quarters of an hour after a slow call.
const LOOKS_MAX: u32 = 6;
/// Between two looks: doubles from the first to the second.
const PAUSE_MIN: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Where e-RS cannot be asked now; that is no look.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(60);
/// What was proved not to be done is tried again so often, then a person decides.
const UNDONE_MAX: u32 = 3;
/// What e-RS calls the time of something may be before ours by as much.
const CLOCKS_APART: Duration = Duration::from_secs(2 * 60);

/// A look at what became of a call.
pub(super) struct Looking {
    pub(super) call: String,
    /// How far the reads came.
    pub(super) state: PlanState,
    step: String,
    since: Timestamp,
    after: Duration,
    /// What others read counts for this look if they began then or later.
    pub(super) due: Instant,
    /// Candidates that other commands of this gateway made, and that were left out for it.
    elsewhere: usize,
}

/// Why something is settled, or not, with what was left out before.
fn reasoning(because: &str, elsewhere: usize) -> String {
    match elsewhere {
        0 => because.to_owned(),
        1 => format!("{because} (left out: 1 referral that another command of this gateway made)"),
        more => format!("{because} (left out: {more} referrals that other commands of this gateway made)"),
    }
}

impl Run {
    /// Takes one look. `since`: when the doubt began.
    pub(super) async fn settle(&mut self, ground: &Ground, since: Timestamp) -> Result<Flow, Abandoned> {
        let attempts = self.shared.store.attempts(self.command.id).await;
        let written = attempts.map(|attempts| attempts.into_iter().rfind(|attempt| attempt.is_write));
        let Ok(Some(attempt)) = written else {
            return self.ask_later(None, "what was sent cannot be read from the store now").await;
        };
        let said = self.plan.doubt.said.clone();
        let is_readable = why_unreadable(&attempt.request).is_none();
        let settling = ground.set.mappings.settling(&attempt.call);
        self.looking = Some(Looking {
            state: Settling::begin(sent(&attempt), said.as_ref().map(|said| json!(said)).unwrap_or_default()),
            after: settling.map(Settling::after).unwrap_or_default(),
            call: attempt.call,
            step: attempt.step,
            since,
            due: self.shared.environment.instant(),
            elsewhere: 0,
        });
        if let Some(Finding { done: false, .. }) = said {
            return self.proved_not_done(ground, "a person found that it was not done").await;
        }
        let Some(settling) = settling else {
            return self.leave_to_person("this mapping set does not say how it is settled: look in e-RS").await;
        };
        if said.is_none() {
            if !is_readable {
                return self.leave_to_person("what was sent cannot be read in the store any more: look in e-RS").await;
            }
            if !settling.proves() {
                return self.leave_to_person(settling.otherwise()).await;
            }
            let now = self.shared.environment.now();
            let known_for = self.shared.doubts.known_for(self.command.id, self.shared.environment.instant());
            // By the clock that may have been set since, and by the one that cannot be.
            let first = attempt.started_at + settling.after();
            let first = first.max(now + settling.after().saturating_sub(known_for));
            if first > now {
                return self.look_at(first, "e-RS may still be at work on it").await;
            }
            if let Some(looking) = &mut self.looking {
                let due_for = Duration::try_from(now.duration_since(first)).unwrap_or_default();
                looking.due = looking.due.checked_sub(due_for).unwrap_or(looking.due);
            }
        }
        if let Flow::Ended = self.read_back(ground, settling).await? {
            return Ok(Flow::Ended);
        }
        let state = self.looking.as_ref().map(|looking| looking.state.clone()).unwrap_or_default();
        let now = self.now();
        let proof = self.with_context(ground, &now, |context| match &said {
            None => settling.proof(context, &state),
            Some(_) => {
                let because = "a person found that it was done".to_owned();
                settling.stand_in(context, &state).map(|reply| Proof::Done { because, reply })
            }
        });
        let elsewhere = self.looking.as_ref().map(|looking| looking.elsewhere).unwrap_or_default();
        match proof {
            Ok(Proof::Done { because, reply }) => {
                self.proved_done(ground, &reasoning(&because, elsewhere), &reply).await
            }
            Ok(Proof::NotDone { because }) => self.proved_not_done(ground, &reasoning(&because, elsewhere)).await,
            Ok(Proof::Nothing { because }) => self.nothing_proved(&reasoning(&because, elsewhere)).await,
            Err(problem) => self.nothing_proved(&problem.text).await,
        }
    }

    /// Every read of the settling.
    async fn read_back(&mut self, ground: &Ground, settling: &Settling) -> Result<Flow, Abandoned> {
        loop {
            let Some(looking) = &mut self.looking else { return Ok(Flow::Ended) };
            let mut state = std::mem::take(&mut looking.state);
            let now = self.now();
            let next =
                self.with_context(ground, &now, |context| ground.set.mappings.next_look(settling, context, &mut state));
            if let Some(looking) = &mut self.looking {
                looking.state = state;
            }
            match next {
                Ok(NextCall::Call(call)) => {
                    if let Flow::Ended = self.call(ground, *call).await? {
                        return Ok(Flow::Ended);
                    }
                    if let Some(name) = settling.candidates()
                        && let Flow::Ended = self.leave_out_others(name).await?
                    {
                        return Ok(Flow::Ended);
                    }
                }
                Ok(NextCall::Pause(_) | NextCall::Done(_)) => return Ok(Flow::On),
                Err(problem) => return self.nothing_proved(&problem.text).await,
            }
        }
    }

    /// What another command is known to have made is no candidate. What a person has named is asked for all the same.
    async fn leave_out_others(&mut self, name: &str) -> Result<Flow, Abandoned> {
        let Some(looking) = &self.looking else { return Ok(Flow::Ended) };
        let Some(Value::Array(candidates)) = looking.state.saved.get(name) else { return Ok(Flow::On) };
        if self.plan.doubt.said.is_some() {
            return Ok(Flow::On);
        }
        let candidates = candidates.clone();
        let mut ours = Vec::with_capacity(candidates.len());
        for candidate in &candidates {
            let Some(ubrn) = candidate.as_str() else { continue };
            match self.shared.store.find_thread(&self.ubrn_alias(ubrn)).await {
                // Known without a command that made it: somebody only spoke of it, perhaps because it is ours.
                Ok(Some(ThreadView { created_by: Some(creator), .. })) if creator != self.command.id => {}
                Ok(_) => ours.push(candidate.clone()),
                Err(_) => return self.ask_later(None, "the store is away").await,
            }
        }
        if let Some(looking) = &mut self.looking {
            looking.elsewhere += candidates.len() - ours.len();
            looking.state.saved.insert(name.to_owned(), ours.into());
        }
        Ok(Flow::On)
    }

    fn no_longer_in_doubt(&self) {
        if self.shared.doubts.settled(self.command.id) {
            self.shared.shared_reads.forget();
        }
    }

    fn ubrn_alias(&self, ubrn: &str) -> Alias {
        Alias { kind: AliasKind::Ubrn, digest: self.shared.keys.alias_digest(AliasKind::Ubrn, &[ubrn]) }
    }

    /// As if the answer had come: the plan goes on behind its call.
    async fn proved_done(&mut self, ground: &Ground, because: &str, reply: &Reply) -> Result<Flow, Abandoned> {
        let Some(looking) = &self.looking else { return Ok(Flow::Ended) };
        let call_in_doubt = looking.call.clone();
        let mut state = self.plan.state.clone();
        let now = self.now();
        let absorbed =
            self.with_context(ground, &now, |context| match ground.set.mappings.next_call(context, &mut state)? {
                NextCall::Call(call) if call.call == call_in_doubt => {
                    ground.set.mappings.absorb(context, &mut state, &call, reply).map(Some)
                }
                _ => Ok(None),
            });
        let absorbed = match absorbed {
            Ok(Some(absorbed)) => absorbed,
            Ok(None) => return self.leave_to_person("the plan does not stand at the call that is in doubt").await,
            Err(problem) => {
                let text = format!("{because}, but what was read cannot be used: {}", problem.text);
                return self.leave_to_person(&text).await;
            }
        };
        if let Some(ubrn) = absorbed.known.get("ubrn").and_then(Value::as_str)
            && self.known.get("ubrn").is_none()
        {
            match self.shared.store.find_thread(&self.ubrn_alias(ubrn)).await {
                Ok(None) => {}
                Ok(Some(thread)) if thread.id == self.command.thread.id => {}
                Ok(Some(_)) => {
                    let text = "the referral that was found belongs to another command of this gateway: look in e-RS";
                    return self.leave_to_person(text).await;
                }
                Err(_) => return self.ask_later(None, "the store is away").await,
            }
        }
        self.no_longer_in_doubt();
        self.tell_settled(true, because);
        self.plan.state = state;
        self.plan.doubt = super::plan_record::Doubt::default();
        self.plan.waiting_told = false;
        self.plan.in_doubt.clear();
        (self.plan.wrote, self.plan.rereads) = (true, 0);
        self.learn(absorbed.known);
        for event in absorbed.events {
            self.publish_planned(event);
        }
        self.looking = None;
        self.end(Happened::ProvedDone, because.to_owned()).await
    }

    /// Nothing was done: what was read before the call is read anew, and everything is decided again.
    async fn proved_not_done(&mut self, ground: &Ground, because: &str) -> Result<Flow, Abandoned> {
        self.no_longer_in_doubt();
        self.tell_settled(false, because);
        let Some(looking) = self.looking.take() else { return Ok(Flow::Ended) };
        let doubt = std::mem::take(&mut self.plan.doubt);
        self.plan.doubt.undone = doubt.undone + 1;
        self.plan.in_doubt.clear();
        if let Some(refused) = doubt.refused {
            let mut state = self.plan.state.clone();
            let now = self.now();
            let goes_on = self
                .with_context(ground, &now, |context| ground.set.mappings.try_next(context, &mut state, &refused.code));
            if !goes_on {
                let text = format!("{}; {because}", refused.text);
                self.state = State::Running { step: looking.step };
                return self.fail_at(&refused.code, &text, Some(&looking.call)).await;
            }
            self.plan.state = state;
            return self.end(Happened::ProvedNotDone, because.to_owned()).await;
        }
        if self.plan.doubt.undone >= UNDONE_MAX {
            let text = format!("e-RS did not carry {} out, {UNDONE_MAX} times: {because}", looking.call);
            self.state = State::Running { step: looking.step };
            return self.fail_at("NOT_CARRIED_OUT", &text, Some(&looking.call)).await;
        }
        ground.set.mappings.go_back(&self.command.name, &mut self.plan.state);
        self.plan.begun = self.plan.wrote;
        self.end(Happened::ProvedNotDone, because.to_owned()).await
    }

    /// e-RS was read, and shows neither.
    pub(super) async fn nothing_proved(&mut self, because: &str) -> Result<Flow, Abandoned> {
        self.plan.doubt.looks += 1;
        if self.plan.doubt.looks >= LOOKS_MAX || self.plan.doubt.said.is_some() {
            return self.leave_to_person(because).await;
        }
        let after = self.looking.as_ref().map(|looking| looking.after).unwrap_or_default();
        let pause = after.max(PAUSE_MIN).saturating_mul(1 << (self.plan.doubt.looks - 1)).min(PAUSE_MAX);
        let next = self.shared.environment.now() + pause;
        self.look_at(next, &format!("nothing is proved yet: {because}")).await
    }

    /// e-RS could not be asked. `asked`: what it said, as the least.
    pub(super) async fn ask_later(&mut self, asked: Option<Duration>, text: &str) -> Result<Flow, Abandoned> {
        let next = self.shared.environment.now() + asked.unwrap_or_default().max(ASK_AGAIN);
        self.look_at(next, text).await
    }

    /// Nobody is signed in who may look.
    pub(super) async fn ask_with_user(&mut self, connection: &str, text: &str) -> Result<Flow, Abandoned> {
        let now = self.shared.environment.now();
        if !std::mem::replace(&mut self.plan.doubt.user_asked, true) {
            let step = self.step().to_owned();
            let data = json!({ "connection": connection, "since": now.to_string(), "step": step });
            self.publish("AuthorisationRequired", data);
        }
        self.look_at(now + PAUSE_MAX, text).await
    }

    pub(super) async fn look_at(&mut self, at: Timestamp, text: &str) -> Result<Flow, Abandoned> {
        tracing::info!(text, "a command stays in doubt");
        self.looking = None;
        self.end(Happened::LookedInVain { look_at: Some(at) }, text.to_owned()).await
    }

    /// Reading proves nothing more.
    async fn leave_to_person(&mut self, text: &str) -> Result<Flow, Abandoned> {
        let Some(looking) = self.looking.take() else { return Ok(Flow::Ended) };
        tracing::warn!(call = looking.call, text, "a person has to decide about a command in doubt");
        self.shared.metrics.doubts.with_label_values(&[looking.call.as_str(), "person"]).inc();
        let data = json!({
            "call": looking.call, "step": looking.step, "since": looking.since.to_string(), "text": text,
        });
        self.publish("DecisionNeeded", data);
        (self.plan.doubt.looks, self.plan.doubt.said) = (0, None);
        self.end(Happened::LookedInVain { look_at: None }, text.to_owned()).await
    }

    fn tell_settled(&mut self, done: bool, because: &str) {
        let Some(looking) = &self.looking else { return };
        tracing::info!(call = looking.call, done, because, "a doubt is settled");
        let outcome = if done { "done" } else { "not_done" };
        self.shared.metrics.doubts.with_label_values(&[looking.call.as_str(), outcome]).inc();
        let data = json!({
            "call": looking.call, "step": looking.step, "since": looking.since.to_string(), "done": done,
            "text": because,
        });
        self.publish("DoubtSettled", data);
    }
}

/// What was sent, as a settling finds it: the recorded request, when, and under which version.
fn sent(attempt: &AttemptView) -> Value {
    let mut sent = match &attempt.request {
        Value::Object(request) => request.clone(),
        _ => serde_json::Map::new(),
    };
    let guard = sent.get("headers").and_then(|headers| headers.get("If-Match")).and_then(Value::as_str);
    if let Some(version) = guard.and_then(|guard| guard.split('"').nth(1)) {
        sent.insert("version".into(), version.into());
    }
    sent.insert("at".into(), attempt.started_at.to_string().into());
    sent.insert("from".into(), format!("{:.3}", attempt.started_at - CLOCKS_APART).into());
    sent.into()
}
