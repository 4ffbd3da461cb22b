//! Sessions of user-restricted connections, sealed in the store.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use crate::environment::Environment;
use crate::ers::{Session, SessionVault, VaultError};
use crate::keys::Keys;
use crate::store::{SealedSecret, SessionStore, StoreError};

/// Kind of the secret in its row.
const KIND: &str = "session";

/// One connection's session: sealed before it reaches the store, replaced only by who knows its version.
pub(super) struct SealedSession {
    pub(super) connection: String,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) keys: Keys,
    pub(super) environment: Environment,
}

impl SealedSession {
    /// What the secret is bound to: it does not open as another connection's.
    fn context(&self) -> String {
        format!("{KIND}/{}", self.connection)
    }
}

#[async_trait]
impl SessionVault for SealedSession {
    async fn load(&self) -> Result<Option<(Session, u64)>, VaultError> {
        let Some(secret) = self.store.load_secret(&self.connection, KIND).await.map_err(vault_error)? else {
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
        let version = expected.unwrap_or(0) + 1;
        let secret = SealedSecret {
            connection: self.connection.clone(),
            kind: KIND.into(),
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
        StoreError::NotFound | StoreError::Damaged(_) => VaultError::Damaged(error.to_string()),
    }
}
