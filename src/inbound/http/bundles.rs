//! `GET /v1/messages/{id}/bundle`: one message as a case that names nobody, as a ZIP archive or (`?as=json`) file by file.
//!
//! Guarantees: only for who may see content, and noted before it is made.

use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::looks::Look;
use super::problem::ProblemDocument;
use super::request::{id, query};
use crate::command::MessageId;
use crate::trials::Bundle;

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum As {
    #[default]
    Zip,
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetQuery {
    #[serde(default, rename = "as")]
    form: As,
}

pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let GetQuery { form } = query(&request)?;
    let id: MessageId = id(&path)?;
    let unknown = || ProblemDocument::not_found("There is no message with this identifier.");
    let message = shared.deps.search.message(id).await?.ok_or_else(unknown)?;
    shared.looked(&request, Look::at(format!("bundle of message {id}"), &message.source, true)).await?;
    let bundle = shared.trials()?.bundle(&message).await?;
    Ok(match form {
        As::Zip => zipped(&bundle, id),
        As::Json => HttpResponse::Ok().json(json!({ "reproduces": bundle.reproduces, "files": bundle.files })),
    })
}

pub fn zipped(bundle: &Bundle, id: MessageId) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/zip"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"case-{id}.zip\"")))
        .body(bundle.zipped())
}
