//! How a write whose outcome is unknown is settled: `ers/settling.yaml`, by A-number.
//!
//! Enters: what was sent, and what e-RS answers to the reads that the file names. Leaves: a proof that the write was done,
//! with an answer as e-RS would have given it; a proof that it was not; or that nothing is proved. Guarantees: it only
//! reads; where both proofs hold, or none, nothing is proved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::diagnostic::Diagnostics;
use super::super::plan::{NextCall, PlanState, PreparedCall, Reply};
use super::super::reply_body::ReplyBody;
use super::super::set::{Absorbed, PlanContext, PlanProblem};
use super::super::template::{ROOTS, Scope, Template, TemplateCompiler};
use super::super::yaml::{Keys, Node, Yaml};
use super::compile::{check_saved, compile_step, pause};
use super::{CommandPlan, Operations};

/// The file, and under which name its templates find what was sent: `{"call", "path", "headers", "body", "at", "version"}`.
pub const SETTLING: &str = "ers/settling.yaml";
pub const SENT: &str = "sent";
/// Under which name they find what a person has said of it: `{"ubrn"}`.
pub const SAID: &str = "said";

/// How one operation is settled.
pub struct Settling {
    after: Duration,
    reads: CommandPlan,
    candidates: Option<String>,
    done: Option<Evidence>,
    not_done: Option<Evidence>,
    answer: Option<Template>,
    otherwise: String,
}

/// A condition on what was read, and what it means in words.
struct Evidence {
    that: Template,
    because: String,
}

/// What reading e-RS back has shown.
#[derive(Clone, Debug)]
pub enum Proof {
    /// With an answer in the place of the one that was lost.
    Done {
        because: String,
        reply: Reply,
    },
    NotDone {
        because: String,
    },
    /// With what a person should look at.
    Nothing {
        because: String,
    },
}

impl Settling {
    /// Not looked at before: e-RS may still be at work on it.
    pub fn after(&self) -> Duration {
        self.after
    }

    /// Whether reading can prove anything by itself; else a person decides.
    pub fn proves(&self) -> bool {
        self.done.is_some() || self.not_done.is_some()
    }

    /// What a person should look at where nothing is proved.
    pub fn otherwise(&self) -> &str {
        &self.otherwise
    }

    /// The name of a saved list of UBRNs, any of which may be what was made: unless another command made it.
    pub fn candidates(&self) -> Option<&str> {
        self.candidates.as_deref()
    }

    pub fn steps(&self) -> impl Iterator<Item = (&str, &str)> {
        self.reads.calls()
    }

    /// Where the looking begins. `said`: by a person, `Null` if nobody said anything.
    pub fn begin(sent: Value, said: Value) -> PlanState {
        let mut saved = Map::new();
        saved.insert(SENT.into(), sent);
        saved.insert(SAID.into(), said);
        PlanState { saved, ..PlanState::default() }
    }

    pub fn next_call(
        &self,
        operations: &Operations,
        context: &PlanContext<'_>,
        state: &mut PlanState,
    ) -> Result<NextCall, PlanProblem> {
        self.reads.next_call(operations, context, state)
    }

    pub fn absorb(
        &self,
        context: &PlanContext<'_>,
        state: &mut PlanState,
        call: &PreparedCall,
        reply: &Reply,
    ) -> Result<Absorbed, PlanProblem> {
        self.reads.absorb(context, state, call, reply)
    }

    pub fn try_next(&self, context: &PlanContext<'_>, state: &mut PlanState, code: &str) -> bool {
        self.reads.try_next(context, state, code)
    }

    /// What everything that was read comes to.
    pub fn proof(&self, context: &PlanContext<'_>, state: &PlanState) -> Result<Proof, PlanProblem> {
        let scope = Scope { context, saved: &state.saved, item: None, index: 0, reply: None };
        let holds = |evidence: &Option<Evidence>| -> Result<Option<String>, PlanProblem> {
            let Some(evidence) = evidence else { return Ok(None) };
            let holds = matches!(evidence.that.render(&scope)?, Some(Value::Bool(true)));
            Ok(holds.then(|| evidence.because.clone()))
        };
        Ok(match (holds(&self.done)?, holds(&self.not_done)?) {
            (Some(because), None) => Proof::Done { because, reply: self.reply(&scope)? },
            (None, Some(because)) => Proof::NotDone { because },
            (Some(_), Some(_)) | (None, None) => Proof::Nothing { because: self.otherwise.clone() },
        })
    }

    /// The answer that stands in for the lost one, whatever is proved: for a write that a person says was done.
    pub fn stand_in(&self, context: &PlanContext<'_>, state: &PlanState) -> Result<Reply, PlanProblem> {
        self.reply(&Scope { context, saved: &state.saved, item: None, index: 0, reply: None })
    }

    fn reply(&self, scope: &Scope<'_>) -> Result<Reply, PlanProblem> {
        let body = match &self.answer {
            Some(template) => template.render(scope)?.unwrap_or_default(),
            None => Value::Null,
        };
        let body = ReplyBody::of(body.to_string().into());
        Ok(Reply { status: 200, headers: Vec::new(), body, document: None })
    }
}

/// Every entry of the file; every mistake is reported.
pub(in crate::mapping) fn compile_settlings(
    node: &Node,
    fragments: &BTreeMap<String, Arc<Template>>,
    operations: &Operations,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, Settling> {
    let mut settlings = BTreeMap::new();
    let Some(entries) = node.as_map() else {
        diagnostics.report(SETTLING, node.at, "A-numbers with how to settle them are expected");
        return settlings;
    };
    for (key, node) in entries {
        match operations.get(&key.name) {
            Some(operation) if operation.effect.leaves_doubt() => {}
            _ => {
                let text = format!("{} is no write of ers/operations.yaml that could be in doubt", key.name);
                diagnostics.report(SETTLING, key.at, text);
            }
        }
        let mut compiler =
            TemplateCompiler { file: SETTLING.into(), roots: ROOTS, fragments, diagnostics, paths: Vec::new() };
        if let Some(settling) = settling(&mut compiler, &key.name, node, operations) {
            settlings.insert(key.name.clone(), settling);
        }
    }
    settlings
}

fn settling(compiler: &mut TemplateCompiler<'_>, call: &str, node: &Node, operations: &Operations) -> Option<Settling> {
    const KEYS: &[&str] = &["about", "after", "steps", "candidates", "done", "not_done", "answer", "otherwise"];
    let keys = Keys::of(SETTLING, node, KEYS, compiler.diagnostics)?;
    let mut steps = Vec::new();
    if let Some(Node { yaml: Yaml::List(items), .. }) = keys.get("steps") {
        for item in items {
            let Some(step) = compile_step(compiler, item, operations, &steps) else { continue };
            if !step.reads {
                let text = format!("step `{}` writes: what is in doubt is settled by reading", step.name);
                compiler.diagnostics.report(SETTLING, item.at, text);
            }
            steps.push(step);
        }
    }
    let after = keys.get("after").and_then(|node| pause(compiler, node)).unwrap_or_default();
    let candidates = keys.text("candidates", compiler.diagnostics);
    if let (Some(name), Some(node)) = (&candidates, keys.get("candidates"))
        && !steps.iter().flat_map(|step| &step.save).any(|(saved, _)| saved == name)
    {
        compiler.diagnostics.report(SETTLING, node.at, format!("no step saves `{name}`"));
    }
    let done = keys.get("done").and_then(|node| evidence(compiler, node));
    let not_done = keys.get("not_done").and_then(|node| evidence(compiler, node));
    let answer = keys.get("answer").map(|node| compiler.template(node));
    let Some(otherwise) = keys.text("otherwise", compiler.diagnostics) else {
        let text = "`otherwise` is missing: what should a person look at where nothing is proved?";
        compiler.diagnostics.report(SETTLING, node.at, text);
        return None;
    };
    if steps.is_empty() && (done.is_some() || not_done.is_some()) {
        let text = "nothing can be proved without `steps` that read";
        compiler.diagnostics.report(SETTLING, node.at, text);
    }
    check_saved(&compiler.paths, &steps, &[SENT, SAID], compiler.diagnostics);
    let reads = CommandPlan::of_steps(&format!("settling of {call}"), SETTLING, steps);
    Some(Settling { after, reads, candidates, done, not_done, answer, otherwise })
}

/// `{ that, because }`
fn evidence(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Option<Evidence> {
    let keys = Keys::of(SETTLING, node, &["that", "because"], compiler.diagnostics)?;
    let because = keys.text("because", compiler.diagnostics);
    match (keys.get("that").map(|node| compiler.template(node)), because) {
        (Some(that), Some(because)) => Some(Evidence { that, because }),
        _ => {
            compiler.diagnostics.report(
                SETTLING,
                node.at,
                "a proof needs `that` (a condition) and `because` (in words)",
            );
            None
        }
    }
}
