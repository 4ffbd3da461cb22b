//! A place in a body, and the questions that every rule asks of it.

use serde_json::{Map, Value};

use super::Issues;

/// A JSON value and its path from the body (`parameter[0]/resource/entry[2]`).
pub struct Element<'a> {
    pub value: &'a Value,
    pub path: String,
}

impl<'a> Element<'a> {
    pub fn body(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    fn member_path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// Reports anything but an object, and every member that is not in `allowed`.
    pub fn object(&self, allowed: &[&str], issues: &mut Issues) -> Option<&'a Map<String, Value>> {
        let Value::Object(members) = self.value else {
            issues.add("INVALID_FHIR_STRUCTURE", &self.path, "must be an object");
            return None;
        };
        for name in members.keys().filter(|name| !allowed.contains(&name.as_str())) {
            issues.add("UNEXPECTED_FIELD", &self.member_path(name), "unexpected field");
        }
        Some(members)
    }

    pub fn optional(&self, name: &str) -> Option<Element<'a>> {
        let value = self.value.get(name)?;
        Some(Element { value, path: self.member_path(name) })
    }

    pub fn required(&self, name: &str, issues: &mut Issues) -> Option<Element<'a>> {
        let member = self.optional(name);
        if member.is_none() {
            issues.add("MISSING_VALUE", &self.member_path(name), "is mandatory");
        }
        member
    }

    pub fn array(&self, issues: &mut Issues) -> Option<Vec<Element<'a>>> {
        let Value::Array(items) = self.value else {
            issues.add("INVALID_FHIR_STRUCTURE", &self.path, "must be an array");
            return None;
        };
        let item = |(index, value)| Element { value, path: format!("{}[{index}]", self.path) };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// An array of exactly one item.
    pub fn only_item(&self, issues: &mut Issues) -> Option<Element<'a>> {
        let mut items = self.array(issues)?;
        match items.len() {
            1 => items.pop(),
            0 => {
                issues.add("MISSING_VALUE", &self.path, "must have an item");
                None
            }
            _ => {
                issues.add("TOO_MANY_ITEMS", &self.path, "must have one item only");
                None
            }
        }
    }

    /// FHIR strings are never empty.
    pub fn text(&self, issues: &mut Issues) -> Option<&'a str> {
        match self.value {
            Value::String(text) if text.trim().is_empty() => {
                issues.add("MISSING_VALUE", &self.path, "must not be empty");
                None
            }
            Value::String(text) => Some(text),
            _ => {
                issues.add("INVALID_VALUE", &self.path, "must be a string");
                None
            }
        }
    }

    /// A text of so many characters at most.
    pub fn text_up_to(&self, characters_max: usize, issues: &mut Issues) -> Option<&'a str> {
        let text = self.text(issues)?;
        if text.chars().count() > characters_max {
            issues.add("INVALID_VALUE", &self.path, format_args!("at most {characters_max} characters"));
        }
        Some(text)
    }

    pub fn boolean(&self, issues: &mut Issues) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            issues.add("INVALID_VALUE", &self.path, "must be true or false");
        }
        value
    }

    /// FHIR `unsignedInt`: 0 to 2 147 483 647.
    pub fn unsigned(&self, issues: &mut Issues) -> Option<u32> {
        let value =
            self.value.as_u64().and_then(|value| i32::try_from(value).ok()).and_then(|value| value.try_into().ok());
        if value.is_none() {
            issues.add("INVALID_VALUE", &self.path, "must be a whole number of 0 or more");
        }
        value
    }

    pub fn fixed(&self, expected: &str, issues: &mut Issues) -> Option<()> {
        let text = self.text(issues)?;
        if text != expected {
            issues.add("INVALID_VALUE", &self.path, format_args!("must be {expected}"));
            return None;
        }
        Some(())
    }

    /// `resourceType`, and `meta.profile` naming exactly `profiles`.
    pub fn resource(&self, kind: &str, profiles: &[&str], issues: &mut Issues) {
        if let Some(found) = self.required("resourceType", issues)
            && found.value.as_str() != Some(kind)
        {
            issues.add("INVALID_FHIR_STRUCTURE", &found.path, format_args!("must be {kind}"));
        }
        let Some(meta) = self.required("meta", issues) else { return };
        if meta.object(&["profile", "versionId", "lastUpdated"], issues).is_none() {
            return;
        }
        let Some(profile) = meta.required("profile", issues) else { return };
        let Some(found) = profile.array(issues) else { return };
        for expected in profiles {
            if !found.iter().any(|item| item.value.as_str() == Some(expected)) {
                let code = if found.is_empty() { "MISSING_VALUE" } else { "INVALID_VALUE" };
                issues.add(code, &profile.path, format_args!("must contain {expected}"));
            }
        }
        for item in found.iter().filter(|item| !item.value.as_str().is_some_and(|text| profiles.contains(&text))) {
            issues.add("INVALID_VALUE", &item.path, "is not a profile of this resource");
        }
    }

    /// The `value` of an Identifier in `system`.
    pub fn identifier(&self, system: &str, issues: &mut Issues) -> Option<&'a str> {
        self.object(&["system", "value"], issues)?;
        let right = self.required("system", issues).and_then(|found| found.fixed(system, issues));
        let value = self.required("value", issues).and_then(|found| found.text(issues));
        right.and(value)
    }

    /// The `code` of a Coding whose system passes `is_system`.
    pub fn coding(&self, system: System<'_>, issues: &mut Issues) -> Option<&'a str> {
        self.object(&["system", "code", "display"], issues)?;
        let right = self.required("system", issues).and_then(|found| {
            let text = found.text(issues)?;
            if !system.is(text) {
                issues.add("INVALID_VALUE", &found.path, format_args!("must be {system}"));
                return None;
            }
            Some(())
        });
        if let Some(display) = self.optional("display") {
            display.text(issues);
        }
        let code = self.required("code", issues).and_then(|found| found.text(issues));
        right.and(code)
    }

    /// A Coding whose code is one of a closed list.
    pub fn one_of(&self, system: &str, codes: &[&'static str], issues: &mut Issues) -> Option<&'static str> {
        let code = self.coding(System::Exactly(system), issues)?;
        let known = codes.iter().find(|known| **known == code);
        if known.is_none() {
            issues.add("INVALID_CODE", &self.path, format_args!("code must be one of {}", codes.join(", ")));
        }
        known.copied()
    }
}

/// Which code system a Coding may name.
#[derive(Clone, Copy)]
pub enum System<'a> {
    Exactly(&'a str),
    /// Reference data: its URL stands below the API base of the environment, so only this key counts.
    ReferenceData(&'a str),
}

impl System<'_> {
    fn is(self, text: &str) -> bool {
        match self {
            Self::Exactly(system) => text == system,
            Self::ReferenceData(key) => {
                text.rsplit_once("/STU3/CodeSystem/").is_some_and(|(base, found)| found == key && !base.is_empty())
            }
        }
    }
}

impl std::fmt::Display for System<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(system) => f.write_str(system),
            Self::ReferenceData(key) => write!(f, "{{base}}/STU3/CodeSystem/{key}"),
        }
    }
}
