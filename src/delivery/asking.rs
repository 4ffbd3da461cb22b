//! e-RS asked for somebody who waits at a page: reads that belong to no command.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::engine::Shared;
use super::pace::{Caller, Stopped};
use super::patient::claimed;
use super::sets::PinnedSet;
use crate::command::{Class, Ubrn};
use crate::config::{Access, Mode};
use crate::ers::{AccessToken, Body, Client, Response};
use crate::mapping::{Effect, NextCall, Operation, PlanContext, PlanState, PreparedCall, Reply, ReplyBody};
use crate::pds::{Answered, Kept, Verdict};
use crate::sign_in::{AsksErs, NotAnswered};
use crate::store::CommandView;

/// A read of so many calls is a mistake in its plan.
const CALLS_MAX: usize = 20;

/// Asks at the pace of the application, before everything else that waits.
#[derive(Clone)]
pub struct Asker {
    shared: Arc<Shared>,
}

impl Asker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn send(
        &self,
        client: &Client,
        token: &AccessToken,
        class: Class,
        (call, set): (&PreparedCall, &PinnedSet),
    ) -> Result<Response, NotAnswered> {
        let unavailable = |why: &str| NotAnswered::Unavailable(why.to_owned());
        let operation = set.mappings.operation(&call.call).ok_or_else(|| unavailable("its operation is not known"))?;
        let member = self.shared.members.get(&client.name).ok_or_else(|| unavailable("its connection is not known"))?;
        let stops = |_: Stopped| unavailable("the gateway stops");
        let leave = member.pacer.wait(Caller { class, run: 0 }).await.map_err(stops)?;
        member.pacer.depart(leave).await.map_err(stops)?;
        let headers = client.headers(call, operation, &self.shared.environment.random_id().to_string());
        let request = client.request(call, operation, &headers, Body::Empty, token);
        member.transport.send(request).await.map_err(|error| NotAnswered::Unavailable(error.to_string()))
    }
}

/// What PDS says against sending a command.
pub struct PatientHold {
    pub code: &'static str,
    pub text: String,
    /// What a person has to know who sends it all the same; empty: nobody may.
    pub codes: Vec<String>,
}

impl Asker {
    /// Whether something is known against the patient of a command now. Where PDS is not asked, or away, nothing is said:
    /// before anything is made for a patient delivery asks by itself.
    pub async fn patient_of(&self, command: &CommandView) -> Option<PatientHold> {
        let desk = self.shared.patients.as_ref()?;
        let set = self.shared.sets.get(&command.mapping_set).await.ok()?.mappings;
        let mut calls = set.plan(&command.name)?.calls();
        if !calls.any(|(_, call)| set.operation(call).is_some_and(Operation::checks_patient)) {
            return None;
        }
        let leave = desk.pacer.wait(Caller { class: Class::Interactive, run: 0 }).await.ok()?;
        desk.pacer.depart(leave).await.ok()?;
        let request = self.shared.environment.random_id();
        let answered = desk.check.ask(&claimed(&command.body), request, &command.message.to_string()).await;
        let Answered::Found(Kept { finding, .. }) = answered else { return None };
        let codes = finding.holds.iter().map(|hold| hold.code.to_owned()).collect();
        match finding.verdict {
            Verdict::Proceed => None,
            Verdict::Hold => Some(PatientHold { code: finding.code, text: finding.text.to_owned(), codes }),
            Verdict::Refuse => {
                let text = format!("{}. Have the sender correct it and send it again", finding.text);
                Some(PatientHold { code: finding.code, text, codes: Vec::new() })
            }
        }
    }
}

impl Asker {
    /// What e-RS shows of a referral now, read over the first connection of a source that acts without anybody who signed in, behind
    /// everything else that waits. As the result of `RetrieveReferral`.
    pub async fn referral(&self, source: &str, ubrn: &Ubrn) -> Result<Value, NotAnswered> {
        const COMMAND: &str = "RetrieveReferral";
        let unavailable = |why: String| NotAnswered::Unavailable(why);
        let sources = self.shared.sources.borrow().clone();
        let source = sources.get(source).ok_or_else(|| unavailable("the source is not in the settings".into()))?;
        if source.mode == Mode::Paused {
            return Err(unavailable("it is paused, or a connection of it is".into()));
        }
        let acts_alone = |name: &&str| {
            let connection = self.shared.connections.get(*name);
            connection.is_some_and(|connection| !matches!(connection.access, Access::SignIn(_)))
        };
        let member = source.connections().find(acts_alone).and_then(|name| self.shared.members.get(name));
        let member = member
            .ok_or_else(|| unavailable("it has no connection that acts without somebody who signed in".into()))?;
        let client = &member.client;
        let token = match client.tokens.current() {
            Some(token) => token,
            None => client.tokens.token().await.map_err(|error| unavailable(error.to_string()))?,
        };
        let body = json!({ "ubrn": ubrn.as_str() });
        self.carry(client, &token, Class::Bulk, COMMAND, &body).await
    }

    /// Everything that a command which only reads asks. `body`: what is known of it.
    async fn carry(
        &self,
        client: &Client,
        token: &AccessToken,
        class: Class,
        command: &str,
        body: &Value,
    ) -> Result<Value, NotAnswered> {
        let unavailable = |why: String| NotAnswered::Unavailable(why);
        let digest = self.shared.sets.current();
        let set = self.shared.sets.get(&digest).await.map_err(|error| unavailable(error.to_string()))?;
        let (settings, connection) = (json!({}), client.for_plan());
        let now = format!("{:.3}", self.shared.environment.now());
        let context = PlanContext {
            command,
            id: "asked",
            body,
            known: body,
            connection: &connection,
            settings: &settings,
            now: &now,
        };
        let mut state = PlanState::default();
        for _ in 0..CALLS_MAX {
            match set.mappings.next_call(&context, &mut state).map_err(|problem| unavailable(problem.text))? {
                NextCall::Done(end) => return Ok(end.result),
                NextCall::Pause(_) => state.waited = true,
                NextCall::Call(call) => {
                    let operation = set.mappings.operation(&call.call);
                    let operation = operation.ok_or_else(|| unavailable("its operation is not known".into()))?;
                    if operation.effect != Effect::Read {
                        return Err(unavailable("its plan does more than read".into()));
                    }
                    if let Some(why) = client.forbids(&call, operation) {
                        return Err(unavailable(why));
                    }
                    // Nobody waits for it: what fails is left alone with the rest.
                    if class == Class::Bulk && !self.shared.breakers.is_closed(&client.name, &operation.group) {
                        return Err(unavailable("its calls keep failing, and are given a rest".into()));
                    }
                    let answer = self.send(client, token, class, (&call, &set)).await?;
                    let body = ReplyBody::of(answer.body.clone());
                    if answer.status / 100 != 2 {
                        return Err(NotAnswered::Refused { status: answer.status, issue: issue_of(&body) });
                    }
                    let headers =
                        answer.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
                    let reply = Reply { status: answer.status, headers, body, document: None };
                    let absorbed = set.mappings.absorb(&context, &mut state, &call, &reply);
                    absorbed.map_err(|problem| unavailable(problem.text))?;
                }
            }
        }
        Err(unavailable("its plan does not end".into()))
    }
}

#[async_trait]
impl AsksErs for Asker {
    async fn ask(&self, client: &Client, token: &AccessToken, command: &str) -> Result<Value, NotAnswered> {
        self.carry(client, token, Class::Interactive, command, &json!({})).await
    }
}

/// The code of the first issue (FHIR's, which tells why a login is not enough).
fn issue_of(body: &ReplyBody) -> String {
    let code = body.is_json().then(|| body.tree()["issue"][0]["code"].as_str().unwrap_or_default().to_owned());
    code.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(40).collect()
}
