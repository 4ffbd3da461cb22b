//! Plans, compiled: `ers/<Command>.yaml`, a command to the ordered calls that carry it out.
//!
//! Enters: where a plan stands, and what e-RS answered. Leaves: the next call, what was learned and what is to be told.
//! Guarantees: it changes nothing but the state that it is given; the same state and answer lead to the same call.

mod call;
mod compile;
mod settling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::halt::Halt;
use super::operations::Operation;
use super::plan::{FollowUp, NextCall, PlanEnd, PlanEvent, PlanState, PreparedCall, Reply};
use super::set::{Absorbed, PlanContext, PlanProblem};
use super::step_conditions::{Again, Lack};
use super::template::{Condition, Path, Scope, SeenReply, Template, Written};

pub(super) use compile::compile;
pub(super) use settling::compile_settlings;
pub use settling::{Proof, SETTLING, Settling};

pub struct CommandPlan {
    pub command: String,
    pub file: Arc<str>,
    /// Asked before the first call.
    require: Vec<Requirement>,
    steps: Vec<PlanStep>,
    /// Asked when all calls are done and told: what does not hold fails the command.
    ensure: Vec<Requirement>,
    follow: Vec<FollowTemplate>,
    /// Published when all is done, with the command's end.
    events: Vec<EventTemplate>,
    /// Of what was saved, what is remembered when all is done.
    know: Vec<String>,
    result: Option<Template>,
    /// Published when the command halts short of its end, whatever the step.
    halted: Vec<EventTemplate>,
}

struct PlanStep {
    name: String,
    call: String,
    /// It changes nothing in e-RS.
    reads: bool,
    written: Written,
    needs: Vec<Path>,
    lacks: Vec<Lack>,
    when: Vec<Condition>,
    each: Option<Path>,
    /// With `each`: the first entry that succeeds is enough; these codes of e-RS go on to the next.
    next_on: Vec<String>,
    /// Refused with one of these codes (`*`: with any), the plan goes on behind it (with `each`: with the next entry), and nothing of it is
    /// saved.
    pass_on: Vec<String>,
    again: Option<Again>,
    /// Before each call.
    pause: Option<Duration>,
    /// Index of the step to go back to when e-RS says that what it read is old.
    stale: Option<usize>,
    path: Vec<(String, Template)>,
    /// A list gives its parameter several times.
    query: Vec<(String, Template)>,
    headers: Vec<(String, Template)>,
    body: Option<Template>,
    /// What it counts for, where an operation may be called so often a day (`Operation::unattended_per_day`).
    allowance: Option<Template>,
    /// Its answer is this worklist, which is compared with what it was.
    compare: Option<Template>,
    letter: Option<Path>,
    /// In the order of the file: each sees those above it.
    save: Vec<(String, Template)>,
    /// Like `save`, but one entry for each repetition.
    collect: Vec<(String, Template)>,
    know: Vec<String>,
    require: Vec<Requirement>,
    events: Vec<EventTemplate>,
    /// What `map try` shows for a saved value that only e-RS could give.
    preview: Map<String, Value>,
    /// Of these, what is made of the command.
    previews: Vec<(String, Template)>,
}

struct FollowTemplate {
    command: String,
    when: Vec<Condition>,
    needs: Vec<Path>,
    body: Template,
}

struct Requirement {
    that: Template,
    code: String,
    text: String,
}

struct EventTemplate {
    name: String,
    /// For an event of a halt.
    on: Vec<Halt>,
    needs: Vec<Path>,
    when: Vec<Condition>,
    data: Template,
}

pub type Operations = BTreeMap<String, Operation>;

/// Steps that several plans share.
pub const PARTS: &str = "ers/steps.yaml";

impl CommandPlan {
    /// Nothing but steps.
    fn of_steps(command: &str, file: &str, steps: Vec<PlanStep>) -> Self {
        Self {
            command: command.to_owned(),
            file: file.into(),
            require: Vec::new(),
            steps,
            ensure: Vec::new(),
            follow: Vec::new(),
            events: Vec::new(),
            know: Vec::new(),
            result: None,
            halted: Vec::new(),
        }
    }

    /// The command that it carries out.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// A-numbers in order, for documentation and checks.
    pub fn calls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().map(|step| (step.name.as_str(), step.call.as_str()))
    }

    /// Nothing that it calls changes anything in e-RS, and nobody else is told: somebody asks, and waits for the
    /// answer.
    pub fn is_read(&self) -> bool {
        let asks = |step: &PlanStep| step.reads && step.events.is_empty() && step.compare.is_none();
        self.events.is_empty() && self.steps.iter().all(asks)
    }

    /// It pauses between its calls: nothing of a referral may wait behind it.
    pub fn pauses(&self) -> bool {
        self.steps.iter().any(|step| step.pause.is_some())
    }

    /// Commands that it has carried out next.
    pub fn follows(&self) -> impl Iterator<Item = &str> {
        self.follow.iter().map(|follow| follow.command.as_str())
    }

    pub fn event_names(&self) -> impl Iterator<Item = &str> {
        self.steps
            .iter()
            .flat_map(|step| &step.events)
            .chain(&self.events)
            .chain(&self.halted)
            .map(|event| event.name.as_str())
    }

    pub fn next_call(
        &self,
        operations: &Operations,
        context: &PlanContext<'_>,
        state: &mut PlanState,
    ) -> Result<NextCall, PlanProblem> {
        if *state == PlanState::default() {
            let scope = Scope { context, saved: &state.saved, item: None, index: 0, reply: None };
            check(&self.require, &scope)?;
        }
        while let Some(step) = self.steps.get(state.step) {
            if state.stale == Some(state.step) {
                state.stale = None;
            }
            let scope = Scope { context, saved: &state.saved, item: None, index: 0, reply: None };
            let wanted = match state.stale.and_then(|at| self.steps.get(at)?.stale) {
                None => step.is_wanted(&scope, true),
                Some(back_to) => step.reads && step.is_wanted(&scope, back_to != state.step),
            };
            let items = step.each.as_ref().map(|path| scope.lookup(path));
            let length = match &items {
                None => step.again.as_ref().map_or(1, Again::max),
                Some(items) => items.as_ref().and_then(|items| items.as_array()).map_or(0, Vec::len),
            };
            if !wanted || state.item >= length {
                state.step += 1;
                state.item = 0;
                continue;
            }
            if let (Some(pause), false) = (step.pause, state.waited) {
                return Ok(NextCall::Pause(pause));
            }
            let item = items.as_ref().and_then(|items| items.as_ref()).and_then(|items| items.get(state.item));
            let scope = Scope { item, index: state.item, ..scope };
            return step.prepare(operations, &scope, state.item).map(|call| NextCall::Call(Box::new(call)));
        }
        let scope = Scope { context, saved: &state.saved, item: None, index: 0, reply: None };
        let result = match &self.result {
            Some(template) => template.render(&scope)?.unwrap_or_default(),
            None => Value::Null,
        };
        check(&self.ensure, &scope)?;
        let mut follow = Vec::new();
        for next in &self.follow {
            if next.needs.iter().all(|path| scope.has(path)) && next.when.iter().all(|c| c.holds(&scope)) {
                let body = next.body.render(&scope)?.unwrap_or_default();
                follow.push(FollowUp { command: next.command.clone(), body });
            }
        }
        let events = rendered_events(&self.events, &scope)?;
        let remembered = self.know.iter().filter_map(|name| Some((name.clone(), state.saved.get(name)?.clone())));
        Ok(NextCall::Done(Box::new(PlanEnd { result, follow, events, known: remembered.collect() })))
    }

    pub fn absorb(
        &self,
        context: &PlanContext<'_>,
        state: &mut PlanState,
        call: &PreparedCall,
        reply: &Reply,
    ) -> Result<Absorbed, PlanProblem> {
        let step = self.step_of(state, call)?;
        // A worklist may be large, and a tree is only made of it for who looks at it.
        let seen = step.looks_at_reply().then(|| SeenReply::of(reply));
        let item = self.item_of(step, context, state);
        let mut saved = state.saved.clone();
        for (name, template) in &step.save {
            let scope = Scope { context, saved: &saved, item: item.as_ref(), index: state.item, reply: seen.as_ref() };
            if let Some(rendered) = template.render(&scope)? {
                saved.insert(name.clone(), rendered);
            }
        }
        for (name, template) in &step.collect {
            let scope =
                Scope { context, saved: &state.saved, item: item.as_ref(), index: state.item, reply: seen.as_ref() };
            let rendered = template.render(&scope)?.unwrap_or_default();
            push(&mut saved, name, rendered);
        }
        let scope = Scope { context, saved: &saved, item: item.as_ref(), index: state.item, reply: seen.as_ref() };
        check(&step.require, &scope)?;
        let mut absorbed = Absorbed { events: rendered_events(&step.events, &scope)?, ..Absorbed::default() };
        if let Some(compare) = &step.compare {
            absorbed.compare = compare.render(&scope)?.and_then(|name| Some(name.as_str()?.to_owned()));
        }
        let again = match &step.again {
            Some(again) => again.wanted(&scope, state)?,
            None => false,
        };
        for name in &step.know {
            if let Some(value) = saved.get(name) {
                absorbed.known.insert(name.clone(), value.clone());
            }
        }
        state.saved = saved;
        advance(step, again, state);
        Ok(absorbed)
    }

    /// e-RS refused the call with this code: goes on with the next entry, if the step says so and there is one, or behind
    /// the step, if it says that.
    pub fn try_next(&self, context: &PlanContext<'_>, state: &mut PlanState, code: &str) -> bool {
        let Some(step) = self.steps.get(state.step) else { return false };
        if step.pass_on.iter().any(|one| one == code || one == "*") {
            state.waited = false;
            match step.each {
                Some(_) => state.item += 1,
                None => (state.step, state.item) = (state.step + 1, 0),
            }
            return true;
        }
        let scope = Scope { context, saved: &state.saved, item: None, index: 0, reply: None };
        let items = step.each.as_ref().and_then(|path| scope.lookup(path));
        let length = items.and_then(|items| items.as_array().map(Vec::len)).unwrap_or_default();
        let goes_on = step.next_on.iter().any(|one| one == code) && state.item + 1 < length;
        if goes_on {
            state.item += 1;
        }
        goes_on
    }

    /// e-RS refused the call because what was read before it is old by now. Goes back to where the step says that it
    /// is read again, if it says so: reads from there on are made anew, other calls are not.
    pub fn go_back(&self, state: &mut PlanState) -> bool {
        let at = state.step;
        let Some(back_to) = self.steps.get(at).and_then(|step| step.stale) else { return false };
        for step in self.steps[back_to..at].iter().filter(|step| step.reads) {
            for (name, _) in step.save.iter().chain(&step.collect) {
                state.saved.remove(name);
            }
        }
        (state.step, state.item, state.stale) = (back_to, 0, Some(at));
        true
    }

    /// What is to be told when the command halts where it stands.
    pub fn halt_events(
        &self,
        context: &PlanContext<'_>,
        state: &PlanState,
        halt: Halt,
    ) -> Result<Vec<PlanEvent>, PlanProblem> {
        let scope = Scope { context, saved: &state.saved, item: None, index: 0, reply: None };
        rendered_events(self.halted.iter().filter(|event| event.on.contains(&halt)), &scope)
    }

    /// As if e-RS had answered: saved values are stand-ins that name their call. For `map try` and shadow mode.
    pub fn assume(
        &self,
        context: &PlanContext<'_>,
        state: &mut PlanState,
        call: &PreparedCall,
    ) -> Result<(), PlanProblem> {
        let step = self.step_of(state, call)?;
        let _ = self.item_of(step, context, state);
        let stand_in = |name: &str| {
            step.preview.get(name).cloned().unwrap_or_else(|| Value::from(format!("<{name} from {}>", step.call)))
        };
        let scope = Scope { context, saved: &state.saved, item: None, index: state.item, reply: None };
        let mut made = Vec::with_capacity(step.previews.len());
        for (name, template) in &step.previews {
            made.push((name.clone(), template.render(&scope)?));
        }
        for (name, _) in &step.save {
            state.saved.insert(name.clone(), stand_in(name));
        }
        for (name, value) in made {
            match value {
                Some(value) => state.saved.insert(name, value),
                None => state.saved.remove(&name),
            };
        }
        for (name, _) in &step.collect {
            let value = stand_in(name);
            push(&mut state.saved, name, value);
        }
        advance(step, false, state);
        Ok(())
    }

    fn step_of(&self, state: &PlanState, call: &PreparedCall) -> Result<&PlanStep, PlanProblem> {
        self.steps.get(state.step).filter(|step| step.label(state.item) == call.step).ok_or_else(|| PlanProblem {
            code: "MAPPING".into(),
            text: format!("mappings/{}: the answer to step {} came out of turn", self.file, call.step),
        })
    }

    fn item_of(&self, step: &PlanStep, context: &PlanContext<'_>, state: &PlanState) -> Option<Value> {
        let scope = Scope { context, saved: &state.saved, item: None, index: 0, reply: None };
        let items = scope.lookup(step.each.as_ref()?)?;
        items.get(state.item).cloned()
    }
}

fn check(requirements: &[Requirement], scope: &Scope<'_>) -> Result<(), PlanProblem> {
    for requirement in requirements {
        if !matches!(requirement.that.render(scope)?, Some(Value::Bool(true))) {
            return Err(PlanProblem { code: requirement.code.clone(), text: requirement.text.clone() });
        }
    }
    Ok(())
}

fn push(saved: &mut Map<String, Value>, name: &str, value: Value) {
    match saved.get_mut(name) {
        Some(Value::Array(list)) => list.push(value),
        _ => {
            saved.insert(name.to_owned(), Value::Array(vec![value]));
        }
    }
}

fn rendered_events<'e>(
    events: impl IntoIterator<Item = &'e EventTemplate>,
    scope: &Scope<'_>,
) -> Result<Vec<PlanEvent>, PlanProblem> {
    let mut rendered = Vec::new();
    for event in events {
        if event.needs.iter().all(|path| scope.has(path)) && event.when.iter().all(|c| c.holds(scope)) {
            let data = event.data.render(scope)?.unwrap_or_default();
            rendered.push(PlanEvent { name: event.name.clone(), data });
        }
    }
    Ok(rendered)
}

fn advance(step: &PlanStep, again: bool, state: &mut PlanState) {
    state.waited = false;
    if again || step.each.is_some() && step.next_on.is_empty() {
        state.item += 1;
    } else {
        state.step += 1;
        state.item = 0;
    }
}
