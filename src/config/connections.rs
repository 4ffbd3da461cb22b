//! Connections to e-RS: where it is, and in whose name we act.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    pub name: String,
    /// `https://int.api.service.nhs.uk/referrals/FHIR`
    pub base_url: String,
    /// What stands before `/STU3/CodeSystem/…` in code system URLs; the base URL if absent.
    #[serde(default)]
    pub code_system_base: Option<String>,
    pub token_url: String,
    pub client_id: String,
    #[serde(flatten)]
    pub access: Access,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "access", rename_all = "snake_case")]
pub enum Access {
    /// Unattended: one organisation and function, fixed at registration.
    ApplicationRestricted(SignedJwt),
    /// A signed-in user's session, kept alive by its refresh token.
    UserRestricted(RefreshToken),
}

#[derive(Clone, Debug, Deserialize)]
pub struct SignedJwt {
    /// RSA private key, PEM.
    pub private_key: PathBuf,
    pub kid: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RefreshToken {
    pub client_secret: SecretString,
    /// Only seeds the session: its successor is kept, sealed, in the store, and wins.
    #[serde(default)]
    pub refresh_token: Option<SecretString>,
    /// `NHSD-End-User-Organisation-ODS`
    pub organisation: String,
    /// `NHSD-eRS-Business-Function`
    pub business_function: String,
    /// `NHSD-eRS-On-Behalf-Of-User-ID`, with `SERVICE_PROVIDER_CLINICIAN_ADMIN` only.
    #[serde(default)]
    pub on_behalf_of: Option<String>,
}
