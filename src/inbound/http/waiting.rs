//! What waits for people to sign in: `/v1/waiting…`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::callers::Caller;
use super::looks::{ACT_TEXT_CHARS_MAX, place_of};
use super::problem::ProblemDocument;
use super::request::{id, read_body};
use super::sign_in::SignedIn;
use super::{Shared, SignInDeps};
use crate::command::CommandId;
use crate::waiting::{AssignError, Which, shown};

type Answered = Result<HttpResponse, ProblemDocument>;

/// Some thousands of identifiers.
const BODY_BYTES_MAX: usize = 256 * 1024;

fn deps(shared: &Shared) -> Result<&SignInDeps, ProblemDocument> {
    shared.deps.sign_in.as_ref().ok_or_else(ProblemDocument::unavailable)
}

/// Whom everything waits for.
pub async fn list(shared: web::Data<Shared>) -> Answered {
    Ok(HttpResponse::Ok().json(deps(&shared)?.waiting.by_person().await?))
}

/// What waits in the name of who asks.
pub async fn mine(shared: web::Data<Shared>, SignedIn { person, .. }: SignedIn) -> Answered {
    let items = deps(&shared)?.waiting.of(&person).await?;
    Ok(HttpResponse::Ok().json(json!({ "user": person.user, "waiting": items.iter().map(shown).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    #[serde(default)]
    all: bool,
    #[serde(default)]
    commands: Vec<CommandId>,
    /// Codes of an earlier answer that the person has read.
    #[serde(default)]
    although: Vec<String>,
}

/// Sends what is theirs on its way.
pub async fn confirm(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    SignedIn { person, .. }: SignedIn,
) -> Answered {
    const FORM: &str =
        r#"The body is {"all": true} or {"commands": ["…"]}, with "although": ["EXPIRED"] for what was told."#;
    let bytes = read_body(&request, payload, BODY_BYTES_MAX).await?;
    let body: ConfirmBody = serde_json::from_slice(&bytes).map_err(|_| ProblemDocument::bad_request(FORM))?;
    let which = match (body.all, body.commands) {
        (true, commands) if commands.is_empty() => Which::All,
        (false, commands) if !commands.is_empty() => Which::These(commands),
        _ => return Err(ProblemDocument::bad_request(FORM)),
    };
    if person.role.is_none() {
        return Err(ProblemDocument::new(
            StatusCode::CONFLICT,
            "no-role-chosen",
            "Choose as whom you act first",
            "PUT /v1/sign-in/session/role with an organisation and a business function.",
        ));
    }
    let outcomes = deps(&shared)?.waiting.confirm(&person, which, &body.although, &place_of(&request)).await?;
    let told = outcomes
        .iter()
        .map(|outcome| json!({ "command": outcome.command, "outcome": outcome.code, "text": outcome.text }));
    let confirmed = outcomes.iter().filter(|outcome| outcome.code == "CONFIRMED").count();
    Ok(HttpResponse::Ok().json(json!({ "confirmed": confirmed, "outcomes": told.collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignBody {
    by: String,
    why: String,
    user: String,
}

/// Makes somebody responsible for what names nobody.
pub async fn assign(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Answered {
    let command: CommandId = id(request.match_info().query("id"))?;
    let bytes = read_body(&request, payload, BODY_BYTES_MAX).await?;
    let said = |text: &str| !text.trim().is_empty() && text.chars().count() <= ACT_TEXT_CHARS_MAX;
    let body: AssignBody = serde_json::from_slice(&bytes)
        .ok()
        .filter(|body: &AssignBody| said(&body.by) && said(&body.why))
        .ok_or_else(|| {
            ProblemDocument::bad_request(
                r#"The body is {"user": "NHS user id", "by": "who acts", "why": "the reason"}."#,
            )
        })?;
    let act = caller.act(&body.by, place_of(&request), body.why, shared.environment.now());
    match deps(&shared)?.waiting.assign(command, &body.user, act).await {
        Ok(()) => {
            let view = shared.deps.search.command(command).await?.ok_or_else(ProblemDocument::unknown_command)?;
            Ok(HttpResponse::Ok().json(shared.summary(&view, &caller)))
        }
        Err(AssignError::Store(error)) => Err(error.into()),
        Err(error @ AssignError::NotAUser) => Err(ProblemDocument::bad_request(error.to_string())),
        Err(error @ AssignError::HasAuthor) => {
            Err(ProblemDocument::new(StatusCode::CONFLICT, "has-author", "It is somebody's already", error.to_string()))
        }
    }
}
