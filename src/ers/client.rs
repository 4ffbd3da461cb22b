//! One connection to e-RS: in whose name, with which token, with which headers.
//!
//! Enters: a prepared call and its catalogue entry. Leaves: the request as it goes out. Guarantees: the
//! user's headers go with a user's session only; nothing that a mapping says can replace the token.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::professional_session::{ASID, ProfessionalSessionGrant, SESSION_KEY};
use super::refresh_token::{RefreshTokenGrant, SessionVault};
use super::signed_jwt::{PrivateKeyError, SignedJwtGrant};
use super::token::{AccessToken, GrantType, TokenSource};
use super::token_endpoint::TokenEndpoint;
use super::transport::{Body, Request, Transport, TransportError};
use crate::config::{Access, Connection, ProfessionalSession, Unattended};
use crate::environment::Environment;
use crate::mapping::{CallBody, Effect, Operation, PreparedCall};

pub struct Client {
    pub name: String,
    /// The quota belongs to it.
    pub client_id: String,
    pub tokens: TokenSource,
    base_url: String,
    code_system_base: String,
    identity: Identity,
    /// In whose name, to be told apart from every other.
    key: String,
}

/// What a person who signed in has chosen to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// ODS code.
    pub organisation: String,
    pub business_function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
}

enum Identity {
    /// Where people sign in, and the one who is needed has not.
    Nobody,
    /// Organisation and function are fixed at registration and never sent. Writes need an approval each.
    Application {
        unattended: Vec<Unattended>,
    },
    User {
        organisation: String,
        business_function: String,
        on_behalf_of: Option<String>,
    },
    /// Organisation and function are the session's and never sent.
    Professional(ProfessionalSession),
}

/// Of JSON, on the retired interface.
const LEGACY_FHIR: &str = "application/json+fhir";
const COMM_RULE_ORG: &str = "NHSD-eRS-Comm-Rule-Org";
const LEGACY_COMM_RULE_ORG: &str = "X-ERS-XAPI-COMM-RULE-ORG";

impl Client {
    /// `vault` keeps the session of a user-restricted connection.
    pub fn new(
        connection: &Connection,
        transport: Arc<dyn Transport>,
        vault: Box<dyn SessionVault>,
        environment: &Environment,
    ) -> Result<Self, PrivateKeyError> {
        let endpoint = TokenEndpoint { url: connection.token_url.clone(), transport, environment: environment.clone() };
        let (identity, grant) = match &connection.access {
            Access::ApplicationRestricted(jwt) => {
                let grant = SignedJwtGrant::new(&connection.client_id, &jwt.kid, &jwt.private_key)?;
                (Identity::Application { unattended: jwt.unattended.clone() }, GrantType::SignedJwt(grant))
            }
            Access::UserRestricted(user) => {
                let grant = RefreshTokenGrant::new(
                    format!("sign in again and set `refresh_token` of connection {} to the new token", connection.name),
                    &connection.client_id,
                    user.client_secret.clone(),
                    user.refresh_token.clone(),
                    vault,
                    environment.random_id(),
                );
                let identity = Identity::User {
                    organisation: user.organisation.clone(),
                    business_function: user.business_function.clone(),
                    on_behalf_of: user.on_behalf_of.clone(),
                };
                (identity, GrantType::RefreshToken(Box::new(grant)))
            }
            Access::ProfessionalSession(session) => {
                let grant = ProfessionalSessionGrant::new(&connection.name, session, vault);
                (Identity::Professional(session.clone()), GrantType::ProfessionalSession(Box::new(grant)))
            }
            Access::SignIn(_) => {
                let why = format!("nobody has signed in at connection {}", connection.name);
                (Identity::Nobody, GrantType::Nobody(why))
            }
        };
        Ok(Self::made(connection, TokenSource::new(endpoint, grant), identity, connection.name.clone()))
    }

    /// Of somebody who signed in at `connection`, as whom they chose to act. `vault` keeps their session.
    pub fn of_person(
        connection: &Connection,
        (user, role): (&str, &Role),
        transport: Arc<dyn Transport>,
        vault: Box<dyn SessionVault>,
        environment: &Environment,
    ) -> Option<Self> {
        let Access::SignIn(sign_in) = &connection.access else { return None };
        let endpoint = TokenEndpoint { url: connection.token_url.clone(), transport, environment: environment.clone() };
        let grant = RefreshTokenGrant::new(
            format!("user {user} must sign in again at the gateway"),
            &connection.client_id,
            sign_in.client_secret.clone(),
            None,
            vault,
            environment.random_id(),
        );
        let Role { organisation, business_function, on_behalf_of } = role.clone();
        let key = format!(
            "{}/{user}/{organisation}/{business_function}/{}",
            connection.name,
            on_behalf_of.as_deref().unwrap_or_default()
        );
        let identity = Identity::User { organisation, business_function, on_behalf_of };
        let tokens = TokenSource::new(endpoint, GrantType::RefreshToken(Box::new(grant)));
        Some(Self::made(connection, tokens, identity, key))
    }

    /// In the place of somebody who is needed at `connection` and is not there; `why` says who, and what to do.
    pub fn of_nobody(
        connection: &Connection,
        why: String,
        transport: Arc<dyn Transport>,
        environment: &Environment,
    ) -> Self {
        let endpoint = TokenEndpoint { url: connection.token_url.clone(), transport, environment: environment.clone() };
        let tokens = TokenSource::new(endpoint, GrantType::Nobody(why));
        Self::made(connection, tokens, Identity::Nobody, connection.name.clone())
    }

    fn made(connection: &Connection, tokens: TokenSource, identity: Identity, key: String) -> Self {
        let base_url = connection.base_url.trim_end_matches('/').to_owned();
        Self {
            name: connection.name.clone(),
            client_id: connection.client_id.clone(),
            tokens,
            code_system_base: connection.code_system_base.clone().unwrap_or_else(|| base_url.clone()),
            base_url,
            identity,
            key,
        }
    }

    /// In whose name, with which organisation and function: another key is another identity.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Why this connection may not make the call: its access mode, its business function, or an approval that is not there
    /// or does not go so far.
    pub fn forbids(&self, call: &PreparedCall, operation: &Operation) -> Option<String> {
        let because = |why: &str| {
            Some(format!("connection {} may not call {} ({}): {why}", self.name, call.call, operation.name))
        };
        match &self.identity {
            Identity::Application { unattended } => {
                if let Some(why) = refuses_application(unattended, &call.call, operation) {
                    return because(why);
                }
                let approved = unattended.iter().find(|one| one.operation == call.call)?;
                let parameter = operation.limited_by.as_ref()?;
                match code_of(call, parameter) {
                    Some(code) if approved.only.iter().any(|one| one == code) => None,
                    _ => because(&format!(
                        "it acts without a user, and its approval {} is for {parameter} {} only",
                        approved.approval,
                        approved.only.join(", ")
                    )),
                }
            }
            Identity::User { business_function, .. } => because(refuses_user(business_function, operation)?),
            Identity::Professional(session) => because(refuses_professional(session, operation)?),
            // Whether they may is not known before they are there.
            Identity::Nobody => None,
        }
    }

    /// Nobody is signed in: application-restricted access.
    pub fn is_unattended(&self) -> bool {
        matches!(self.identity, Identity::Application { .. })
    }

    /// What a plan may know of the connection.
    pub fn for_plan(&self) -> Value {
        match &self.identity {
            Identity::Application { .. } | Identity::Nobody => json!({ "codeSystemBase": self.code_system_base }),
            Identity::User { organisation, business_function, .. }
            | Identity::Professional(ProfessionalSession { organisation, business_function, .. }) => json!({
                "codeSystemBase": self.code_system_base,
                "organisation": organisation,
                "businessFunction": business_function,
            }),
        }
    }

    /// The headers of `call`, without the token: what is recorded of them.
    pub fn headers(&self, call: &PreparedCall, operation: &Operation, correlation_id: &str) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> =
            call.headers.iter().filter(|(name, _)| !says_who(name)).cloned().collect();
        let mut put = |name: &str, value: &str| {
            if !headers.iter().any(|(held, _)| held.eq_ignore_ascii_case(name)) {
                headers.push((name.to_owned(), value.to_owned()));
            }
        };
        put("X-Correlation-ID", correlation_id);
        if !operation.accept.is_empty() {
            put("Accept", &operation.accept);
        }
        match &call.body {
            CallBody::None => {}
            CallBody::Json(_) => put("Content-Type", "application/fhir+json"),
            CallBody::Letter(letter) => put("Content-Type", &letter.content_type),
        }
        if let Identity::User { organisation, business_function, on_behalf_of } = &self.identity
            && operation.user_headers
        {
            put("NHSD-End-User-Organisation-ODS", organisation);
            put("NHSD-eRS-Business-Function", business_function);
            if operation.on_behalf_of
                && let Some(user) = on_behalf_of
            {
                put("NHSD-eRS-On-Behalf-Of-User-ID", user);
            }
        }
        match &self.identity {
            Identity::Professional(session) => legacy(headers, session),
            Identity::Nobody | Identity::Application { .. } | Identity::User { .. } => headers,
        }
    }

    /// A file is elsewhere: it is fetched there, with nothing of ours. The place is a secret for as long as it lasts.
    pub fn elsewhere(&self, place: &str, operation: &Operation) -> Result<Request, TransportError> {
        let refuse = |why: &str| TransportError::NotSent(format!("e-RS named a place for the file that {why}"));
        let url = reqwest::Url::parse(place).map_err(|_| refuse("is no URL"))?;
        if url.scheme() != "https" && !self.base_url.starts_with("http:") {
            return Err(refuse("is not https"));
        }
        Ok(Request {
            method: "GET".into(),
            url: url.into(),
            headers: Vec::new(),
            body: Body::Empty,
            timeout: operation.timeout,
        })
    }

    /// The request as it goes out.
    pub fn request(
        &self,
        call: &PreparedCall,
        operation: &Operation,
        headers: &[(String, String)],
        body: Body,
        token: &AccessToken,
    ) -> Request {
        let mut headers = headers.to_vec();
        let path = match &self.identity {
            Identity::Professional(_) => {
                headers.push((SESSION_KEY.into(), token.secret.expose_secret().to_owned()));
                call.path.replacen("/STU3/", "/STU3/v1/", 1)
            }
            Identity::Nobody | Identity::Application { .. } | Identity::User { .. } => {
                headers.push(("Authorization".into(), token.bearer()));
                call.path.clone()
            }
        };
        Request {
            method: call.method.clone(),
            url: format!("{}{path}", self.base_url),
            headers,
            body,
            timeout: operation.timeout,
        }
    }
}

/// Why this access never makes the call, whatever is in it; before there is a connection.
pub fn refuses(access: &Access, call: &str, operation: &Operation) -> Option<&'static str> {
    match access {
        Access::ApplicationRestricted(signed) => refuses_application(&signed.unattended, call, operation),
        Access::UserRestricted(user) => refuses_user(&user.business_function, operation),
        Access::ProfessionalSession(session) => refuses_professional(session, operation),
        Access::SignIn(sign_in) => {
            let functions = &sign_in.business_functions;
            let why = functions.iter().map(|function| refuses_user(function, operation));
            // Whoever signs in chooses: one function that may is enough.
            why.reduce(|one, other| one.and(other)).flatten()
        }
    }
}

fn refuses_application(unattended: &[Unattended], call: &str, operation: &Operation) -> Option<&'static str> {
    if !operation.application_restricted {
        return Some("e-RS opens it to a signed-in user only");
    }
    let is_approved = operation.effect == Effect::Read || unattended.iter().any(|one| one.operation == call);
    (!is_approved).then_some("it acts without a user, and no approval for this is configured")
}

fn refuses_user(business_function: &str, operation: &Operation) -> Option<&'static str> {
    let may = operation.business_functions.is_empty()
        || operation.business_functions.iter().any(|one| one == business_function);
    (!may).then_some("its business function does not permit it")
}

/// What is known of the retired interface is that of STU3, and not how a file is named there.
fn refuses_professional(session: &ProfessionalSession, operation: &Operation) -> Option<&'static str> {
    if !operation.path.starts_with("/STU3/") {
        return Some("the interface of professional sessions has STU3 only");
    }
    if operation.method == "POST" && operation.path == "/STU3/Binary" {
        return Some("how the interface of professional sessions takes files is not known");
    }
    refuses_user(&session.business_function, operation)
}

/// Headers by which e-RS knows who calls: no mapping sets them. Some servers take `-` for `_`.
fn says_who(name: &str) -> bool {
    let name = name.replace('-', "_");
    ["authorization", SESSION_KEY, ASID].iter().any(|of_ours| name.eq_ignore_ascii_case(of_ours))
}

/// The headers of a call as the retired interface has them.
fn legacy(headers: Vec<(String, String)>, session: &ProfessionalSession) -> Vec<(String, String)> {
    let mut legacy = vec![(ASID.to_owned(), session.asid.clone())];
    legacy.extend(headers.into_iter().map(|(name, value)| match value.as_str() {
        _ if name.eq_ignore_ascii_case(COMM_RULE_ORG) => (LEGACY_COMM_RULE_ORG.to_owned(), value),
        "application/fhir+json" => (name, LEGACY_FHIR.to_owned()),
        _ => (name, value),
    }));
    legacy
}

/// The code that a parameter of the body has.
fn code_of<'c>(call: &'c PreparedCall, parameter: &str) -> Option<&'c str> {
    let CallBody::Json(body) = &call.body else { return None };
    let found = body.get("parameter")?.as_array()?.iter().find(|one| one["name"] == parameter)?;
    found["valueCoding"]["code"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mapping_says_who_calls() {
        for name in ["Authorization", "http_x_session_key", "HTTP-X-Session-Key", "XAPI_ASID", "xapi-asid"] {
            assert!(says_who(name), "{name}");
        }
        for name in ["Accept", "NHSD-eRS-Comm-Rule-Org", "If-Match"] {
            assert!(!says_who(name), "{name}");
        }
    }
}
