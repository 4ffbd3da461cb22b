//! Walking a plan to its end, for tests: with answers, and with the samples that they are made of.

use std::cell::Cell;

use super::*;
use crate::ers::{OutcomeTable, Response, Verdict};
use crate::mapping::PlanProblem;

/// How a plan went: the calls that were made, what it told and learned, and how it ended.
pub(super) struct Walk {
    pub calls: Vec<PreparedCall>,
    pub end: Result<Value, PlanProblem>,
    pub events: Vec<PlanEvent>,
    pub known: Map<String, Value>,
}

impl Walk {
    pub fn names(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.call.as_str()).collect()
    }

    pub fn code(&self) -> &str {
        self.end.as_ref().err().map_or("", |problem| problem.code.as_str())
    }

    pub fn result(&self) -> &Value {
        self.end.as_ref().unwrap_or_else(|problem| panic!("{:?}: {problem}", self.names()))
    }

    pub fn call(&self, number: &str) -> &PreparedCall {
        self.calls.iter().find(|call| call.call == number).unwrap_or_else(|| panic!("no {number}"))
    }

    pub fn event(&self, name: &str) -> &Value {
        &self.events.iter().find(|event| event.name == name).unwrap_or_else(|| panic!("no {name}")).data
    }
}

/// Walks a plan to its end, each call answered by `answers`.
pub(super) fn walk(
    set: &MappingSet,
    command: (&str, &Value),
    function: Option<&str>,
    answers: &dyn Fn(&PreparedCall) -> Reply,
) -> Walk {
    walk_knowing(set, command, json!({"ubrn": "000000070000"}), function, answers)
}

/// The same with the answers in their order: each is for that call, and must be asked for unless the plan ends early.
pub(super) fn walk_through(set: &MappingSet, command: (&str, &Value), known: Value, answers: &[(&str, Reply)]) -> Walk {
    let given = Cell::new(0);
    let walk = walk_knowing(set, command, known, Some("REFERRING_CLINICIAN"), &|call| {
        let (number, reply) = answers.get(given.get()).unwrap_or_else(|| panic!("{} was not expected", call.call));
        assert_eq!(call.call, *number);
        given.set(given.get() + 1);
        reply.clone()
    });
    assert!(walk.end.is_err() || given.get() == answers.len(), "{:?} and nothing after it", walk.names());
    walk
}

fn walk_knowing(
    set: &MappingSet,
    command: (&str, &Value),
    known: Value,
    function: Option<&str>,
    answers: &dyn Fn(&PreparedCall) -> Reply,
) -> Walk {
    let mut connection = json!({"codeSystemBase": "_baseUrl_"});
    if let Some(function) = function {
        connection["businessFunction"] = function.into();
    }
    walk_on(set, command, &Ground { connection, settings: json!({}), known }, answers)
}

/// What a plan stands on besides its command.
pub(super) struct Ground {
    pub connection: Value,
    pub settings: Value,
    /// Of the referral, before the first call.
    pub known: Value,
}

/// The same on any ground. An answer that e-RS refuses with ends the plan, with its code.
pub(super) fn walk_on(
    set: &MappingSet,
    (command, body): (&str, &Value),
    ground: &Ground,
    answers: &dyn Fn(&PreparedCall) -> Reply,
) -> Walk {
    assert_eq!(set.schemas().violations(command, body), [], "the command is valid");
    let known = ground.known.as_object().cloned().expect("what is known is an object");
    let mut walk = Walk { calls: Vec::new(), end: Ok(Value::Null), events: Vec::new(), known };
    let mut state = PlanState::default();
    loop {
        let known = Value::Object(walk.known.clone());
        let context = PlanContext {
            command,
            id: "",
            body,
            known: &known,
            connection: &ground.connection,
            settings: &ground.settings,
            now: "2026-03-16T09:30:00.000Z",
        };
        let call = match set.next_call(&context, &mut state) {
            Ok(NextCall::Call(call)) => call,
            Ok(NextCall::Pause(_)) => {
                state.waited = true;
                continue;
            }
            Ok(NextCall::Done(end)) => {
                walk.end = Ok(end.result);
                return walk;
            }
            Err(problem) => {
                walk.end = Err(problem);
                return walk;
            }
        };
        let reply = answers(&call);
        let absorbed = match refusal(set, &call, &reply) {
            None => set.absorb(&context, &mut state, &call, &reply),
            Some(refused) => Err(refused),
        };
        walk.calls.push(*call);
        match absorbed {
            Ok(absorbed) => {
                walk.events.extend(absorbed.events);
                walk.known.extend(absorbed.known);
            }
            Err(problem) => {
                walk.end = Err(problem);
                return walk;
            }
        }
    }
}

/// As delivery finds it, in the set's table of outcomes.
fn refusal(set: &MappingSet, call: &PreparedCall, reply: &Reply) -> Option<PlanProblem> {
    let table = set.files().get("ers/outcomes.yaml").expect("a set has its table");
    let table = OutcomeTable::parse(table).expect("checked when the set was loaded");
    let operation = set.operation(&call.call).expect("a call of the catalogue");
    let response = Response { status: reply.status, headers: reply.headers.clone(), body: reply.body.bytes().clone() };
    let found = table.classify(&call.call, operation.effect.leaves_doubt(), &response);
    (found.verdict != Verdict::Success).then_some(PlanProblem { code: found.code, text: found.text })
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
