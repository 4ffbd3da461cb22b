//! The documents of an event, as they are written to a folder.
//!
//! Enters: an event. Leaves: a dispatch for each document that was fetched for it: its index, a line end, and its bytes.
//! Guarantees: a document has one name, whichever events tell of it, and no part of that name comes from a message; one that the
//! folder has, or that a person gave up, is not written for another event; what is not what the event says is not written.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::environment::Environment;
use crate::given::{Given, Which};
use crate::mapping::hex;
use crate::store::{DispatchContent, DueDispatch, Made, NewDispatch, Result, Store, StoredEvent, document_at};

/// In the place of a mapping file.
const FILE: &str = "document";

pub(super) struct Documents {
    /// Of the folder.
    pub name: String,
    pub store: Arc<dyn Store>,
    pub given: Given,
    pub environment: Environment,
}

/// What an event says of a document.
#[derive(Clone, Copy)]
struct Told<'e> {
    index: usize,
    /// The name that e-RS has for it; of clinical information, which has none there, what it is.
    document: &'e str,
    href: &'e str,
    members: &'e Map<String, Value>,
}

impl Documents {
    /// `made`: what is made in the same commit.
    pub async fn dispatches(&self, event: &StoredEvent, made: &[NewDispatch]) -> Result<Vec<NewDispatch>> {
        let mut dispatches: Vec<NewDispatch> = Vec::new();
        for told in told(&event.data) {
            let id = self.document_id(event, told);
            let is_id = |one: &NewDispatch| matches!(&one.made, Made::Message(content) if content.control_id == id);
            if made.iter().chain(&dispatches).any(is_id) || self.store.was_dispatched(&self.name, &id).await? {
                continue;
            }
            dispatches.push(NewDispatch {
                id: self.given.dispatch_id(&self.which(event, told)),
                subject: format!("event {}", event.id),
                event: Some(event.position),
                at: self.environment.now(),
                made: self.make(event, told, id).await?,
            });
        }
        Ok(dispatches)
    }

    /// One that could not be made, once more.
    pub async fn make_anew(&self, dispatch: &DueDispatch, event: &StoredEvent) -> Result<Made> {
        let found =
            told(&event.data).into_iter().find(|told| self.given.dispatch_id(&self.which(event, *told)) == dispatch.id);
        match found {
            None => Ok(Made::Unmade("its event tells of no such document now: see by the event whether one is still to be told, then discard it".to_owned())),
            Some(told) => self.make(event, told, self.document_id(event, told)).await,
        }
    }

    fn which<'w>(&'w self, event: &StoredEvent, told: Told<'_>) -> Which<'w> {
        Which { destination: &self.name, event: event.id, file: FILE, entry: told.index }
    }

    fn document_id(&self, event: &StoredEvent, told: Told<'_>) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (ubrn, sha256) = (text(&event.data["ubrn"]), told.members.get("sha256").map(text).unwrap_or_default());
        // What e-RS has a name for is the same document, whichever referral of the pathway it was found at.
        let about = if told.document.starts_with("Binary/") { "" } else { ubrn.as_str() };
        self.given.document_id(&self.name, &[told.document, about, &sha256])
    }

    async fn make(&self, event: &StoredEvent, told: Told<'_>, id: String) -> Result<Made> {
        let found = match document_at(self.store.as_ref(), told.href).await? {
            Ok(found) => found,
            Err(why) => return Ok(Made::Unmade(why.to_owned())),
        };
        let document = found.bytes;
        let sha256 = hex(&Sha256::digest(&document));
        if told.members.get("sha256").and_then(Value::as_str) != Some(sha256.as_str()) {
            return Ok(Made::Unmade("what is kept is not the document that the event tells of".to_owned()));
        }
        let content_type = found.content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
        let file = format!("{id}.{}", extension(&content_type));
        let data = &event.data;
        let member = |name: &str| told.members.get(name).cloned().unwrap_or_default();
        let referral = told.members.get("referral").or_else(|| data.get("ubrn")).cloned().unwrap_or_default();
        let index: Map<String, Value> = [
            ("id", Value::from(id.as_str())),
            ("file", file.into()),
            ("contentType", content_type.as_str().into()),
            ("bytes", document.len().into()),
            ("sha256", sha256.into()),
            ("nhsNumber", data.get("patient").cloned().unwrap_or_default()),
            ("ubrn", referral),
            ("document", told.document.into()),
            ("title", member("fileName")),
            ("description", member("description")),
            ("type", member("type")),
            ("indexed", member("indexed")),
            ("source", event.source.as_str().into()),
            ("event", event.id.to_string().into()),
            ("eventName", event.name.as_str().into()),
            ("at", event.at.to_string().into()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let mut bytes = serde_json::to_vec(&index).expect("text and JSON values");
        bytes.push(b'\n');
        bytes.extend_from_slice(&document);
        Ok(Made::Message(DispatchContent { kind: content_type, control_id: id, bytes: bytes.into() }))
    }
}

/// What was fetched; the rest has no `href`.
fn told(data: &Value) -> Vec<Told<'_>> {
    let listed = data.get("documents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let listed = listed.iter().filter_map(|one| {
        let members = one.as_object()?;
        Some((members.get("document")?.as_str()?, members))
    });
    let clinical = data.get("clinicalInformation").and_then(Value::as_object);
    let all = listed.chain(clinical.map(|members| ("clinicalInformation", members)));
    all.enumerate()
        .filter_map(|(index, (document, members))| {
            let href = members.get("href")?.as_str()?;
            Some(Told { index, document, href, members })
        })
        .collect()
}

/// The parts of what a dispatch has: the index, and the document.
pub(super) fn parts(content: &Bytes) -> Option<(Bytes, Bytes)> {
    let end = content.iter().position(|byte| *byte == b'\n')?;
    Some((content.slice(..=end), content.slice(end + 1..)))
}

/// Of a file's name, by what it is.
pub(super) fn extension(content_type: &str) -> &'static str {
    match content_type {
        "application/pdf" => "pdf",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "application/rtf" | "text/rtf" => "rtf",
        "application/vnd.oasis.opendocument.text" => "odt",
        "text/plain" => "txt",
        "text/html" => "html",
        "text/xml" | "application/xml" => "xml",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/bmp" => "bmp",
        "image/tiff" => "tif",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_fetched_is_told_of_and_places_stay_the_same() {
        let data = json!({
            "documents": [
                {"document": "Binary/1", "status": "PENDING"},
                {"document": "Binary/2", "href": "/v1/commands/x/documents/files[0]"},
                {"href": "/v1/commands/x/documents/files[1]"},
            ],
            "clinicalInformation": {"href": "/v1/commands/x/documents/clinical"},
        });
        let found: Vec<_> = told(&data).into_iter().map(|told| (told.index, told.document)).collect();
        assert_eq!(found, [(1, "Binary/2"), (2, "clinicalInformation")]);
        assert!(told(&json!({"documents": "none"})).is_empty() && told(&json!(null)).is_empty());
    }

    #[test]
    fn a_document_may_have_line_ends() {
        let (index, document) = parts(&Bytes::from_static(b"{}\na\nb\n")).expect("two parts");
        assert_eq!((&index[..], &document[..]), (&b"{}\n"[..], &b"a\nb\n"[..]));
        assert!(parts(&Bytes::from_static(b"{}")).is_none());
    }
}
