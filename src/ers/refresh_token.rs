//! User-restricted access: a session kept alive by refresh tokens that can be used once each (`auth.md`).
//!
//! A refresh has a moment in which the old token is used and the new one is not yet stored. So "about to
//! refresh" is stored before the request, and the successor before anything uses the access token that came
//! with it. A crash in between is found afterwards by the mark that it left.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::token_endpoint::{Grant, TokenEndpoint, TokenError};

/// Longer than a token request can take: a mark of another process that is younger may still be answered.
const REFRESH_TIME_MAX: Duration = Duration::from_secs(60);
/// Another process that lives is done with its refresh long before that.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A signed-in user's session as it is stored. Serialised only to be sealed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    #[serde(serialize_with = "expose")]
    refresh_token: SecretString,
    /// SHA-256 of the configured token that this session began with: another one begins another session.
    seed: [u8; 32],
    /// Who is using `refresh_token` up, since when.
    refreshing: Option<Refreshing>,
    /// Why it cannot go on.
    ended: Option<String>,
    /// Its token is the key of a professional session, made where this is the digest of: never refreshed, as no refresh token
    /// is ever a key.
    #[serde(default)]
    professional_at: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Refreshing {
    by: Uuid,
    since: Timestamp,
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

impl Session {
    /// Of somebody who has just signed in.
    pub fn begun(refresh_token: SecretString) -> Self {
        let seed = Sha256::digest(refresh_token.expose_secret()).into();
        Self { refresh_token, seed, refreshing: None, ended: None, professional_at: None }
    }

    /// A professional session, known by its key, of what has this digest. Nothing refreshes it.
    pub(super) fn of(key: SecretString, seed: [u8; 32], at: [u8; 32]) -> Self {
        Self { refresh_token: key, seed, refreshing: None, ended: None, professional_at: Some(at) }
    }

    /// Where a professional session was made.
    pub(super) fn professional_at(&self) -> Option<[u8; 32]> {
        self.professional_at
    }

    pub(super) fn key(&self) -> &SecretString {
        &self.refresh_token
    }

    pub(super) fn seed(&self) -> [u8; 32] {
        self.seed
    }

    pub(super) fn why_ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    pub(super) fn ended(self, why: &str) -> Self {
        Self { refreshing: None, ended: Some(why.to_owned()), ..self }
    }
}

/// Where a session outlives the process. Implementations seal it.
#[async_trait]
pub trait SessionVault: Send + Sync {
    /// The stored session and its version.
    async fn load(&self) -> Result<Option<(Session, u64)>, VaultError>;
    /// Replaces the version `expected` (`None`: there must be none). On disk when this returns the new version.
    async fn save(&self, session: &Session, expected: Option<u64>) -> Result<u64, VaultError>;
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the session cannot be stored now: {0}")]
    Unavailable(String),
    #[error("another instance changed the session")]
    Outdated,
    #[error("the stored session cannot be read: {0}")]
    Damaged(String),
}

impl From<VaultError> for TokenError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Damaged(_) => Self::SignInNeeded(error.to_string()),
            VaultError::Unavailable(_) | VaultError::Outdated => {
                Self::Unavailable { why: error.to_string(), retry_after: None }
            }
        }
    }
}

pub(super) struct RefreshTokenGrant {
    /// What somebody must do where the session cannot go on.
    mend: String,
    client_id: String,
    client_secret: SecretString,
    seed: Option<SecretString>,
    vault: Box<dyn SessionVault>,
    /// This process, in the mark of a refresh.
    myself: Uuid,
    /// A successor that could not be stored yet. Nothing else is tried before it is.
    unsaved: tokio::sync::Mutex<Option<Unsaved>>,
}

struct Unsaved {
    session: Session,
    expected: u64,
    grant: Grant,
}

impl RefreshTokenGrant {
    pub fn new(
        mend: String,
        client_id: &str,
        client_secret: SecretString,
        seed: Option<SecretString>,
        vault: Box<dyn SessionVault>,
        myself: Uuid,
    ) -> Self {
        Self {
            mend,
            client_id: client_id.to_owned(),
            client_secret,
            seed,
            vault,
            myself,
            unsaved: tokio::sync::Mutex::new(None),
        }
    }

    pub async fn fetch(&self, endpoint: &TokenEndpoint) -> Result<Grant, TokenError> {
        let mut unsaved = self.unsaved.lock().await;
        if unsaved.is_some() {
            return self.store_successor(&mut unsaved).await;
        }
        let (session, version) = self.open(endpoint.environment.now()).await?;
        match self.refresh(endpoint, session, version, &mut unsaved).await {
            // The stored session is over. A token that was configured since then begins a new one.
            Err(TokenError::SignInNeeded(why)) => match self.open(endpoint.environment.now()).await {
                Ok((session, version)) => self.refresh(endpoint, session, version, &mut unsaved).await,
                Err(_) => Err(TokenError::SignInNeeded(why)),
            },
            answer => answer,
        }
    }

    /// The session to go on with: the stored one, or a new one from the configuration.
    async fn open(&self, now: Timestamp) -> Result<(Session, Option<u64>), TokenError> {
        let (stored, version) = match self.vault.load().await? {
            Some((session, version)) => (Some(session), Some(version)),
            None => (None, None),
        };
        let sign_in = |why: &str| TokenError::SignInNeeded(format!("{why}: {}", self.mend));
        let seed = |begun_with: Option<[u8; 32]>| {
            let seed = self.seed.as_ref()?;
            let digest: [u8; 32] = Sha256::digest(seed.expose_secret()).into();
            (Some(digest) != begun_with).then(|| Session {
                refresh_token: seed.clone(),
                seed: digest,
                refreshing: None,
                ended: None,
                professional_at: None,
            })
        };
        // The access of this connection was another before.
        match stored.filter(|session| session.professional_at.is_none()) {
            None => Ok((seed(None).ok_or_else(|| sign_in("nobody has signed in yet"))?, version)),
            Some(Session { ended: Some(why), seed: begun_with, .. }) => {
                Ok((seed(Some(begun_with)).ok_or_else(|| sign_in(&why))?, version))
            }
            Some(Session { refreshing: Some(mark), .. })
                if mark.by != self.myself
                    && now.duration_since(mark.since) < REFRESH_TIME_MAX.try_into().unwrap_or_default() =>
            {
                Err(TokenError::Unavailable {
                    why: "another instance is refreshing this session".into(),
                    retry_after: Some(LOOK_AGAIN),
                })
            }
            Some(session) => Ok((session, version)),
        }
    }

    async fn refresh(
        &self,
        endpoint: &TokenEndpoint,
        session: Session,
        version: Option<u64>,
        unsaved: &mut Option<Unsaved>,
    ) -> Result<Grant, TokenError> {
        let used_before = session.refreshing.is_some();
        let mark = Refreshing { by: self.myself, since: endpoint.environment.now() };
        let session = Session { refreshing: Some(mark), ..session };
        let version = self.vault.save(&session, version).await?;
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.expose_secret()),
            ("refresh_token", session.refresh_token.expose_secret()),
        ];
        match endpoint.ask(&form).await {
            Ok(mut grant) => {
                let refresh_token = grant.refresh_token.take().unwrap_or(session.refresh_token);
                let session = Session { refresh_token, refreshing: None, ..session };
                *unsaved = Some(Unsaved { session, expected: version, grant });
                self.store_successor(unsaved).await
            }
            Err(TokenError::SignInNeeded(_)) => {
                let why = if used_before {
                    "the refresh token was used, but its successor never arrived or was never stored"
                } else {
                    "the session of the user has ended"
                };
                let ended = Session { refreshing: None, ended: Some(why.into()), ..session };
                self.vault.save(&ended, Some(version)).await?;
                Err(TokenError::SignInNeeded(format!("{why}: {}", self.mend)))
            }
            Err(other) => Err(other),
        }
    }

    /// On disk before use. What another instance stored meanwhile is looked at afresh the next time.
    async fn store_successor(&self, unsaved: &mut Option<Unsaved>) -> Result<Grant, TokenError> {
        let Some(waiting) = unsaved.take() else {
            return Err(TokenError::Unavailable { why: "no successor is waiting".into(), retry_after: None });
        };
        match self.vault.save(&waiting.session, Some(waiting.expected)).await {
            Ok(_) => Ok(waiting.grant),
            Err(error @ VaultError::Unavailable(_)) => {
                *unsaved = Some(waiting);
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}
