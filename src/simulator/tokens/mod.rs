//! The platform's sign-in and token endpoints: browsers, codes, signed JWTs and refresh tokens in, access tokens out.
//!
//! Enters: form posts, and browsers that are sent to sign in. Leaves: opaque access tokens that [`Tokens::holder`] recognises
//! until they expire. Guarantees: an assertion, a code and a refresh token each work once, whatever the timing.

mod assertion;
mod login;
mod sessions;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use serde_json::{Value, json};
use uuid::Uuid;

use self::assertion::Assertions;
use self::login::Logins;
use self::sessions::Sessions;
use super::applications::{Access, Application, Context, Role, TestPerson, TooLow};
use super::exchange::{Answer, Call};
use super::percent;
use super::settings::SimulatorConfig;
use crate::environment::Environment;

/// The default of the platform's policy.
const EXCHANGED: SignedDuration = SignedDuration::from_hours(1);

/// In whose name a token acts.
#[derive(Clone, Debug)]
pub struct Holder {
    pub client_id: String,
    pub authority: Authority,
    /// Signed in, and not surely enough for e-RS.
    pub too_low: Option<TooLow>,
}

#[derive(Clone, Debug)]
pub enum Authority {
    Application { organisation: String, context: Context, user: String },
    User { user: String, roles: Vec<Role>, organisations: Option<Vec<String>> },
}

impl Holder {
    pub fn user(&self) -> &str {
        match &self.authority {
            Authority::Application { user, .. } | Authority::User { user, .. } => user,
        }
    }
}

#[derive(Clone)]
struct Issued {
    holder: Arc<Holder>,
    expires: Timestamp,
}

/// Why a bearer token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAccepted {
    Unknown,
    Expired,
}

pub struct Tokens {
    environment: Environment,
    applications: Vec<Application>,
    token_url: String,
    lifetime: SignedDuration,
    people: Vec<TestPerson>,
    assertions: Assertions,
    logins: Logins,
    sessions: Sessions,
    revoked: RwLock<HashSet<String>>,
    issued: RwLock<HashMap<String, Issued>>,
}

/// A refusal of the token endpoint: `{"error", "error_description", "message_id"}`.
struct Denied {
    status: u16,
    error: &'static str,
    description: String,
}

impl Denied {
    fn new(status: u16, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into() }
    }

    fn invalid_request(description: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", description)
    }
}

impl Tokens {
    pub fn new(settings: &SimulatorConfig, environment: Environment, token_url: String, now: Timestamp) -> Self {
        let lifetime = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Self {
            environment,
            assertions: Assertions::new(&settings.applications),
            sessions: Sessions::new(&settings.applications, lifetime(settings.refresh_token_lifetime), now),
            applications: settings.applications.clone(),
            people: settings.test_people.clone(),
            logins: Logins::default(),
            revoked: RwLock::default(),
            token_url,
            lifetime: lifetime(settings.access_token_lifetime),
            issued: RwLock::default(),
        }
    }

    /// Forgets every token, and lets the configured refresh tokens work again.
    pub fn reset(&self, now: Timestamp) {
        self.issued.write().clear();
        self.revoked.write().clear();
        self.logins.reset();
        self.assertions.reset();
        self.sessions.reset(&self.applications, now);
    }

    /// Makes every access token invalid, as a revocation would.
    pub fn revoke_all(&self) {
        self.issued.write().clear();
    }

    /// The platform withdraws an application, or has it back.
    pub fn revoke_client(&self, client_id: &str, revoked: bool) {
        match revoked {
            true => self.revoked.write().insert(client_id.to_owned()),
            false => self.revoked.write().remove(client_id),
        };
    }

    /// A browser that is sent to sign in.
    pub fn authorize(&self, call: &Call, now: Timestamp) -> Answer {
        let code = Uuid::simple(self.environment.random_id()).to_string();
        self.logins.authorize(call, (&self.applications, &self.people), code, now)
    }

    /// Who holds the token, as the identity provider says it.
    pub fn userinfo(&self, holder: &Holder) -> Answer {
        match self.people.iter().find(|person| person.user == holder.user()) {
            Some(person) => Answer::json(200, &login::userinfo(person)),
            None => Answer::json(200, &json!({"sub": holder.user(), "nhsid_useruid": holder.user()})),
        }
    }

    pub fn holder(&self, token: &str, now: Timestamp) -> Result<Arc<Holder>, NotAccepted> {
        match self.issued.read().get(token) {
            Some(issued) if issued.expires > now => Ok(issued.holder.clone()),
            Some(_) => Err(NotAccepted::Expired),
            None => Err(NotAccepted::Unknown),
        }
    }

    pub fn answer(&self, call: &Call, now: Timestamp) -> Answer {
        match self.grant(call, now) {
            Ok(reply) => Answer::json(200, &reply).with("Cache-Control", "no-store".into()),
            Err(denied) => {
                let body = json!({
                    "error": denied.error,
                    "error_description": denied.description,
                    "message_id": format!("rrt-{}", self.environment.random_id()),
                });
                Answer::json(denied.status, &body)
            }
        }
    }

    fn grant(&self, call: &Call, now: Timestamp) -> Result<Value, Denied> {
        if call.method != "POST" {
            return Err(Denied::invalid_request("the token endpoint takes POST only"));
        }
        let content_type = call.header("Content-Type").unwrap_or_default();
        if content_type.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
            return Err(Denied::invalid_request("Content-Type must be application/x-www-form-urlencoded"));
        }
        let form = Form(percent::pairs(&String::from_utf8_lossy(&call.body)));
        match form.get("grant_type")? {
            "client_credentials" => self.client_credentials(&form, now),
            "refresh_token" => self.refresh(&form, now),
            "authorization_code" => self.authorization_code(&form, now),
            "urn:ietf:params:oauth:grant-type:token-exchange" => self.exchange(&form, now),
            _ => Err(Denied::new(400, "unsupported_grant_type", "grant_type is not supported")),
        }
    }

    fn client_credentials(&self, form: &Form, now: Timestamp) -> Result<Value, Denied> {
        const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if form.get("client_assertion_type")? != JWT_BEARER {
            return Err(Denied::invalid_request(format!("client_assertion_type must be {JWT_BEARER}")));
        }
        let client_id = self.assertions.accept(form.get("client_assertion")?, &self.token_url, now)?;
        let application = self.applications.iter().find(|application| application.client_id == client_id);
        let Some(Access::ApplicationRestricted { organisation, context, user, .. }) = application.map(|a| &a.access)
        else {
            return Err(Denied::new(401, "unauthorized_client", "this application may not use client_credentials"));
        };
        let authority =
            Authority::Application { organisation: organisation.clone(), context: *context, user: user.clone() };
        if self.revoked.read().contains(&client_id) {
            return Err(revoked());
        }
        let access_token = self.issue(Holder { client_id, authority, too_low: None }, now);
        Ok(json!({
            "access_token": access_token,
            "expires_in": self.expires_in(),
            "token_type": "Bearer",
            "issued_at": now.as_millisecond().to_string(),
        }))
    }

    /// The user-restricted application that a form names, with its secret.
    fn application(&self, form: &Form, grant: &str) -> Result<(&str, Option<Vec<String>>), Denied> {
        let client_id = form.get("client_id")?;
        let secret = form.get("client_secret")?;
        let application = self.applications.iter().find(|application| application.client_id == client_id);
        let Some(application) = application else {
            return Err(Denied::new(401, "invalid_client", "client id is not known"));
        };
        let Access::UserRestricted { client_secret, organisations, .. } = &application.access else {
            return Err(Denied::new(401, "unauthorized_client", format!("this application may not use {grant}")));
        };
        if client_secret != secret {
            return Err(Denied::new(401, "invalid_client", "client id or secret is wrong"));
        }
        if self.revoked.read().contains(client_id) {
            return Err(revoked());
        }
        Ok((&application.client_id, organisations.clone()))
    }

    fn authorization_code(&self, form: &Form, now: Timestamp) -> Result<Value, Denied> {
        let (client_id, organisations) = self.application(form, "authorization_code")?;
        let (redirect_uri, code) = (form.get("redirect_uri")?, form.get("code")?);
        let refresh_token = self.environment.random_id().to_string();
        let verifier = form.get("code_verifier").ok();
        let signed_in = self.logins.exchange((client_id, redirect_uri), code, verifier, &refresh_token, now);
        let login::SignedIn { person, id_token } = signed_in.inspect_err(|refused| {
            if let Some(session) = &refused.ends {
                self.sessions.end_what_began_with(session);
            }
        })?;
        let remaining = self.sessions.begin(client_id, &person, refresh_token.clone(), now);
        let too_low = person.too_low();
        let authority = Authority::User { user: person.user, roles: person.roles, organisations };
        let access_token = self.issue(Holder { client_id: client_id.into(), authority, too_low }, now);
        let mut reply = json!({
            "access_token": access_token,
            "expires_in": self.expires_in(),
            "token_type": "Bearer",
            "refresh_token": refresh_token,
            "refresh_token_expires_in": remaining.as_secs().to_string(),
            "refresh_count": "0",
            "issued_at": now.as_millisecond().to_string(),
        });
        if let Some(id_token) = id_token {
            reply["id_token"] = id_token.into();
        }
        Ok(reply)
    }

    /// An id token of somebody who signed in at an application of their own.
    fn exchange(&self, form: &Form, now: Timestamp) -> Result<Value, Denied> {
        const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
        if form.get("subject_token_type")? != ID_TOKEN {
            return Err(Denied::invalid_request(format!("subject_token_type must be {ID_TOKEN}")));
        }
        let client_id = self.assertions.accept(form.get("client_assertion")?, &self.token_url, now)?;
        let application = self.applications.iter().find(|application| application.client_id == client_id);
        let Some(Access::UserRestricted { organisations, .. }) = application.map(|application| &application.access)
        else {
            return Err(Denied::new(401, "unauthorized_client", "this application may not exchange tokens"));
        };
        if self.revoked.read().contains(&client_id) {
            return Err(revoked());
        }
        let person = login::subject(form.get("subject_token")?, &self.people, now)
            .ok_or_else(|| Denied::new(401, "invalid_grant", "subject_token is invalid or has expired"))?;
        let refresh_token = self.environment.random_id().to_string();
        let remaining = self.sessions.begin(&client_id, &person, refresh_token.clone(), now).min(EXCHANGED);
        let too_low = person.too_low();
        let authority =
            Authority::User { user: person.user, roles: person.roles, organisations: organisations.clone() };
        let access_token = self.issue(Holder { client_id, authority, too_low }, now);
        Ok(json!({
            "access_token": access_token,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "expires_in": self.expires_in(),
            "token_type": "Bearer",
            "refresh_token": refresh_token,
            "refresh_token_expires_in": remaining.as_secs().to_string(),
            "refresh_count": "0",
        }))
    }

    /// As an application of its own would get it for somebody who signs in there.
    pub fn id_token_of(&self, user: &str, now: Timestamp) -> Option<String> {
        let person = self.people.iter().find(|person| person.user == user)?;
        Some(login::id_token("another-application", "n", person, now))
    }

    fn refresh(&self, form: &Form, now: Timestamp) -> Result<Value, Denied> {
        let (client_id, organisations) = self.application(form, "refresh_token")?;
        let presented = form.get("refresh_token")?;
        let successor = self.environment.random_id().to_string();
        let renewed = self.sessions.renew(client_id, presented, successor.clone(), now)?;
        let authority = Authority::User { user: renewed.user, roles: renewed.roles, organisations };
        let too_low = renewed.too_low;
        let access_token = self.issue(Holder { client_id: client_id.into(), authority, too_low }, now);
        Ok(json!({
            "access_token": access_token,
            "expires_in": self.expires_in(),
            "token_type": "Bearer",
            "refresh_token": successor,
            "refresh_token_expires_in": renewed.remaining.as_secs().to_string(),
            "refresh_count": renewed.count.to_string(),
            "issued_at": now.as_millisecond().to_string(),
        }))
    }

    /// e-RS sends this number as a string.
    fn expires_in(&self) -> String {
        self.lifetime.as_secs().to_string()
    }

    fn issue(&self, holder: Holder, now: Timestamp) -> String {
        let token = Uuid::simple(self.environment.random_id()).to_string();
        let expires = now.checked_add(self.lifetime).unwrap_or(Timestamp::MAX);
        let mut issued = self.issued.write();
        // An expired token is remembered for a while, so that its refusal can say that it has expired.
        let forgotten = now.checked_sub(self.lifetime).unwrap_or(Timestamp::MIN);
        issued.retain(|_, old| old.expires > forgotten);
        issued.insert(token.clone(), Issued { holder: Arc::new(holder), expires });
        token
    }
}

fn revoked() -> Denied {
    Denied::new(401, "access_denied", "this application is not approved, or was revoked")
}

struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Result<&str, Denied> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) if !value.is_empty() => Ok(value),
            (Some(_), Some(_)) => Err(Denied::invalid_request(format!("{name} occurs more than once"))),
            _ => Err(Denied::invalid_request(format!("{name} is missing"))),
        }
    }
}
