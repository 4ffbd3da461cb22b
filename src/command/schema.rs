//! Commands are checked against `schemas/commands/<Name>.json` (JSON Schema, draft 2020-12).

use std::collections::BTreeMap;

use serde_json::Value;

/// More of them are counted.
const UNKNOWN_MEMBERS_SHOWN: usize = 10;

/// Compiled schemas by command name.
pub struct CommandSchemas {
    validators: BTreeMap<String, jsonschema::Validator>,
}

/// Violations of one body that are told: whoever sends rubbish without end hears of its beginning.
const VIOLATIONS_MAX: usize = 200;

/// One violation. The text names the rule, never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaProblem {
    /// JSON pointer to the offending place; for something missing, to where it should be.
    pub pointer: String,
    /// `required`, `enum`, `pattern`, …
    pub keyword: String,
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("schemas/commands/{name}.json is not JSON: {source}")]
    NotJson { name: String, source: serde_json::Error },
    #[error("schemas/commands/{name}.json is not a valid schema: {text}")]
    NotASchema { name: String, text: String },
}

impl CommandSchemas {
    /// Compiles `(name, JSON text)` pairs; every broken one is reported.
    pub fn compile<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Vec<SchemaError>> {
        let mut validators = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, text) in files {
            let compiled = serde_json::from_str::<Value>(text)
                .map_err(|source| SchemaError::NotJson { name: name.to_owned(), source })
                .and_then(|schema| {
                    jsonschema::draft202012::new(&schema)
                        .map_err(|error| SchemaError::NotASchema { name: name.to_owned(), text: error.to_string() })
                });
            match compiled {
                Ok(validator) => {
                    validators.insert(name.to_owned(), validator);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Self { validators }) } else { Err(problems) }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.validators.keys().map(String::as_str)
    }

    pub fn knows(&self, name: &str) -> bool {
        self.validators.contains_key(name)
    }

    /// Every violation (of very many, the first); empty when `body` is a valid `name`.
    pub fn violations(&self, name: &str, body: &Value) -> Vec<SchemaProblem> {
        let Some(validator) = self.validators.get(name) else {
            return vec![SchemaProblem {
                pointer: String::new(),
                keyword: "command".into(),
                text: format!("is not known; the commands are {}", self.names().collect::<Vec<_>>().join(", ")),
            }];
        };
        if validator.is_valid(body) {
            return Vec::new();
        }
        validator.iter_errors(body).take(VIOLATIONS_MAX).map(|error| describe(&error)).collect()
    }
}

/// By their places: a name that nobody knows may be a patient's, too.
fn unknown_members(object: &Value, unexpected: &[String]) -> String {
    let members = object.as_object().into_iter().flat_map(|members| members.keys()).enumerate();
    let places: Vec<String> = members
        .filter(|(_, name)| unexpected.contains(name))
        .map(|(place, _)| (place + 1).to_string())
        .take(UNKNOWN_MEMBERS_SHOWN)
        .collect();
    match &places[..] {
        [place] => format!("has an unknown member: number {place}"),
        places => format!("has {} unknown members: numbers {}", unexpected.len(), places.join(", ")),
    }
}

/// Says which rule is broken without repeating the value: it may be a patient's.
fn describe(error: &jsonschema::ValidationError<'_>) -> SchemaProblem {
    use jsonschema::error::ValidationErrorKind as Kind;
    let at = error.instance_path().to_string();
    let (pointer, text) = match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            (format!("{at}/{name}"), "is required".to_owned())
        }
        Kind::AdditionalProperties { unexpected } => (at, unknown_members(error.instance(), unexpected)),
        Kind::Enum { options } => (at, format!("must be one of {options}")),
        Kind::Constant { expected_value } => (at, format!("must be {expected_value}")),
        Kind::Pattern { pattern } => (at, format!("must match {pattern}")),
        Kind::MinItems { limit } => (at, format!("must have at least {limit} entries")),
        Kind::MaxItems { limit } => (at, format!("must have at most {limit} entries")),
        Kind::MinLength { limit } => (at, format!("must have at least {limit} characters")),
        Kind::MaxLength { limit } => (at, format!("must have at most {limit} characters")),
        Kind::UniqueItems => (at, "must not repeat an entry".to_owned()),
        Kind::Format { format } => (at, format!("must be a {format}")),
        Kind::Type { .. } => (at, "has the wrong type".to_owned()),
        Kind::Minimum { limit } => (at, format!("must be at least {limit}")),
        Kind::Maximum { limit } => (at, format!("must be at most {limit}")),
        other => (at, format!("breaks the rule {}", other.keyword())),
    };
    SchemaProblem { pointer, keyword: error.kind().keyword().to_owned(), text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_violation_names_the_rule_and_nothing_of_the_sender() {
        let schema = r#"{
            "type": "object", "additionalProperties": false, "required": ["priority"],
            "properties": {"priority": {"enum": ["ROUTINE", "URGENT"]}, "days": {"type": "integer"}}
        }"#;
        let schemas =
            CommandSchemas::compile([("CreateReferral", schema)]).unwrap_or_else(|errors| panic!("{errors:?}"));
        let says = |body: &Value| -> Vec<String> {
            schemas
                .violations("CreateReferral", body)
                .into_iter()
                .map(|p| format!("{} {}", p.pointer, p.text))
                .collect()
        };
        for (body, said) in [
            (json!({}), "/priority is required"),
            (json!({"priority": "Fauxley"}), r#"/priority must be one of ["ROUTINE","URGENT"]"#),
            (json!({"priority": "ROUTINE", "Fauxley": 1}), " has an unknown member: number 2"),
            (json!({"a": 1, "priority": "ROUTINE", "b": 1}), " has 2 unknown members: numbers 1, 3"),
            (json!({"priority": "ROUTINE", "days": "Fauxley"}), "/days has the wrong type"),
        ] {
            assert_eq!(says(&body), [said], "{body}");
        }
        let unknown = &schemas.violations("Fauxley", &json!({}))[0];
        assert_eq!(unknown.text, "is not known; the commands are CreateReferral");
    }
}
