//! What events carry: an event's shape is the gateway's, not a mapping's.

use include_dir::{Dir, include_dir};
use serde_json::Value;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/schemas/events");

/// The schema of an event's data.
pub fn event_schema(name: &str) -> Option<Value> {
    let file = FILES.get_file(format!("{name}.json"))?;
    serde_json::from_slice(file.contents()).ok()
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FILES.files().filter_map(|file| file.path().file_stem()?.to_str())
}
