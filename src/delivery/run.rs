//! One run of one command: resolve, then walk the plan until it rests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::engine::{Member, Shared};
use super::estimate::Calls;
use super::lease::Lease;
use super::ledger::{Abandoned, Ledger};
use super::plan_record::{PlanRecord, shown};
use super::rest::UNREADABLE;
use super::sets::{PinError, PinnedSet};
use super::settle::Looking;
use crate::command::{EventId, State, WaitReason, services};
use crate::config::{Mode, Source};
use crate::mapping::{Halt, NextCall, PlanContext, PlanEnd, PlanEvent};
use crate::store::{ClaimedCommand, NewEvent, StoreError};

/// Where a run stands after a call.
pub(super) enum Flow {
    /// The plan goes on.
    On,
    /// The run has ended; its last commit is on disk.
    Ended,
}

/// What a command is carried out with, as configured when the run began; `member` is who makes the call at hand.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) source: Source,
    pub(super) member: Arc<Member>,
    pub(super) set: PinnedSet,
    pub(super) connection: Value,
    pub(super) settings: Value,
}

pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) command: ClaimedCommand,
    pub(super) plan: PlanRecord,
    /// What is known of the thread's referral.
    pub(super) known: Map<String, Value>,
    pub(super) state: State,
    /// Once it is resolved.
    pub(super) ground: Option<Arc<Ground>>,
    pub(super) ledger: Ledger,
    /// Some call of this run was answered: what is deferred now is deferred for the first time.
    pub(super) progressed: bool,
    /// While e-RS is read to settle a doubt: nothing is written.
    pub(super) looking: Option<Looking>,
    /// In the order in which runs began.
    pub(super) number: u64,
    pub(super) calls: Calls,
}

/// Runs the command to its rest. What cannot be recorded is left to whoever takes over.
pub(super) async fn carry_out(shared: Arc<Shared>, command: ClaimedCommand, lease: Arc<Lease>) {
    let ledger = Ledger::new(shared.clone(), &command, lease);
    let known = command.thread.known.as_object().cloned().unwrap_or_default();
    let state = match &command.state {
        doubt @ State::InDoubt { .. } => doubt.clone(),
        _ => State::Running { step: "plan".into() },
    };
    let plan = PlanRecord::default();
    let (number, calls) = (shared.runs.fetch_add(1, Ordering::Relaxed), Calls::default());
    let (ground, looking, progressed) = (None, None, false);
    let mut run = Run { shared, plan, known, state, ground, ledger, progressed, looking, number, calls, command };
    if let Err(Abandoned) = run.until_rest().await {
        tracing::warn!("the run was abandoned; its command is found again after its last commit");
    }
    run.shared.measured.note(&run.command.name, run.calls);
}

impl Run {
    async fn until_rest(&mut self) -> Result<Flow, Abandoned> {
        if let Some((part, why)) = self.command.unreadable() {
            let text = format!(
                "the {part} cannot be read in the store: {why}. Bring the store back from a backup, or do by hand what its \
                 message asks for, then discard this"
            );
            return self.end_unreadable(text).await;
        }
        match PlanRecord::from_value(std::mem::take(&mut self.command.plan)) {
            Ok(plan) => self.plan = plan,
            Err(_) => return self.fail("MAPPING", "the stored plan cannot be read by this version").await,
        }
        if self.plan.doubt.said.is_some() && !matches!(self.state, State::InDoubt { .. }) {
            // It failed after that, for it could not be read then: whether its write was done is what a person knows.
            let text = "a person has decided about its write before it failed: do the rest by hand, then discard this";
            return self.fail(UNREADABLE, text).await;
        }
        self.use_the_patients_number();
        let ground = match self.resolve().await {
            Ok(ground) => Arc::new(ground),
            Err(unresolved) => return self.end_unresolved(unresolved).await,
        };
        self.ground = Some(ground.clone());
        if let State::InDoubt { since, .. } = self.state {
            return self.settle(&ground, since).await;
        }
        if let (Some(known), Some(said)) = (self.known.get("ubrn"), self.command.body.get("ubrn"))
            && known != said
        {
            return self.fail("UBRN_DIFFERS", "its thread's referral has another UBRN than the command names").await;
        }
        let services = self.services();
        match ground.source.mode_for(&services) {
            Mode::Paused => self.hold(&ground.source).await,
            // What was begun in e-RS is not left half done.
            _ if self.plan.wrote => self.walk(ground).await,
            _ if self.plan.came_in_shadow(&services) => self.shadow(&ground).await,
            Mode::Live => self.walk(ground).await,
            Mode::Shadow => self.shadow(&ground).await,
        }
    }

    /// The services that it is for: those that it names, those that its referral was made for, or those of what it follows.
    pub(super) fn services(&self) -> Vec<String> {
        let named = services(&self.command.body);
        if !named.is_empty() {
            return named.into_iter().map(str::to_owned).collect();
        }
        let known = self.known.get("services").and_then(Value::as_array).into_iter().flatten();
        let known: Vec<String> = known.filter_map(Value::as_str).map(str::to_owned).collect();
        if known.is_empty() { self.plan.services.clone() } else { known }
    }

    /// Nothing of it was written yet, and its source is not live any more: it is not begun.
    pub(super) async fn stop_if_switched(&mut self, ground: &Ground) -> Result<Flow, Abandoned> {
        let source = self.shared.sources.borrow().get(&self.command.source).cloned();
        let Some(source) = source.filter(|_| !self.plan.wrote) else { return Ok(Flow::On) };
        match source.mode_for(&self.services()) {
            Mode::Live => Ok(Flow::On),
            Mode::Paused => self.hold(&source).await,
            Mode::Shadow => self.shadow(ground).await,
        }
    }

    /// What is of a paused source is not claimed any more; a service is known only here.
    async fn hold(&mut self, source: &Source) -> Result<Flow, Abandoned> {
        match source.mode {
            Mode::Paused => self.give_back("its source is paused").await,
            Mode::Live | Mode::Shadow => self.hold_for_service().await,
        }
    }

    /// What a referral is for is known to what follows about it, whether it was made or only rehearsed.
    pub(super) fn learn_services(&mut self) {
        let named = services(&self.command.body);
        let decides = self.command.body.get("shortlist").is_some() || self.command.name.starts_with("Create");
        if !named.is_empty() && decides && self.known.get("services") != Some(&json!(named)) {
            let services = Map::from_iter([("services".to_owned(), json!(named))]);
            self.learn(services);
        }
    }

    /// Source, connection and mapping set, and what the command itself says of its referral.
    async fn resolve(&mut self) -> Result<Ground, Unresolved> {
        if !self.known.contains_key("ubrn")
            && let Some(ubrn) = self.command.body.get("ubrn")
        {
            self.known.insert("ubrn".into(), ubrn.clone());
        }
        let source = self.shared.sources.borrow().get(&self.command.source).cloned();
        let source = source.ok_or(Unresolved::Source)?;
        let member = self.first_to_act(&source).await?;
        let set = self.shared.sets.get(&self.command.mapping_set).await.map_err(Unresolved::Set)?;
        Ok(Ground {
            connection: member.client.for_plan(),
            settings: source.seen_by_mappings().into(),
            source,
            member,
            set,
        })
    }

    pub(super) async fn end_unresolved(&mut self, unresolved: Unresolved) -> Result<Flow, Abandoned> {
        match unresolved {
            Unresolved::Source => {
                let text = format!("source {} is not configured: add it again, then replay", self.command.source);
                self.fail("SOURCE_UNKNOWN", &text).await
            }
            Unresolved::Connection => {
                let text = format!("source {} names a connection that is not configured", self.command.source);
                self.fail("CONNECTION_UNKNOWN", &text).await
            }
            Unresolved::Store => self.wait(WaitReason::Unavailable, None, "it is not known now who is signed in").await,
            Unresolved::Set(PinError::Store(StoreError::Unavailable(_))) => {
                self.wait(WaitReason::Unavailable, None, "the mapping set cannot be loaded now").await
            }
            Unresolved::Set(error) => self.fail("MAPPING_SET", &error.to_string()).await,
        }
    }

    async fn walk(&mut self, ground: Arc<Ground>) -> Result<Flow, Abandoned> {
        if let Flow::Ended = self.stop_if_overtaken().await? {
            return Ok(Flow::Ended);
        }
        let mut ground = ground;
        loop {
            if self.shared.environment.shutdown().is_cancelled() {
                return self.give_back("the gateway stops").await;
            }
            let Some((acting, next)) = self.next_call(&ground).await? else { return Ok(Flow::Ended) };
            if !Arc::ptr_eq(&acting, &ground) {
                self.ground = Some(acting.clone());
                ground = acting;
            }
            let ground = &*ground;
            match next {
                Ok(NextCall::Done(_)) if self.plan.state.fetched.is_some() => {
                    if let Flow::Ended = self.compare(ground).await? {
                        return Ok(Flow::Ended);
                    }
                }
                Ok(NextCall::Done(end)) => {
                    let PlanEnd { result, follow, events, known } = *end;
                    return match self.follow(follow).await? {
                        Flow::On => {
                            self.learn(known);
                            self.learn_services();
                            for event in events {
                                self.publish_planned(event);
                            }
                            self.complete(result).await
                        }
                        Flow::Ended => Ok(Flow::Ended),
                    };
                }
                Ok(NextCall::Pause(pause)) => {
                    self.plan.state.waited = true;
                    return self.pause(pause).await;
                }
                Ok(NextCall::Call(call)) if self.needs_patient_check(ground.set.mappings.operation(&call.call)) => {
                    // The call is made anew: PDS may have given another number.
                    if let Flow::Ended = self.check_patient().await? {
                        return Ok(Flow::Ended);
                    }
                }
                Ok(NextCall::Call(call)) => match self.call(ground, *call).await? {
                    Flow::On => {}
                    Flow::Ended => return Ok(Flow::Ended),
                },
                Err(problem) => return self.fail(&problem.code, &problem.text).await,
            }
        }
    }

    /// Everything but the sending: the calls as they would be, kept with the plan.
    async fn shadow(&mut self, ground: &Ground) -> Result<Flow, Abandoned> {
        let now = self.now();
        self.learn_services();
        match self.with_context(ground, &now, |context| ground.set.mappings.preview(context)) {
            Ok(calls) => {
                self.plan.preview = calls.iter().map(|call| shown(call, &call.headers)).collect();
                self.shadowed("shadow mode: planned, not sent").await
            }
            Err(problem) => {
                self.plan.preview = vec![json!({ "problem": { "code": problem.code, "text": problem.text } })];
                self.shadowed("shadow mode: no plan could be made").await
            }
        }
    }

    /// RFC 3339, UTC, milliseconds.
    pub(super) fn now(&self) -> String {
        format!("{:.3}", self.shared.environment.now())
    }

    pub(super) fn with_context<T>(&self, ground: &Ground, now: &str, then: impl FnOnce(&PlanContext<'_>) -> T) -> T {
        let known = Value::Object(self.known.clone());
        let id = self.command.id.to_string();
        then(&PlanContext {
            command: &self.command.name,
            id: &id,
            body: &self.command.body,
            known: &known,
            connection: &ground.connection,
            settings: &ground.settings,
            now,
        })
    }

    /// An event of the plan, with what every event of a command says.
    pub(super) fn publish_planned(&mut self, event: PlanEvent) {
        let (name, data) = self.with_origin(event);
        self.put_in_outbox(&name, data);
    }

    fn with_origin(&self, event: PlanEvent) -> (String, Map<String, Value>) {
        let mut data = match event.data {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        data.insert("message".into(), self.command.message.to_string().into());
        data.insert("command".into(), self.command.id.to_string().into());
        (event.name, data)
    }

    /// What the plan has to tell of a command that halts where it stands.
    pub(super) fn publish_halt(&mut self, halt: Halt) {
        for event in self.halt_events(halt) {
            self.publish_planned(event);
        }
    }

    /// The same for the store, which finds the command in doubt if this process ends now.
    pub(super) fn told_in_doubt(&self) -> Vec<Value> {
        let events = self.halt_events(Halt::InDoubt).into_iter().map(|event| self.with_origin(event));
        events.map(|(name, data)| json!({ "name": name, "data": data })).collect()
    }

    fn halt_events(&self, halt: Halt) -> Vec<PlanEvent> {
        let Some(ground) = &self.ground else { return Vec::new() };
        let now = self.now();
        let events =
            self.with_context(ground, &now, |context| ground.set.mappings.halt_events(context, &self.plan.state, halt));
        events.unwrap_or_else(|problem| {
            tracing::error!(text = problem.text, "an event of a halted command could not be made");
            Vec::new()
        })
    }

    /// An event of delivery itself: which command, whose, about which referral; nothing of the patient.
    pub(super) fn publish(&mut self, name: &str, more: Value) {
        let mut data = Map::new();
        data.insert("command".into(), self.command.id.to_string().into());
        data.insert("commandName".into(), self.command.name.as_str().into());
        data.insert("message".into(), self.command.message.to_string().into());
        for (name, value) in [("localId", self.command.body.get("localId")), ("ubrn", self.known.get("ubrn"))] {
            if let Some(value @ Value::String(_)) = value {
                data.insert(name.into(), value.clone());
            }
        }
        if let Value::Object(more) = more {
            data.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
        }
        self.put_in_outbox(name, data);
    }

    fn put_in_outbox(&mut self, name: &str, data: Map<String, Value>) {
        let environment = &self.shared.environment;
        self.ledger.event(NewEvent {
            id: EventId(environment.new_id()),
            name: name.to_owned(),
            at: environment.now(),
            source: self.command.source.clone(),
            subject: self.command.id.to_string(),
            data: data.into(),
        });
    }
}

pub(super) enum Unresolved {
    Source,
    Connection,
    /// It is not known who is signed in.
    Store,
    Set(PinError),
}
