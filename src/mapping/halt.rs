//! How a command comes to a halt short of its end, as plans name it under `halted`.

use super::diagnostic::did_you_mean;
use super::template::TemplateCompiler;
use super::yaml::Keys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Until a person acts, as the next two.
    Failed,
    InDoubt,
    Unauthorised,
    /// For e-RS, however long: told once in a row.
    Waiting,
}

const NAMES: [(&str, Halt); 4] = [
    ("failed", Halt::Failed),
    ("in_doubt", Halt::InDoubt),
    ("unauthorised", Halt::Unauthorised),
    ("waiting", Halt::Waiting),
];

/// `on: failed`, or a list; without it none.
pub fn halts(compiler: &mut TemplateCompiler<'_>, keys: &Keys<'_>) -> Vec<Halt> {
    let file = compiler.file.clone();
    let mut found = Vec::new();
    for (text, at) in keys.texts("on", compiler.diagnostics) {
        match NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, halt)) => found.push(*halt),
            None => {
                let hint = did_you_mean(&text, NAMES.iter().map(|(name, _)| *name));
                compiler.diagnostics.report_with_hint(&file, at, format!("a command does not halt as `{text}`"), hint);
            }
        }
    }
    found
}
