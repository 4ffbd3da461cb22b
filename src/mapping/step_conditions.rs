//! When a step of a plan is made at all, and when it is made once more.
//!
//! Enters: `lacks` and `again` of a step as written. Leaves: conditions on a scope. Guarantees: a step never repeats
//! without end, whatever e-RS answers.

use super::plan::PlanState;
use super::set::PlanProblem;
use super::template::{Path, Scope, Template, TemplateCompiler};
use super::yaml::{Keys, Node, Yaml};

/// More calls than this of one step are a mistake in a mapping.
const REPEATS_MAX: u64 = 100;

/// Something that may be known in several ways; open while none of the paths has a value.
pub struct Lack(Vec<Path>);

impl Lack {
    pub fn is_open(&self, scope: &Scope<'_>) -> bool {
        !self.0.iter().any(|path| scope.has(path))
    }
}

/// `lacks: known.version`, or a list; an entry that is a list itself names alternatives.
pub fn lacks(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Vec<Lack> {
    match &node.yaml {
        Yaml::List(items) => items.iter().map(|item| Lack(compiler.paths_of(item))).collect(),
        _ => vec![Lack(compiler.paths_of(node))],
    }
}

/// The same step once more while a condition on its answer holds: the next page.
pub struct Again {
    holds: Template,
    max: usize,
}

/// `again: { while: "{saved.more}", max: 10 }`
pub fn again(compiler: &mut TemplateCompiler<'_>, node: &Node) -> Option<Again> {
    let file = compiler.file.clone();
    let keys = Keys::of(&file, node, &["while", "max"], compiler.diagnostics)?;
    let max = keys.get("max").map(Node::to_json).and_then(|max| max.as_u64());
    let max = max.filter(|max| (2..=REPEATS_MAX).contains(max)).and_then(|max| usize::try_from(max).ok());
    let (Some(holds), Some(max)) = (keys.get("while"), max) else {
        let text = format!("`again` needs `while` (a condition) and `max`, from 2 to {REPEATS_MAX} calls in all");
        compiler.diagnostics.report(&file, node.at, text);
        return None;
    };
    Some(Again { holds: compiler.template(holds), max })
}

impl Again {
    /// Calls in all, at most.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Asked after the answer to call `state.item`, which counts from 0.
    pub fn wanted(&self, scope: &Scope<'_>, state: &PlanState) -> Result<bool, PlanProblem> {
        if state.item + 1 >= self.max {
            return Ok(false);
        }
        Ok(matches!(self.holds.render(scope)?, Some(serde_json::Value::Bool(true))))
    }
}
