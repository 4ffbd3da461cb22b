//! A document that e-RS answered with, as delivery kept it in the attempt of a step.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{AttemptView, FetchedStore, Result, Store, StoreError, damaged};
use crate::command::{AttemptId, CommandId};

/// A file in an answer of e-RS.
#[derive(Clone, Copy, Debug)]
pub struct KeptDocument<'a> {
    pub bytes: u64,
    place: Place<'a>,
    response: &'a Value,
}

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// In chunks beside this attempt.
    Fetched(AttemptId),
    /// As versions before 0008 kept it: base64 in the attempt.
    Attempt(&'a str),
}

impl<'a> KeptDocument<'a> {
    /// That of the newest answer of a step. A step that was answered with anything else has none.
    pub fn newest(attempts: &'a [AttemptView], step: &str) -> Option<Self> {
        let answered = |attempt: &&AttemptView| attempt.step == step && attempt.outcome.as_deref() == Some("ok");
        let attempt = attempts.iter().rev().find(answered)?;
        Self::of(attempt.id, &attempt.response)
    }

    /// Of an answer as delivery keeps it.
    pub fn of(attempt: AttemptId, response: &'a Value) -> Option<Self> {
        let body = &response["body"];
        if let Some(bytes) = body["document"]["bytes"].as_u64() {
            return Some(Self { bytes, place: Place::Fetched(attempt), response });
        }
        let base64 = body["base64"].as_str()?;
        let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
        let bytes = (base64.len() / 4 * 3).saturating_sub(padding) as u64;
        Some(Self { bytes, place: Place::Attempt(base64), response })
    }

    /// MIME type.
    pub fn content_type(&self) -> Option<&'a str> {
        self.header("content-type")
    }

    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut held = self.response["headers"].as_object()?.iter();
        held.find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
    }

    /// The part at `position`, from 0; `None` behind the last.
    pub async fn part(&self, store: &dyn FetchedStore, command: CommandId, position: u32) -> Result<Option<Bytes>> {
        match self.place {
            Place::Fetched(attempt) => store.fetched(command, attempt, position).await,
            Place::Attempt(_) if position > 0 => Ok(None),
            Place::Attempt(base64) => {
                let bytes = STANDARD.decode(base64).map_err(|_| damaged("a document is not in base64"))?;
                Ok(Some(bytes.into()))
            }
        }
    }

    /// All of it.
    pub async fn whole(&self, store: &dyn FetchedStore, command: CommandId) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        for position in 0.. {
            let Some(part) = self.part(store, command, position).await? else { break };
            whole.extend_from_slice(&part);
        }
        match whole.len() as u64 == self.bytes {
            true => Ok(whole.freeze()),
            false => Err(damaged("a part of a document is missing")),
        }
    }
}

/// The document at the place that an event names.
#[derive(Clone, Debug)]
pub struct FoundDocument {
    pub content_type: Option<String>,
    pub bytes: Bytes,
}

impl FoundDocument {
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }
}

/// The document at a place, or why there is none.
pub async fn document_at(store: &dyn Store, href: &str) -> Result<std::result::Result<FoundDocument, &'static str>> {
    const UNREADABLE: &str = "the document that goes along cannot be read";
    let Some((command, step)) = place_of_document(href) else {
        return Ok(Err("the event names no place of a document that the gateway has"));
    };
    let attempts = match store.attempts(command).await {
        Err(error @ StoreError::Unavailable(_)) => return Err(error),
        Err(_) => return Ok(Err(UNREADABLE)),
        Ok(attempts) => attempts,
    };
    let Some(kept) = KeptDocument::newest(&attempts, &step) else {
        return Ok(Err("the document that goes along is not kept any more"));
    };
    match kept.whole(store, command).await {
        Err(error @ StoreError::Unavailable(_)) => Err(error),
        Err(_) => Ok(Err(UNREADABLE)),
        Ok(bytes) => Ok(Ok(FoundDocument { content_type: kept.content_type().map(plain_type), bytes })),
    }
}

/// Without parameters: `text/plain; charset=utf-8` is `text/plain`.
fn plain_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `/v1/commands/{id}/documents/{step}`, where the gateway serves it: command and step.
pub fn place_of_document(href: &str) -> Option<(CommandId, String)> {
    let (command, step) = href.strip_prefix("/v1/commands/")?.split_once("/documents/")?;
    Some((command.parse().ok()?, percent_decoded(step)?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?, after)
            }
            (b'%', _) => return None,
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_is_that_of_a_step_of_a_command() {
        let id = "0190a5d8-0000-7000-8000-000000000001";
        for (href, step) in [
            (format!("/v1/commands/{id}/documents/letter"), Some("letter")),
            (format!("/v1/commands/{id}/documents/file%5B0%5D"), Some("file[0]")),
            (format!("/v1/commands/{id}/documents/file[0]"), Some("file[0]")),
            (format!("/v1/commands/{id}/documents/file%5"), None),
            ("/v1/commands/first/documents/letter".into(), None),
            (format!("https://example.invalid/v1/commands/{id}/documents/letter"), None),
        ] {
            let found = place_of_document(&href);
            assert_eq!(found.as_ref().map(|(_, step)| step.as_str()), step, "{href}");
            assert!(found.is_none_or(|(command, _)| command.to_string() == id), "{href}");
        }
    }

    #[tokio::test]
    async fn what_an_earlier_version_kept_is_read_as_well() {
        let environment = crate::environment::Environment::system();
        let folder = tempfile::tempdir().expect("a folder");
        let store = crate::store::sqlite::SqliteStore::open(folder.path().join("store.db"), &environment).await;
        let store = store.expect("opened");
        let (command, attempt) = (CommandId(environment.new_id()), AttemptId(environment.new_id()));
        for (base64, bytes) in [("JVBERi0=", &b"%PDF-"[..]), ("JVBERi0x", b"%PDF-1"), ("", b"")] {
            let response = json!({ "headers": {}, "body": { "base64": base64 } });
            let kept = KeptDocument::of(attempt, &response).expect("a document");
            assert_eq!(kept.bytes, bytes.len() as u64);
            assert_eq!(kept.whole(&store, command).await.expect("read"), bytes);
        }
        for body in [json!({ "id": "1" }), json!(null), json!({ "document": "x" })] {
            assert!(KeptDocument::of(attempt, &json!({ "headers": {}, "body": body })).is_none(), "{body}");
        }
        // What the attempt says, and is not there.
        let response = json!({ "headers": {}, "body": { "document": { "bytes": 5 } } });
        let kept = KeptDocument::of(attempt, &response).expect("a document");
        assert!(matches!(kept.whole(&store, command).await, Err(StoreError::Damaged(_))));
    }
}
