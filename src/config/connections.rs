//! Connections to e-RS: where it is, and in whose name we act.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Written")]
pub struct Connection {
    pub name: String,
    /// `https://int.api.service.nhs.uk/referrals/FHIR`
    pub base_url: String,
    /// What stands before `/STU3/CodeSystem/…` in code system URLs; the base URL if absent.
    pub code_system_base: Option<String>,
    pub token_url: String,
    pub client_id: String,
    /// Address of an HTTP proxy by which it is reached, perhaps with a name and password for it.
    pub proxy: Option<SecretString>,
    /// CAs, PEM, that alone are trusted on the way; those of the machine if absent.
    pub ca: Option<PathBuf>,
    pub access: Access,
}

#[derive(Clone, Debug)]
pub enum Access {
    /// Unattended: one organisation and function, fixed at registration.
    ApplicationRestricted(SignedJwt),
    /// One session that somebody seeded, kept alive by its refresh token. All that it does is done in that user's name.
    UserRestricted(RefreshToken),
    /// The same by a smartcard, at the interface that e-RS has retired.
    ProfessionalSession(ProfessionalSession),
    /// People sign in at the gateway: a session for each, and for each what is theirs.
    SignIn(SignIn),
}

impl Access {
    /// A session that the settings begin, not somebody who signs in.
    pub fn is_seeded(&self) -> bool {
        matches!(self, Self::UserRestricted(_) | Self::ProfessionalSession(_))
    }

    /// Whose a seeded session is, where the settings say so.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::UserRestricted(seeded) => seeded.user.as_deref(),
            Self::ProfessionalSession(session) => Some(&session.user),
            Self::ApplicationRestricted(_) | Self::SignIn(_) => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct SignedJwt {
    /// RSA private key, PEM.
    pub private_key: PathBuf,
    pub kid: String,
    /// Writes that it may make, one by one; none unless they are here.
    pub unattended: Vec<Unattended>,
}

/// A write without a user, as the NHS approved it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Unattended {
    /// A-number of the catalogue (`mappings/ers/operations.yaml`).
    pub operation: String,
    /// Reference of the approval.
    pub approval: String,
    /// Outcomes or reasons that the approval names, as codes of e-RS; for operations that have any.
    #[serde(default)]
    pub only: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct RefreshToken {
    pub client_secret: SecretString,
    /// Only seeds the session: its successor is kept, sealed, in the store, and wins.
    pub refresh_token: Option<SecretString>,
    /// `NHSD-End-User-Organisation-ODS`
    pub organisation: String,
    /// `NHSD-eRS-Business-Function`
    pub business_function: String,
    /// `NHSD-eRS-On-Behalf-Of-User-ID`, with `SERVICE_PROVIDER_CLINICIAN_ADMIN` only.
    pub on_behalf_of: Option<String>,
    /// NHS user id of whose session it is. Given, no command of another author runs in it.
    pub user: Option<String>,
}

/// A session that e-RS makes of the token of a smartcard that is in (A001 to A003).
#[derive(Clone, Debug)]
pub struct ProfessionalSession {
    /// `XAPI_ASID`: accredited system id.
    pub asid: String,
    /// Single sign-on token of the smartcard. Without it the session is ended.
    pub smartcard_token: Option<SecretString>,
    /// ODS code.
    pub organisation: String,
    pub business_function: String,
    /// NHS user id of whose smartcard it is. No command of another author runs in it.
    pub user: String,
}

/// Where people sign in (authorisation code, RFC 6749 and 7636), and what they may be here.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub client_secret: SecretString,
    /// Where a browser is sent.
    pub authorize_url: String,
    /// Who has signed in, by name, and how surely. Absent: e-RS says who (A030), without a name.
    pub userinfo_url: Option<String>,
    /// `iss` of id tokens, if any come.
    pub issuer: Option<String>,
    /// As registered; ends with `/v1/sign-in/callback`.
    pub redirect_uri: String,
    pub scope: Option<String>,
    /// Who may be here; empty: whatever e-RS says that a user is.
    pub organisations: Vec<String>,
    pub business_functions: Vec<String>,
    /// The end of a session is announced so long ahead.
    pub announce_end: Duration,
    /// With which the id tokens of callers are exchanged, if they are.
    pub exchange: Option<ExchangeKey>,
}

/// RSA private key, PEM, and the id under which its public half is registered.
#[derive(Clone, Debug)]
pub struct ExchangeKey {
    pub private_key: PathBuf,
    pub kid: String,
}

/// As it stands in the file: one map, told apart by the key `access` (see `reader.rs`).
#[derive(Deserialize)]
#[serde(rename = "access", rename_all = "snake_case")]
enum Written {
    ApplicationRestricted(WrittenApplication),
    UserRestricted(WrittenUser),
    ProfessionalSession(WrittenProfessional),
    SignIn(WrittenSignIn),
}

#[derive(Deserialize)]
struct WrittenApplication {
    name: String,
    base_url: String,
    #[serde(default)]
    code_system_base: Option<String>,
    token_url: String,
    client_id: String,
    #[serde(default)]
    proxy: Option<SecretString>,
    #[serde(default)]
    ca: Option<PathBuf>,
    private_key: PathBuf,
    kid: String,
    #[serde(default)]
    unattended: Vec<Unattended>,
}

#[derive(Deserialize)]
struct WrittenUser {
    name: String,
    base_url: String,
    #[serde(default)]
    code_system_base: Option<String>,
    token_url: String,
    client_id: String,
    #[serde(default)]
    proxy: Option<SecretString>,
    #[serde(default)]
    ca: Option<PathBuf>,
    client_secret: SecretString,
    #[serde(default)]
    refresh_token: Option<SecretString>,
    organisation: String,
    business_function: String,
    #[serde(default)]
    on_behalf_of: Option<String>,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Deserialize)]
struct WrittenProfessional {
    name: String,
    base_url: String,
    #[serde(default)]
    code_system_base: Option<String>,
    #[serde(default)]
    proxy: Option<SecretString>,
    #[serde(default)]
    ca: Option<PathBuf>,
    asid: String,
    #[serde(default)]
    smartcard_token: Option<SecretString>,
    organisation: String,
    business_function: String,
    user: String,
}

#[derive(Deserialize)]
struct WrittenSignIn {
    name: String,
    base_url: String,
    #[serde(default)]
    code_system_base: Option<String>,
    token_url: String,
    client_id: String,
    #[serde(default)]
    proxy: Option<SecretString>,
    #[serde(default)]
    ca: Option<PathBuf>,
    client_secret: SecretString,
    authorize_url: String,
    #[serde(default)]
    userinfo_url: Option<String>,
    #[serde(default)]
    issuer: Option<String>,
    redirect_uri: String,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    organisations: Vec<String>,
    #[serde(default)]
    business_functions: Vec<String>,
    #[serde(default = "announce_end", with = "duration")]
    announce_end: Duration,
    #[serde(default)]
    private_key: Option<PathBuf>,
    #[serde(default)]
    kid: Option<String>,
}

fn announce_end() -> Duration {
    Duration::from_secs(30 * 60)
}

impl From<Written> for Connection {
    fn from(written: Written) -> Self {
        match written {
            Written::ApplicationRestricted(written) => Self {
                name: written.name,
                base_url: written.base_url,
                code_system_base: written.code_system_base,
                token_url: written.token_url,
                client_id: written.client_id,
                proxy: written.proxy,
                ca: written.ca,
                access: Access::ApplicationRestricted(SignedJwt {
                    private_key: written.private_key,
                    kid: written.kid,
                    unattended: written.unattended,
                }),
            },
            Written::UserRestricted(written) => Self {
                name: written.name,
                base_url: written.base_url,
                code_system_base: written.code_system_base,
                token_url: written.token_url,
                client_id: written.client_id,
                proxy: written.proxy,
                ca: written.ca,
                access: Access::UserRestricted(RefreshToken {
                    client_secret: written.client_secret,
                    refresh_token: written.refresh_token,
                    organisation: written.organisation,
                    business_function: written.business_function,
                    on_behalf_of: written.on_behalf_of,
                    user: written.user,
                }),
            },
            Written::ProfessionalSession(written) => Self {
                name: written.name,
                // Where its sessions are, in the place of tokens; its quota is the system's.
                token_url: format!("{}/v1/ProfessionalSession", written.base_url.trim_end_matches('/')),
                client_id: written.asid.clone(),
                base_url: written.base_url,
                code_system_base: written.code_system_base,
                proxy: written.proxy,
                ca: written.ca,
                access: Access::ProfessionalSession(ProfessionalSession {
                    asid: written.asid,
                    smartcard_token: written.smartcard_token,
                    organisation: written.organisation,
                    business_function: written.business_function,
                    user: written.user,
                }),
            },
            Written::SignIn(written) => Self {
                name: written.name,
                base_url: written.base_url,
                code_system_base: written.code_system_base,
                token_url: written.token_url,
                client_id: written.client_id,
                proxy: written.proxy,
                ca: written.ca,
                access: Access::SignIn(SignIn {
                    client_secret: written.client_secret,
                    authorize_url: written.authorize_url,
                    userinfo_url: written.userinfo_url,
                    issuer: written.issuer,
                    redirect_uri: written.redirect_uri,
                    scope: written.scope,
                    organisations: written.organisations,
                    business_functions: written.business_functions,
                    announce_end: written.announce_end,
                    exchange: written
                        .private_key
                        .map(|private_key| ExchangeKey { private_key, kid: written.kid.unwrap_or_default() }),
                }),
            },
        }
    }
}
