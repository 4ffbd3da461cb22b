//! Sessions at e-RS, sealed in the store: that of a connection that somebody seeded, and those of people who signed in.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use crate::environment::Environment;
use crate::ers::{Session, SessionVault, VaultError};
use crate::keys::Keys;
use crate::store::{SealedSecret, SessionStore, StoreError};

/// Kind of the secret of a seeded session in its row; a person's has their NHS user id behind it.
const KIND: &str = "session";

/// One session: sealed before it reaches the store, replaced only by who knows its version.
pub struct SealedSession {
    pub connection: String,
    /// Whose it is; `None`: the seeded one.
    pub user: Option<String>,
    pub store: Arc<dyn SessionStore>,
    pub keys: Keys,
    pub environment: Environment,
}

impl SealedSession {
    pub(super) fn kind(&self) -> String {
        self.user.as_ref().map_or_else(|| KIND.to_owned(), |user| format!("{KIND}/{user}"))
    }

    /// What the secret is bound to: it does not open as another connection's or person's.
    fn context(&self) -> String {
        match &self.user {
            None => format!("{KIND}/{}", self.connection),
            Some(user) => format!("{KIND}/{}/{user}", self.connection),
        }
    }
}

#[async_trait]
impl SessionVault for SealedSession {
    async fn load(&self) -> Result<Option<(Session, u64)>, VaultError> {
        let Some(secret) = self.store.load_secret(&self.connection, &self.kind()).await.map_err(vault_error)? else {
            return Ok(None);
        };
        let opened =
            self.keys.open(&self.context(), &secret.sealed).map_err(|error| VaultError::Damaged(error.to_string()))?;
        let session = serde_json::from_slice(opened.expose_secret())
            .map_err(|_| VaultError::Damaged("it was written by another version".into()))?;
        Ok(Some((session, secret.version)))
    }

    async fn save(&self, session: &Session, expected: Option<u64>) -> Result<u64, VaultError> {
        let plain = serde_json::to_vec(session).map_err(|error| VaultError::Damaged(error.to_string()))?;
        let version = match expected {
            Some(version) => version + 1,
            // What was signed out and begins anew has no version that it had before.
            None if self.user.is_some() => u64::try_from(self.environment.now().as_millisecond()).unwrap_or(1),
            None => 1,
        };
        let secret = SealedSecret {
            connection: self.connection.clone(),
            kind: self.kind(),
            version,
            sealed: self.keys.seal(&self.context(), &plain),
            at: self.environment.now(),
        };
        self.store.save_secret(secret, expected).await.map_err(vault_error)?;
        Ok(version)
    }
}

fn vault_error(error: StoreError) -> VaultError {
    match error {
        StoreError::Outdated(_) => VaultError::Outdated,
        StoreError::Unavailable(_) => VaultError::Unavailable(error.to_string()),
        StoreError::NotFound | StoreError::Damaged(_) | StoreError::Locked(_) => VaultError::Damaged(error.to_string()),
    }
}
