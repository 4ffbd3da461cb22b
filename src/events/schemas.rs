//! The data of each event is checked against `schemas/events/<Name>.json` (JSON Schema, draft 2020-12).

use std::sync::{Arc, LazyLock};

use include_dir::{Dir, include_dir};
use serde_json::Value;

use crate::command::{CommandSchemas, SchemaProblem};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/schemas/events");

/// By event name, in its order: the schemas as they stand in their files.
pub(super) fn documents() -> impl Iterator<Item = (&'static str, Value)> {
    let mut files: Vec<_> = FILES.files().collect();
    files.sort_by_key(|file| file.path());
    files.into_iter().filter_map(|file| {
        let name = file.path().file_name()?.to_str()?.strip_suffix(".json")?;
        Some((name, serde_json::from_slice(file.contents()).ok()?))
    })
}

/// Compiled schemas by event name.
pub struct EventSchemas {
    schemas: CommandSchemas,
}

impl EventSchemas {
    /// The schemas that this build came with, compiled once.
    pub fn built_in() -> Arc<Self> {
        static COMPILED: LazyLock<Arc<EventSchemas>> = LazyLock::new(|| {
            let files = FILES.files().filter_map(|file| {
                let name = file.path().file_name()?.to_str()?.strip_suffix(".json")?;
                Some((name, file.contents_utf8()?))
            });
            let schemas = CommandSchemas::compile(files).expect("a test compiles every schema in schemas/events");
            Arc::new(EventSchemas { schemas })
        });
        COMPILED.clone()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.schemas.names()
    }

    pub fn knows(&self, name: &str) -> bool {
        self.schemas.knows(name)
    }

    /// Every violation; empty when `data` is what an event called `name` carries. The texts name rules,
    /// never values. Whoever makes an event asks here before it is stored.
    pub fn violations(&self, name: &str, data: &Value) -> Vec<SchemaProblem> {
        if self.knows(name) {
            return self.schemas.violations(name, data);
        }
        vec![SchemaProblem {
            pointer: String::new(),
            keyword: "event".into(),
            text: format!("there is no schemas/events/{name}.json"),
        }]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::cloud_event::data_schema;

    #[test]
    fn every_schema_names_itself_and_is_closed() {
        for file in FILES.files() {
            let path = file.path().display();
            let name = file.path().file_stem().and_then(|stem| stem.to_str()).expect("a file name in UTF-8");
            let schema: Value = serde_json::from_slice(file.contents()).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{path}");
            assert_eq!(schema["$id"], data_schema(name), "{path}");
            assert_eq!(schema["title"], name, "{path}");
            assert!(schema["description"].is_string(), "{path}");
            assert_closed(&schema, &path.to_string());
        }
    }

    /// An object that lists its members takes no others: a patient's data can't slip in beside them.
    fn assert_closed(schema: &Value, path: &str) {
        if schema.get("properties").is_some() {
            assert_eq!(schema["additionalProperties"], json!(false), "{path}");
        }
        match schema {
            Value::Object(members) => members.values().for_each(|member| assert_closed(member, path)),
            Value::Array(entries) => entries.iter().for_each(|entry| assert_closed(entry, path)),
            _ => {}
        }
    }

    #[test]
    fn the_events_of_the_design_have_schemas() {
        let schemas = EventSchemas::built_in();
        for name in [
            "ReferralCreated",
            "ReferralLetterAttached",
            "ReferralSentForTriage",
            "ReferralCancelled",
            "ReferralLetterRemoved",
            "ReferralLetterAvailable",
            "ReferralLetterUnavailable",
            "ReferralShortlistChanged",
            "ReferralAccepted",
            "ReferralRejected",
            "AppointmentCancelledActionLater",
            "ReviewOutcomeRecorded",
            "AdviceResponded",
            "AdviceConverted",
            "PatientLetterGenerated",
            "AdviceRequestCreated",
            "AppointmentBooked",
            "AppointmentDeferred",
            "AppointmentCancelled",
            "PatientWithoutAppointment",
            "PatientMustBeTold",
            "PatientNumberSuperseded",
            "CommandFailed",
            "CommandInDoubt",
            "AuthorisationRequired",
            "MessageRejected",
            "MessageNoticed",
        ] {
            assert!(schemas.knows(name), "{name}");
        }
    }

    /// What delivery adds to every event of a plan.
    const ADDED: [&str; 2] = ["message", "command"];

    #[test]
    fn every_event_that_a_mapping_makes_has_a_schema_that_takes_its_members() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/ers");
        let fragments = std::fs::read_to_string(format!("{folder}/fragments.yaml")).expect("the fragments are there");
        let fragments: Value = serde_saphyr::from_str(&fragments).expect("YAML");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the mappings are there") {
            let path = entry.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("a text file");
            let mapping: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            // `steps.yaml` names lists of steps; a plan's are under `steps`.
            let lists = mapping.as_object().into_iter().flat_map(|members| members.values());
            let steps = lists.filter_map(Value::as_array).flatten();
            let halted = mapping["halted"].as_array().into_iter().flatten();
            for event in steps.flat_map(|step| step["events"].as_array().into_iter().flatten()).chain(halted) {
                let place = format!("{}: {}", path.display(), event["event"]);
                let name = event["event"].as_str().expect("a name");
                let file = FILES.get_file(format!("{name}.json")).unwrap_or_else(|| panic!("{place}: no schema"));
                let schema: Value = serde_json::from_slice(file.contents()).expect("JSON");
                let data = event["data"]["$use"].as_str().map_or(&event["data"], |fragment| &fragments[fragment]);
                let made = data.as_object().expect("data has members");
                for member in made.keys() {
                    assert!(schema["properties"].get(member).is_some(), "{place}: {member} is not in the schema");
                }
                for member in schema["required"].as_array().expect("a list").iter().filter_map(Value::as_str) {
                    assert!(made.contains_key(member) || ADDED.contains(&member), "{place}: {member} is missing");
                }
                seen += 1;
            }
        }
        assert!(seen > 0, "no events in {folder}");
    }

    #[test]
    fn data_is_refused_with_the_rule_it_breaks_and_without_its_value() {
        let schemas = EventSchemas::built_in();
        let command = "0190a5d8-0000-7000-8000-000000000001";
        let good = json!({"ubrn": "000000070000", "message": command, "command": command, "priority": "URGENT"});
        assert_eq!(schemas.violations("ReferralCreated", &good), []);
        for (change, pointer) in [
            (json!({"ubrn": "70000"}), "/ubrn"),
            (json!({"nhsNumber": "9994120034"}), ""),
            (json!({"command": "first"}), "/command"),
        ] {
            let mut data = good.clone();
            let members = data.as_object_mut().expect("an object");
            members.extend(change.as_object().expect("an object").clone());
            let found = schemas.violations("ReferralCreated", &data);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].pointer, pointer);
            assert!(!found[0].text.contains("9994120034"), "{}", found[0].text);
        }
        assert_eq!(schemas.violations("ReferralLost", &good).len(), 1);
    }
}
