//! FHIR `Parameters`: named parts, each with the one value its name calls for.

use std::collections::HashMap;

use serde_json::Value;

use super::Issues;
use super::element::Element;

/// How often a parameter may occur, and the member that holds its value.
#[derive(Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    pub value: &'static str,
    pub mandatory: bool,
    pub repeats: bool,
}

pub const fn mandatory(name: &'static str, value: &'static str) -> Rule {
    Rule { name, value, mandatory: true, repeats: false }
}

pub const fn optional(name: &'static str, value: &'static str) -> Rule {
    Rule { name, value, mandatory: false, repeats: false }
}

pub const fn repeating(name: &'static str, value: &'static str) -> Rule {
    Rule { name, value, mandatory: true, repeats: true }
}

/// The values by parameter name, each with its path.
#[derive(Default)]
pub struct Parameters<'a> {
    values: HashMap<&'static str, Vec<Element<'a>>>,
}

impl<'a> Parameters<'a> {
    /// Those of a whole request body, which must be a Parameters resource of this profile.
    pub fn of_body(body: &'a Value, profile: &str, rules: &[Rule], issues: &mut Issues) -> Self {
        let body = Element::body(body);
        if body.object(&["resourceType", "id", "meta", "parameter"], issues).is_some() {
            body.resource("Parameters", &[profile], issues);
        }
        Self::read(&body, rules, issues)
    }

    /// Reads `parameter` of a Parameters resource, and reports what is unknown, repeated or missing.
    pub fn read(resource: &Element<'a>, rules: &[Rule], issues: &mut Issues) -> Self {
        let mut read = Self::default();
        let Some(list) = resource.required("parameter", issues) else { return read };
        for part in list.array(issues).unwrap_or_default() {
            read.take(&part, rules, issues);
        }
        for rule in rules.iter().filter(|rule| rule.mandatory && !read.values.contains_key(rule.name)) {
            issues.add("MISSING_VALUE", &list.path, format_args!("({}) parameter is mandatory", rule.name));
        }
        read
    }

    fn take(&mut self, part: &Element<'a>, rules: &[Rule], issues: &mut Issues) {
        if !part.value.is_object() {
            issues.add("INVALID_FHIR_STRUCTURE", &part.path, "must be an object");
            return;
        }
        let Some(name) = part.required("name", issues).and_then(|name| name.text(issues)) else { return };
        let Some(rule) = rules.iter().find(|rule| rule.name == name) else {
            issues.add("UNEXPECTED_FIELD", &part.path, format_args!("({name}) unknown parameter name"));
            return;
        };
        part.object(&["name", rule.value], issues);
        let known = self.values.entry(rule.name).or_default();
        if !known.is_empty() && !rule.repeats {
            issues.add("INVALID_FHIR_STRUCTURE", &part.path, format_args!("({name}) parameter must occur once"));
            return;
        }
        if let Some(value) = part.required(rule.value, issues) {
            known.push(value);
        }
    }

    pub fn one(&self, name: &str) -> Option<&Element<'a>> {
        self.values.get(name).and_then(|values| values.first())
    }

    pub fn all(&self, name: &str) -> &[Element<'a>] {
        self.values.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}
