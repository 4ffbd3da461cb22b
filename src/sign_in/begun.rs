//! A sign-in that has begun: what must be known again when the browser comes back.
//!
//! Guarantees: a state is good once, for ten minutes, in the browser that has the cookie which was given with it. The store
//! has digests of both, and the rest sealed.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::people::People;
use crate::ers::SignInRefused;
use crate::mapping::hex;
use crate::store::StoreError;

const BEGUN: &str = "begun";
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// Of one connection at once: whoever begins is not known yet, and may begin for ever.
const BEGUN_MAX: usize = 1_000;

#[derive(Serialize, Deserialize)]
pub(super) struct Begun {
    /// Hex SHA-256 of the cookie of the browser that it began in.
    pub browser: String,
    pub nonce: String,
    #[serde(serialize_with = "expose")]
    pub verifier: SecretString,
    /// Where the browser goes afterwards: a path of this gateway.
    pub then: String,
    pub at: Timestamp,
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// Hex SHA-256: what the store knows of what only a browser has.
pub(super) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

impl People {
    pub(super) async fn note_begun(&self, connection: &str, state: &str, begun: &Begun) -> Result<(), StoreError> {
        let prefix = format!("{BEGUN}/");
        let mut held = self.store.secrets(connection, &prefix).await?;
        if held.len() >= BEGUN_MAX {
            // The oldest goes: it began a while ago, or somebody begins without end.
            held.sort_by_key(|secret| secret.at);
            for secret in held.iter().take(held.len() + 1 - BEGUN_MAX) {
                self.remove(connection, &secret.kind, secret.version).await?;
            }
        }
        self.save(connection, format!("{prefix}{}", digest(state)), begun, None).await
    }

    /// The sign-in that this state began, taken for good. With the connection that it is at.
    pub(super) async fn take_begun(
        &self,
        state: &str,
        browser: Option<&str>,
    ) -> Result<Result<(String, Begun), SignInRefused>, StoreError> {
        let kind = format!("{BEGUN}/{}", digest(state));
        for connection in &self.connections {
            let Some(kept) = self.load::<Begun>(&connection.name, &kind).await? else { continue };
            match self.store.remove_secret(&connection.name, &kind, kept.version).await {
                Ok(()) => {}
                Err(StoreError::Outdated(_)) => break,
                Err(error) => return Err(error),
            }
            let begun = kept.value;
            let is_same_browser = browser.is_some_and(|browser| digest(browser) == begun.browser);
            if !is_same_browser || self.environment.now().duration_since(begun.at) > LIFETIME {
                break;
            }
            return Ok(Ok((connection.name.clone(), begun)));
        }
        Ok(Err(SignInRefused::NotKnown))
    }

    /// Forgets what nobody came back from.
    pub(super) async fn forget_begun(&self) -> Result<(), StoreError> {
        let now = self.environment.now();
        for connection in &self.connections {
            for secret in self.store.secrets(&connection.name, &format!("{BEGUN}/")).await? {
                if now.duration_since(secret.at) > LIFETIME {
                    self.remove(&connection.name, &secret.kind, secret.version).await?;
                }
            }
        }
        Ok(())
    }
}
