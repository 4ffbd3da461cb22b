//! The connection to the Personal Demographics Service, where patients are checked before they are referred.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pds {
    /// `https://int.api.service.nhs.uk/personal-demographics/FHIR/R4`
    pub base_url: String,
    pub token_url: String,
    /// Of a registration of its own: the quota belongs to it.
    pub client_id: String,
    /// RSA private key, PEM.
    pub private_key: PathBuf,
    pub kid: String,
    /// ODS code of the organisation on whose behalf is asked.
    #[serde(default)]
    pub organisation: Option<String>,
    /// For how long a finding is good. Deaths and merges are told within it.
    #[serde(default = "minutes", with = "duration")]
    pub keep_finding: Duration,
    /// Questions a second, shared by all instances.
    #[serde(default = "per_second")]
    pub per_second: f64,
}

fn minutes() -> Duration {
    Duration::from_secs(300)
}

/// What one application gets unless it asked for more.
fn per_second() -> f64 {
    5.0
}
