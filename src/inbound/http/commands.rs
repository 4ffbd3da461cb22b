//! `POST /v1/commands/{Name}` and what can be seen under `/v1/commands/{id}`.
//!
//! A command is answered with 202 and its `Location` once it is stored, or, with `Prefer: wait=N`, with
//! 200 and its outcome if it comes to rest in time. What is wrong with it is 422 with every problem.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::awaited::Awaited;
use super::callers::Caller;
use super::looks::{Look, shows_content};
use super::problem::ProblemDocument;
use super::request::{content_type, header, id, query, read_body};
use super::{Shared, views, without_content};
use crate::command::CommandId;
use crate::intake::{Answer, Content, Inbound, Outcome};
use crate::store::{CommandView, Transport};

/// HL7 table 0357: the identifier is already in use, with other content.
pub(super) const DUPLICATE_KEY_IDENTIFIER: u16 = 205;
/// RFC 9110 sets no limit; this is longer than any identifier in use.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostQuery {
    /// The source that the command belongs to; only where the listener has none of its own.
    source: Option<String>,
}

pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let name = name.into_inner();
    if !shared.deps.commands.knows(&name) {
        return Err(ProblemDocument::not_found("There is no command of this name. Names are like CreateReferral."));
    }
    if !content_type(&request).is_some_and(|t| t.is_json()) {
        return Err(ProblemDocument::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The media type is not taken here",
            "Send a command as application/json.",
        ));
    }
    let source = source_named(&request, &shared, &caller, None)?;
    let idempotency_key = idempotency_key(&request)?;
    let bytes = read_body(&request, payload, shared.listener.body_bytes_max).await?;

    let awaited = Awaited::by(&request, &shared);
    let answer = shared
        .deps
        .intake
        .receive(Inbound {
            source: Some(source),
            transport: Transport::Http,
            received_at: shared.environment.now(),
            peer: None,
            content: Content::Command { name, bytes, idempotency_key },
        })
        .await;
    if let Some(problem) = refusal(&answer) {
        return Err(problem);
    }
    awaited.respond(&answer, &shared, "application/json", |commands| body(&answer, commands, &shared, &caller)).await
}

/// The listener's source, the one in the path, or `?source=`. A listener that belongs to one source takes no other, and a
/// token opens only its own.
pub(super) fn source_named(
    request: &HttpRequest,
    shared: &Shared,
    caller: &Caller,
    in_path: Option<String>,
) -> Result<String, ProblemDocument> {
    let asked = in_path.or(query::<PostQuery>(request)?.source);
    let asked = caller.sends_as(asked.or_else(|| shared.listener.source.clone()))?;
    match (&shared.listener.source, asked) {
        (Some(source), Some(asked)) if *source == asked => Ok(asked),
        (Some(_), Some(_)) => Err(ProblemDocument::new(
            StatusCode::FORBIDDEN,
            "other-source",
            "This address belongs to another source",
            "Leave ?source= out, or use the address of that source.",
        )),
        (None, Some(asked)) => Ok(asked),
        (_, None) => Err(ProblemDocument::bad_request("Say which source sends it: ?source=NAME.")),
    }
}

pub(super) fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, ProblemDocument> {
    match header(request.headers(), "idempotency-key").map(|key| key.trim_matches('"')) {
        None => Ok(None),
        Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX => Err(ProblemDocument::bad_request(
            format!("Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters."),
        )),
        Some(key) => Ok(Some(key.to_owned())),
    }
}

/// The problem document for an answer that is not positive.
fn refusal(answer: &Answer) -> Option<ProblemDocument> {
    let problem = match answer.outcome {
        Outcome::Accepted | Outcome::Notice | Outcome::Duplicate => return None,
        Outcome::Rejected if answer.problems.iter().any(|p| p.code == DUPLICATE_KEY_IDENTIFIER) => {
            ProblemDocument::new(
                StatusCode::CONFLICT,
                "idempotency-key-reused",
                "This Idempotency-Key came with other content before",
                "Use a new key for a new command; send the first content again to hear of the first.",
            )
        }
        Outcome::Rejected => ProblemDocument::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-command",
            "The command is not valid",
            "Every problem found is listed. The command was kept, but will not be carried out.",
        ),
        Outcome::Unreadable => ProblemDocument::new(
            StatusCode::BAD_REQUEST,
            "not-json",
            "The body is not JSON",
            "A command is one JSON object in UTF-8.",
        ),
        Outcome::UnknownSource => ProblemDocument::not_found("No source of this name is configured."),
        Outcome::TooLarge => ProblemDocument::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            "It is larger than its source may send.",
        ),
        Outcome::Unavailable => ProblemDocument::unavailable(),
    };
    Some(problem.about(answer.message).with_problems(&answer.problems))
}

fn body(answer: &Answer, commands: &[CommandView], shared: &Shared, caller: &Caller) -> Value {
    json!({
        "message": answer.message,
        "outcome": match answer.outcome {
            Outcome::Duplicate => "duplicate",
            Outcome::Notice => "notice",
            _ => "accepted",
        },
        "commands": commands.iter().map(|command| shared.summary(command, caller)).collect::<Vec<_>>(),
    })
}

pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let search = &shared.deps.search;
    let id: CommandId = id(&path)?;
    let command = search.command(id).await?.filter(|command| caller.knows_of(&command.source));
    let command = command.ok_or_else(ProblemDocument::unknown_command)?;
    let is_shown = shows_content(&command) && caller.sees_content_of(&command.source);
    let look = Look::at(format!("command {id}"), &command.source, is_shown);
    shared.looked(&request, look).await?;
    let transitions = search.transitions(id).await?;
    let attempts = search.attempts(id).await?;
    let estimate = shared.deps.estimates.estimate(&command);
    let shown = views::command(&command, Some(estimate), &transitions, &attempts);
    Ok(HttpResponse::Ok().json(without_content(shown, &command, &caller)))
}
