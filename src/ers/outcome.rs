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
    /// Of what is to be settled: once it is proved that nothing was done, this is the reason, and it is not tried again.
    pub undone: bool,
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
    /// With `write: settle`: proved not to be done, it has failed for this reason, and is not tried again.
    #[serde(default)]
    fails_undone: bool,
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
        let undone = rule.is_some_and(|rule| rule.fails_undone);
        Classified { verdict, code, text, after, undone }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table() -> OutcomeTable {
        OutcomeTable::parse(include_str!("../../mappings/ers/outcomes.yaml")).expect("the shipped table")
    }

    fn response(status: u16, body: &str) -> Response {
        Response { status, headers: Vec::new(), body: body.to_owned().into() }
    }

    fn with_code(status: u16, code: &str) -> Response {
        let body = serde_json::json!({
            "resourceType": "OperationOutcome",
            "issue": [{ "code": "invalid", "details": { "coding": [{ "code": code }] } }],
        });
        response(status, &body.to_string())
    }

    #[test]
    fn every_official_error_sample_has_its_verdict() {
        use Verdict::*;
        // File, status, call, verdict for a read, verdict for a write, code.
        for (file, status, operation, read, write, code) in [
            ("r4-400", 400, "A030", Fix, Fix, "REC_BAD_REQUEST"),
            ("r4-400", 400, "A042", Investigate, Investigate, "REC_BAD_REQUEST"),
            ("r4-401", 401, "A042", Authenticate, Authenticate, "ACCESS_DENIED"),
            ("r4-403", 403, "A042", Investigate, Investigate, "REC_FORBIDDEN"),
            ("r4-404", 404, "A042", Fix, Fix, "REC_NOT_FOUND"),
            ("r4-406", 406, "A042", Bug, Bug, "REC_NOT_ACCEPTABLE"),
            ("r4-415", 415, "A042", Bug, Bug, "REC_UNSUPPORTED_MEDIA_TYPE"),
            ("r4-422", 422, "A042", Unavailable, Unavailable, "PENDING"),
            ("r4-429", 429, "A042", Throttled, Throttled, "TOO_MANY_REQUESTS"),
            ("r4-500", 500, "A042", Unavailable, Settle, "REC_SERVER_ERROR"),
            ("r4-503", 503, "A042", Unavailable, Settle, "REC_UNAVAILABLE"),
            ("stu3-401-unauthorised", 401, "A011", Authenticate, Authenticate, "NO_ACCESS"),
            ("stu3-403-forbidden", 403, "A011", Investigate, Investigate, "FORBIDDEN"),
            ("stu3-422-unexpected-field", 422, "A011", Fix, Fix, "UNEXPECTED_FIELD"),
            ("stu3-502-pas-responded-with-error", 502, "A016", Unavailable, Settle, "PAS_RESPONDED_WITH_ERROR"),
            ("stu3-503-service-unavailable", 503, "A011", Unavailable, Settle, "SYSTEM_UNAVAILABLE"),
            ("stu3-504-pas-not-responding", 504, "A016", Unavailable, Settle, "PAS_NOT_RESPONDING"),
        ] {
            let path = format!("{}/tests/data/ers/examples/errors/{file}.json", env!("CARGO_MANIFEST_DIR"));
            let response = response(status, &std::fs::read_to_string(path).expect("an official sample"));
            for (harm_in_repeat, verdict) in [(false, read), (true, write)] {
                let found = table().classify(operation, harm_in_repeat, &response);
                assert_eq!(
                    (found.verdict, found.code.as_str()),
                    (verdict, code),
                    "{file} {operation} {harm_in_repeat}"
                );
                assert!(!found.text.contains("000000070000"), "{file}: {}", found.text);
            }
        }
    }

    #[test]
    fn without_a_code_the_status_decides() {
        use Verdict::*;
        for (status, body, read, write) in [
            (200, "not even JSON", Success, Success),
            (201, "", Success, Success),
            (307, "", Investigate, Investigate),
            (400, "", Fix, Fix),
            (401, r#"{"fault":{"detail":{"errorcode":"oauth.v2.InvalidAccessToken"}}}"#, Authenticate, Authenticate),
            (404, "", Fix, Fix),
            (409, "", Look, Look),
            (412, "", Bug, Bug),
            (418, "", Investigate, Investigate),
            (422, "", Fix, Fix),
            (423, "", Locked, Locked),
            (429, "Too Many Requests", Throttled, Throttled),
            (500, "", Unavailable, Settle),
            (500, r#"{"fault":{"detail":{"errorcode":"entities.UnresolvedVariable"}}}"#, Investigate, Investigate),
            (502, "<html>", Unavailable, Settle),
            (503, "", Unavailable, Settle),
            (504, "", Unavailable, Settle),
            (599, "", Unavailable, Settle),
            (101, "", Investigate, Settle), // no rule at all
        ] {
            for (harm_in_repeat, verdict) in [(false, read), (true, write)] {
                let found = table().classify("A011", harm_in_repeat, &response(status, body));
                assert_eq!(found.verdict, verdict, "{status} {body} {harm_in_repeat}");
            }
        }
    }

    #[test]
    fn some_codes_are_special() {
        use Verdict::*;
        let verdict = |operation, response: &Response| table().classify(operation, true, response).verdict;
        assert_eq!(verdict("A012", &with_code(422, "NO_CHANGES_DETECTED")), Success);
        assert_eq!(verdict("A011", &with_code(422, "NO_CHANGES_DETECTED")), Fix);
        assert_eq!(verdict("A042", &response(307, "")), Success);
        assert_eq!(verdict("A012", &with_code(422, "DUPLICATE_FILENAME")), Look);
        assert_eq!(verdict("A016", &with_code(422, "INVALID_REQUEST_STATE")), Look);
        assert_eq!(verdict("A011", &with_code(422, "SERVICE_UNAVAILABLE")), Fix); // the healthcare service, no outage
        let pending = table().classify("A042", false, &with_code(422, "PENDING"));
        assert_eq!(pending.after, Some(Duration::from_secs(300)));
        let low_assurance = r#"{"resourceType":"OperationOutcome","issue":[{"code":"forbidden",
            "details":{"coding":[{"code":"NO_ACCESS"}]}}]}"#;
        assert_eq!(verdict("A011", &response(401, low_assurance)), Investigate);
    }

    #[test]
    fn of_several_issues_the_gravest_decides() {
        let body = serde_json::json!({ "resourceType": "OperationOutcome", "issue": [
            { "details": { "coding": [{ "code": "NO_CHANGES_DETECTED" }] } },
            { "details": { "coding": [{ "code": "INVALID_VALUE" }] } },
        ] });
        let found = table().classify("A012", true, &response(422, &body.to_string()));
        assert_eq!((found.verdict, found.code.as_str()), (Verdict::Fix, "INVALID_VALUE"));
    }

    #[test]
    fn a_broken_table_says_where() {
        for (text, hint) in [
            ("rules: [{ read: fix, means: x }]", "rule 1 names neither"),
            ("rules: [{ status: 422, read: mend, means: x }]", "mend"),
            ("rules: [{ status: 9xx, read: fix, means: x }]", "2xx, 3xx"),
            ("rules: [{ status: 422, read: fix, meens: x }]", "meens"),
        ] {
            let error = OutcomeTable::parse(text).expect_err(text).to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_write_is_never_repeated_on_an_unknown_server_error(status in 500u16..=599, code in "[A-Z_]{1,30}") {
            let verdict = table().classify("A011", true, &with_code(status, &code)).verdict;
            prop_assert!(!matches!(verdict, Verdict::Unavailable | Verdict::Success), "{:?}", verdict);
        }

        #[test]
        fn codes_that_the_table_does_not_know_stay_out_of_metrics(code in "[A-Z]{3}_[A-Z]{40}") {
            let found = table().classify("A011", true, &with_code(422, &code));
            prop_assert_eq!(found.code, "http_422");
        }
    }
}
