//! Problems in words: what each means for patients, who can mend it, what to do.
//!
//! Enters: problems as the store groups them. Leaves: the JSON that the API, the command line and the console show.
//! Guarantees: every problem is explained; nothing in it is about one patient.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::store::{Cause, OF_MESSAGES, Problem, ProblemFilter, Result, SearchStore};

/// In one answer.
pub const PROBLEMS_MAX: usize = 500;

const GUIDE: &str = include_str!("guide.yaml");

/// What a problem means, and what to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advice {
    /// Any, where none is named.
    #[serde(default)]
    pub codes: Vec<String>,
    pub state: Option<String>,
    /// Part of the cause's text.
    pub contains: Option<String>,
    pub patients: String,
    pub who: String,
    #[serde(rename = "do")]
    pub what_to_do: String,
    /// Heading of `docs/runbooks.md`.
    pub look: String,
}

/// In their order: the first that fits decides.
pub fn guide() -> &'static [Advice] {
    static ADVICE: LazyLock<Vec<Advice>> =
        LazyLock::new(|| serde_saphyr::from_str(GUIDE).expect("the guide is checked by its tests"));
    &ADVICE
}

impl Advice {
    fn fits(&self, cause: &Cause) -> bool {
        (self.codes.is_empty() || self.codes.contains(&cause.code))
            && self.state.as_ref().is_none_or(|state| *state == cause.state)
            && self.contains.as_ref().is_none_or(|part| cause.text.contains(part))
    }
}

pub fn advice(cause: &Cause) -> &'static Advice {
    let found = guide().iter().find(|advice| advice.fits(cause));
    found.unwrap_or_else(|| guide().last().expect("the guide is not empty"))
}

/// `214 messages from northmoor are refused since 2026-03-16 02:10 UTC: priority code `4` has no row in …`
pub fn in_a_sentence(problem: &Problem) -> String {
    let Problem { cause, count, first, .. } = problem;
    let plural = if *count == 1 { "" } else { "s" };
    let what = match cause.kind.as_str() {
        OF_MESSAGES => format!("message{plural}"),
        kind => format!("command{plural} {kind}"),
    };
    let verb = match (cause.state.as_str(), *count) {
        ("rejected", 1) => "is refused",
        ("rejected", _) => "are refused",
        ("failed", 1) => "fails",
        ("failed", _) => "fail",
        ("in_doubt", 1) => "is in doubt",
        ("in_doubt", _) => "are in doubt",
        ("unauthorised", 1) => "needs a signed-in user",
        ("unauthorised", _) => "need a signed-in user",
        (_, 1) => "waits",
        _ => "wait",
    };
    format!("{count} {what} from {} {verb} since {}: {}", cause.source, minute(*first), cause.text)
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `{"problems": […]}`, what a person has to see to first. `call`: what the newest example asked of e-RS last.
pub async fn shown(search: &dyn SearchStore, filter: ProblemFilter) -> Result<Value> {
    let mut shown = Vec::new();
    for problem in search.problems(filter).await? {
        let call = match problem.examples.first().and_then(|example| example.command) {
            Some(command) => search.attempts(command).await?.pop().map(|attempt| attempt.call),
            None => None,
        };
        shown.push(view(&problem, call.as_deref()));
    }
    Ok(json!({ "problems": shown }))
}

fn view(problem: &Problem, call: Option<&str>) -> Value {
    let Problem { cause, count, first, last, examples } = problem;
    let advice = advice(cause);
    let examples: Vec<Value> = examples
        .iter()
        .map(|example| match example.command {
            Some(command) => json!({ "message": example.message, "command": command }),
            None => json!({ "message": example.message }),
        })
        .collect();
    json!({
        "cause": cause.id,
        "source": cause.source,
        "kind": cause.kind,
        "state": cause.state,
        "code": cause.code,
        "place": cause.place,
        "call": call,
        "text": cause.text,
        "count": count,
        "first": first,
        "last": last,
        "examples": examples,
        "summary": in_a_sentence(problem),
        "patients": advice.patients,
        "who": advice.who,
        "do": advice.what_to_do,
        "runbook": format!("runbooks.md#{}", advice.look),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CauseId;

    fn cause(state: &str, code: &str, text: &str) -> Cause {
        Cause {
            id: "00000000000000ff".parse::<CauseId>().expect("a cause"),
            source: "northmoor".into(),
            kind: if state == "rejected" { OF_MESSAGES.into() } else { "CreateReferral".into() },
            state: state.into(),
            code: code.into(),
            place: None,
            text: text.into(),
        }
    }

    #[test]
    fn every_problem_is_explained_by_the_first_entry_that_fits() {
        for (state, code, text, look) in [
            ("rejected", "103", "priority code `4` has no row in mappings/codes/northmoor/priority.csv", "code tables"),
            ("rejected", "101", "PID-3.1 is required", "supplier"),
            ("failed", "RESENT_WITH_A_CHANGE", "…", "practice or ward"),
            ("failed", "SOMETHING_NEW", "…", "sentence names"),
            ("waiting", "THROTTLED", "…", "nobody"),
            ("in_doubt", "DECISION_NEEDED", "…", "look in e-RS"),
        ] {
            let advice = advice(&cause(state, code, text));
            assert!(advice.who.contains(look), "{state} {code}: {}", advice.who);
        }
    }

    #[test]
    fn a_problem_is_told_in_one_sentence() {
        let problem = Problem {
            cause: cause("rejected", "103", "priority code `4` has no row in `codes/northmoor/priority.csv`"),
            count: 214,
            first: "2026-03-16T02:10:44Z".parse().expect("a time"),
            last: "2026-03-16T04:00:00Z".parse().expect("a time"),
            examples: Vec::new(),
        };
        assert_eq!(
            in_a_sentence(&problem),
            "214 messages from northmoor are refused since 2026-03-16 02:10 UTC: priority code `4` has no row in \
             `codes/northmoor/priority.csv`"
        );
    }

    #[test]
    fn every_walk_that_the_guide_names_is_in_the_runbooks() {
        let page = include_str!("../../docs/runbooks.md");
        let headings: Vec<String> = page
            .lines()
            .filter_map(|line| {
                Some(line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
            })
            .collect();
        for advice in guide() {
            assert!(headings.contains(&advice.look), "{} is no heading of docs/runbooks.md", advice.look);
            assert!(
                crate::command::State::NAMES.contains(&advice.state.as_deref().unwrap_or("failed"))
                    || advice.state.as_deref() == Some("rejected")
            );
        }
    }
}
