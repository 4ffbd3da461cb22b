//! A document that e-RS answered with, as delivery kept it in the attempt of a step.

use serde_json::Value;

use super::{AttemptView, Result, Store, StoreError};
use crate::command::CommandId;

/// A file in an answer of e-RS.
#[derive(Clone, Copy, Debug)]
pub struct KeptDocument<'a> {
    pub base64: &'a str,
    response: &'a Value,
}

impl<'a> KeptDocument<'a> {
    /// That of the newest answer of a step. A step that was answered with anything else has none.
    pub fn newest(attempts: &'a [AttemptView], step: &str) -> Option<Self> {
        let answered = |attempt: &&AttemptView| attempt.step == step && attempt.outcome.as_deref() == Some("ok");
        Self::of(&attempts.iter().rev().find(answered)?.response)
    }

    /// Of an answer as delivery keeps it.
    pub fn of(response: &'a Value) -> Option<Self> {
        Some(Self { base64: response["body"]["base64"].as_str()?, response })
    }

    /// MIME type.
    pub fn content_type(&self) -> Option<&'a str> {
        self.header("content-type")
    }

    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut held = self.response["headers"].as_object()?.iter();
        held.find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
    }
}

/// The document at the place that an event names.
#[derive(Clone, Debug)]
pub struct FoundDocument {
    pub content_type: Option<String>,
    pub base64: String,
}

impl FoundDocument {
    /// How large it is, or a little less than three bytes more.
    pub fn bytes_about(&self) -> usize {
        self.base64.len() / 4 * 3
    }
}

/// The document at a place, or why there is none.
pub async fn document_at(store: &dyn Store, href: &str) -> Result<std::result::Result<FoundDocument, &'static str>> {
    let Some((command, step)) = place_of_document(href) else {
        return Ok(Err("the event names no place of a document that the gateway has"));
    };
    let attempts = match store.attempts(command).await {
        Err(error @ StoreError::Unavailable(_)) => return Err(error),
        Err(_) => return Ok(Err("the document that goes along cannot be read")),
        Ok(attempts) => attempts,
    };
    Ok(match KeptDocument::newest(&attempts, &step) {
        None => Err("the document that goes along is not kept any more"),
        Some(kept) => {
            Ok(FoundDocument { content_type: kept.content_type().map(plain_type), base64: kept.base64.to_owned() })
        }
    })
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
}
