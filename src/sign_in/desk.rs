//! The desk at which people sign in, choose as whom they act, and sign out. The HTTP API and pages ask it alike.
//!
//! Every act is a row of the audit log, beside the session that it begins, changes or ends.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use prometheus::{IntCounterVec, Opts};
use secrecy::SecretString;
use serde_json::Value;

use super::begun::{Begun, digest};
use super::offers::{open_here, told};
use super::people::People;
use super::person::{ACTS_FOR_OTHERS, Person};
use crate::config::Access;
use crate::ers::{AccessToken, Client, Come, Door, IdClaims, Role, Session, SignInRefused, TokenError};
use crate::metrics::Registry;
use crate::store::{Act, ActorKind, AuditStore, Noted, StoreError};

/// Commands that only read, as plans under `mappings/ers` carry them out.
const ROLES: &str = "RetrieveBusinessFunctions";
const CLINICIANS: &str = "RetrieveOnBehalfOfUsers";
const SECRET_BYTES: usize = 32;
const THEN_CHARS_MAX: usize = 500;

/// Has e-RS asked in somebody's name, at the pace that is left for whoever waits.
#[async_trait]
pub trait AsksErs: Send + Sync {
    /// The result of a command that only reads and needs nothing.
    async fn ask(&self, client: &Client, token: &AccessToken, command: &str) -> Result<Value, NotAnswered>;
}

/// Why e-RS gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAnswered {
    /// With the issue's code, if there is one.
    Refused {
        status: u16,
        issue: String,
    },
    Unavailable(String),
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error(transparent)]
    Refused(#[from] SignInRefused),
    #[error("there is no connection of this name where people sign in")]
    NoSuchConnection,
    /// What was chosen is not theirs to choose.
    #[error("{0}")]
    NotOffered(String),
    /// Signed out, or over, meanwhile.
    #[error("the session is over: sign in again")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A browser is on its way.
pub struct Sent {
    pub location: String,
    /// For a cookie that comes back with it, and no longer than ten minutes.
    pub browser: String,
}

/// Somebody has come back.
pub struct Arrived {
    pub person: Person,
    /// For a cookie, until the session ends.
    pub browser: String,
    pub until: SignedDuration,
    /// A path of this gateway.
    pub then: String,
}

pub struct Desk {
    pub people: Arc<People>,
    asks: Arc<dyn AsksErs>,
    audit: Arc<dyn AuditStore>,
    sign_ins: IntCounterVec,
}

impl Desk {
    pub fn register(
        people: Arc<People>,
        asks: Arc<dyn AsksErs>,
        audit: Arc<dyn AuditStore>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let help = "Sign-ins that came to an end, by connection and outcome: signed_in, or the code of why not";
        let sign_ins = IntCounterVec::new(Opts::new("gateway_sign_ins_total", help), &["connection", "outcome"])?;
        registry.register(Box::new(sign_ins.clone()))?;
        Ok(Self { people, asks, audit, sign_ins })
    }

    /// Where people sign in.
    pub fn connections(&self) -> impl Iterator<Item = &str> {
        self.people.connections.iter().map(|connection| connection.name.as_str())
    }

    /// Browsers reach this gateway over TLS, or are on this machine.
    pub fn is_over_tls(&self) -> bool {
        self.people.connections.iter().all(|connection| match &connection.access {
            Access::SignIn(sign_in) => sign_in.redirect_uri.starts_with("https:"),
            Access::ApplicationRestricted(_) | Access::UserRestricted(_) | Access::ProfessionalSession(_) => true,
        })
    }

    fn secret(&self) -> String {
        let mut bytes = [0; SECRET_BYTES];
        self.people.environment.fill_random(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn door(&self, connection: &str) -> Result<Door, DeskError> {
        let settings = self.people.connection(connection).ok_or(DeskError::NoSuchConnection)?;
        Door::of(settings, self.people.ways.to(connection), &self.people.environment).ok_or(DeskError::NoSuchConnection)
    }

    /// Sends a browser to sign in at a connection. `then`: the path of this gateway where it is to be afterwards.
    pub async fn begin(&self, connection: &str, then: &str) -> Result<Sent, DeskError> {
        let door = self.door(connection)?;
        let (state, nonce, browser) = (self.secret(), self.secret(), self.secret());
        let verifier = SecretString::from(self.secret());
        let location = door.way(&state, &nonce, &verifier);
        let begun = Begun {
            browser: digest(&browser),
            nonce,
            verifier,
            then: own_path(then),
            at: self.people.environment.now(),
        };
        self.people.note_begun(connection, &state, &begun).await?;
        Ok(Sent { location, browser })
    }

    /// A browser is back with what the identity provider gave it. `browser`: the cookie that it left with.
    pub async fn come_back(
        &self,
        browser: Option<&str>,
        state: &str,
        brought: Result<&str, &str>,
        place: &str,
    ) -> Result<Arrived, DeskError> {
        let (connection, begun) = match self.people.take_begun(state, browser).await? {
            Ok(begun) => begun,
            Err(refused) => {
                self.sign_ins.with_label_values(&["unknown", refused.code()]).inc();
                return Err(refused.into());
            }
        };
        let arrived = self.arrive(&connection, begun, brought, place).await;
        let outcome = match &arrived {
            Ok(_) => "signed_in",
            Err(DeskError::Refused(refused)) => {
                tracing::warn!(connection, why = refused.code(), "a sign-in was refused");
                refused.code()
            }
            Err(_) => "store",
        };
        self.sign_ins.with_label_values(&[connection.as_str(), outcome]).inc();
        arrived
    }

    async fn arrive(
        &self,
        connection: &str,
        begun: Begun,
        brought: Result<&str, &str>,
        place: &str,
    ) -> Result<Arrived, DeskError> {
        let code = brought.map_err(|error| SignInRefused::NotCompleted(bounded(error)))?;
        let door = self.door(connection)?;
        let come = door.exchange(code, &begun.verifier).await?;
        let claims = door.who(&come, &begun.nonce).await?;
        claims.sureness.check()?;
        let person = self.told_by_ers(connection, &come, claims).await?;
        let lasts = person.until.duration_since(person.since);
        self.people.begin(&person, Session::begun(come.refresh_token)).await?;
        let cookie = self.secret();
        self.people.note_browser(&cookie, &person).await?;
        self.note(&person, "sign in", place).await?;
        Ok(Arrived { person, browser: cookie, until: lasts, then: begun.then })
    }

    /// Who came, and what they may choose, as e-RS says it.
    async fn told_by_ers(&self, connection: &str, come: &Come, claims: IdClaims) -> Result<Person, DeskError> {
        let settings = self.people.connection(connection).ok_or(DeskError::NoSuchConnection)?;
        let Access::SignIn(sign_in) = &settings.access else { return Err(DeskError::NoSuchConnection) };
        // Before a role is chosen nothing but the question what there is to choose can be asked.
        let asking = self.people.nobody(settings, String::new());
        let result = self.asks.ask(&asking, &come.token, ROLES).await.map_err(refused_by_ers)?;
        let told = told(&result);
        let user = told.user.ok_or_else(|| SignInRefused::NoRole("it names no user".into()))?;
        if claims.user.as_ref().is_some_and(|claimed| *claimed != user) {
            return Err(SignInRefused::NotOfThisSignIn("e-RS names another user").into());
        }
        let offers = open_here(told.offers, sign_in);
        if offers.is_empty() {
            let why = "there is none that its settings name";
            return Err(SignInRefused::NoRole(why.into()).into());
        }
        let now = self.people.environment.now();
        let lasts = SignedDuration::try_from(come.session_lifetime).unwrap_or_default();
        let mut person = Person {
            connection: connection.to_owned(),
            user,
            name: claims.name,
            sign_in: self.people.environment.new_id(),
            since: now,
            until: now.checked_add(lasts).unwrap_or(now),
            offers,
            role: None,
        };
        person.role = person.only_role();
        Ok(person)
    }

    /// Somebody has signed in elsewhere, and their program shows the id token: exchanged at once, and kept nowhere. Whoever
    /// is here already stays, with whichever session lasts longer.
    pub async fn exchange(
        &self,
        connection: &str,
        id_token: &SecretString,
        role: Role,
        (by, place): (&str, &str),
    ) -> Result<Person, DeskError> {
        let come = self.door(connection)?.exchange_id_token(id_token).await;
        let outcome = come.as_ref().map_or_else(SignInRefused::code, |_| "exchanged");
        self.sign_ins.with_label_values(&[connection, outcome]).inc();
        let come = come?;
        let mut person = self.told_by_ers(connection, &come, IdClaims::default()).await?;
        let is_offered = person.offers(&role.organisation, &role.business_function);
        if !is_offered {
            return Err(DeskError::NotOffered(
                "e-RS does not offer the user this function at this organisation".into(),
            ));
        }
        match self.people.find(connection, &person.user).await? {
            Some(here) if here.role.as_ref().is_some_and(|chosen| *chosen != role) => {
                let why = "the user is signed in already, and acts as somebody else there";
                return Err(DeskError::NotOffered(why.into()));
            }
            // Theirs lasts longer: the new one is not needed.
            Some(here) if here.until >= person.until => person = here,
            here => {
                if let Some(here) = here {
                    (person.sign_in, person.since, person.name) = (here.sign_in, here.since, here.name);
                }
                self.people.begin(&person, Session::begun(come.refresh_token)).await?;
            }
        }
        let by = Act { kind: ActorKind::Program, ..Act::of_person(by, place, "", self.people.environment.now()) };
        let subject = format!("session of user {} at {connection}", person.user);
        self.audit.note(Noted { act: "exchange", subject, by }).await?;
        self.choose(&person, role, place).await
    }

    /// For whom a person may act at an organisation (A040).
    pub async fn clinicians(&self, person: &Person, organisation: &str) -> Result<Vec<String>, DeskError> {
        if !person.offers(organisation, ACTS_FOR_OTHERS) {
            return Err(DeskError::NotOffered(format!("e-RS does not offer {ACTS_FOR_OTHERS} at {organisation}")));
        }
        let role = Role {
            organisation: organisation.to_owned(),
            business_function: ACTS_FOR_OTHERS.into(),
            on_behalf_of: None,
        };
        let asking = Person { role: Some(role), ..person.clone() };
        let client = self.people.client_of(&asking).ok_or(DeskError::Gone)?;
        let token = client.tokens.token().await.map_err(|error| match error {
            TokenError::SignInNeeded(_) => DeskError::Gone,
            TokenError::Refused { status, code } => SignInRefused::SetUp(format!("{status} {code}")).into(),
            TokenError::Unavailable { why, .. } => SignInRefused::Unavailable(why).into(),
        })?;
        let result = self.asks.ask(&client, &token, CLINICIANS).await.map_err(refused_by_ers)?;
        let users = result["users"].as_array().into_iter().flatten();
        Ok(users.filter_map(|user| user.as_str().map(str::to_owned)).collect())
    }

    /// As whom a person acts from now on. Whom e-RS does not name is not chosen.
    pub async fn choose(&self, person: &Person, role: Role, place: &str) -> Result<Person, DeskError> {
        if !person.offers(&role.organisation, &role.business_function) {
            return Err(DeskError::NotOffered("e-RS does not offer you this function at this organisation".into()));
        }
        match (&role.on_behalf_of, role.business_function == ACTS_FOR_OTHERS) {
            (None, false) => {}
            (None, true) => return Err(DeskError::NotOffered("say for whom you act (onBehalfOf)".into())),
            (Some(_), false) => {
                return Err(DeskError::NotOffered(format!("only {ACTS_FOR_OTHERS} acts for somebody else")));
            }
            (Some(clinician), true) => {
                if !self.clinicians(person, &role.organisation).await?.contains(clinician) {
                    return Err(DeskError::NotOffered("e-RS does not let you act for this user (A040)".into()));
                }
            }
        }
        let chosen = self.people.change(person, |person| person.role = Some(role)).await?.ok_or(DeskError::Gone)?;
        self.note(&chosen, "choose role", place).await?;
        Ok(chosen)
    }

    /// Nothing is done in their name any more, anywhere.
    pub async fn sign_out(&self, person: &Person, browser: &str, place: &str) -> Result<(), DeskError> {
        self.note(person, "sign out", place).await?;
        self.people.end(person).await?;
        Ok(self.people.forget_browser(browser).await?)
    }

    async fn note(&self, person: &Person, act: &'static str, place: &str) -> Result<(), StoreError> {
        let by = Act::of_person(signed(person), place, String::new(), self.people.environment.now());
        let subject = format!("session of user {} at {}", person.user, person.connection);
        self.audit.note(Noted { act, subject, by }).await
    }
}

/// How a person who is signed in stands in the audit log.
pub fn signed(person: &Person) -> String {
    match &person.name {
        Some(name) => format!("user {} ({name})", person.user),
        None => format!("user {}", person.user),
    }
}

fn refused_by_ers(error: NotAnswered) -> DeskError {
    match error {
        NotAnswered::Refused { status: 401, issue } if issue == "forbidden" => SignInRefused::IdentityAssurance,
        NotAnswered::Refused { status: 401, issue } if issue == "login" => SignInRefused::AuthenticatorAssurance,
        NotAnswered::Refused { status, issue } => SignInRefused::NotTold(format!("{status} {issue}")),
        NotAnswered::Unavailable(why) => SignInRefused::Unavailable(why),
    }
    .into()
}

/// Nowhere but here: what another site would have followed leads to the beginning.
fn own_path(then: &str) -> String {
    const HOME: &str = "/v1/sign-in/session";
    let is_own = then.starts_with('/')
        && !then.starts_with("//")
        && then.len() <= THEN_CHARS_MAX
        && then.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { then.to_owned() } else { HOME.to_owned() }
}

/// An error code of the identity provider, cut at a limit: it is shown to people.
fn bounded(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_nowhere_but_here() {
        for (then, path) in [
            ("/console/waiting?x=1", "/console/waiting?x=1"),
            ("", "/v1/sign-in/session"),
            ("https://elsewhere.test", "/v1/sign-in/session"),
            ("//elsewhere.test", "/v1/sign-in/session"),
            ("/\\elsewhere.test", "/v1/sign-in/session"),
            ("/a\r\nSet-Cookie: x", "/v1/sign-in/session"),
        ] {
            assert_eq!(own_path(then), path, "{then}");
        }
    }
}
