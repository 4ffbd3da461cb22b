//! What a person does to a command or to a refused message: `POST /v1/commands/{id}/replay`, `/discard`, `/release`, `/pass`,
//! `/decide`, and `POST /v1/messages/{id}/replay`.
//!
//! Enters: `{"by", "why"}`. Leaves: what stands there afterwards. Guarantees: nothing is done that does not say who and why;
//! what the store refuses is a problem document, and nothing was done.

use std::str::FromStr;

use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev, web};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::callers::Caller;
use super::looks::{ACT_TEXT_CHARS_MAX, place_of};
use super::problem::ProblemDocument;
use super::request::{id, read_body};
use crate::command::{CommandId, MessageId, Ubrn};
use crate::intake::Again;
use crate::store::{self, Act, Finding};

/// Of `{by, why}`.
pub(super) const ACT_BYTES_MAX: usize = 8 * 1024;

/// Who acts, and why. Both go to the audit log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActBody {
    by: String,
    why: String,
    /// For a decision only, as `ubrn`.
    #[serde(default)]
    done: Option<bool>,
    #[serde(default)]
    ubrn: Option<String>,
}

/// An act that was asked for, on what the path names.
pub struct Asked<T> {
    pub(super) id: T,
    pub(super) act: Act,
    /// What a decision says.
    finding: Option<Finding>,
    pub(super) shared: web::Data<Shared>,
    caller: Caller,
}

impl<T: FromStr + 'static> FromRequest for Asked<T> {
    type Error = ProblemDocument;
    type Future = LocalBoxFuture<'static, Result<Self, ProblemDocument>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
        async move {
            let shared = request.app_data::<web::Data<Shared>>().ok_or_else(ProblemDocument::unavailable)?;
            let id = id(request.match_info().query("id"))?;
            let payload = payload.await.map_err(|_| ProblemDocument::bad_request("The body cannot be read."))?;
            let decides = request.path().ends_with("/decide");
            let caller = Caller::extract(&request).await?;
            let (mut act, finding) = read_act(&request, payload, shared, decides).await?;
            (act.by, act.kind) = caller.signed(&act.by);
            Ok(Self { id, act, finding, shared: shared.clone(), caller })
        }
        .boxed_local()
    }
}

async fn read_act(
    request: &HttpRequest,
    payload: web::Payload,
    shared: &Shared,
    decides: bool,
) -> Result<(Act, Option<Finding>), ProblemDocument> {
    let bytes = read_body(request, payload, ACT_BYTES_MAX).await?;
    let form = match decides {
        true => {
            r#"The body is {"by": "who decides", "why": "what was found", "done": true or false}, with "ubrn" where e-RS made a record."#
        }
        false => r#"The body is {"by": "who acts", "why": "the reason"}."#,
    };
    let body: ActBody = serde_json::from_slice(&bytes).map_err(|_| ProblemDocument::bad_request(form))?;
    let ubrn = match body.ubrn.as_deref().map(|text| Ubrn::parse(text).ok_or(text)).transpose() {
        Ok(ubrn) => ubrn,
        Err(_) => return Err(ProblemDocument::bad_request(form)),
    };
    let finding = match (decides, body.done, ubrn) {
        (false, None, None) => None,
        (true, Some(done), None) => Some(Finding { done, ubrn: None }),
        (true, Some(true), Some(ubrn)) => Some(Finding { done: true, ubrn: Some(ubrn.into()) }),
        _ => return Err(ProblemDocument::bad_request(form)),
    };
    if !said(&body.by) || !said(&body.why) {
        return Err(ProblemDocument::bad_request(format!(
            "by and why each have 1 to {ACT_TEXT_CHARS_MAX} characters; both go to the audit log."
        )));
    }
    Ok((Act::of_person(body.by, place_of(request), body.why, shared.environment.now()), finding))
}

/// What a person says of an act: neither nothing nor a page.
pub(super) fn said(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= ACT_TEXT_CHARS_MAX
}

type Answered = Result<HttpResponse, ProblemDocument>;

pub async fn replay(Asked { id, act, shared, caller, .. }: Asked<CommandId>) -> Answered {
    shared.deps.operator.replay(id, act).await?;
    show(id, &shared, &caller).await
}

pub async fn discard(Asked { id, act, shared, caller, .. }: Asked<CommandId>) -> Answered {
    shared.deps.operator.discard(id, act).await?;
    show(id, &shared, &caller).await
}

pub async fn release(Asked { id, act, shared, caller, .. }: Asked<CommandId>) -> Answered {
    shared.deps.operator.release(id, act).await?;
    show(id, &shared, &caller).await
}

/// What holds it is set aside, so that it goes on.
pub async fn pass(Asked { id, act, shared, caller, .. }: Asked<CommandId>) -> Answered {
    store::pass(&*shared.deps.search, &*shared.deps.operator, id, act).await?;
    show(id, &shared, &caller).await
}

/// Whether the write in doubt was carried out.
pub async fn decide(Asked { id, act, finding, shared, caller }: Asked<CommandId>) -> Answered {
    let finding = finding.ok_or_else(|| ProblemDocument::bad_request("Say whether it was done."))?;
    shared.deps.operator.decide(id, finding, act).await?;
    show(id, &shared, &caller).await
}

async fn show(id: CommandId, shared: &Shared, caller: &Caller) -> Answered {
    let command = shared.deps.search.command(id).await?.ok_or_else(ProblemDocument::unknown_command)?;
    Ok(HttpResponse::Ok().json(shared.summary(&command, caller)))
}

/// A message once more: what was wrong with it is so no longer, or it was given up and stands behind others now.
pub async fn take_again(Asked { id, act, shared, .. }: Asked<MessageId>) -> Answered {
    taken(shared.deps.intake.take_again(id, &act).await?)
}

pub(super) fn taken(again: Again) -> Answered {
    match again {
        Again::Taken(answer) => {
            let commands: Vec<String> = answer.commands.iter().map(ToString::to_string).collect();
            Ok(HttpResponse::Ok().json(json!({ "message": answer.message, "commands": commands })))
        }
        Again::StillRefused(problems) => {
            let problem = ProblemDocument::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "still-refused",
                "The message is still refused",
                "Every problem found is listed; nothing was stored.",
            );
            Err(problem.with_problems(&problems))
        }
        Again::Impossible(why) => Err(ProblemDocument::new(
            StatusCode::CONFLICT,
            "not-refused",
            "The message cannot be taken in once more",
            why,
        )),
    }
}
