//! `POST /v1/trials`: the messages of a filter read once more with other mappings, some hundred at a time.
//!
//! Enters: a filter as a bulk replay has it, and an archive of mapping files, or none for those on the gateway's disk. Leaves:
//! what would be taken, what would still be refused, and the members that would be others. Guarantees: nothing is stored or sent
//! but a row of the audit log; the right to content is needed, for members are told with their values.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Shared;
use super::looks::Look;
use super::problem::ProblemDocument;
use super::request::read_body;
use crate::store::ReplayFilter;
use crate::trials::RerunAsked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    filter: ReplayFilter,
    #[serde(default)]
    after: u64,
    base64: Option<String>,
}

pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let bytes = read_body(&request, payload, shared.listener.body_bytes_max).await?;
    let form = || {
        ProblemDocument::bad_request(
            r#"The body is {"filter": {"of": "failed" or "rejected", "source", "cause", "command", "since", "until"}, "after": the next of the answer before, "base64": an archive of mapping files}."#,
        )
    };
    let Body { filter, after, base64 } = serde_json::from_slice(&bytes).map_err(|_| form())?;
    let archive = base64.map(|text| STANDARD.decode(text.trim())).transpose().map_err(|_| form())?;
    let mut look = Look::at("trial of mappings".to_owned(), "", true);
    look.source = filter.source.as_deref();
    shared.looked(&request, look).await?;
    let asked = RerunAsked { filter, archive: archive.map(Into::into), after };
    Ok(HttpResponse::Ok().json(shared.trials()?.rerun(&asked).await?))
}
