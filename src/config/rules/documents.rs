//! Rules of documents in events, and of the folders that they are written to.

use std::collections::HashMap;

use super::{Broken, broken_rule, told};
use crate::config::{Config, InEvents};

/// A broker takes 16 MiB a message, and base64 is a third longer.
const INLINE_BYTES_MAX: usize = 10_000_000;
/// Of all events that are published and not confirmed yet, before base64.
const IN_FLIGHT_BYTES_MAX: usize = 500_000_000;

pub(super) fn broken_in(config: &Config, broken: &mut Vec<Broken>) {
    let documents = &config.documents;
    if !(1..=INLINE_BYTES_MAX).contains(&documents.inline_bytes_max) {
        let text = format!("must be 1 to {INLINE_BYTES_MAX}: larger documents are fetched from their href");
        broken.push(broken_rule("documents.inline_bytes_max", text));
    } else if documents.in_events == InEvents::Inline
        && let Some(broker) = &config.broker
        && documents.inline_bytes_max.saturating_mul(broker.in_flight_max) > IN_FLIGHT_BYTES_MAX
    {
        let fits = IN_FLIGHT_BYTES_MAX / documents.inline_bytes_max;
        broken.push(Broken {
            hint: Some(format!("broker.in_flight_max: {fits} fits")),
            ..broken_rule(
                "documents.inline_bytes_max",
                format!(
                    "times broker.in_flight_max is more than {IN_FLIGHT_BYTES_MAX} bytes, which would be in memory"
                ),
            )
        });
    }
    let mut paths = HashMap::new();
    for (index, folder) in documents.folders.iter().enumerate() {
        let key = |field: &str| format!("documents.folders[{index}].{field}");
        told::sources(config, &key, &folder.tells, broken);
        if folder.tells.is_empty() {
            broken.push(broken_rule(key("tells"), "needs at least one source or watch: else nothing is written"));
        }
        if folder.path.as_os_str().is_empty() {
            broken.push(broken_rule(key("path"), "must be a folder that is there"));
        } else if let Some(first) = paths.insert(&folder.path, index) {
            broken.push(broken_rule(key("path"), format!("is the folder of documents.folders[{first}] already")));
        }
        if config.destinations.iter().any(|destination| destination.name == folder.name) {
            broken.push(broken_rule(key("name"), format!("\"{}\" is already the name of a destination", folder.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Destination, Documents};

    fn broken_with(documents: Value) -> Vec<String> {
        let mut config = Config::demonstration();
        config.destinations.push(Destination::at("pas", "127.0.0.1:2575"));
        config.broker = Some(serde_json::from_value(json!({"urls": ["amqp://127.0.0.1"]})).expect("settings"));
        config.documents = serde_json::from_value::<Documents>(documents).expect("settings");
        super::super::broken(&config).into_iter().map(|broken| broken.key).collect()
    }

    #[test]
    fn what_could_not_be_written_or_would_fill_the_memory_is_told_with_its_key() {
        let folder = |name: &str, path: &str, tells: &[&str]| json!({"name": name, "path": path, "tells": tells});
        for (documents, broken) in [
            (json!({}), vec![]),
            (json!({"in_events": "inline"}), vec![]),
            (json!({"in_events": "inline", "inline_bytes_max": 2_000_000}), vec!["documents.inline_bytes_max"]),
            (json!({"inline_bytes_max": 2_000_000}), vec![]),
            (json!({"inline_bytes_max": 0}), vec!["documents.inline_bytes_max"]),
            (json!({"inline_bytes_max": 11_000_000}), vec!["documents.inline_bytes_max"]),
            (json!({"folders": [folder("dms", "in", &["northmoor"])]}), vec![]),
            (
                json!({"folders": [folder("dms", "", &["northmor"])]}),
                vec!["documents.folders[0].tells[0]", "documents.folders[0].path"],
            ),
            (
                json!({"folders": [folder("pas", "in", &[])]}),
                vec!["documents.folders[0].tells", "documents.folders[0].name"],
            ),
            (
                json!({"folders": [folder("a", "in", &["northmoor"]), folder("a", "in", &["northmoor"])]}),
                vec!["documents.folders[1].name", "documents.folders[1].path"],
            ),
        ] {
            assert_eq!(broken_with(documents.clone()), broken, "{documents}");
        }
    }
}
