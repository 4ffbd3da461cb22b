//! `GET /v1/commands/{id}/documents/{step}`: a document that e-RS answered with (a patient letter), as it came.
//!
//! The newest answer of that step counts. A step that was answered with anything else has no document.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Shared;
use super::problem::ProblemDocument;
use super::request::id;
use crate::command::CommandId;

pub async fn get(
    path: web::Path<(String, String)>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let (command, step) = path.into_inner();
    let command: CommandId = id(&command)?;
    let attempts = shared.deps.search.attempts(command).await?;
    let newest = attempts.iter().rev().find(|attempt| attempt.step == step && attempt.outcome.as_deref() == Some("ok"));
    let document = newest.and_then(|attempt| Document::of(&attempt.response)).ok_or_else(|| {
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
    /// From an answer as delivery keeps it.
    fn of(response: &Value) -> Option<Self> {
        let bytes = STANDARD.decode(response["body"]["base64"].as_str()?).ok()?;
        let header = |name: &str| {
            let mut held = response["headers"].as_object()?.iter();
            held.find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
        };
        let content_type = header("content-type").unwrap_or("application/octet-stream").to_owned();
        let given = header("content-disposition").and_then(|text| text.split_once("filename=")).map(|(_, name)| name);
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
            Document::of(&json!({ "headers": headers, "body": { "base64": "JVBERi0=" } })).expect("a document")
        };
        let letter = kept("attachment; filename=\"000000070000-letter.pdf\"");
        assert_eq!((letter.content_type.as_str(), &letter.bytes[..]), ("application/pdf", &b"%PDF-"[..]));
        assert_eq!(letter.file_name, "000000070000-letter.pdf");
        assert_eq!(kept("attachment; filename=../../\"x\r\n.pdf").file_name, "....x.pdf");
        assert_eq!(kept("attachment").file_name, "document");
        assert_eq!(Document::of(&json!({ "headers": {}, "body": { "id": "1" } })), None);
        assert_eq!(Document::of(&json!({ "headers": {}, "body": null })), None);
    }
}
