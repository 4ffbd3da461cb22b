//! `/asyncapi.json`: every event that the gateway publishes (AsyncAPI 3.0.0), made from `schemas/events`.
//!
//! Guarantees: an event with a schema is in it, with that schema and the envelope that the broker carries.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::cloud_event::{MEDIA_TYPE, data_schema};
use super::schemas;

/// The document, made once.
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}", described()));
    &TEXT
}

fn described() -> Value {
    let events: Vec<(&str, Value)> = schemas::documents().collect();
    let referring = |place: &str| -> Map<String, Value> {
        events.iter().map(|(name, _)| ((*name).to_owned(), json!({ "$ref": format!("#/{place}/{name}") }))).collect()
    };
    let messages: Map<String, Value> =
        events.iter().map(|(name, schema)| ((*name).to_owned(), message(name, schema))).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of ers-gateway",
            "version": "1",
            "description": "What became of what hospitals sent, and what e-RS tells. Each event is published at least once, with the same id, \
                            in order for its thread; the broker confirms it before it leaves the outbox. The same events are at GET /v1/events.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            "events": {
                "address": "{event}",
                "description": "The topic exchange of `broker.exchange`; the routing key is the event's name.",
                "parameters": { "event": { "description": "The event's name." } },
                "messages": referring("components/messages"),
                "bindings": { "amqp": {
                    "is": "routingKey",
                    "exchange": { "name": "ers.events", "type": "topic", "durable": true, "autoDelete": false },
                    "bindingVersion": "0.3.0",
                } },
            },
        },
        "operations": {
            "publish": {
                "action": "send",
                "summary": "The gateway publishes what happened.",
                "channel": { "$ref": "#/channels/events" },
                "messages": referring("channels/events/messages").into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(),
                "bindings": { "amqp": { "deliveryMode": 2, "bindingVersion": "0.3.0" } },
            },
        },
        "components": { "messages": messages },
    })
}

fn message(name: &str, schema: &Value) -> Value {
    let mut data = schema.clone();
    if let Some(members) = data.as_object_mut() {
        members.retain(|member, _| !member.starts_with('$'));
    }
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "name": name,
        "title": name,
        "summary": schema["description"],
        "contentType": MEDIA_TYPE,
        "headers": {
            "type": "object",
            "properties": {
                "x-thread": text("As `partitionkey`, for consistent hashing."),
                "x-sequence": { "type": "integer", "description": "As `sequence`." },
            },
        },
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {
                "type": "object",
                "description": "CloudEvents 1.0, structured JSON mode.",
                "properties": {
                    "specversion": { "const": "1.0" },
                    "id": { "type": "string", "format": "uuid", "description": "The same whenever it is published again." },
                    "source": text("`/sources/` and the name of the source whose message it goes back to."),
                    "type": { "const": name },
                    "subject": text("What it is about."),
                    "time": { "type": "string", "format": "date-time" },
                    "datacontenttype": { "const": "application/json" },
                    "dataschema": { "const": data_schema(name) },
                    "partitionkey": text("A digest of the thread: all events about one referral have the same."),
                    "sequence": { "type": "string", "pattern": "^[0-9]{20}$", "description": "Counts within the thread." },
                    "data": data,
                },
                "required": [
                    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema",
                    "partitionkey", "sequence", "data",
                ],
                "additionalProperties": false,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::command::EventId;
    use crate::events::EventSchemas;
    use crate::events::cloud_event::cloud_event;
    use crate::store::StoredEvent;

    fn document() -> Value {
        serde_json::from_str(super::document()).expect("JSON")
    }

    #[test]
    fn the_description_is_valid_asyncapi_3_0_and_has_every_event() {
        let rules = include_str!("../../tests/data/asyncapi/3.0.0.json");
        let rules: Value = serde_json::from_str(rules).expect("JSON");
        let rules = jsonschema::validator_for(&rules).expect("a schema");
        let document = document();
        let problems: Vec<String> =
            rules.iter_errors(&document).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert_eq!(problems, [""; 0]);
        let mut broken = document.clone();
        broken["operations"]["publish"]["action"] = "shout".into();
        assert!(!rules.is_valid(&broken), "the rules rule something out");
        let described: Vec<&String> =
            document["components"]["messages"].as_object().expect("messages").keys().collect();
        let built_in = EventSchemas::built_in();
        let mut named: Vec<&str> = built_in.names().collect();
        named.sort_unstable();
        assert_eq!(described, named);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let messages = document["operations"]["publish"]["messages"].as_array().expect("a list");
        assert!(!messages.is_empty());
        for message in messages {
            let pointer = message["$ref"].as_str().expect("a reference").trim_start_matches('#');
            let next = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"))["$ref"].as_str();
            let next = next.expect("a reference").trim_start_matches('#');
            assert!(document.pointer(next).is_some(), "{next}");
        }
    }

    #[test]
    fn an_event_as_it_is_published_is_what_the_description_says() {
        let document = document();
        let payload = &document["components"]["messages"]["ReferralCreated"]["payload"]["schema"];
        let payload = jsonschema::validator_for(payload).expect("a schema");
        let id = "0190a5d8-0000-7000-8000-000000000001";
        let mut event = StoredEvent {
            position: 7,
            id: EventId(id.parse().expect("a literal UUID")),
            name: "ReferralCreated".into(),
            at: "2026-03-16T09:30:00Z".parse::<Timestamp>().expect("a literal instant"),
            source: "northmoor".into(),
            subject: id.into(),
            thread: "d1gest".into(),
            sequence: 3,
            data: json!({"ubrn": "000000070000", "message": id, "command": id, "priority": "URGENT"}),
        };
        assert!(payload.is_valid(&cloud_event(&event)), "{:#}", cloud_event(&event));
        event.data["priority"] = "SOON".into();
        assert!(!payload.is_valid(&cloud_event(&event)));
    }
}
