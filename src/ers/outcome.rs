//! What an answer of e-RS means, looked up in a table: `mappings/ers/outcomes.yaml`.
//!
//! Enters: the A-number, whether a repeat would do harm, and the answer. Leaves: a verdict with a bounded
//! code and a sentence for people. Guarantees: an answer that no rule knows never leads to a blind repeat.

use std::time::Duration;

use serde::Deserialize;

use super::error_body::{Issue, issues};
use super::transport::Response;
use crate::config::duration;

/// What to do with an answer, mildest first: of several issues the gravest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is done.
    Success,
    /// Nothing was done; again later. Over the quota.
    Throttled,
    /// Nothing was done; again later. Somebody holds the record.
    Locked,
    /// Nothing was done; again later. e-RS is away.
    Unavailable,
    /// Nothing was done for want of a good token.
    Authenticate,
    /// Refused: the message, or what it names, must change.
    Fix,
    /// Refused: the gateway made a request that it must not make.
    Bug,
    /// Refused: set-up, rights or the record need a person.
    Investigate,
    /// Refused, but perhaps because our own earlier attempt succeeded.
    Look,
    /// It may be done: find out by reading.
    Settle,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    pub verdict: Verdict,
    /// An e-RS code that the table knows, or `http_<status>`: bounded, for metrics and events.
    pub code: String,
    /// For people: codes and field names, never a value.
    pub text: String,
    /// Not before.
    pub after: Option<Duration>,
}

/// The table. The first rule that fits an issue decides about it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeTable {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Only for this A-number.
    #[serde(default)]
    operation: Option<String>,
    /// `422` or `5xx`
    #[serde(default)]
    status: Option<StatusPattern>,
    #[serde(default)]
    codes: Vec<String>,
    /// FHIR issue type.
    #[serde(default)]
    issue: Option<String>,
    /// Verdict for reads and for writes whose repeat does no harm.
    read: Verdict,
    /// Verdict for other writes; that for reads if absent.
    #[serde(default)]
    write: Option<Verdict>,
    #[serde(default, with = "after")]
    after: Option<Duration>,
    /// Completes "e-RS answered … :".
    means: String,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "StatusText")]
enum StatusPattern {
    Exactly(u16),
    Hundred(u16),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StatusText {
    Number(u16),
    Text(String),
}

impl TryFrom<StatusText> for StatusPattern {
    type Error = &'static str;

    fn try_from(text: StatusText) -> Result<Self, Self::Error> {
        match text {
            StatusText::Number(status @ 100..=599) => Ok(Self::Exactly(status)),
            StatusText::Text(text) => match text.as_bytes() {
                [hundred @ b'1'..=b'5', b'x', b'x'] => Ok(Self::Hundred(u16::from(hundred - b'0'))),
                _ => Err("a status is a number or 2xx, 3xx, 4xx, 5xx"),
            },
            StatusText::Number(_) => Err("a status is between 100 and 599"),
        }
    }
}

impl StatusPattern {
    fn fits(&self, status: u16) -> bool {
        match self {
            Self::Exactly(exact) => *exact == status,
            Self::Hundred(hundred) => status / 100 == *hundred,
        }
    }
}

mod after {
    use super::{Duration, duration};
    use serde::Deserializer;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("mappings/ers/outcomes.yaml: {0}")]
pub struct OutcomeTableError(String);

impl OutcomeTable {
    /// Reads the text of `mappings/ers/outcomes.yaml`.
    pub fn parse(text: &str) -> Result<Self, OutcomeTableError> {
        let table: Self = serde_saphyr::from_str(text).map_err(|error| OutcomeTableError(error.to_string()))?;
        match table.rules.iter().position(|rule| rule.status.is_none() && rule.codes.is_empty()) {
            Some(at) => Err(OutcomeTableError(format!("rule {} names neither a status nor a code", at + 1))),
            None => Ok(table),
        }
    }

    /// `harm_in_repeat`: the call is a write that must not be made twice.
    pub fn classify(&self, operation: &str, harm_in_repeat: bool, response: &Response) -> Classified {
        // A success may carry any body; only refusals are read for codes.
        let mut found = if response.status / 100 == 2 { Vec::new() } else { issues(response) };
        if found.is_empty() {
            found.push(Issue::default());
        }
        let classified = found.iter().map(|issue| self.one(operation, harm_in_repeat, response.status, issue));
        classified.max_by_key(|one| one.verdict).expect("there is at least one issue")
    }

    fn one(&self, operation: &str, harm_in_repeat: bool, status: u16, issue: &Issue) -> Classified {
        let rule = self.rules.iter().find(|rule| rule.fits(operation, status, issue));
        let code = match (rule, &issue.code) {
            (Some(rule), Some(code)) if rule.codes.contains(code) => code.clone(),
            _ => format!("http_{status}"),
        };
        let (verdict, means, after) = match rule {
            Some(rule) if harm_in_repeat => (rule.write.unwrap_or(rule.read), rule.means.as_str(), rule.after),
            Some(rule) => (rule.read, rule.means.as_str(), rule.after),
            None if status / 100 == 2 => (Verdict::Success, "done", None),
            None if harm_in_repeat => (Verdict::Settle, "an answer that is not documented", None),
            None => (Verdict::Investigate, "an answer that is not documented", None),
        };
        let mut text = format!("e-RS answered {operation} with {status}");
        if !code.starts_with("http_") {
            text.push(' ');
            text.push_str(&code);
        }
        text.push_str(": ");
        text.push_str(means);
        if let Some(path) = &issue.path {
            text.push_str(" (at ");
            text.push_str(path);
            text.push(')');
        }
        Classified { verdict, code, text, after }
    }
}

impl Rule {
    fn fits(&self, operation: &str, status: u16, issue: &Issue) -> bool {
        self.operation.as_ref().is_none_or(|only| only == operation)
            && self.status.as_ref().is_none_or(|pattern| pattern.fits(status))
            && (self.codes.is_empty() || issue.code.as_ref().is_some_and(|code| self.codes.contains(code)))
            && self.issue.as_ref().is_none_or(|only| issue.kind.as_ref() == Some(only))
    }
}
