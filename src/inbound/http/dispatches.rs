//! `GET /v1/dispatches` and what can be done under `/v1/dispatches/{id}`: messages of the gateway to hospital systems, and
//! what became of them, without their content.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::acts::Asked;
use super::looks::Look;
use super::problem::ProblemDocument;
use super::request::{id, query};
use super::views;
use crate::command::DispatchId;
use crate::store::{DispatchFilter, DispatchState};

const PAGE: usize = 50;
const PAGE_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    destination: Option<String>,
    state: Option<String>,
    before: Option<DispatchId>,
    limit: Option<usize>,
}

/// Newest first; `next` is the `before` of the page that follows, absent on the last.
pub async fn list(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let filter: Filter = query(&request)?;
    let state = match filter.state.as_deref().map(DispatchState::named) {
        Some(None) => {
            let names = DispatchState::ALL.map(DispatchState::name).join(", ");
            return Err(ProblemDocument::bad_request(format!("state is one of {names}.")));
        }
        state => state.flatten(),
    };
    let page = filter.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let asked = DispatchFilter { destination: filter.destination, state, before: filter.before, max: page + 1 };
    let mut found = shared.deps.dispatches.dispatches(asked).await?;
    let more = found.len() > page;
    found.truncate(page);
    let mut body = json!({ "dispatches": found.iter().map(views::dispatch).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        body["next"] = json!(last.id);
    }
    Ok(HttpResponse::Ok().json(body))
}

pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let id: DispatchId = id(&path)?;
    let answer = shown(id, &shared).await?;
    let subject = format!("dispatch {id}");
    shared
        .looked(&request, Look { act: "view", subject, searched: None, of: None, source: None, is_content: false })
        .await?;
    Ok(answer)
}

pub async fn replay(Asked { id, act, shared, .. }: Asked<DispatchId>) -> Result<HttpResponse, ProblemDocument> {
    shared.deps.dispatches.replay_dispatch(id, act).await?;
    shown(id, &shared).await
}

pub async fn discard(Asked { id, act, shared, .. }: Asked<DispatchId>) -> Result<HttpResponse, ProblemDocument> {
    shared.deps.dispatches.discard_dispatch(id, act).await?;
    shown(id, &shared).await
}

async fn shown(id: DispatchId, shared: &Shared) -> Result<HttpResponse, ProblemDocument> {
    let unknown = || ProblemDocument::not_found("There is no dispatch with this identifier.");
    let dispatch = shared.deps.dispatches.dispatch(id).await?.ok_or_else(unknown)?;
    Ok(HttpResponse::Ok().json(views::dispatch(&dispatch)))
}
