//! The five shapes in which errors come (`errors-and-limits.md`), read into one.
//!
//! Enters: the body of an answer that is no success. Leaves: the codes in it. Guarantees: nothing that
//! could be a patient's leaves here; `diagnostics` stays behind but for a leading path of field names.

use serde_json::Value;

use super::transport::Response;

/// Issues beyond this many are not looked at.
const ISSUES_MAX: usize = 50;
const CODE_CHARS_MAX: usize = 80;

/// One reason that e-RS or its platform gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issue {
    /// `INVALID_VALUE`, `TOO_MANY_REQUESTS`, `entities.UnresolvedVariable`, `invalid_grant`
    pub code: Option<String>,
    /// FHIR issue type: `login`, `forbidden`, `value`
    pub kind: Option<String>,
    /// Where in the request: `parameter[0]/resource/contained[0]`
    pub path: Option<String>,
}

/// Empty when the body says nothing that can be read: then the HTTP status alone decides.
pub fn issues(response: &Response) -> Vec<Issue> {
    let Ok(body) = serde_json::from_slice::<Value>(&response.body) else { return Vec::new() };
    if body["resourceType"] == "OperationOutcome" {
        let issues = body["issue"].as_array().map(Vec::as_slice).unwrap_or_default();
        return issues.iter().take(ISSUES_MAX).map(operation_outcome).collect();
    }
    let code = body.pointer("/fault/detail/errorcode").or_else(|| body.get("error"));
    code.and_then(symbol).map(|code| vec![Issue { code: Some(code), ..Issue::default() }]).unwrap_or_default()
}

fn operation_outcome(issue: &Value) -> Issue {
    let codings = issue.pointer("/details/coding").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Issue {
        code: codings.iter().find_map(|coding| coding.get("code").and_then(symbol)),
        kind: issue.get("code").and_then(symbol),
        path: issue.get("diagnostics").and_then(Value::as_str).and_then(leading_path),
    }
}

/// A word made of the characters that codes are made of; anything else is not a code.
fn symbol(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_code = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!text.is_empty() && text.len() <= CODE_CHARS_MAX && text.chars().all(is_code)).then(|| text.to_owned())
}

/// The path that field errors begin with, quoted or not: names with indexes, joined by `/` or `.`.
/// Names hold no digit, so neither an identifier nor a date can pass for one.
fn leading_path(diagnostics: &str) -> Option<String> {
    let text = diagnostics.trim_start().trim_start_matches('\'');
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '\'' | ':' | ',')).unwrap_or(text.len());
    let path = text.get(..end)?;
    let is_step = |step: &str| {
        let (name, index) = match step.split_once('[') {
            Some((name, rest)) => (name, rest.strip_suffix(']')),
            None => (step, Some("0")),
        };
        let index_is_small =
            index.is_some_and(|n| n.len() <= 3 && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic()) && index_is_small
    };
    let has_steps = path.contains('[') && path.contains(['/', '.']);
    (path.len() <= 200 && has_steps && path.split(['/', '.']).all(is_step)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(body: &str) -> Response {
        Response { status: 422, headers: Vec::new(), body: body.to_owned().into() }
    }

    #[test]
    fn each_shape_gives_its_code() {
        for (body, code) in [
            (
                r#"{"fault":{"faultstring":"f","detail":{"errorcode":"entities.UnresolvedVariable"}}}"#,
                Some("entities.UnresolvedVariable"),
            ),
            (r#"{"error":"invalid_client","error_description":"d","message_id":"m"}"#, Some("invalid_client")),
            (r#"{"error":"Mrs Jones was not found"}"#, None),
            ("Too Many Requests", None),
            ("", None),
            ("[]", None),
            (r#"{"resourceType":"OperationOutcome","issue":7}"#, None),
        ] {
            let found = issues(&response(body));
            assert_eq!(found.first().and_then(|issue| issue.code.as_deref()), code, "{body}");
        }
    }

    #[test]
    fn a_path_is_kept_and_what_may_be_a_patients_is_not() {
        for (diagnostics, path) in [
            (
                "'parameter[0]/resource/contained[0]/parameter[1]' (unknownParameter) unknown parameter name",
                Some("parameter[0]/resource/contained[0]/parameter[1]"),
            ),
            ("parameter[0].resource: is missing", Some("parameter[0].resource")),
            ("PAS unable to create booking into slot '11002026' for UBRN: 000000070000.", None),
            ("000000070000/x[1]", None),
            ("parameter[9994120034]/resource", None),
            ("patient[0]/SMITH1970", None),
            ("", None),
        ] {
            assert_eq!(leading_path(diagnostics).as_deref(), path, "{diagnostics}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let response = Response { status: 500, headers: Vec::new(), body: body.into() };
            let _ = issues(&response);
        }

        #[test]
        fn no_diagnostics_makes_a_path_with_a_long_number(diagnostics in "[a-zA-Z0-9éß'/.\\[\\] :]{0,60}") {
            if let Some(path) = leading_path(&diagnostics) {
                let longest = path.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
                prop_assert!(longest <= 3, "{}", path);
            }
        }
    }
}
