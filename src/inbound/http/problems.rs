//! `GET /v1/problems`: what is refused or does not get on, grouped by its cause.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;

use super::Shared;
use super::problem::ProblemDocument;
use super::request::query;
use crate::problems::{self, PROBLEMS_MAX};
use crate::store::{CauseId, ProblemFilter};

const PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    source: Option<String>,
    cause: Option<CauseId>,
    since: Option<Timestamp>,
    limit: Option<usize>,
}

pub async fn list(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let Asked { source, cause, since, limit } = query(&request)?;
    let filter = ProblemFilter { source, cause, since, max: limit.unwrap_or(PAGE).clamp(1, PROBLEMS_MAX) };
    Ok(HttpResponse::Ok().json(problems::shown(&*shared.deps.search, filter).await?))
}
