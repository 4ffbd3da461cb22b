//! A Patient resource of PDS, as far as it is judged. Everything in it is optional but its number.

use serde_json::Value;

const VERIFICATION: &str = "Extension-UKCore-NHSNumberVerificationStatus";
const DEATH: &str = "Extension-UKCore-DeathNotificationStatus";
const REMOVAL: &str = "Extension-PDS-RemovalFromRegistration";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: String,
    pub(super) version: Option<String>,
    pub(super) names: Vec<Name>,
    /// A date, or its year and month, or its year.
    pub(super) birth_date: Option<String>,
    pub(super) gender: Option<String>,
    pub(super) is_of_multiple_birth: bool,
    pub(super) is_deceased: bool,
    /// `1` informal, `2` formal, `U` withdrawn.
    pub(super) death_status: Option<String>,
    /// Why the patient is registered nowhere; only if the period has not ended.
    pub(super) removal: Option<String>,
    /// `U`, `R`, `V`.
    pub(super) confidentiality: Option<String>,
    pub(super) verification: Option<String>,
    /// ODS code of a registration that has not ended.
    pub(super) practice: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) family: String,
    pub(super) given: Vec<String>,
    /// Old, maiden, or its period has ended.
    pub(super) is_past: bool,
}

impl Record {
    /// `today`: `YYYY-MM-DD`. `None` if it is no Patient.
    pub(super) fn read(body: &Value, today: &str) -> Option<Self> {
        if text(body, "/resourceType")? != "Patient" {
            return None;
        }
        let number = text(body, "/id")?.to_owned();
        let death = extension(body, DEATH);
        let removal = extension(body, REMOVAL);
        let inner = |outer: Option<&Value>, name: &str| {
            let parts = outer?["extension"].as_array()?;
            parts.iter().find(|part| part["url"] == name).cloned()
        };
        let code = |part: Option<Value>| text(&part?, "/valueCodeableConcept/coding/0/code").map(str::to_owned);
        let ended = inner(removal, "effectiveTime")
            .and_then(|part| text(&part, "/valuePeriod/end").map(|end| is_before(end, today)))
            .unwrap_or(false);
        let practice = body.pointer("/generalPractitioner/0/identifier");
        Some(Self {
            number,
            version: text(body, "/meta/versionId").map(str::to_owned),
            names: names(body, today),
            birth_date: text(body, "/birthDate").map(str::to_owned),
            gender: text(body, "/gender").map(str::to_owned),
            is_of_multiple_birth: body["multipleBirthInteger"].is_number(),
            is_deceased: body["deceasedDateTime"].is_string() || body["deceasedBoolean"] == true,
            death_status: code(inner(death, "deathNotificationStatus")),
            removal: code(inner(removal, "removalFromRegistrationCode")).filter(|_| !ended),
            confidentiality: text(body, "/meta/security/0/code").map(str::to_owned),
            verification: body
                .pointer("/identifier/0")
                .and_then(|identifier| extension(identifier, VERIFICATION))
                .and_then(|extension| text(extension, "/valueCodeableConcept/coding/0/code"))
                .map(str::to_owned),
            practice: practice
                .filter(|practice| text(practice, "/period/end").is_none_or(|end| !is_before(end, today)))
                .and_then(|practice| text(practice, "/value"))
                .map(str::to_owned),
        })
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

fn extension<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let extensions = value["extension"].as_array()?;
    extensions.iter().find(|extension| extension["url"].as_str().is_some_and(|url| url.ends_with(name)))
}

/// Dates of the same form, as text.
fn is_before(date: &str, today: &str) -> bool {
    date.get(..today.len().min(date.len())).is_some_and(|date| date < today)
}

fn names(body: &Value, today: &str) -> Vec<Name> {
    let mut names = Vec::new();
    for name in body["name"].as_array().into_iter().flatten() {
        // One that is yet to come.
        if text(name, "/period/start").is_some_and(|start| start > today) {
            continue;
        }
        let Some(family) = text(name, "/family") else { continue };
        let given = name["given"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let is_old = matches!(text(name, "/use"), Some("old" | "maiden"));
        let has_ended = text(name, "/period/end").is_some_and(|end| is_before(end, today));
        names.push(Name { family: family.to_owned(), given: given.collect(), is_past: is_old || has_ended });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn sample(name: &str) -> Value {
        let path = format!("{}/tests/data/pds/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).expect("the sample is there")).expect("JSON")
    }

    #[test]
    fn the_published_samples_are_read() {
        let normal = Record::read(&sample("get-patient-normal"), "2026-03-16").expect("a Patient");
        assert_eq!((normal.number.as_str(), normal.birth_date.as_deref()), ("9693632109", Some("1946-06-23")));
        assert_eq!((normal.confidentiality.as_deref(), normal.verification.as_deref()), (Some("U"), Some("01")));
        assert_eq!(normal.practice.as_deref(), Some("A20047"));
        assert!(!normal.is_deceased && normal.removal.is_none() && !normal.names.is_empty(), "{normal:?}");

        let dead = Record::read(&sample("get-patient-deceased"), "2025-03-16").expect("a Patient");
        assert_eq!(dead.death_status.as_deref(), Some("2"));
        assert!(dead.is_deceased && dead.is_of_multiple_birth, "{dead:?}");
        assert!(!dead.names[0].is_past);
        let later = Record::read(&sample("get-patient-deceased"), "2026-03-16").expect("a Patient");
        assert!(later.names[0].is_past, "its period ended with 2025");

        let restricted = Record::read(&sample("get-patient-restricted"), "2026-03-16").expect("a Patient");
        assert_eq!((restricted.confidentiality.as_deref(), restricted.practice), (Some("R"), None));
        assert_eq!(Record::read(&sample("error-not-found"), "2026-03-16"), None);
        assert_eq!(Record::read(&Value::Null, "2026-03-16"), None);
    }
}
