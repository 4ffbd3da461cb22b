//! Plans, compiled: `ers/<Command>.yaml`, a command to the ordered calls that carry it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::diagnostic::Diagnostics;
use super::halt::{Halt, halts};
use super::operations::{Effect, Operation};
use super::plan::{CallBody, FollowUp, Letter, NextCall, PlanEvent, PlanState, PreparedCall, Reply};
use super::set::{Absorbed, PlanContext, PlanProblem};
use super::step_conditions::{Again, Lack, again, lacks};
use super::template::{Condition, Path, ROOTS, Root, Scope, Template, TemplateCompiler, Written, reply_value};
use super::yaml::{Keys, Node, Yaml};
use crate::config::duration;

pub struct CommandPlan {
    pub command: String,
    pub file: Arc<str>,
    /// Asked before the first call.
    require: Vec<Requirement>,
    steps: Vec<PlanStep>,
    /// Asked when all calls are done and told: what does not hold fails the command.
    ensure: Vec<Requirement>,
    follow: Vec<FollowTemplate>,
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
    /// Refused with one of these codes, the plan goes on behind it, and nothing of it is saved.
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

const STEP_KEYS: &[&str] = &[
    "step", "call", "needs", "lacks", "when", "each", "next_on", "pass_on", "again", "pause", "stale", "path", "query",
    "headers", "body", "letter", "save", "collect", "know", "require", "events", "preview", "about",
];

/// Steps that several plans share.
pub const PARTS: &str = "ers/steps.yaml";

/// Compiles one file; every mistake is reported.
pub fn compile(
    file: &str,
    node: &Node,
    fragments: &BTreeMap<String, Arc<Template>>,
    operations: &Operations,
    parts: &BTreeMap<String, Node>,
    diagnostics: &mut Diagnostics,
) -> Option<(CommandPlan, Vec<Path>)> {
    let keys = Keys::of(
        file,
        node,
        &["command", "require", "steps", "ensure", "follow", "result", "halted", "about"],
        diagnostics,
    )?;
    let command = keys.text("command", diagnostics);
    if command.is_none() {
        diagnostics.report(file, node.at, "`command` is missing: which command do these calls carry out?");
    }
    let file: Arc<str> = file.into();
    let mut compiler = TemplateCompiler { file: file.clone(), roots: ROOTS, fragments, diagnostics, paths: Vec::new() };
    let mut steps: Vec<PlanStep> = Vec::new();
    match keys.get("steps") {
        Some(Node { yaml: Yaml::List(items), .. }) => {
            for item in items {
                let shared = item.as_map().and_then(|entries| entries.iter().find(|(key, _)| key.name == "use"));
                match shared {
                    None => push_step(&mut compiler, item, operations, &mut steps),
                    Some((_, name)) => {
                        for item in part(&mut compiler, name, parts) {
                            compiler.file = PARTS.into();
                            push_step(&mut compiler, item, operations, &mut steps);
                        }
                        compiler.file = file.clone();
                    }
                }
            }
        }
        _ => compiler.diagnostics.report(&file, node.at, "`steps` must be a list of calls"),
    }
    let require = keys.get("require").map(|node| requirements(&mut compiler, node)).unwrap_or_default();
    let ensure = keys.get("ensure").map(|node| requirements(&mut compiler, node)).unwrap_or_default();
    let follow = keys.get("follow").map(|node| follow_ups(&mut compiler, node)).unwrap_or_default();
    let result = keys.get("result").map(|node| compiler.template(node));
    let halted = keys.get("halted").map(|node| events(&mut compiler, node)).unwrap_or_default();
    if let Some(event) = halted.iter().find(|event| event.on.is_empty()) {
        let text =
            format!("when is {} published? Say `on: failed`, `in_doubt`, `unauthorised` or `waiting`", event.name);
        compiler.diagnostics.report(&file, keys.get("halted").map_or(node.at, |node| node.at), text);
    }
    check_saved(&compiler.paths, &steps, compiler.diagnostics);
    let paths = compiler.paths;
    Some((CommandPlan { command: command?, file, require, steps, ensure, follow, result, halted }, paths))
}

fn push_step(compiler: &mut TemplateCompiler<'_>, node: &Node, operations: &Operations, steps: &mut Vec<PlanStep>) {
    let Some(step) = compile_step(compiler, node, operations, steps) else { return };
    if steps.iter().any(|known| known.name == step.name) {
        compiler.diagnostics.report(&compiler.file.clone(), node.at, format!("two steps are called `{}`", step.name));
    }
    steps.push(step);
}

/// `- use: Name`: the steps of that name in `ers/steps.yaml`.
fn part<'p>(compiler: &mut TemplateCompiler<'_>, name: &Node, parts: &'p BTreeMap<String, Node>) -> &'p [Node] {
    let text = name.as_text().unwrap_or_default();
    match parts.get(text).map(|node| &node.yaml) {
        Some(Yaml::List(items)) => items,
        _ => {
            let hint = super::diagnostic::did_you_mean(text, parts.keys().map(String::as_str));
            let file = compiler.file.clone();
            compiler.diagnostics.report_with_hint(&file, name.at, format!("{PARTS} has no steps `{text}`"), hint);
            &[]
        }
    }
}

fn compile_step(
    compiler: &mut TemplateCompiler<'_>,
    node: &Node,
    operations: &Operations,
    before: &[PlanStep],
) -> Option<PlanStep> {
    let file = compiler.file.clone();
    let keys = Keys::of(&file, node, STEP_KEYS, compiler.diagnostics)?;
    let name = keys.text("step", compiler.diagnostics);
    let call = keys.text("call", compiler.diagnostics);
    let (Some(name), Some(call)) = (name, call) else {
        compiler.diagnostics.report(&file, node.at, "a step needs `step` (its name) and `call` (an A-number)");
        return None;
    };
    let at = keys.get("call").map_or(node.at, |node| node.at);
    let operation = operations.get(&call);
    if operation.is_none() {
        let hint = super::diagnostic::did_you_mean(&call, operations.keys().map(String::as_str));
        compiler.diagnostics.report_with_hint(&file, at, format!("{call} is not in ers/operations.yaml"), hint);
    }
    let mut members = |key: &str| -> Vec<(String, Template)> {
        match keys.get(key).map(|node| (node, node.as_map())) {
            None => Vec::new(),
            Some((_, Some(entries))) => {
                entries.iter().map(|(key, node)| (key.name.clone(), compiler.template(node))).collect()
            }
            Some((node, None)) => {
                compiler.diagnostics.report(&file, node.at, format!("`{key}` is a mapping, found {}", node.kind()));
                Vec::new()
            }
        }
    };
    let (path, query, headers) = (members("path"), members("query"), members("headers"));
    let (save, collect) = (members("save"), members("collect"));
    if let Some(operation) = operation {
        for placeholder in placeholders(&operation.path) {
            if !path.iter().any(|(name, _)| name == placeholder) {
                let text = format!("{call} has `{{{placeholder}}}` in its path: give it under `path`");
                compiler.diagnostics.report(&file, at, text);
            }
        }
    }
    let require = keys.get("require").map(|node| requirements(compiler, node)).unwrap_or_default();
    let events = keys.get("events").map(|node| events(compiler, node)).unwrap_or_default();
    if let Some(event) = events.iter().find(|event| !event.on.is_empty()) {
        let text = format!("{} is published with its step: `on` belongs to the events under `halted`", event.name);
        compiler.diagnostics.report(&file, node.at, text);
    }
    let know = keys.texts("know", compiler.diagnostics);
    for (name, at) in &know {
        if !save.iter().any(|(saved, _)| saved == name) {
            compiler.diagnostics.report(&file, *at, format!("`{name}` is not saved by this step"));
        }
    }
    if let (Some(node), None) = (keys.get("next_on"), keys.get("each")) {
        compiler.diagnostics.report(&file, node.at, "`next_on` goes with `each`: which entry is the next?");
    }
    if let (Some(node), Some(_)) = (keys.get("pass_on"), keys.get("each")) {
        compiler.diagnostics.report(&file, node.at, "`pass_on` does not go with `each`: see `next_on`");
    }
    if let (Some(node), Some(_)) = (keys.get("again"), keys.get("each")) {
        compiler.diagnostics.report(&file, node.at, "`again` and `each` do not go together in one step");
    }
    Some(PlanStep {
        lacks: keys.get("lacks").map(|node| lacks(compiler, node)).unwrap_or_default(),
        again: keys.get("again").and_then(|node| again(compiler, node)),
        pause: keys.get("pause").and_then(|node| pause(compiler, node)),
        stale: keys.get("stale").and_then(|node| stale(compiler, node, before)),
        needs: keys.get("needs").map(|node| compiler.paths_of(node)).unwrap_or_default(),
        when: keys.get("when").map(|node| compiler.conditions(node)).unwrap_or_default(),
        next_on: keys.texts("next_on", compiler.diagnostics).into_iter().map(|(code, _)| code).collect(),
        pass_on: keys.texts("pass_on", compiler.diagnostics).into_iter().map(|(code, _)| code).collect(),
        previews: previews(compiler, keys.get("preview")),
        each: keys.get("each").and_then(|node| compiler.paths_of(node).into_iter().next()),
        body: keys.get("body").map(|node| compiler.template(node)),
        letter: keys.get("letter").and_then(|node| compiler.paths_of(node).into_iter().next()),
        know: know.into_iter().map(|(name, _)| name).collect(),
        preview: match keys.get("preview").map(Node::to_json) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        },
        written: Written { file, at: node.at },
        reads: operation.is_some_and(|operation| operation.effect == Effect::Read),
        name,
        call,
        path,
        query,
        headers,
        save,
        collect,
        require,
        events,
    })
}

/// Those that are no constants: `preview: { way: "{command.decision}" }`.
fn previews(compiler: &mut TemplateCompiler<'_>, node: Option<&Node>) -> Vec<(String, Template)> {
    let entries = node.and_then(Node::as_map).into_iter().flatten();
    let made = entries.filter(|(_, node)| node.as_text().is_some_and(|text| text.contains('{')));
    made.map(|(key, node)| (key.name.clone(), compiler.template(node))).collect()
}

/// `pause: 5m`
fn pause(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Option<Duration> {
    let parsed = duration::parse(node.as_text().unwrap_or_default());
    if parsed.is_none() {
        compiler.diagnostics.report(&compiler.file.clone(), node.at, "`pause` is a time, such as 5m");
    }
    parsed
}

/// `- { command, when, needs, body }`
fn follow_ups(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Vec<FollowTemplate> {
    let file = compiler.file.clone();
    let Yaml::List(items) = &node.yaml else {
        compiler.diagnostics.report(&file, node.at, "`follow` is a list of { command, body }");
        return Vec::new();
    };
    let mut compiled = Vec::new();
    for item in items {
        let Some(keys) = Keys::of(&file, item, &["command", "when", "needs", "body"], compiler.diagnostics) else {
            continue;
        };
        let command = keys.text("command", compiler.diagnostics);
        let when = keys.get("when").map(|node| compiler.conditions(node)).unwrap_or_default();
        let needs = keys.get("needs").map(|node| compiler.paths_of(node)).unwrap_or_default();
        match (command, keys.get("body").map(|node| compiler.template(node))) {
            (Some(command), Some(body)) => compiled.push(FollowTemplate { command, when, needs, body }),
            _ => compiler.diagnostics.report(&file, item.at, "what follows needs `command` and `body`"),
        }
    }
    compiled
}

/// `stale: read`, the name of a step above that reads.
fn stale(compiler: &mut TemplateCompiler<'_>, node: &Node, before: &[PlanStep]) -> Option<usize> {
    let name = node.as_text().unwrap_or_default();
    let found = before.iter().position(|step| step.name == name && step.reads);
    if found.is_none() {
        let hint = super::diagnostic::did_you_mean(name, before.iter().map(|step| step.name.as_str()));
        let text = "`stale` names a step above this one that reads: where to go on when what it read is old";
        compiler.diagnostics.report_with_hint(&compiler.file.clone(), node.at, text.to_owned(), hint);
    }
    found
}

fn requirements(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Vec<Requirement> {
    let file = compiler.file.clone();
    let Yaml::List(items) = &node.yaml else {
        compiler.diagnostics.report(&file, node.at, "`require` is a list of { that, code, text }");
        return Vec::new();
    };
    let mut compiled = Vec::new();
    for item in items {
        let Some(keys) = Keys::of(&file, item, &["that", "code", "text"], compiler.diagnostics) else { continue };
        let (code, text) = (keys.text("code", compiler.diagnostics), keys.text("text", compiler.diagnostics));
        match (keys.get("that").map(|node| compiler.template(node)), code, text) {
            (Some(that), Some(code), Some(text)) => compiled.push(Requirement { that, code, text }),
            _ => compiler.diagnostics.report(&file, item.at, "a requirement needs `that`, `code` and `text`"),
        }
    }
    compiled
}

fn events(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Vec<EventTemplate> {
    let file = compiler.file.clone();
    let Yaml::List(items) = &node.yaml else {
        compiler.diagnostics.report(&file, node.at, "`events` is a list of { event, data }");
        return Vec::new();
    };
    let mut compiled = Vec::new();
    for item in items {
        let Some(keys) = Keys::of(&file, item, &["event", "on", "needs", "when", "data"], compiler.diagnostics) else {
            continue;
        };
        let name = keys.text("event", compiler.diagnostics);
        let on = halts(compiler, &keys);
        let needs = keys.get("needs").map(|node| compiler.paths_of(node)).unwrap_or_default();
        let when = keys.get("when").map(|node| compiler.conditions(node)).unwrap_or_default();
        match (name, keys.get("data").map(|node| compiler.template(node))) {
            (Some(name), Some(data)) => compiled.push(EventTemplate { name, on, needs, when, data }),
            _ => compiler.diagnostics.report(&file, item.at, "an event needs `event` (its name) and `data`"),
        }
    }
    compiled
}

/// `saved.x` must be saved by some step.
fn check_saved(paths: &[Path], steps: &[PlanStep], diagnostics: &mut Diagnostics) {
    let saved: Vec<&str> =
        steps.iter().flat_map(|step| step.save.iter().chain(&step.collect)).map(|(name, _)| name.as_str()).collect();
    for path in paths.iter().filter(|path| path.root == Root::Saved) {
        let name = match path.steps.first() {
            Some(super::template::Step::Member(name)) => name.as_str(),
            _ => "",
        };
        if !saved.contains(&name) {
            let hint = super::diagnostic::did_you_mean(name, saved.iter().copied());
            let text = format!("no step saves `{name}`");
            diagnostics.report_with_hint(&path.written.file, path.written.at, text, hint);
        }
    }
}

fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

impl CommandPlan {
    /// A-numbers in order, for documentation and checks.
    pub fn calls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().map(|step| (step.name.as_str(), step.call.as_str()))
    }

    /// Nothing that it calls changes anything in e-RS, and nobody else is told: somebody asks, and waits for the
    /// answer.
    pub fn is_read(&self) -> bool {
        self.steps.iter().all(|step| step.reads && step.events.is_empty())
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
        self.steps.iter().flat_map(|step| &step.events).chain(&self.halted).map(|event| event.name.as_str())
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
        Ok(NextCall::Done { result, follow })
    }

    pub fn absorb(
        &self,
        context: &PlanContext<'_>,
        state: &mut PlanState,
        call: &PreparedCall,
        reply: &Reply,
    ) -> Result<Absorbed, PlanProblem> {
        let step = self.step_of(state, call)?;
        let value = reply_value(reply);
        let item = self.item_of(step, context, state);
        let mut saved = state.saved.clone();
        for (name, template) in &step.save {
            let scope = Scope { context, saved: &saved, item: item.as_ref(), index: state.item, reply: Some(&value) };
            if let Some(rendered) = template.render(&scope)? {
                saved.insert(name.clone(), rendered);
            }
        }
        for (name, template) in &step.collect {
            let scope =
                Scope { context, saved: &state.saved, item: item.as_ref(), index: state.item, reply: Some(&value) };
            let rendered = template.render(&scope)?.unwrap_or_default();
            push(&mut saved, name, rendered);
        }
        let scope = Scope { context, saved: &saved, item: item.as_ref(), index: state.item, reply: Some(&value) };
        check(&step.require, &scope)?;
        let mut absorbed = Absorbed { events: rendered_events(&step.events, &scope)?, ..Absorbed::default() };
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
        if step.pass_on.iter().any(|one| one == code) {
            (state.step, state.item, state.waited) = (state.step + 1, 0, false);
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

impl PlanStep {
    /// `lacks` holds while anything in it is still unknown; where that does not matter, it is not asked.
    fn is_wanted(&self, scope: &Scope<'_>, ask_lacks: bool) -> bool {
        let unknown = !ask_lacks || self.lacks.is_empty() || self.lacks.iter().any(|lack| lack.is_open(scope));
        unknown && self.needs.iter().all(|path| scope.has(path)) && self.when.iter().all(|c| c.holds(scope))
    }

    fn label(&self, item: usize) -> String {
        if self.each.is_some() || self.again.is_some() { format!("{}[{item}]", self.name) } else { self.name.clone() }
    }

    fn prepare(&self, operations: &Operations, scope: &Scope<'_>, item: usize) -> Result<PreparedCall, PlanProblem> {
        let operation = operations
            .get(&self.call)
            .ok_or_else(|| self.written.problem(&format!("{} is not in ers/operations.yaml", self.call)))?;
        let mut path = operation.path.clone();
        for (name, value) in render_texts(&self.path, scope)? {
            path = path.replace(&format!("{{{name}}}"), &percent_encoded(&value));
        }
        let query: Vec<String> = render_query(&self.query, scope)?
            .into_iter()
            .map(|(name, value)| format!("{}={}", percent_encoded(&name), percent_encoded(&value)))
            .collect();
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        Ok(PreparedCall {
            step: self.label(item),
            call: self.call.clone(),
            method: operation.method.clone(),
            path,
            headers: render_texts(&self.headers, scope)?,
            body: self.call_body(scope)?,
        })
    }

    fn call_body(&self, scope: &Scope<'_>) -> Result<CallBody, PlanProblem> {
        if let Some(path) = &self.letter {
            let handle = scope.lookup(path).ok_or_else(|| self.written.problem(&format!("`{path}` has no value")))?;
            let letter: Letter = serde_json::from_value(handle.into_owned())
                .map_err(|_| self.written.problem(&format!("`{path}` is not a letter")))?;
            return Ok(CallBody::Letter(letter));
        }
        match &self.body {
            None => Ok(CallBody::None),
            Some(template) => Ok(template.render(scope)?.map_or(CallBody::None, CallBody::Json)),
        }
    }
}

fn render_texts(templates: &[(String, Template)], scope: &Scope<'_>) -> Result<Vec<(String, String)>, PlanProblem> {
    let mut rendered = Vec::with_capacity(templates.len());
    for (name, template) in templates {
        match template.render(scope)? {
            None => {}
            Some(Value::String(text)) => rendered.push((name.clone(), text)),
            Some(value) => rendered.push((name.clone(), value.to_string())),
        }
    }
    Ok(rendered)
}

fn render_query(templates: &[(String, Template)], scope: &Scope<'_>) -> Result<Vec<(String, String)>, PlanProblem> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        value => value.to_string(),
    };
    let mut rendered = Vec::with_capacity(templates.len());
    for (name, template) in templates {
        match template.render(scope)? {
            None => {}
            Some(Value::Array(values)) => rendered.extend(values.into_iter().map(|value| (name.clone(), text(value)))),
            Some(value) => rendered.push((name.clone(), text(value))),
        }
    }
    Ok(rendered)
}

/// RFC 3986, everything but unreserved characters and `/`.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
