//! The envelope: CloudEvents 1.0 in structured JSON mode.

use serde_json::{Value, json};

use crate::store::StoredEvent;

pub const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// `type` is the event's name as it is in the routing key. `partitionkey` is the thread's digest, by which
/// consumers may spread the load and keep the order. `sequence` counts within the thread, with leading
/// zeros: the CloudEvents extension of that name is a string that sorts.
pub fn cloud_event(event: &StoredEvent) -> Value {
    json!({
        "specversion": "1.0",
        "id": event.id,
        "source": format!("/sources/{}", path_segment(&event.source)),
        "type": event.name,
        "subject": event.subject,
        "time": event.at,
        "datacontenttype": "application/json",
        "dataschema": data_schema(&event.name),
        "partitionkey": event.thread,
        "sequence": format!("{:020}", event.sequence),
        "data": event.data,
    })
}

/// `$id` of the schema of an event's data.
pub fn data_schema(name: &str) -> String {
    format!("urn:ers-gateway:events:{name}:1")
}

/// `source` is a URI reference: what RFC 3986 does not allow in a path segment is percent-encoded.
fn path_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::command::EventId;

    #[test]
    fn an_event_is_wrapped_as_cloudevents_1_0_prescribes() {
        let event = StoredEvent {
            position: 7,
            id: EventId("0190a5d8-0000-7000-8000-000000000001".parse().expect("a literal UUID")),
            name: "ReferralCreated".into(),
            at: "2026-03-16T09:30:00Z".parse::<Timestamp>().expect("a literal instant"),
            source: "north moor/é".into(),
            subject: "0190a5d8-0000-7000-8000-000000000002".into(),
            thread: "d1gest".into(),
            sequence: 3,
            data: json!({"ubrn": "000000070000"}),
        };
        assert_eq!(
            cloud_event(&event),
            json!({
                "specversion": "1.0",
                "id": "0190a5d8-0000-7000-8000-000000000001",
                "source": "/sources/north%20moor%2F%C3%A9",
                "type": "ReferralCreated",
                "subject": "0190a5d8-0000-7000-8000-000000000002",
                "time": "2026-03-16T09:30:00Z",
                "datacontenttype": "application/json",
                "dataschema": "urn:ers-gateway:events:ReferralCreated:1",
                "partitionkey": "d1gest",
                "sequence": "00000000000000000003",
                "data": {"ubrn": "000000070000"},
            })
        );
    }
}
