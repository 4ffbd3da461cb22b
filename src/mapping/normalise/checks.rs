//! What a command must be before it leaves: its NHS number counted, its schema held, each violation told in the sender's terms.

use serde_json::Value;

use super::super::dialect::InboundMapping;
use super::super::problem::Problem;
use super::{DATA_TYPE_ERROR, Normaliser, REQUIRED_FIELD_MISSING, TABLE_VALUE_NOT_FOUND};
use crate::command::NhsNumber;

impl<'m> Normaliser<'m, '_> {
    /// A schema cannot count a check digit, and a number made by an expression or without a filter has met none.
    pub(super) fn check_nhs_number(&mut self, mapping: &'m InboundMapping, body: &Value) {
        const POINTER: &str = "/patient/nhsNumber";
        let number = body.pointer(POINTER).and_then(Value::as_str);
        if let Some(Err(error)) = number.map(NhsNumber::parse) {
            let (location, _) = mapping.place_of(&self.document, POINTER);
            self.problems.push(Problem::new(location, DATA_TYPE_ERROR, format!("Data type error, {error}")));
        }
    }

    /// The command's schema, its violations put at the places that their values come from.
    pub(super) fn check_schema(&mut self, mapping: &'m InboundMapping, name: &str, body: &Value) {
        for violation in self.dialect.schemas().violations(name, body) {
            let (location, label) = mapping.place_of(&self.document, &violation.pointer);
            let (code, text) = match violation.keyword.as_str() {
                "required" | "minItems" => (REQUIRED_FIELD_MISSING, format!("Required field missing, {label}")),
                "enum" | "const" => {
                    (TABLE_VALUE_NOT_FOUND, format!("Table value not found: {label} {}", violation.text))
                }
                "maxLength" | "maxItems" => (104, format!("Value too long: {label} {}", violation.text)),
                _ => (DATA_TYPE_ERROR, format!("Data type error: {label} {}", violation.text)),
            };
            let problem = Problem::new(location, code, text);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }
}
