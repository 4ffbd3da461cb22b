//! Bulk replays: `POST /v1/replays`, what it would come to with `?preview=true`; `GET /v1/replays` and `/v1/replays/{id}`;
//! `POST /v1/replays/{id}/pause`, `/resume` and `/cancel`.
//!
//! Enters: a filter, the share of the quota, who decides and why. Leaves: the replay, which goes on by itself. Guarantees: outside
//! the simulator nothing begins that does not name the environment.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::Shared;
use super::acts::{Asked, said};
use super::callers::Caller;
use super::looks::{ACT_TEXT_CHARS_MAX, place_of};
use super::problem::ProblemDocument;
use super::request::{id, query, read_body};
use crate::config::EnvironmentName;
use crate::replays::{self, views};
use crate::store::{BulkReplay, NewBulkReplay, ReplayFilter, ReplayStanding, Share};

const BODY_BYTES_MAX: usize = 8 * 1024;
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostQuery {
    #[serde(default)]
    preview: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    filter: ReplayFilter,
    share: Option<f64>,
    #[serde(default)]
    overtaken: bool,
    environment: Option<EnvironmentName>,
    by: Option<String>,
    why: Option<String>,
}

pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let asked: PostQuery = query(&request)?;
    let bytes = read_body(&request, payload, BODY_BYTES_MAX).await?;
    let body: Body = serde_json::from_slice(&bytes).map_err(|_| {
        ProblemDocument::bad_request(
            r#"The body is {"filter": {"of": "failed" or "rejected", "source", "cause", "command", "since", "until"}, "share": 0.25, "overtaken": false, "environment": "…", "by": "who decides", "why": "the reason"}."#,
        )
    })?;
    if asked.preview {
        let (store, intake) = (&*shared.deps.store, Some(&*shared.deps.intake));
        let shown = replays::preview(store, intake, &body.filter, body.overtaken).await?;
        return Ok(HttpResponse::Ok().json(shown));
    }
    let share = body.share.map_or(Some(Share::QUARTER), Share::of);
    let share = share.ok_or_else(|| ProblemDocument::bad_request("share is above 0 and at most 1."))?;
    let place = shared.deps.place;
    if place != EnvironmentName::Simulator && body.environment != Some(place) {
        return Err(ProblemDocument::bad_request(format!(
            "A bulk replay names the environment that it is meant for: \"environment\": \"{}\".",
            place.name()
        )));
    }
    let (Some(by), Some(why)) = (body.by.filter(|by| said(by)), body.why.filter(|why| said(why))) else {
        return Err(ProblemDocument::bad_request(format!(
            "by and why each have 1 to {ACT_TEXT_CHARS_MAX} characters; both go to the audit log."
        )));
    };
    let act = caller.act(&by, place_of(&request), why, shared.environment.now());
    let replay =
        NewBulkReplay { id: shared.environment.new_id(), filter: body.filter, share, overtaken: body.overtaken };
    let id = replay.id;
    shared.deps.store.begin_replay(replay, act).await?;
    let replay = found(&shared, id).await?;
    Ok(HttpResponse::build(StatusCode::CREATED)
        .insert_header((LOCATION, format!("/v1/replays/{id}")))
        .json(views::replay(&replay)))
}

async fn found(shared: &Shared, id: Uuid) -> Result<BulkReplay, ProblemDocument> {
    let replay = shared.deps.store.bulk_replay(id).await?;
    replay.ok_or_else(|| ProblemDocument::not_found("There is no bulk replay with this identifier."))
}

/// The newest first.
pub async fn list(shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let replays = shared.deps.store.bulk_replays(None, PAGE).await?;
    Ok(HttpResponse::Ok().json(json!({ "replays": replays.iter().map(views::replay).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<Uuid>,
    limit: Option<usize>,
}

/// With a page of its items; `next` is the `after` of the one that follows.
pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let After { after, limit } = query(&request)?;
    let replay = found(&shared, id(&path)?).await?;
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let shown = views::with_items(&*shared.deps.store, &replay, after, limit).await?;
    Ok(HttpResponse::Ok().json(shown))
}

type Answered = Result<HttpResponse, ProblemDocument>;

pub async fn pause(asked: Asked<Uuid>) -> Answered {
    stand(asked, ReplayStanding::Paused).await
}

pub async fn resume(asked: Asked<Uuid>) -> Answered {
    stand(asked, ReplayStanding::Running).await
}

pub async fn cancel(asked: Asked<Uuid>) -> Answered {
    stand(asked, ReplayStanding::Cancelled).await
}

async fn stand(Asked { id, act, shared, .. }: Asked<Uuid>, to: ReplayStanding) -> Answered {
    shared.deps.store.stand_replay(id, to, act).await?;
    Ok(HttpResponse::Ok().json(views::replay(&found(&shared, id).await?)))
}
