//! The members that an inbound mapping makes, held against the schema of its command.
//!
//! Enters: a mapping with all that it inherits, its code tables, the command's schema. Leaves: a report for each
//! member that the command does not have, and for each code that the member may not be. Found here, a slip is the
//! mapping's; found at the first message, its sender would be blamed for it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::diagnostic::{Diagnostics, did_you_mean};
use super::inbound::{CodeTables, InboundFile, Leaf, Read, Source};

/// Reports every unknown member of `file` and every code that its member may not be.
pub fn check(file: &InboundFile, tables: &CodeTables, schema: &Value, diagnostics: &mut Diagnostics) {
    Check { root: schema, tables, diagnostics }.leaves(&file.body, schema);
}

struct Check<'c> {
    root: &'c Value,
    tables: &'c CodeTables,
    diagnostics: &'c mut Diagnostics,
}

impl<'c> Check<'c> {
    fn leaves(&mut self, leaves: &[Arc<Leaf>], schema: &'c Value) {
        for leaf in leaves {
            let member = match member(self.root, schema, &leaf.path) {
                Ok(Some(member)) => member,
                Ok(None) => continue,
                Err((name, known)) => {
                    let all = || known.keys().map(String::as_str);
                    let hint = did_you_mean(name, all())
                        .unwrap_or_else(|| format!("members here: {}", all().collect::<Vec<_>>().join(", ")));
                    let text = format!("`{}`: the command has no member `{name}`", leaf.key);
                    self.diagnostics.report_with_hint(&leaf.file, leaf.at, text, Some(hint));
                    continue;
                }
            };
            match &leaf.source {
                Source::Each { of, .. } => {
                    if let Some(items) = member.get("items") {
                        self.leaves(of, items);
                    }
                }
                Source::Read(Read { code: Some(name), .. }) => self.codes(leaf, name, member),
                Source::Read(_) | Source::Constant(_) | Source::Expression { .. } => {}
            }
        }
    }

    fn codes(&mut self, leaf: &Leaf, name: &str, member: &Value) {
        let Some(allowed) = member.get("enum").and_then(Value::as_array) else { return };
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        let Some(table) = self.tables.get(name) else { return };
        for (ers, at) in table.targets().filter(|(ers, _)| !allowed.contains(ers)) {
            let hint = did_you_mean(ers, allowed.iter().copied());
            let text = format!("`{ers}` is nothing that `{}` may be: {}", leaf.key, allowed.join(", "));
            self.diagnostics.report_with_hint(table.file(), at, text, hint);
        }
    }
}

/// The schema of the member at `path`; `None` where the schema does not name properties.
fn member<'s, 'p>(
    root: &'s Value,
    schema: &'s Value,
    path: &'p [String],
) -> Result<Option<&'s Value>, (&'p str, &'s Map<String, Value>)> {
    let mut schema = resolved(root, schema);
    for name in path {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(None) };
        schema = resolved(root, properties.get(name).ok_or((name.as_str(), properties))?);
    }
    Ok(Some(schema))
}

/// Follows a local `$ref`.
pub fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(schema)
}
