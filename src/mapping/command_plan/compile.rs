//! From `ers/<Command>.yaml` to a plan. Every mistake is reported with its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::diagnostic::{self, Diagnostics};
use super::super::halt::halts;
use super::super::operations::Effect;
use super::super::plan::CHANGES;
use super::super::step_conditions::{again, lacks};
use super::super::template::{Path, ROOTS, Root, Step, Template, TemplateCompiler, Written};
use super::super::yaml::{Keys, Node, Yaml};
use super::{CommandPlan, EventTemplate, FollowTemplate, Operations, PARTS, PlanStep, Requirement};
use crate::config::duration;

const STEP_KEYS: &[&str] = &[
    "step",
    "call",
    "needs",
    "lacks",
    "when",
    "each",
    "next_on",
    "pass_on",
    "again",
    "pause",
    "stale",
    "path",
    "query",
    "headers",
    "body",
    "letter",
    "allowance",
    "compare",
    "save",
    "collect",
    "know",
    "require",
    "events",
    "preview",
    "about",
];

/// Compiles one file; every mistake is reported.
pub(in crate::mapping) fn compile(
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
        &["command", "require", "steps", "ensure", "follow", "events", "know", "result", "halted", "about"],
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
    let told = keys.get("events").map(|node| events(&mut compiler, node)).unwrap_or_default();
    let know = known(&keys, &steps, &file, compiler.diagnostics);
    let result = keys.get("result").map(|node| compiler.template(node));
    let halted = keys.get("halted").map(|node| events(&mut compiler, node)).unwrap_or_default();
    if let Some(event) = halted.iter().find(|event| event.on.is_empty()) {
        let text =
            format!("when is {} published? Say `on: failed`, `in_doubt`, `unauthorised` or `waiting`", event.name);
        compiler.diagnostics.report(&file, keys.get("halted").map_or(node.at, |node| node.at), text);
    }
    check_saved(&compiler.paths, &steps, &[], compiler.diagnostics);
    let paths = compiler.paths;
    Some((
        CommandPlan { command: command?, file, require, steps, ensure, follow, events: told, know, result, halted },
        paths,
    ))
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
            let hint = diagnostic::did_you_mean(text, parts.keys().map(String::as_str));
            let file = compiler.file.clone();
            compiler.diagnostics.report_with_hint(&file, name.at, format!("{PARTS} has no steps `{text}`"), hint);
            &[]
        }
    }
}

pub(super) fn compile_step(
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
        let hint = diagnostic::did_you_mean(&call, operations.keys().map(String::as_str));
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
    if let (Some(node), Some(_)) = (keys.get("compare"), keys.get("each")) {
        compiler.diagnostics.report(&file, node.at, "`compare` does not go with `each`: one answer is one list");
    }
    for (name, at) in &know {
        if !save.iter().any(|(saved, _)| saved == name) {
            compiler.diagnostics.report(&file, *at, format!("`{name}` is not saved by this step"));
        }
    }
    if let (Some(node), None) = (keys.get("next_on"), keys.get("each")) {
        compiler.diagnostics.report(&file, node.at, "`next_on` goes with `each`: which entry is the next?");
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
        allowance: keys.get("allowance").map(|node| compiler.template(node)),
        compare: keys.get("compare").map(|node| compiler.template(node)),
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
pub(super) fn pause(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Option<Duration> {
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
        let hint = diagnostic::did_you_mean(name, before.iter().map(|step| step.name.as_str()));
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

/// `know` of the whole plan: names that some step saves.
fn known(keys: &Keys<'_>, steps: &[PlanStep], file: &str, diagnostics: &mut Diagnostics) -> Vec<String> {
    let know = keys.texts("know", diagnostics);
    for (name, at) in &know {
        if !steps.iter().flat_map(|step| &step.save).any(|(saved, _)| saved == name) {
            diagnostics.report(file, *at, format!("no step saves `{name}`"));
        }
    }
    know.into_iter().map(|(name, _)| name).collect()
}

/// `saved.x` must be saved by some step, or be `given` from the beginning.
pub(super) fn check_saved(paths: &[Path], steps: &[PlanStep], given: &[&str], diagnostics: &mut Diagnostics) {
    let mut saved: Vec<&str> =
        steps.iter().flat_map(|step| step.save.iter().chain(&step.collect)).map(|(name, _)| name.as_str()).collect();
    saved.extend(given);
    // What comparing a worklist leaves.
    if steps.iter().any(|step| step.compare.is_some()) {
        saved.push(CHANGES);
    }
    for path in paths.iter().filter(|path| path.root == Root::Saved) {
        let name = match path.steps.first() {
            Some(Step::Member(name)) => name.as_str(),
            _ => "",
        };
        if !saved.contains(&name) {
            let hint = diagnostic::did_you_mean(name, saved.iter().copied());
            let text = format!("no step saves `{name}`");
            diagnostics.report_with_hint(&path.written.file, path.written.at, text, hint);
        }
    }
}

fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}
