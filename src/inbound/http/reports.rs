//! `GET /v1/reports/{day}`: a day's reconciliation, as things stand now; as CSV where `Accept` asks for that.

use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::civil::Date;

use super::Shared;
use super::problem::ProblemDocument;
use super::request::header;
use crate::reports;

pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let no_day = || ProblemDocument::bad_request("A day is like 2026-03-16.");
    let day: Date = path.parse().map_err(|_| no_day())?;
    let report = reports::report(&*shared.deps.store, day, shared.environment.now()).await?.ok_or_else(no_day)?;
    match header(request.headers(), ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/csv")) {
        true => Ok(HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8"))
            .body(reports::as_csv(&report))),
        false => Ok(HttpResponse::Ok().json(report)),
    }
}
