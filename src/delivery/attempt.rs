//! One call of a plan on its way out: authorise, make ready, record, send.
//!
//! Guarantees: a write leaves only after its "about to send" is on disk, and only with a token, leave of
//! the breaker, a place in the quota and a lease that surely holds.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::Instrument as _;

use super::answer::Answer;
use super::breaker::Pass;
use super::keeping::Keeping;
use super::ledger::Abandoned;
use super::letter::{self, LetterError, LetterFault};
use super::pace::{Caller, Leave, Stopped};
use super::plan_record::shown;
use super::run::{Flow, Ground, Run};
use super::shared_reads::SharedRead;
use crate::command::{AttemptId, State, WaitReason};
use crate::ers::{AccessToken, Body, Client, Response, TokenError, TransportError, Verdict};
use crate::mapping::{CallBody, Effect, Letter, LetterContent, Operation, PreparedCall};
use crate::store::{NewAttempt, Spending};

/// A call with what it is made with.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) ground: &'a Ground,
    pub(super) call: &'a PreparedCall,
    pub(super) operation: &'a Operation,
}

const STOPS: &str = "the gateway stops";

/// How sending ended.
pub(super) enum Sent {
    Answered(Response),
    NeverLeft(String),
    Unanswered(String),
    LetterUnreadable(LetterError),
}

/// What stands before the sending.
struct Ready {
    token: Arc<AccessToken>,
    pass: Pass,
    leave: Leave,
}

/// Whether the day has room for a call, and what was taken of it.
enum Allowed {
    Go(Option<Spending>),
    Ended,
}

impl Run {
    pub(super) fn step(&self) -> &str {
        match &self.state {
            State::Running { step } | State::InDoubt { step, .. } => step,
            _ => "",
        }
    }

    /// What is called then only reads.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self.state, State::InDoubt { .. })
    }

    pub(super) fn caller(&self) -> Caller {
        Caller { class: self.command.class, run: self.number }
    }

    /// Makes one call and takes its answer in.
    pub(super) async fn call(&mut self, ground: &Ground, call: PreparedCall) -> Result<Flow, Abandoned> {
        let Some(operation) = ground.set.mappings.operation(&call.call) else {
            return self.fail("MAPPING", &format!("{} is not in mappings/ers/operations.yaml", call.call)).await;
        };
        if !self.is_in_doubt() {
            self.state = State::Running { step: call.step.clone() };
        }
        let client = &ground.member.client;
        if let Some(text) = client.forbids(&call, operation) {
            return self.unauthorised(&client.name, &text).await;
        }
        if !self.is_in_doubt()
            && let Flow::Ended = self.stop_if_overdue().await?
        {
            return Ok(Flow::Ended);
        }
        if !operation.keep.is_zero()
            && let Some(response) = self.shared.kept.get(client.key(), &call.path)
        {
            let answer = Answer::again(response);
            return self.absorb(Outgoing { ground, call: &call, operation }, answer).await;
        }
        let mut token_refused = false;
        loop {
            if let Some(read) = self.read_by_another(client, &call) {
                return self.absorb_shared(Outgoing { ground, call: &call, operation }, read).await;
            }
            let Some(Ready { token, pass, leave }) = self.make_ready(ground, operation).await? else {
                return Ok(Flow::Ended);
            };
            // While this one waited for its turn.
            if let Some(read) = self.read_by_another(client, &call) {
                return self.absorb_shared(Outgoing { ground, call: &call, operation }, read).await;
            }
            // While this one waited for its turn.
            if !self.is_in_doubt()
                && operation.effect != Effect::Read
                && let Flow::Ended = self.stop_if_switched(ground).await?
            {
                return Ok(Flow::Ended);
            }
            let (body, fault) = match self.open_body(&call).await {
                Ok(opened) => opened,
                Err(error) => return self.letter_unreadable(&call, error).await,
            };
            let out = Outgoing { ground, call: &call, operation };
            let begun_before = self.plan.begun;
            let attempt = self.about_to_send(out).await?;
            if let Err(why) = self.depart(out, leave).await {
                self.plan.begun = begun_before;
                return self.withdraw(out, attempt, why).await;
            }
            let spent = match self.spend_allowance(out).await? {
                Allowed::Go(spent) => spent,
                Allowed::Ended => return Ok(Flow::Ended),
            };
            let began = self.shared.environment.instant();
            let mut keeping = Keeping::new(self.shared.clone(), self.command.id, attempt.id, operation.file);
            let sent = self.send(out, (&attempt.correlation_id, body), &token, &fault, &mut keeping).await;
            let took = self.shared.environment.instant() - began;
            self.calls.note(took);
            report(pass, &sent);
            if let (Sent::NeverLeft(_), Some(spent)) = (&sent, spent) {
                self.give_allowance_back(spent).await;
            }
            let response = match sent {
                Sent::Answered(response) => response,
                lost => return self.without_answer(out, attempt, lost, took).await,
            };
            let harm_in_repeat = operation.effect.leaves_doubt();
            let correlation_id = attempt.correlation_id.clone();
            let answer = match Answer::of(response, keeping, operation.file).await {
                Ok(answer) => answer,
                Err(error) => {
                    return self.without_answer(out, attempt, Sent::Unanswered(error.to_string()), took).await;
                }
            };
            let classified = ground.set.outcomes.classify(&call.call, harm_in_repeat, &answer.response);
            self.finish(out, attempt, Some(&answer), &classified.code, took);
            if classified.verdict == Verdict::Authenticate && !token_refused {
                token_refused = true;
                client.tokens.reject(&token);
                self.ledger.commit().await?;
                continue;
            }
            if self.looking.is_some() && classified.verdict == Verdict::Success {
                let (response, body) = (answer.response.clone(), answer.body.clone());
                let read = SharedRead { begun: began, correlation_id, response, body };
                self.shared.shared_reads.put(client.key(), &call, read);
            }
            return self.act_on(out, answer, classified).await;
        }
    }

    /// What another doubt of this connection has just asked e-RS.
    fn read_by_another(&self, client: &Client, call: &PreparedCall) -> Option<SharedRead> {
        let looking = self.looking.as_ref()?;
        self.shared.shared_reads.get(client.key(), call, looking.due, self.shared.environment.instant())
    }

    /// The evidence stands with this command as well, under the correlation id that e-RS knows it by.
    async fn absorb_shared(&mut self, out: Outgoing<'_>, read: SharedRead) -> Result<Flow, Abandoned> {
        let SharedRead { correlation_id, response, body, .. } = read;
        let attempt = self.new_attempt(out, correlation_id);
        let answer = Answer { response, body, document: None };
        // Of the read before.
        self.ledger.commit().await?;
        self.keep_evidence(attempt, &answer);
        self.absorb(out, answer).await
    }

    /// Unattended, e-RS answers some calls only so often a day; each that leaves counts, whatever becomes of it. Asked last,
    /// so that what does not leave costs nothing.
    async fn spend_allowance(&mut self, out: Outgoing<'_>) -> Result<Allowed, Abandoned> {
        let Outgoing { ground, call, operation } = out;
        let client = &ground.member.client;
        let limited = operation.unattended_per_day > 0 && client.is_unattended();
        let Some(counts_for) = call.counts_for.as_ref().filter(|_| limited) else { return Ok(Allowed::Go(None)) };
        let spending = Spending {
            application: client.client_id.clone(),
            call: call.call.clone(),
            counts_for: counts_for.clone(),
            day: self.shared.environment.now().to_zoned(london()).date().to_string(),
            per_day: operation.unattended_per_day,
        };
        match self.shared.store.spend(spending.clone()).await {
            Ok(true) => Ok(Allowed::Go(Some(spending))),
            Ok(false) => {
                let text = format!(
                    "e-RS answers {} ({}) {} times a day for {counts_for} without a user, and today they are spent",
                    call.call, operation.name, operation.unattended_per_day
                );
                self.fail("ALLOWANCE_SPENT", &text).await.map(|_| Allowed::Ended)
            }
            Err(_) => self.wait(WaitReason::Unavailable, None, "the store is away").await.map(|_| Allowed::Ended),
        }
    }

    /// It did not leave. What is not given back is lost for the day, and nothing else.
    async fn give_allowance_back(&self, spent: Spending) {
        if let Err(error) = self.shared.store.unspend(spent).await {
            tracing::warn!(%error, "a call that never left counts as one of the day");
        }
    }

    /// What is too old, and has not begun, waits for a person.
    pub(super) async fn stop_if_overdue(&mut self) -> Result<Flow, Abandoned> {
        let now = self.shared.environment.now();
        if self.plan.begun || self.plan.overdue_told || self.command.not_after.is_none_or(|limit| now <= limit) {
            return Ok(Flow::On);
        }
        self.plan.overdue_told = true;
        let text = match self.is_read() {
            true => "it could not be asked in time: ask again",
            false => "older than its class allows: decide whether it is still to be sent; replay sends it",
        };
        self.fail("EXPIRED", text).await
    }

    /// Token, breaker and a place in the quota. What has to be waited for is waited for with everything
    /// that happened before on disk.
    async fn make_ready(&mut self, ground: &Ground, operation: &Operation) -> Result<Option<Ready>, Abandoned> {
        let client = &ground.member.client;
        let token = match client.tokens.current() {
            Some(token) => token,
            None => {
                self.ledger.commit().await?;
                match client.tokens.token().await {
                    Ok(token) => token,
                    Err(error) => {
                        if let TokenError::SignInNeeded(_) = &error {
                            self.session_is_over(&ground.member).await;
                        }
                        self.without_token(&client.name, error).await?;
                        return Ok(None);
                    }
                }
            }
        };
        let pass = match self.shared.breakers.admit(&client.name, &operation.group) {
            Ok(pass) => pass,
            Err(pause) => {
                let text =
                    format!("calls of the group {} keep failing: they are left alone for a while", operation.group);
                self.wait(WaitReason::BreakerOpen, Some(pause), &text).await?;
                return Ok(None);
            }
        };
        let caller = self.caller();
        if let Some(leave) = ground.member.pacer.try_now(caller) {
            return Ok(Some(Ready { token, pass, leave }));
        }
        self.ledger.commit().await?;
        let leave = tokio::select! {
            biased;
            leave = ground.member.pacer.wait(caller) => leave,
            () = self.shared.environment.shutdown().cancelled() => Err(Stopped),
        };
        match leave {
            Ok(leave) => Ok(Some(Ready { token, pass, leave })),
            Err(Stopped) => {
                self.give_back(STOPS).await?;
                Ok(None)
            }
        }
    }

    async fn without_token(&mut self, connection: &str, error: TokenError) -> Result<Flow, Abandoned> {
        let text = error.to_string();
        match error {
            TokenError::Unavailable { retry_after, .. } => self.wait(WaitReason::NoToken, retry_after, &text).await,
            // Until somebody mends it, asking often helps nobody.
            TokenError::Refused { .. } => {
                let ceiling = self.shared.settings.backoff_ceiling;
                self.wait(WaitReason::NoToken, Some(ceiling), &text).await
            }
            TokenError::SignInNeeded(_) => self.unauthorised(connection, &text).await,
        }
    }

    async fn open_body(&self, call: &PreparedCall) -> Result<(Body, LetterFault), LetterError> {
        match &call.body {
            CallBody::None => Ok((Body::Empty, LetterFault::default())),
            CallBody::Json(body) => {
                let bytes = serde_json::to_vec(body).expect("a JSON value has only string keys");
                Ok((Body::Bytes(bytes.into()), LetterFault::default()))
            }
            CallBody::Letter(letter) => self.open_letter(letter).await,
        }
    }

    async fn open_letter(&self, letter: &Letter) -> Result<(Body, LetterFault), LetterError> {
        let message = self.command.message;
        let charset = match &letter.content {
            LetterContent::Document { .. } => None,
            LetterContent::Message { .. } => self.shared.store.message(message).await?.map(|view| view.charset),
        };
        let charset = charset.unwrap_or_else(|| "UTF-8".into());
        letter::open(self.shared.store.clone(), message, &charset, letter).await
    }

    /// A write's "about to send" is on disk when this returns; a read's goes with its result.
    async fn about_to_send(&mut self, out: Outgoing<'_>) -> Result<NewAttempt, Abandoned> {
        let Outgoing { ground, operation, .. } = out;
        let attempt = self.new_attempt(out, self.shared.environment.random_id().to_string());
        if operation.effect != Effect::Read {
            self.plan.begun = true;
            if !ground.member.client.is_unattended() {
                self.plan.acts_as.get_or_insert_with(|| ground.member.client.key().to_owned());
            }
            self.plan.in_doubt = self.told_in_doubt();
            self.ledger.started(attempt.clone()).await?;
            self.ledger.plan(self.plan.to_value());
            self.ledger.state(self.state.clone(), format!("about to send {}", out.call.call));
        }
        self.ledger.commit().await?;
        Ok(attempt)
    }

    fn new_attempt(&self, out: Outgoing<'_>, correlation_id: String) -> NewAttempt {
        let Outgoing { ground, call, operation } = out;
        let headers = ground.member.client.headers(call, operation, &correlation_id);
        NewAttempt {
            id: AttemptId(self.shared.environment.new_id()),
            step: call.step.clone(),
            call: call.call.clone(),
            is_write: operation.effect.leaves_doubt(),
            correlation_id,
            request: shown(call, &headers).into(),
        }
    }

    /// Waits for the moment to send. The lease is looked at last: this process may have stood still, or its commit
    /// hung, while another took over.
    async fn depart(&self, out: Outgoing<'_>, leave: Leave) -> Result<(), &'static str> {
        if let Err(Stopped) = out.ground.member.pacer.depart(leave).await {
            return Err(STOPS);
        }
        if out.operation.effect != Effect::Read && !self.ledger.holds_lease() {
            return Err("its lease may have ended before it was sent");
        }
        Ok(())
    }

    /// Gives back a call that was recorded as about to be sent and was not sent. The fence refuses this if another
    /// took the command over, who then knows no better than that it is in doubt.
    async fn withdraw(&mut self, out: Outgoing<'_>, attempt: NewAttempt, why: &str) -> Result<Flow, Abandoned> {
        let text = format!("{} was not sent: {why}", out.call.call);
        tracing::warn!(call = out.call.call, why, "a call was withdrawn before it was sent");
        if out.operation.effect != Effect::Read {
            self.finish(out, attempt, None, "not_sent", Duration::ZERO);
        }
        self.give_back(&text).await
    }

    async fn send(
        &self,
        out: Outgoing<'_>,
        (correlation_id, body): (&str, Body),
        token: &AccessToken,
        fault: &LetterFault,
        keeping: &mut Keeping,
    ) -> Sent {
        let Outgoing { ground, call, operation } = out;
        let client = &ground.member.client;
        let headers = client.headers(call, operation, correlation_id);
        let request = client.request(call, operation, &headers, body, token);
        let span = tracing::info_span!("call", call = call.call, step = call.step, correlation_id);
        let sent = async {
            let response = ground.member.transport.send_and_keep(request, keeping).await?;
            match response.header("location") {
                Some(place) if operation.file && response.status == 307 => {
                    ground.member.transport.send_and_keep(client.elsewhere(place, operation)?, keeping).await
                }
                _ => Ok(response),
            }
        };
        match sent.instrument(span).await {
            Ok(response) => Sent::Answered(response),
            Err(error) => match (fault.get(), error) {
                (Some(fault), _) => Sent::LetterUnreadable(fault),
                (None, TransportError::NotSent(why)) => Sent::NeverLeft(why),
                (None, TransportError::Unanswered(why)) => Sent::Unanswered(why),
            },
        }
    }
}

/// Where e-RS counts its days.
fn london() -> TimeZone {
    TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC)
}

/// Whether e-RS is there at all is all that the breaker asks.
fn report(pass: Pass, sent: &Sent) {
    match sent {
        Sent::Answered(response) if response.status < 500 => pass.went_well(),
        Sent::Answered(_) | Sent::NeverLeft(_) | Sent::Unanswered(_) => pass.went_badly(),
        Sent::LetterUnreadable(_) => drop(pass),
    }
}
