//! `POST /v1/messages/{id}/edit`: a refused or given up message once more, with a content that a person has changed; `GET
//! /v1/messages/{id}/difference`: what was changed.
//!
//! Guarantees: the original stays as it came; who edited it and why is in the audit log with the same commit; both addresses need
//! the right to content.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::acts::{said, taken};
use super::callers::Caller;
use super::looks::{ACT_TEXT_CHARS_MAX, Look, place_of};
use super::problem::ProblemDocument;
use super::request::{id, read_body};
use crate::command::MessageId;
use crate::intake::{difference, taken_from};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    by: String,
    why: String,
    /// The whole message, in its own character set.
    base64: String,
}

pub async fn edit(
    request: HttpRequest,
    payload: web::Payload,
    path: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let id: MessageId = id(&path)?;
    // Base64 takes a third more.
    let bytes = read_body(&request, payload, shared.listener.body_bytes_max.saturating_mul(2)).await?;
    let form = || {
        ProblemDocument::bad_request(format!(
            r#"The body is {{"by": "who edits", "why": "the reason", "base64": "the whole message"}}; by and why have 1 to {ACT_TEXT_CHARS_MAX} characters."#
        ))
    };
    let edit: Edit = serde_json::from_slice(&bytes).map_err(|_| form())?;
    let content = STANDARD.decode(edit.base64.trim()).map_err(|_| form())?;
    if !said(&edit.by) || !said(&edit.why) {
        return Err(form());
    }
    let act = caller.act(&edit.by, place_of(&request), edit.why, shared.environment.now());
    taken(shared.deps.intake.take_edited(id, content.into(), &act).await?)
}

pub async fn get_difference(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let id: MessageId = id(&path)?;
    let nothing = || ProblemDocument::not_found("There is no edited message with this identifier.");
    let store = &shared.deps.store;
    let message = store.message(id).await?.ok_or_else(nothing)?;
    let first = message.control_id.as_deref().and_then(taken_from).filter(|(_, is_edited)| *is_edited);
    let (first, _) = first.ok_or_else(nothing)?;
    shared.looked(&request, Look::at(format!("message {id}"), &message.source, true)).await?;
    let was = store.read_message(first, 0..u64::MAX).await?;
    let is = store.read_message(id, 0..u64::MAX).await?;
    Ok(HttpResponse::Ok().json(json!({ "editedFrom": first, "changes": difference(&was, &is) })))
}
