//! Access tokens of one connection: kept until shortly before they expire, fetched by one caller at a time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::professional_session::ProfessionalSessionGrant;
use super::refresh_token::RefreshTokenGrant;
use super::signed_jwt::{PrivateKeyError, SignedJwtGrant};
use super::token_endpoint::{Grant, TokenEndpoint, TokenError};
use super::transport::Transport;
use crate::environment::Environment;

/// A token is replaced this long before it expires, so that none expires on the way.
const MARGIN: Duration = Duration::from_secs(60);
/// After a refusal that only a change of settings can cure, the server is left alone for so long.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// A bearer token, or the key of a professional session. Opaque, and never shown.
#[derive(Debug)]
pub struct AccessToken {
    pub(super) secret: SecretString,
    replace_at: Instant,
}

pub(super) enum GrantType {
    SignedJwt(SignedJwtGrant),
    RefreshToken(Box<RefreshTokenGrant>),
    ProfessionalSession(Box<ProfessionalSessionGrant>),
    /// Nobody is there to act; why, and what to do.
    Nobody(String),
}

/// Where a connection's tokens come from.
pub struct TokenSource {
    endpoint: TokenEndpoint,
    grant: GrantType,
    current: RwLock<Option<Arc<AccessToken>>>,
    /// Held while one caller fetches; keeps the last refusal.
    fetching: tokio::sync::Mutex<Option<(TokenError, Instant)>>,
}

impl AccessToken {
    /// One that came with a sign-in, not from a [`TokenSource`].
    pub(super) fn lasting(secret: SecretString, lifetime: Duration, now: Instant) -> Self {
        Self { secret, replace_at: now + lifetime }
    }

    /// For an `Authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.secret.expose_secret())
    }
}

impl TokenSource {
    /// Of an application-restricted registration, whatever API it is for.
    pub fn of_application(
        token_url: &str,
        client_id: &str,
        kid: &str,
        private_key: &std::path::Path,
        transport: Arc<dyn Transport>,
        environment: &Environment,
    ) -> Result<Self, PrivateKeyError> {
        let grant = SignedJwtGrant::new(client_id, kid, private_key)?;
        let endpoint = TokenEndpoint { url: token_url.to_owned(), transport, environment: environment.clone() };
        Ok(Self::new(endpoint, GrantType::SignedJwt(grant)))
    }

    pub(super) fn new(endpoint: TokenEndpoint, grant: GrantType) -> Self {
        Self { endpoint, grant, current: RwLock::new(None), fetching: tokio::sync::Mutex::new(None) }
    }

    /// The token in hand, if it is still good.
    pub fn current(&self) -> Option<Arc<AccessToken>> {
        let now = self.endpoint.environment.instant();
        self.current.read().as_ref().filter(|token| now < token.replace_at).cloned()
    }

    /// The token in hand, or a new one. However many ask, one request goes out.
    pub async fn token(&self) -> Result<Arc<AccessToken>, TokenError> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        let mut refused = self.fetching.lock().await;
        if let Some(token) = self.current() {
            return Ok(token);
        }
        let now = self.endpoint.environment.instant();
        if let Some((error, until)) = refused.as_ref()
            && now < *until
        {
            return Err(error.clone());
        }
        let fetched = match &self.grant {
            GrantType::SignedJwt(grant) => grant.fetch(&self.endpoint).await,
            GrantType::RefreshToken(grant) => grant.fetch(&self.endpoint).await,
            GrantType::ProfessionalSession(grant) => grant.fetch(&self.endpoint).await,
            GrantType::Nobody(why) => return Err(TokenError::SignInNeeded(why.clone())),
        };
        match fetched {
            Ok(grant) => {
                *refused = None;
                let token = Arc::new(taken(grant, self.endpoint.environment.instant()));
                *self.current.write() = Some(token.clone());
                Ok(token)
            }
            Err(error) => {
                if !matches!(error, TokenError::Unavailable { .. }) {
                    tracing::error!(token_url = %self.endpoint.url, %error, "no token: somebody must act");
                    *refused = Some((error.clone(), self.endpoint.environment.instant() + REFUSED_PAUSE));
                }
                Err(error)
            }
        }
    }

    /// e-RS did not take `token`: the next caller fetches another.
    pub fn reject(&self, token: &Arc<AccessToken>) {
        let mut current = self.current.write();
        if current.as_ref().is_some_and(|held| Arc::ptr_eq(held, token)) {
            *current = None;
        }
    }
}

/// A token that lives shorter than two margins is replaced at half its life.
fn taken(grant: Grant, now: Instant) -> AccessToken {
    let margin = MARGIN.min(grant.lifetime / 2);
    AccessToken { secret: grant.access_token, replace_at: now + (grant.lifetime - margin) }
}
