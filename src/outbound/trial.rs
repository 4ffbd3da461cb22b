//! The messages of an event, tried without a store: for tests beside the mappings.

use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::addressee::Addressee;
use super::telling::{Names, Telling};
use crate::command::{EventId, Ubrn};
use crate::config::{Destination, EnvironmentName};
use crate::given::Which;
use crate::mapping::{MappingSet, OutboundTest};
use crate::store::{Made, StoredEvent};

/// Names that say which they are, in place of keyed ones.
#[derive(Default)]
struct Numbered(AtomicUsize);

impl Names for Numbered {
    fn control_id(&self, _: &Which<'_>) -> String {
        format!("MESSAGE-{}", self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn referral(&self, ubrn: &Ubrn) -> String {
        format!("{}-GATEWAY", ubrn.as_str())
    }
}

/// What a test's event makes by a dialect: messages, or why one could not be made. An error if there is nothing to try.
pub fn try_event(set: &MappingSet, dialect: &str, test: &OutboundTest) -> Result<Vec<Result<String, String>>, String> {
    let found = set.outbound(dialect).ok_or_else(|| format!("there is no outbound/{dialect}"))?;
    let at: Timestamp = test.at.parse().map_err(|_| "`at` is not a time such as 2026-03-16T09:30:15Z".to_owned())?;
    let mut destination = Destination::at("tested", "localhost:1");
    destination.dialect = dialect.to_owned();
    destination.settings = test.settings.clone();
    let addressee = Addressee::of(&destination, EnvironmentName::Simulator);
    let event = StoredEvent {
        position: 1,
        id: EventId(Uuid::nil()),
        name: test.event.clone(),
        at,
        source: "tested".into(),
        subject: String::new(),
        thread: String::new(),
        sequence: 1,
        data: test.data.clone(),
    };
    let names = Numbered::default();
    let telling = Telling::new(&addressee, &event, &names);
    let mut messages = Vec::new();
    for planned in telling.plan(found) {
        let document = match planned.document() {
            None => serde_json::Value::Null,
            Some(href) => match test.documents.get(href) {
                Some(base64) => json!({ "contentType": null, "base64": base64 }),
                None => {
                    messages.push(Err(format!("the test has no document at {href}")));
                    continue;
                }
            },
        };
        messages.push(match telling.make(&planned, document, at) {
            Made::Message(content) => Ok(String::from_utf8_lossy(&content.bytes).into_owned()),
            Made::Unmade(why) => Err(why),
        });
    }
    Ok(messages)
}
