//! `GET /v1/messages` and `/v1/messages/{id}`: what came in and what became of it, without its content.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::callers::Caller;
use super::looks::{Look, shows_content};
use super::problem::ProblemDocument;
use super::request::{id, query};
use super::views;
use crate::command::{MessageId, State, Verdict};
use crate::store::MessageFilter;

const PAGE: usize = 50;
const PAGE_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    source: Option<String>,
    verdict: Option<Verdict>,
    state: Option<String>,
    control_id: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    before: Option<MessageId>,
    limit: Option<usize>,
}

pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let id: MessageId = id(&path)?;
    let search = &shared.deps.search;
    let message = search
        .message(id)
        .await?
        .filter(|message| caller.knows_of(&message.source))
        .ok_or_else(|| ProblemDocument::not_found("There is no message with this identifier."))?;
    let commands = search.commands_of(id).await?;
    let is_content = commands.iter().any(shows_content) && caller.sees_content_of(&message.source);
    shared.looked(&request, Look::at(format!("message {id}"), &message.source, is_content)).await?;
    let mut shown = views::message(&message);
    shown["commands"] = commands.iter().map(|command| shared.summary(command, &caller)).collect();
    shown["legalHold"] = shared.deps.patients.is_held(id).await?.into();
    Ok(HttpResponse::Ok().json(shown))
}

/// Newest first; `next` is the `before` of the page that follows, absent on the last.
pub async fn list(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let filter: Filter = query(&request)?;
    if filter.state.as_deref().is_some_and(|state| !State::NAMES.contains(&state)) {
        return Err(ProblemDocument::bad_request(format!("state is one of {}.", State::NAMES.join(", "))));
    }
    if let Some(control_id) = &filter.control_id {
        let look = Look {
            act: "search",
            subject: "messages by control id".into(),
            searched: Some(format!("control id {control_id}")),
            source: filter.source.as_deref(),
            is_content: true,
        };
        shared.looked(&request, look).await?;
    }
    let page = filter.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let mut found = shared
        .deps
        .search
        .messages(MessageFilter {
            source: filter.source,
            verdict: filter.verdict,
            state: filter.state,
            control_id: filter.control_id,
            since: filter.since,
            until: filter.until,
            before: filter.before,
            max: page + 1,
        })
        .await?;
    let more = found.len() > page;
    found.truncate(page);
    let mut body = json!({ "messages": found.iter().map(views::message).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        body["next"] = json!(last.id);
    }
    Ok(HttpResponse::Ok().json(body))
}
