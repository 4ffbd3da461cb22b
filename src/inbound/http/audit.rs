//! `GET /v1/audit`: the audit log, oldest first, with everything that proves it.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::looks::Look;
use super::problem::ProblemDocument;
use super::request::query;

const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<u64>,
    limit: Option<usize>,
}

/// `written` is counted before the entries are read, so that it is never more than there are in a log that is whole.
pub async fn list(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let asked: After = query(&request)?;
    let look =
        Look { act: "view", subject: "audit log".into(), searched: None, of: None, source: None, is_content: true };
    shared.looked(&request, look).await?;
    let audit = &shared.deps.audit;
    let written = audit.audit_written().await?;
    let page = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let entries = audit.audit_log(asked.after.unwrap_or(0), page).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "entries": entries, "written": written })))
}
