//! The professional session of the retired interface: made with a smartcard's token (A001), in a chosen function (A002), ended
//! by A003 (`auth.md`).
//!
//! Enters: the token of somebody whose smartcard is in. Leaves: the session's key, for calls. Guarantees: the key is stored, sealed,
//! before it is used, and used again after a restart; a session that is not the user's, in another function, or that nothing uses any
//! more, is ended; one of another address or system is forgotten, for its key is told nobody else; a token that was refused is not tried again with the same settings.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::refresh_token::{Session, SessionVault, VaultError};
use super::token_endpoint::{Grant, TokenEndpoint, TokenError};
use super::transport::{Body, Request, Response, TransportError};
use crate::config::ProfessionalSession;

pub(super) const ASID: &str = "XAPI_ASID";
pub(super) const SESSION_KEY: &str = "HTTP_X_SESSION_KEY";
const TYPE_INFO: &str = "uk.nhs.ers.xapi.dto.v1.session.ProfessionalSession";
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a session lives is not published. Its function is chosen again (A002, which changes nothing) after this, so that one that
/// is over is found.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Of the session's key: it becomes a header and a part of an address.
const KEY_CHARS_MAX: usize = 200;

pub(super) struct ProfessionalSessionGrant {
    connection: String,
    settings: ProfessionalSession,
    vault: Box<dyn SessionVault>,
}

/// As A001 and A002 answer.
#[derive(Deserialize)]
struct Made {
    id: SecretString,
    user: User,
    #[serde(default)]
    permission: Option<Permission>,
}

#[derive(Deserialize)]
struct User {
    identifier: String,
    #[serde(default)]
    permissions: Vec<Permission>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Permission {
    business_function: String,
    org_identifier: String,
}

/// How e-RS answered a call about a session.
enum Said {
    Done(Made),
    /// Not in this session, or not with this token.
    Refused(u16),
}

/// What says something of the token; anything else may be put right without another one.
fn is_of_token(status: u16) -> bool {
    matches!(status, 400 | 401 | 422)
}

impl ProfessionalSessionGrant {
    pub fn new(connection: &str, settings: &ProfessionalSession, vault: Box<dyn SessionVault>) -> Self {
        Self { connection: connection.to_owned(), settings: settings.clone(), vault }
    }

    /// `endpoint`: where professional sessions are.
    pub async fn fetch(&self, endpoint: &TokenEndpoint) -> Result<Grant, TokenError> {
        let (stored, version) = match self.vault.load().await? {
            Some((session, version)) => (Some(session), Some(version)),
            None => (None, None),
        };
        let Some(token) = &self.settings.smartcard_token else {
            // Whoever takes it out of the settings has gone.
            let at = self.at(endpoint);
            if let Some(session) = stored.filter(|session| is_alive(session, at)) {
                self.end(endpoint, session.key()).await;
                let ended = session.ended("its token was taken out of the settings");
                self.vault.save(&ended, version).await?;
            }
            return Err(self.sign_in("nobody's smartcard is in"));
        };
        let (seed, at) = (self.seed(endpoint, token), self.at(endpoint));
        match stored {
            Some(session) if session.professional_at() == Some(at) && session.seed() == seed => {
                if let Some(why) = session.why_ended() {
                    return Err(self.sign_in(why));
                }
                if let Said::Done(made) = self.choose(endpoint, session.key(), token).await?
                    && self.is_chosen(&made)
                {
                    return Ok(granted(session.key()));
                }
                // It is over; the smartcard may be in still.
                self.end(endpoint, session.key()).await;
            }
            // Somebody else's turn, other settings, or a smartcard that was out. At another address its key is nobody's business.
            Some(session) if is_alive(&session, at) => self.end(endpoint, session.key()).await,
            _ => {}
        }
        self.make(endpoint, token, seed, version).await
    }

    /// What a session is of: with another of these it is another session, and a token that was refused is tried once more.
    fn seed(&self, endpoint: &TokenEndpoint, token: &SecretString) -> [u8; 32] {
        let ProfessionalSession { asid, organisation, business_function, user, .. } = &self.settings;
        digest_of(&[&endpoint.url, asid, user, organisation, business_function, token.expose_secret()])
    }

    /// Where its sessions are made, and by which system.
    fn at(&self, endpoint: &TokenEndpoint) -> [u8; 32] {
        digest_of(&[&endpoint.url, &self.settings.asid])
    }

    async fn make(
        &self,
        endpoint: &TokenEndpoint,
        token: &SecretString,
        seed: [u8; 32],
        version: Option<u64>,
    ) -> Result<Grant, TokenError> {
        let asked = json!({ "typeInfo": TYPE_INFO, "token": token.expose_secret() });
        let made = match self.ask(endpoint, "POST", None, Some(&asked)).await? {
            Said::Done(made) => made,
            Said::Refused(status) if !is_of_token(status) => return Err(refused(status)),
            Said::Refused(status) => {
                let why = format!("e-RS makes no session of the smartcard's token ({status})");
                return self.over(Session::of(SecretString::from(""), seed, self.at(endpoint)), version, &why).await;
            }
        };
        let session = Session::of(made.id.clone(), seed, self.at(endpoint));
        if let Some(why) = self.is_not_meant(&made) {
            self.end(endpoint, &made.id).await;
            return self.over(session, version, &why).await;
        }
        let version = match self.vault.save(&session, version).await {
            Ok(version) => version,
            Err(error) => {
                // Nobody would know of it.
                self.end(endpoint, &made.id).await;
                return Err(error.into());
            }
        };
        match self.choose(endpoint, &made.id, token).await? {
            Said::Done(chosen) if self.is_chosen(&chosen) => Ok(granted(&made.id)),
            said => {
                self.end(endpoint, &made.id).await;
                let status = if let Said::Refused(status) = said { status } else { 200 };
                if status != 200 && !is_of_token(status) {
                    return Err(refused(status));
                }
                self.over(session, Some(version), &format!("e-RS does not let it act so ({status})")).await
            }
        }
    }

    /// Nothing goes on with this token.
    async fn over(&self, session: Session, version: Option<u64>, why: &str) -> Result<Grant, TokenError> {
        match self.vault.save(&session.ended(why), version).await {
            // Another instance is about the same: what it came to is looked at the next time.
            Ok(_) | Err(VaultError::Outdated) => Err(self.sign_in(why)),
            Err(error) => Err(error.into()),
        }
    }

    fn sign_in(&self, why: &str) -> TokenError {
        TokenError::SignInNeeded(format!(
            "{why}: put the smartcard in and set `smartcard_token` of connection {} to its new token",
            self.connection
        ))
    }

    fn is_meant(&self, permission: &Permission) -> bool {
        permission.business_function == self.settings.business_function
            && permission.org_identifier == self.settings.organisation
    }

    fn is_chosen(&self, made: &Made) -> bool {
        made.user.identifier == self.settings.user
            && made.permission.as_ref().is_some_and(|permission| self.is_meant(permission))
    }

    fn is_not_meant(&self, made: &Made) -> Option<String> {
        let ProfessionalSession { organisation, business_function, user, .. } = &self.settings;
        if made.user.identifier != *user {
            return Some(format!("the smartcard is not user {user}'s"));
        }
        let may = made.user.permissions.iter().any(|permission| self.is_meant(permission));
        (!may).then(|| format!("user {user} is no {business_function} at {organisation}"))
    }

    async fn choose(
        &self,
        endpoint: &TokenEndpoint,
        key: &SecretString,
        token: &SecretString,
    ) -> Result<Said, TokenError> {
        let ProfessionalSession { organisation, business_function, .. } = &self.settings;
        let asked = json!({
            "typeInfo": TYPE_INFO,
            "token": token.expose_secret(),
            "permission": { "businessFunction": business_function, "orgIdentifier": organisation },
        });
        self.ask(endpoint, "PUT", Some(key), Some(&asked)).await
    }

    /// Whatever comes of it: it is over here, and its smartcard's removal ends it there.
    async fn end(&self, endpoint: &TokenEndpoint, key: &SecretString) {
        let sent = endpoint.transport.send(self.request(endpoint, "DELETE", Some(key), None)).await;
        let said = sent.map_or_else(|error| error.to_string(), |response| response.status.to_string());
        tracing::info!(connection = self.connection, said, "a professional session was ended");
    }

    async fn ask(
        &self,
        endpoint: &TokenEndpoint,
        method: &str,
        key: Option<&SecretString>,
        body: Option<&Value>,
    ) -> Result<Said, TokenError> {
        let sent = endpoint.transport.send(self.request(endpoint, method, key, body)).await;
        match sent {
            Ok(response) => read(&response),
            Err(TransportError::NotSent(why) | TransportError::Unanswered(why)) => {
                Err(TokenError::Unavailable { why, retry_after: None })
            }
        }
    }

    fn request(
        &self,
        endpoint: &TokenEndpoint,
        method: &str,
        key: Option<&SecretString>,
        body: Option<&Value>,
    ) -> Request {
        let mut headers =
            vec![(ASID.to_owned(), self.settings.asid.clone()), ("Accept".to_owned(), "application/json".to_owned())];
        let mut url = endpoint.url.clone();
        if let Some(key) = key {
            url.push_str(&format!("/{}", key.expose_secret()));
            headers.push((SESSION_KEY.to_owned(), key.expose_secret().to_owned()));
        }
        let body = match body {
            None => Body::Empty,
            Some(body) => {
                headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
                Body::Bytes(body.to_string().into())
            }
        };
        Request { method: method.to_owned(), url, headers, body, timeout: TIMEOUT }
    }
}

fn digest_of(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        // So that no two run into each other.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// One that can be ended there: what was kept of another kind of access is no key, and goes into no address; nor does a key to
/// another address than its own.
fn is_alive(session: &Session, at: [u8; 32]) -> bool {
    session.professional_at() == Some(at) && session.why_ended().is_none() && is_key(session.key().expose_secret())
}

fn refused(status: u16) -> TokenError {
    TokenError::Unavailable { why: format!("e-RS refuses professional sessions ({status})"), retry_after: None }
}

fn granted(key: &SecretString) -> Grant {
    Grant {
        access_token: key.clone(),
        lifetime: LOOK_AGAIN,
        refresh_token: None,
        session_lifetime: None,
        id_token: None,
    }
}

fn read(response: &Response) -> Result<Said, TokenError> {
    let unavailable = |why: String| Err(TokenError::Unavailable { why, retry_after: None });
    match response.status {
        200 | 201 => match serde_json::from_slice::<Made>(&response.body) {
            Ok(made) if is_key(made.id.expose_secret()) => Ok(Said::Done(made)),
            _ => unavailable("its reply is no professional session".into()),
        },
        status @ (408 | 409 | 425 | 429 | 500..=599) => unavailable(format!("{status}")),
        status => Ok(Said::Refused(status)),
    }
}

/// `pro-xapi-session_<uuid>`
fn is_key(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= KEY_CHARS_MAX && text.chars().all(is_plain) && text.chars().any(|c| c != '.')
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::environment::Environment;
    use crate::ers::transport::Transport;

    fn answer(status: u16, body: &Value) -> Result<Said, TokenError> {
        read(&Response { status, headers: Vec::new(), body: body.to_string().into() })
    }

    #[test]
    fn an_answer_is_a_session_a_refusal_or_none() {
        let session = |id: &str| json!({ "id": id, "user": { "identifier": "555000000011", "permissions": [] } });
        let good = "pro-xapi-session_6f1c2f0e-0000-4000-8000-000000000000";
        assert!(matches!(answer(201, &session(good)), Ok(Said::Done(_))));
        for id in ["", "../v1/other", "a/b", "a b", "..", &"x".repeat(201)] {
            assert!(matches!(answer(201, &session(id)), Err(TokenError::Unavailable { .. })), "{id}");
        }
        assert!(matches!(answer(201, &json!({})), Err(TokenError::Unavailable { .. })));
        for status in [400, 401, 403, 404, 422] {
            assert!(matches!(answer(status, &json!({})), Ok(Said::Refused(said)) if said == status));
        }
        for status in [408, 409, 425, 429, 500, 503] {
            assert!(matches!(answer(status, &json!({})), Err(TokenError::Unavailable { .. })), "{status}");
        }
    }

    const TOKEN: &str = "a smartcard's token";
    const KEY: &str = "pro-xapi-session_1";

    /// e-RS: what it was asked, and what it answers to each.
    struct Ers {
        asked: Mutex<Vec<String>>,
        answers: Mutex<VecDeque<(u16, Value)>>,
    }

    #[async_trait]
    impl Transport for Ers {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            self.asked.lock().push(format!("{} {}", request.method, request.url));
            let (status, body) = self.answers.lock().pop_front().unwrap_or((204, Value::Null));
            Ok(Response { status, headers: Vec::new(), body: body.to_string().into() })
        }
    }

    /// The store.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Option<(String, u64)>>>);

    #[async_trait]
    impl SessionVault for Kept {
        async fn load(&self) -> Result<Option<(Session, u64)>, VaultError> {
            let kept = self.0.lock().clone();
            Ok(kept.map(|(text, version)| (serde_json::from_str(&text).expect("a session"), version)))
        }

        async fn save(&self, session: &Session, expected: Option<u64>) -> Result<u64, VaultError> {
            let version = expected.unwrap_or(0) + 1;
            *self.0.lock() = Some((serde_json::to_string(session).expect("text"), version));
            Ok(version)
        }
    }

    fn settings(user: &str) -> ProfessionalSession {
        ProfessionalSession {
            asid: "200000000001".into(),
            smartcard_token: Some(TOKEN.into()),
            organisation: "R69".into(),
            business_function: "REFERRING_CLINICIAN".into(),
            user: user.into(),
        }
    }

    /// As A001 and A002 answer for user 1.
    fn of_user_1() -> Value {
        let permission = json!({ "businessFunction": "REFERRING_CLINICIAN", "orgIdentifier": "R69" });
        json!({ "id": KEY, "user": { "identifier": "1", "permissions": [permission] }, "permission": permission })
    }

    /// Whether it was granted, and what e-RS was asked for it.
    async fn fetched(
        settings: &ProfessionalSession,
        kept: &Kept,
        answers: &[(u16, Value)],
    ) -> (Result<Grant, TokenError>, Vec<String>) {
        let ers = Arc::new(Ers { asked: Mutex::default(), answers: Mutex::new(answers.iter().cloned().collect()) });
        let endpoint = TokenEndpoint {
            url: "https://ers.test/sessions".into(),
            transport: ers.clone(),
            environment: Environment::system(),
        };
        let grant = ProfessionalSessionGrant::new("ers", settings, Box::new(kept.clone()));
        let fetched = grant.fetch(&endpoint).await;
        let asked = ers.asked.lock().iter().map(|asked| asked.replace("https://ers.test/sessions", "")).collect();
        (fetched, asked)
    }

    #[tokio::test]
    async fn a_session_that_was_kept_is_not_anothers_with_the_same_token() {
        let (kept, done) = (Kept::default(), |status| (status, of_user_1()));
        let (granted, asked) = fetched(&settings("1"), &kept, &[done(201), done(200)]).await;
        assert!(granted.is_ok());
        assert_eq!(asked, ["POST ", &*format!("PUT /{KEY}")]);
        let (granted, asked) = fetched(&settings("1"), &kept, &[done(200)]).await;
        assert!(granted.is_ok() && asked == [format!("PUT /{KEY}")], "after a restart: {asked:?}");

        let answers = [(204, Value::Null), done(201)];
        let (granted, asked) = fetched(&settings("2"), &kept, &answers).await;
        let ended = format!("DELETE /{KEY}");
        assert_eq!(asked, [&*ended, "POST ", &*ended]);
        let Err(TokenError::SignInNeeded(why)) = granted else { panic!("user 2 got the session of user 1") };
        assert!(why.contains("the smartcard is not user 2's"), "{why}");
        // The settings are put right: the same token is tried once more.
        let (granted, asked) = fetched(&settings("1"), &kept, &[done(201), done(200)]).await;
        assert!(granted.is_ok() && asked.len() == 2, "{asked:?}");
        // Nor is it whatever e-RS says of it.
        let mut of_user_2 = of_user_1();
        of_user_2["user"]["identifier"] = json!("2");
        let (granted, _) = fetched(&settings("1"), &kept, &[(200, of_user_2)]).await;
        assert!(granted.is_err());
    }

    #[tokio::test]
    async fn a_key_is_told_nobody_but_who_gave_it() {
        let (kept, done) = (Kept::default(), |status| (status, of_user_1()));
        fetched(&settings("1"), &kept, &[done(201), done(200)]).await.0.expect("granted");
        let other = ProfessionalSession { asid: "200000000002".into(), ..settings("1") };
        let (granted, asked) = fetched(&other, &kept, &[done(201), done(200)]).await;
        assert!(granted.is_ok());
        assert_eq!(asked, ["POST ", &*format!("PUT /{KEY}")], "the one before is not ended here");
    }

    #[tokio::test]
    async fn a_token_is_given_up_for_what_is_said_of_it_alone() {
        for (status, is_over) in [(400, true), (401, true), (422, true), (403, false), (404, false), (503, false)] {
            let kept = Kept::default();
            let (refused, _) = fetched(&settings("1"), &kept, &[(status, json!({}))]).await;
            assert_eq!(matches!(refused, Err(TokenError::SignInNeeded(_))), is_over, "{status}");
            let (_, asked) = fetched(&settings("1"), &kept, &[(status, json!({}))]).await;
            assert_eq!(asked.is_empty(), is_over, "{status}");
        }
    }

    #[tokio::test]
    async fn what_was_kept_of_another_access_is_sent_nowhere() {
        let refresh_token = "a refresh token";
        let kept = Kept::default();
        kept.save(&Session::begun(refresh_token.into()), None).await.expect("kept");
        let (granted, asked) = fetched(&settings("1"), &kept, &[(201, of_user_1()), (200, of_user_1())]).await;
        assert!(granted.is_ok());
        assert_eq!(asked, ["POST ", &*format!("PUT /{KEY}")]);
        kept.save(&Session::begun(refresh_token.into()), None).await.expect("kept");
        let without = ProfessionalSession { smartcard_token: None, ..settings("1") };
        assert_eq!(fetched(&without, &kept, &[]).await.1, [""; 0]);
    }
}
