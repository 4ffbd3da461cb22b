//! Walking a plan to its end, for tests: with answers, and with the samples that they are made of.

use super::*;
use crate::mapping::PlanProblem;

/// How a plan went: the calls that were made, and how it ended.
pub(super) struct Walk {
    pub calls: Vec<PreparedCall>,
    pub end: Result<Value, PlanProblem>,
    pub events: Vec<(String, Value)>,
}

impl Walk {
    pub fn names(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.call.as_str()).collect()
    }

    pub fn code(&self) -> &str {
        self.end.as_ref().err().map_or("", |problem| problem.code.as_str())
    }
}

/// Walks a plan to its end, each call answered by `answers`.
pub(super) fn walk(
    set: &MappingSet,
    (command, body): (&str, &Value),
    function: Option<&str>,
    answers: &dyn Fn(&PreparedCall) -> Reply,
) -> Walk {
    assert_eq!(set.schemas().violations(command, body), [], "the command is valid");
    let mut connection = json!({"codeSystemBase": "_baseUrl_"});
    if let Some(function) = function {
        connection["businessFunction"] = function.into();
    }
    let (known, settings) = (json!({"ubrn": "000000070000"}), json!({}));
    let context = PlanContext {
        command,
        body,
        known: &known,
        connection: &connection,
        settings: &settings,
        now: "2026-03-16T09:30:00.000Z",
    };
    let mut state = PlanState::default();
    let mut walk = Walk { calls: Vec::new(), end: Ok(Value::Null), events: Vec::new() };
    loop {
        let call = match set.next_call(&context, &mut state) {
            Ok(NextCall::Call(call)) => call,
            Ok(NextCall::Done { result }) => {
                walk.end = Ok(result);
                return walk;
            }
            Err(problem) => {
                walk.end = Err(problem);
                return walk;
            }
        };
        let absorbed = set.absorb(&context, &mut state, &call, &answers(&call));
        walk.calls.push(*call);
        match absorbed {
            Ok(absorbed) => walk.events.extend(absorbed.events.into_iter().map(|event| (event.name, event.data))),
            Err(problem) => {
                walk.end = Err(problem);
                return walk;
            }
        }
    }
}

pub(super) fn referral(sample: &str) -> Value {
    official(&format!("a005-retrieve-referral-request/{sample}.json"))
}

pub(super) fn set_state(referral: &mut Value, state: &str) {
    let extensions = referral["extension"].as_array_mut().expect("extensions");
    let found = extensions.iter_mut().find(|e| e["url"].as_str().is_some_and(|url| url.contains("ReferralState")));
    let parts = found.expect("a state")["extension"].as_array_mut().expect("parts");
    let part = parts.iter_mut().find(|part| part["url"] == "state").expect("the state itself");
    part["valueCoding"]["code"] = state.into();
}
