//! The rules of e-RS on request bodies.
//!
//! Enters: parsed JSON. Leaves: what the request says, or every issue that e-RS would name, in the order of
//! the body. Guarantees: no issue hides another one, and every issue carries a code that is documented
//! for its operation.

pub mod criteria;
pub mod element;
pub mod instant;
pub mod parameters;
pub mod shortlist;

use super::issue::Issue;
use super::refusal::Refusal;

/// Collects issues, and keeps to the codes that are documented for the operation.
pub struct Issues {
    found: Vec<Issue>,
    documented: &'static [&'static str],
}

/// A hostile body must not make an answer without end.
const ISSUES_MAX: usize = 200;

impl Issues {
    pub fn new(documented: &'static [&'static str]) -> Self {
        Self { found: Vec::new(), documented }
    }

    /// An undocumented code becomes the most general documented one (A016 names no `UNEXPECTED_FIELD`, A036 no
    /// `INVALID_VALUE`).
    pub fn add(&mut self, code: &'static str, path: &str, text: impl std::fmt::Display) {
        let general = ["INVALID_VALUE", "INAPPROPRIATE_VALUE"];
        let code = [code].into_iter().chain(general).find(|code| self.documented.contains(code)).unwrap_or(code);
        if self.found.len() < ISSUES_MAX {
            self.found.push(Issue::at(code, path, text));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The value if nothing was found; else the refusal with everything that was.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Refusal> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(Refusal::Outcome { status: 422, issues: self.found }),
        }
    }

    /// Refuses if anything was found.
    pub fn refuse_if_any(self) -> Result<(), Refusal> {
        if self.found.is_empty() { Ok(()) } else { Err(Refusal::Outcome { status: 422, issues: self.found }) }
    }
}
