//! The catalogue of e-RS operations, `mappings/ers/operations.yaml`: no A-number is in Rust.

use std::time::Duration;

use serde::Deserialize;

use crate::config::duration;

/// One entry of the catalogue.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// `Create referral`
    pub name: String,
    /// `POST`
    pub method: String,
    /// With `{placeholders}` that a step fills: `/STU3/ReferralRequest/{ubrn}`.
    pub path: String,
    pub effect: Effect,
    /// What the answer is asked as; `Accept` is not sent if empty.
    #[serde(default = "fhir_json")]
    pub accept: String,
    /// Business functions that may call it with a user's session; empty: any.
    #[serde(default)]
    pub business_functions: Vec<String>,
    /// Application-restricted access may call it.
    #[serde(default)]
    pub application_restricted: bool,
    /// The user's organisation and function headers are sent (all but A030).
    #[serde(default = "yes")]
    pub user_headers: bool,
    /// Of a write that unattended software may make: the parameter whose codes its approval names, if it names any.
    #[serde(default)]
    pub limited_by: Option<String>,
    /// Sent with the clinician whom an administrator acts for (all but A040).
    #[serde(default = "yes")]
    pub on_behalf_of: bool,
    /// From the first byte sent to the last byte of the answer.
    #[serde(default = "minute", with = "duration")]
    pub timeout: Duration,
    /// Makes something for a patient, who is checked before. A set that does not say so (of an older version, or of
    /// a site) has every unguarded write checked: see [`Operation::checks_patient`].
    #[serde(default)]
    patient_check: Option<bool>,
    /// A good answer of a read may be used again for so long (reference data); zero: ask each time.
    #[serde(default, with = "duration")]
    pub keep: Duration,
    /// With application-restricted access it may be called so often a day for one thing (a step's `allowance` says what it
    /// counts for); zero: as often as the quota allows.
    #[serde(default)]
    pub unattended_per_day: u32,
    /// Its answer is a file, whatever its type. One that is elsewhere (307) is fetched there, without the token.
    #[serde(default)]
    pub file: bool,
    /// Operations that fail together share a circuit breaker.
    pub group: String,
}

impl Operation {
    /// Whether the patient is to be asked about before it.
    pub fn checks_patient(&self) -> bool {
        self.patient_check.unwrap_or(self.effect == Effect::Unguarded)
    }
}

/// What a call does to e-RS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// May be repeated freely, whatever its HTTP method.
    Read,
    /// A write that a version token guards: a repeat cannot act twice, but its outcome must be read back.
    Guarded,
    /// A write that nothing guards: a blind repeat makes a second one.
    Unguarded,
    /// A write whose repeat does no harm (A020: an unlinked copy remains).
    Harmless,
}

impl Effect {
    /// An unknown outcome puts the command in doubt.
    pub fn leaves_doubt(self) -> bool {
        matches!(self, Self::Guarded | Self::Unguarded)
    }
}

fn fhir_json() -> String {
    "application/fhir+json".into()
}
fn yes() -> bool {
    true
}
fn minute() -> Duration {
    Duration::from_secs(60)
}
