//! Reference data (A004): the published code systems, and whether a code is in force.
//!
//! The documents in `reference-data/` are the published samples of NHSDigital/e-referrals-service-api
//! (MIT, Crown Copyright), which hold a part of the live lists only.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

const DOCUMENTS: [(&str, &str); 6] = [
    ("SPECIALTY", include_str!("reference-data/specialty.json")),
    ("CLINIC-TYPE", include_str!("reference-data/clinic-type.json")),
    ("APPOINTMENT-CANCELLATION-REASON", include_str!("reference-data/appointment-cancellation-reason.json")),
    ("REFERRAL-CANCELLATION-REASON", include_str!("reference-data/referral-cancellation-reason.json")),
    ("APPOINTMENT-NON-ATTENDANCE-REASON", include_str!("reference-data/appointment-non-attendance-reason.json")),
    ("PRIORITY", include_str!("reference-data/priority.json")),
];

struct Concept {
    from: Option<Date>,
    to: Option<Date>,
    /// A clinic type's parent.
    specialty: Option<String>,
    display: String,
    /// Who may use it, and what for: of cancellation reasons.
    functions: Vec<String>,
    usages: Vec<String>,
    kind: Option<String>,
    comment_is_mandatory: bool,
    can_cancel_appointment: bool,
}

/// A reason to cancel an appointment or a referral, as far as rules ask.
#[derive(Clone, Copy, Debug)]
pub struct CancellationReason<'d> {
    /// In `eRS-AppointmentRequestCancellationReasonType-1`, or `eRS-AppointmentBookingCancellationReasonType-1`.
    pub kind: &'d str,
    functions: &'d [String],
    pub comment_is_mandatory: bool,
    pub can_cancel_appointment: bool,
}

impl CancellationReason<'_> {
    pub fn is_for(&self, function: &str) -> bool {
        self.functions.iter().any(|one| one == function)
    }
}

struct CodeSystem {
    document: Value,
    concepts: HashMap<String, Concept>,
}

pub struct ReferenceData {
    systems: HashMap<&'static str, CodeSystem>,
    /// Codes that the samples do not list pass, if they have the right form.
    any_code: bool,
}

impl ReferenceData {
    /// `base_url` takes the place of `_baseUrl_` in the documents.
    pub fn new(base_url: &str, any_code: bool) -> Self {
        let system = |(key, text): &(&'static str, &str)| {
            let text = text.replace("_baseUrl_", base_url).replace("_baseurl_", base_url);
            let document: Value = serde_json::from_str(&text).expect("the built-in documents are JSON");
            let concepts = document["concept"].as_array().into_iter().flatten().filter_map(concept).collect();
            (*key, CodeSystem { document, concepts })
        };
        Self { systems: DOCUMENTS.iter().map(system).collect(), any_code }
    }

    pub fn document(&self, key: &str) -> Option<&Value> {
        self.systems.get(key).map(|system| &system.document)
    }

    pub fn display(&self, key: &str, code: &str) -> Option<&str> {
        self.systems.get(key)?.concepts.get(code).map(|concept| concept.display.as_str())
    }

    pub fn is_in_force(&self, key: &str, code: &str, now: Timestamp) -> bool {
        let Some(system) = self.systems.get(key) else { return false };
        let today = now.to_zoned(TimeZone::UTC).date();
        match system.concepts.get(code) {
            Some(concept) => concept.from.is_none_or(|from| from <= today) && concept.to.is_none_or(|to| to > today),
            None => self.any_code && has_the_form_of_a_code(code),
        }
    }

    /// Only reasons that are listed, in force and meant for this usage (`CANCEL`, `REJECT`, `CANCEL_REFERRAL`).
    pub fn cancellation_reason(
        &self,
        key: &str,
        usage: &str,
        code: &str,
        now: Timestamp,
    ) -> Option<CancellationReason<'_>> {
        let concept = self.systems.get(key)?.concepts.get(code)?;
        let meant = concept.usages.iter().any(|own| own == usage);
        (meant && self.is_in_force(key, code, now)).then(|| CancellationReason {
            kind: concept.kind.as_deref().unwrap_or_default(),
            functions: &concept.functions,
            comment_is_mandatory: concept.comment_is_mandatory,
            can_cancel_appointment: concept.can_cancel_appointment,
        })
    }

    /// Within how many days the provider should contact a patient of this priority whose slot could not be booked.
    pub fn contact_days(&self, priority: &str) -> i64 {
        let concepts = self.document("PRIORITY").and_then(|document| document["concept"].as_array());
        let concept = concepts.into_iter().flatten().find(|concept| concept["code"] == priority);
        let properties = concept.and_then(|concept| concept["property"].as_array());
        let days = properties.into_iter().flatten().find(|one| one["code"] == "deferToProviderContactDays");
        days.and_then(|days| days["valueInteger"].as_i64()).unwrap_or_default()
    }

    /// The specialty that a clinic type belongs to, where the lists say so.
    pub fn specialty_of(&self, clinic_type: &str) -> Option<&str> {
        self.systems.get("CLINIC-TYPE")?.concepts.get(clinic_type)?.specialty.as_deref()
    }
}

fn concept(value: &Value) -> Option<(String, Concept)> {
    let properties = |wanted: &'static str| {
        let all = value["property"].as_array().into_iter().flatten();
        all.filter(move |property| property["code"].as_str() == Some(wanted))
    };
    let property = |wanted: &'static str| properties(wanted).next();
    let codes = |wanted: &'static str| -> Vec<String> {
        properties(wanted).filter_map(|found| found["valueCoding"]["code"].as_str().map(String::from)).collect()
    };
    let flag = |wanted: &'static str| property(wanted).is_some_and(|found| found["valueBoolean"] == true);
    let date = |wanted: &'static str| {
        let text = property(wanted)?["valueDateTime"].as_str()?;
        text.get(..10)?.parse().ok()
    };
    let concept = Concept {
        from: date("effectiveFrom"),
        to: date("effectiveTo"),
        specialty: codes("specialty").pop(),
        display: value["display"].as_str().unwrap_or_default().to_owned(),
        functions: codes("businessFunction"),
        // Appointment reasons have the one, referral reasons the other.
        usages: [codes("usage"), codes("referrerUsage")].concat(),
        kind: codes("appointmentRequestCancellationReasonType")
            .pop()
            .or_else(|| codes("appointmentBookingCancellationReasonType").pop()),
        comment_is_mandatory: flag("commentIsMandatory"),
        can_cancel_appointment: flag("canCancelAppointment"),
    };
    Some((value["code"].as_str()?.to_owned(), concept))
}

fn has_the_form_of_a_code(code: &str) -> bool {
    const CODE_LENGTH_MAX: usize = 100;
    code.len() <= CODE_LENGTH_MAX
        && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_counts_while_it_is_in_force() {
        let data = ReferenceData::new("http://127.0.0.1/referrals/FHIR", true);
        let now: Timestamp = "2026-03-16T09:30:00Z".parse().expect("a literal instant");
        let then: Timestamp = "2008-01-01T00:00:00Z".parse().expect("a literal instant");
        for (key, code, at, good) in [
            ("SPECIALTY", "ALLERGY", now, true),
            ("SPECIALTY", "ADULT_MENTAL_ILLNESS", now, false),
            ("SPECIALTY", "ADULT_MENTAL_ILLNESS", then, true),
            ("SPECIALTY", "CARDIOLOGY", now, true), // not in the published part of the list
            ("SPECIALTY", "Cardiology", now, false),
            ("CLINIC-TYPE", "FOOD_AND_DRUG_ALLERGY", now, false),
            ("NO-SUCH-LIST", "ALLERGY", now, false),
        ] {
            assert_eq!(data.is_in_force(key, code, at), good, "{key} {code} {at}");
        }
        assert_eq!(data.specialty_of("ALLERGY_1"), Some("ALLERGY"));
    }
}
