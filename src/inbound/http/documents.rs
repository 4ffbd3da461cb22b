//! `GET /v1/commands/{id}/documents/{step}`: a document that e-RS answered with (a patient letter), as it came.
//!
//! The newest answer of that step counts. A step that was answered with anything else has no document.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Shared;
use super::problem::ProblemDocument;
use super::request::id;
use crate::command::CommandId;
use crate::store::KeptDocument;

pub async fn get(
    path: web::Path<(String, String)>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let (command, step) = path.into_inner();
    let command: CommandId = id(&command)?;
    let attempts = shared.deps.search.attempts(command).await?;
    let document = KeptDocument::newest(&attempts, &step).and_then(|kept| Document::of(&kept)).ok_or_else(|| {
        ProblemDocument::not_found("This command has no such document. Its result names the step that has one.")
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, document.content_type))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", document.file_name)))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(document.bytes))
}

#[derive(Debug, PartialEq)]
struct Document {
    content_type: String,
    file_name: String,
    bytes: Vec<u8>,
}

impl Document {
    fn of(kept: &KeptDocument<'_>) -> Option<Self> {
        let bytes = STANDARD.decode(kept.base64).ok()?;
        let content_type = kept.content_type().unwrap_or("application/octet-stream").to_owned();
        let given =
            kept.header("content-disposition").and_then(|text| text.split_once("filename=")).map(|(_, name)| name);
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let file_name: String = given.unwrap_or_default().chars().filter(plain).take(200).collect();
        Some(Self { content_type, file_name: if file_name.is_empty() { "document".into() } else { file_name }, bytes })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_comes_with_its_type_and_a_harmless_name() {
        let kept = |disposition: &str| {
            let headers = json!({ "Content-Type": "application/pdf", "content-disposition": disposition });
            let response = json!({ "headers": headers, "body": { "base64": "JVBERi0=" } });
            KeptDocument::of(&response).and_then(|kept| Document::of(&kept)).expect("a document")
        };
        let letter = kept("attachment; filename=\"000000070000-letter.pdf\"");
        assert_eq!((letter.content_type.as_str(), &letter.bytes[..]), ("application/pdf", &b"%PDF-"[..]));
        assert_eq!(letter.file_name, "000000070000-letter.pdf");
        assert_eq!(kept("attachment; filename=../../\"x\r\n.pdf").file_name, "....x.pdf");
        assert_eq!(kept("attachment").file_name, "document");
        for body in [json!({ "id": "1" }), json!(null)] {
            assert!(KeptDocument::of(&json!({ "headers": {}, "body": body })).is_none(), "{body}");
        }
    }
}
