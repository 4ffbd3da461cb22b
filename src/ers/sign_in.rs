//! Signing in with the authorisation code (RFC 6749 4.1, RFC 7636), as the API platform drives CIS2 (`auth.md`).
//!
//! Enters: what a browser brings back. Leaves: where to send a browser; a refresh token, and who came. Guarantees: a code is
//! exchanged only with the verifier that its sign-in began with; an id token that comes along is of this sign-in, or it is refused.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::signed_jwt::SignedJwtGrant;
use super::token::AccessToken;
use super::token_endpoint::{Grant, TokenEndpoint, TokenError, encode_form};
use super::transport::{Body, Request, Transport};
use crate::config::{Access, Connection, ExchangeKey};
use crate::environment::Environment;

/// Where the platform says nothing: as long as it keeps sessions (`auth.md`).
const SESSION: Duration = Duration::from_secs(43_199);
const USERINFO_TIMEOUT: Duration = Duration::from_secs(30);
/// Clocks of two machines.
const CLOCKS_APART: i64 = 60;
/// What e-RS asks of a login.
const IDENTITY_ASSURANCE_MIN: u64 = 3;
const AUTHENTICATOR_ASSURANCE_MIN: u64 = 2;

/// Why somebody is not signed in: for themselves to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefused {
    #[error("this sign-in is not known: it was finished before, is too old, or began in another browser. Begin again")]
    NotKnown,
    #[error("the sign-in was not completed there ({0}). Begin again")]
    NotCompleted(String),
    #[error("the code of this sign-in was not taken: it was used before, or is too old. Begin again")]
    Code,
    #[error(
        "the id token was not taken: it is over, or of somebody whom the platform does not know. Sign in again there"
    )]
    IdToken,
    #[error(
        "the token server refuses the gateway itself ({0}): its people must check client id, secret and redirect_uri"
    )]
    SetUp(String),
    #[error("it cannot be reached now ({0}). Try again later")]
    Unavailable(String),
    #[error(
        "e-RS takes identities that were verified in person only (identity assurance level 3): ask your registration \
         authority. Signing in again does not help"
    )]
    IdentityAssurance,
    #[error(
        "e-RS needs a stronger way to sign in (authenticator assurance level 2 or 3): sign in with a smartcard or another \
         authenticator of that level"
    )]
    AuthenticatorAssurance,
    #[error("no id tokens are exchanged here: the settings have no private_key for it. Sign in at the gateway")]
    NotExchanged,
    #[error("what came back is not of this sign-in ({0}). Begin again, and tell the people who run the gateway")]
    NotOfThisSignIn(&'static str),
    #[error("e-RS knows no organisation and function of yours that this gateway is for: {0}")]
    NoRole(String),
    #[error("e-RS did not say who you are ({0}). Try again later")]
    NotTold(String),
}

impl SignInRefused {
    /// For metrics and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotKnown => "not_known",
            Self::NotCompleted(_) => "not_completed",
            Self::Code => "code",
            Self::IdToken => "id_token",
            Self::SetUp(_) => "set_up",
            Self::Unavailable(_) => "unavailable",
            Self::IdentityAssurance => "identity_assurance",
            Self::AuthenticatorAssurance => "authenticator_assurance",
            Self::NotExchanged => "not_exchanged",
            Self::NotOfThisSignIn(_) => "not_of_this_sign_in",
            Self::NoRole(_) => "no_role",
            Self::NotTold(_) => "not_told",
        }
    }
}

/// One connection's way in.
pub struct Door {
    endpoint: TokenEndpoint,
    client_id: String,
    client_secret: SecretString,
    authorize_url: String,
    userinfo_url: Option<String>,
    issuer: Option<String>,
    redirect_uri: String,
    scope: Option<String>,
    exchange: Option<ExchangeKey>,
}

/// Somebody who has come back, and has signed in there.
pub struct Come {
    pub token: AccessToken,
    pub refresh_token: SecretString,
    /// From now.
    pub session_lifetime: Duration,
    id_token: Option<SecretString>,
}

/// What an id token or userinfo says of who signed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdClaims {
    /// NHS user id.
    pub user: Option<String>,
    pub name: Option<String>,
    pub sureness: Sureness,
}

/// How sure it is who signed in; what is not said is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sureness {
    pub identity: Option<u64>,
    pub authenticator: Option<u64>,
}

impl Sureness {
    pub fn check(self) -> Result<(), SignInRefused> {
        if self.identity.is_some_and(|level| level < IDENTITY_ASSURANCE_MIN) {
            return Err(SignInRefused::IdentityAssurance);
        }
        if self.authenticator.is_some_and(|level| level < AUTHENTICATOR_ASSURANCE_MIN) {
            return Err(SignInRefused::AuthenticatorAssurance);
        }
        Ok(())
    }
}

impl Door {
    /// None where nobody can sign in.
    pub fn of(connection: &Connection, transport: Arc<dyn Transport>, environment: &Environment) -> Option<Self> {
        let Access::SignIn(sign_in) = &connection.access else { return None };
        Some(Self {
            endpoint: TokenEndpoint { url: connection.token_url.clone(), transport, environment: environment.clone() },
            client_id: connection.client_id.clone(),
            client_secret: sign_in.client_secret.clone(),
            authorize_url: sign_in.authorize_url.clone(),
            userinfo_url: sign_in.userinfo_url.clone(),
            issuer: sign_in.issuer.clone(),
            redirect_uri: sign_in.redirect_uri.clone(),
            scope: sign_in.scope.clone(),
            exchange: sign_in.exchange.clone(),
        })
    }

    /// Where the browser is to go.
    pub fn way(&self, state: &str, nonce: &str, verifier: &SecretString) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose_secret()));
        let mut form = vec![
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("response_type", "code"),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let separator = if self.authorize_url.contains('?') { '&' } else { '?' };
        format!("{}{separator}{}", self.authorize_url, encode_form(&form))
    }

    /// The code that came back, for a session.
    pub async fn exchange(&self, code: &str, verifier: &SecretString) -> Result<Come, SignInRefused> {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.expose_secret()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code", code),
            ("code_verifier", verifier.expose_secret()),
        ];
        self.come(self.endpoint.ask(&form).await, SignInRefused::Code)
    }

    /// The id token of somebody who signed in elsewhere, for a session of theirs here. It is kept nowhere.
    pub async fn exchange_id_token(&self, id_token: &SecretString) -> Result<Come, SignInRefused> {
        let set_up = |why: String| SignInRefused::SetUp(why);
        let key = self.exchange.as_ref().ok_or(SignInRefused::NotExchanged)?;
        let grant = SignedJwtGrant::new(&self.client_id, &key.kid, &key.private_key)
            .map_err(|error| set_up(error.to_string()))?;
        self.come(grant.exchange(&self.endpoint, id_token).await, SignInRefused::IdToken)
    }

    fn come(&self, granted: Result<Grant, TokenError>, not_taken: SignInRefused) -> Result<Come, SignInRefused> {
        let Grant { access_token, lifetime, refresh_token, session_lifetime, id_token } =
            granted.map_err(|error| match error {
                TokenError::SignInNeeded(_) => not_taken,
                TokenError::Refused { status, code } => SignInRefused::SetUp(format!("{status} {code}")),
                TokenError::Unavailable { why, .. } => SignInRefused::Unavailable(why),
            })?;
        let refresh_token = refresh_token.ok_or_else(|| SignInRefused::SetUp("it gave no refresh token".into()))?;
        let token = AccessToken::lasting(access_token, lifetime, self.endpoint.environment.instant());
        Ok(Come { token, refresh_token, session_lifetime: session_lifetime.unwrap_or(SESSION), id_token })
    }

    /// Who came, as far as the platform says. e-RS says it again.
    pub async fn who(&self, come: &Come, nonce: &str) -> Result<IdClaims, SignInRefused> {
        let told = match &come.id_token {
            Some(token) => self.claims_of(token, nonce)?,
            None => IdClaims::default(),
        };
        let Some(url) = &self.userinfo_url else { return Ok(told) };
        let request = Request {
            method: "GET".into(),
            url: url.clone(),
            headers: vec![("Authorization".into(), come.token.bearer()), ("Accept".into(), "application/json".into())],
            body: Body::Empty,
            timeout: USERINFO_TIMEOUT,
        };
        let answer = self.endpoint.transport.send(request).await;
        let answer = answer.map_err(|error| SignInRefused::Unavailable(error.to_string()))?;
        if answer.status != 200 {
            return Err(SignInRefused::NotTold(format!("userinfo answers {}", answer.status)));
        }
        let said: Value =
            serde_json::from_slice(&answer.body).map_err(|_| SignInRefused::NotTold("userinfo is no JSON".into()))?;
        let said = claims(&said);
        if let (Some(one), Some(other)) = (&told.user, &said.user)
            && one != other
        {
            return Err(SignInRefused::NotOfThisSignIn("userinfo names another user"));
        }
        Ok(IdClaims {
            user: said.user.or(told.user),
            name: said.name.or(told.name),
            sureness: Sureness {
                identity: said.sureness.identity.or(told.sureness.identity),
                authenticator: said.sureness.authenticator.or(told.sureness.authenticator),
            },
        })
    }

    /// It came straight from the token server over TLS, which stands for its signature (OpenID Connect Core 3.1.3.7, 6).
    fn claims_of(&self, id_token: &SecretString, nonce: &str) -> Result<IdClaims, SignInRefused> {
        use SignInRefused::NotOfThisSignIn;
        let payload = id_token.expose_secret().split('.').nth(1).unwrap_or_default();
        let said: Option<Value> =
            URL_SAFE_NO_PAD.decode(payload).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let said = said.ok_or(NotOfThisSignIn("the id token cannot be read"))?;
        if said["nonce"].as_str() != Some(nonce) {
            return Err(NotOfThisSignIn("the id token is of another one"));
        }
        let is_for_us = match &said["aud"] {
            Value::String(one) => *one == self.client_id,
            Value::Array(several) => several.iter().any(|one| one == &self.client_id),
            _ => false,
        };
        if !is_for_us {
            return Err(NotOfThisSignIn("the id token is for another application"));
        }
        if self.issuer.as_deref().is_some_and(|issuer| said["iss"] != issuer) {
            return Err(NotOfThisSignIn("the id token is of another issuer"));
        }
        let now = self.endpoint.environment.now().as_second();
        if said["exp"].as_i64().is_none_or(|expires| expires + CLOCKS_APART < now) {
            return Err(NotOfThisSignIn("the id token is over"));
        }
        Ok(claims(&said))
    }
}

/// As CIS2 names them.
fn claims(said: &Value) -> IdClaims {
    let level = |name: &str| match &said[name] {
        Value::Number(level) => level.as_u64(),
        Value::String(level) => level.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok(),
        _ => None,
    };
    let text = |names: [&str; 2]| names.iter().find_map(|name| said[*name].as_str()).map(bounded);
    IdClaims {
        user: text(["nhsid_useruid", "uid"]),
        name: text(["name", "display_name"]).filter(|name| !name.is_empty()),
        sureness: Sureness {
            identity: level("id_assurance_level"),
            authenticator: level("authentication_assurance_level"),
        },
    }
}

/// It is shown to people.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Config, SignIn};
    use crate::ers::{Response, TransportError};

    struct Nowhere;

    #[async_trait::async_trait]
    impl Transport for Nowhere {
        async fn send(&self, _: Request) -> Result<Response, TransportError> {
            Err(TransportError::NotSent("nowhere".into()))
        }
    }

    fn door() -> Door {
        let mut connection = Config::demonstration().connections.remove(0);
        connection.client_id = "client".into();
        connection.access = Access::SignIn(SignIn {
            client_secret: "secret".into(),
            authorize_url: "https://platform.test/authorize".into(),
            userinfo_url: None,
            issuer: Some("https://platform.test".into()),
            redirect_uri: "https://gateway.test/v1/sign-in/callback".into(),
            scope: None,
            organisations: Vec::new(),
            business_functions: Vec::new(),
            announce_end: Duration::from_secs(60),
            exchange: None,
        });
        Door::of(&connection, Arc::new(Nowhere), &Environment::system()).expect("people sign in here")
    }

    /// RFC 7636, appendix B.
    #[test]
    fn the_way_carries_the_challenge_of_the_standards_example() {
        let verifier = SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let way = door().way("the state", "n", &verifier);
        assert!(way.starts_with("https://platform.test/authorize?client_id=client&redirect_uri=https%3A%2F%2Fgateway"));
        assert!(way.contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), "{way}");
        assert!(way.contains("code_challenge_method=S256") && way.contains("state=the%20state"), "{way}");
        assert!(!way.contains("dBjft") && !way.contains("secret"), "{way}");
    }

    #[test]
    fn an_id_token_of_another_sign_in_is_refused() {
        let whole = json!({
            "nonce": "n", "aud": "client", "iss": "https://platform.test", "exp": 4_102_444_800_i64,
            "nhsid_useruid": "555000000001", "name": "Dr Example", "id_assurance_level": "3",
            "authentication_assurance_level": "AAL2",
        });
        let read = |claims: &Value| {
            let token = format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()));
            door().claims_of(&token.into(), "n")
        };
        let known = read(&whole).expect("it is whole");
        assert_eq!(known.user.as_deref(), Some("555000000001"));
        assert_eq!(known.sureness, Sureness { identity: Some(3), authenticator: Some(2) });
        for (name, other) in
            [("nonce", json!("m")), ("aud", json!(["another"])), ("iss", json!("https://x.test")), ("exp", json!(1))]
        {
            let mut claims = whole.clone();
            claims[name] = other;
            assert!(matches!(read(&claims), Err(SignInRefused::NotOfThisSignIn(_))), "{name}");
        }
        assert!(door().claims_of(&"nonsense".into(), "n").is_err());
    }

    #[test]
    fn too_low_an_assurance_is_told_apart() {
        for (identity, authenticator, refused) in [
            (None, None, None),
            (Some(3), Some(2), None),
            (Some(3), Some(3), None),
            (Some(2), Some(3), Some(SignInRefused::IdentityAssurance)),
            (Some(3), Some(1), Some(SignInRefused::AuthenticatorAssurance)),
        ] {
            assert_eq!(Sureness { identity, authenticator }.check().err(), refused, "{identity:?} {authenticator:?}");
        }
    }
}
