//! One step made into a call: whether it is wanted, and the request that goes out.

use serde_json::Value;

use super::super::plan::{CallBody, Letter, PreparedCall};
use super::super::set::PlanProblem;
use super::super::template::{Scope, Template};
use super::{Operations, PlanStep};

impl PlanStep {
    /// `lacks` holds while anything in it is still unknown; where that does not matter, it is not asked.
    pub(super) fn is_wanted(&self, scope: &Scope<'_>, ask_lacks: bool) -> bool {
        let unknown = !ask_lacks || self.lacks.is_empty() || self.lacks.iter().any(|lack| lack.is_open(scope));
        unknown && self.needs.iter().all(|path| scope.has(path)) && self.when.iter().all(|c| c.holds(scope))
    }

    /// Whether anything that is made of its answer says where in it.
    pub(super) fn looks_at_reply(&self) -> bool {
        let kept = !(self.save.is_empty() && self.collect.is_empty());
        kept || !self.require.is_empty() || !self.events.is_empty() || self.again.is_some()
    }

    pub(super) fn label(&self, item: usize) -> String {
        if self.each.is_some() || self.again.is_some() { format!("{}[{item}]", self.name) } else { self.name.clone() }
    }

    pub(super) fn prepare(
        &self,
        operations: &Operations,
        scope: &Scope<'_>,
        item: usize,
    ) -> Result<PreparedCall, PlanProblem> {
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
            counts_for: self.counts_for(scope)?,
        })
    }

    fn counts_for(&self, scope: &Scope<'_>) -> Result<Option<String>, PlanProblem> {
        let Some(allowance) = &self.allowance else { return Ok(None) };
        Ok(allowance.render(scope)?.and_then(|value| Some(value.as_str()?.to_owned())))
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
