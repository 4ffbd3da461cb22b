//! What becomes of documents that were fetched from e-RS, besides being served at their `href`.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Documents {
    pub in_events: InEvents,
    /// Of all documents of one event together, before base64.
    pub inline_bytes_max: usize,
    pub folders: Vec<DocumentFolder>,
}

impl Default for Documents {
    fn default() -> Self {
        Self { in_events: InEvents::default(), inline_bytes_max: 500_000, folders: Vec::new() }
    }
}

/// What an event has of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InEvents {
    /// Size, type, digest, and where it is served.
    #[default]
    Link,
    /// The document as well, in base64.
    Inline,
}

/// A folder from which a document system takes what it finds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentFolder {
    /// In metrics and among dispatches, as that of a destination.
    pub name: String,
    /// Has to be there: the gateway never makes it.
    pub path: PathBuf,
    /// Sources and watches whose documents are written.
    pub tells: Vec<String>,
    /// As of a destination.
    #[serde(default)]
    pub catch_up: bool,
}
