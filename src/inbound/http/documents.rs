//! `GET /v1/commands/{id}/documents/{step}`: a document that e-RS answered with (a patient letter), as it came.
//!
//! The newest answer of that step counts. A step that was answered with anything else has no document.

use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::Shared;
use super::callers::Caller;
use super::looks::Look;
use super::problem::ProblemDocument;
use super::request::id;
use crate::command::CommandId;
use crate::store::{AttemptView, FetchedStore, KeptDocument, StoreError};

pub async fn get(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let (command, step) = path.into_inner();
    let command: CommandId = id(&command)?;
    let search = &shared.deps.search;
    let view = search.command(command).await?.filter(|known| caller.knows_of(&known.source));
    let view = view.ok_or_else(ProblemDocument::unknown_command)?;
    if !caller.sees_content_of(&view.source) {
        return Err(ProblemDocument::not_for_caller("Documents are content: its token has to say content: true."));
    }
    let attempts = search.attempts(command).await?;
    let kept = KeptDocument::newest(&attempts, &step).ok_or_else(|| {
        ProblemDocument::not_found("This command has no such document. Its result names the step that has one.")
    })?;
    shared.looked(&request, Look::at(format!("document {step} of command {command}"), &view.source, true)).await?;
    let (document, bytes) = (Document::of(&kept), kept.bytes);
    let parts = parts(shared.deps.fetched.clone(), command, (attempts, step));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, document.content_type))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", document.file_name)))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(SizedStream::new(bytes, Box::pin(parts))))
}

/// The document part by part, as the client takes it. A part that cannot be read ends the answer short of its length.
fn parts(
    store: Arc<dyn FetchedStore>,
    command: CommandId,
    which: (Vec<AttemptView>, String),
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold((store, which, 0), move |(store, which, position)| async move {
        let Some(kept) = KeptDocument::newest(&which.0, &which.1) else { return Ok(None) };
        let part = kept.part(store.as_ref(), command, position).await?;
        Ok(part.map(|part| (part, (store, which, position + 1))))
    })
}

#[derive(Debug, PartialEq)]
struct Document {
    content_type: String,
    file_name: String,
}

impl Document {
    fn of(kept: &KeptDocument<'_>) -> Self {
        let content_type = kept.content_type().unwrap_or("application/octet-stream").to_owned();
        let given =
            kept.header("content-disposition").and_then(|text| text.split_once("filename=")).map(|(_, name)| name);
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let file_name: String = given.unwrap_or_default().chars().filter(plain).take(200).collect();
        Self { content_type, file_name: if file_name.is_empty() { "document".into() } else { file_name } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::command::AttemptId;

    #[test]
    fn a_document_comes_with_its_type_and_a_harmless_name() {
        let kept = |disposition: &str| {
            let headers = json!({ "Content-Type": "application/pdf", "content-disposition": disposition });
            let response = json!({ "headers": headers, "body": { "document": { "bytes": 6 } } });
            KeptDocument::of(AttemptId(Uuid::nil()), &response).map(|kept| Document::of(&kept)).expect("a document")
        };
        let letter = kept("attachment; filename=\"000000070000-letter.pdf\"");
        assert_eq!(letter.content_type, "application/pdf");
        assert_eq!(letter.file_name, "000000070000-letter.pdf");
        assert_eq!(kept("attachment; filename=../../\"x\r\n.pdf").file_name, "....x.pdf");
        assert_eq!(kept("attachment").file_name, "document");
    }
}
