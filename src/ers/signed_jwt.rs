//! Application-restricted access: each token request carries an assertion signed with our key (`auth.md`).

use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::token_endpoint::{Grant, TokenEndpoint, TokenError};
use crate::environment::Environment;

/// The server takes at most 5 minutes; a minute is left for clocks that disagree.
const ASSERTION_LIFETIME_SECONDS: i64 = 240;

pub(super) struct SignedJwtGrant {
    client_id: String,
    kid: String,
    key: EncodingKey,
}

#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyError {
    #[error("cannot read the private key {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is not an RSA private key in PEM form")]
    NotRsa { path: PathBuf },
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    exp: i64,
}

fn read_key(private_key: &Path) -> Result<EncodingKey, PrivateKeyError> {
    let pem =
        std::fs::read(private_key).map_err(|source| PrivateKeyError::File { path: private_key.to_owned(), source })?;
    EncodingKey::from_rsa_pem(&pem).map_err(|_| PrivateKeyError::NotRsa { path: private_key.to_owned() })
}

/// The public half of a private key, as a JWK (RFC 7517) for registration.
pub fn public_jwk(kid: &str, private_key: &Path) -> Result<Jwk, PrivateKeyError> {
    let key = read_key(private_key)?;
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS512)
        .map_err(|_| PrivateKeyError::NotRsa { path: private_key.to_owned() })?;
    jwk.common.key_id = Some(kid.to_owned());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}

impl SignedJwtGrant {
    pub fn new(client_id: &str, kid: &str, private_key: &Path) -> Result<Self, PrivateKeyError> {
        let key = read_key(private_key)?;
        Ok(Self { client_id: client_id.to_owned(), kid: kid.to_owned(), key })
    }

    /// A refused assertion is made once more: its `jti` or the clock may have been the reason.
    pub async fn fetch(&self, endpoint: &TokenEndpoint) -> Result<Grant, TokenError> {
        match self.ask(endpoint).await {
            Err(TokenError::Refused { status: 400, code }) if code == "invalid_request" => self.ask(endpoint).await,
            answer => answer,
        }
    }

    async fn ask(&self, endpoint: &TokenEndpoint) -> Result<Grant, TokenError> {
        let assertion = self.assertion(&endpoint.url, &endpoint.environment)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
        ];
        endpoint.ask(&form).await
    }

    /// A CIS2 id token of somebody who signed in elsewhere, for a session of ours.
    pub async fn exchange(&self, endpoint: &TokenEndpoint, id_token: &SecretString) -> Result<Grant, TokenError> {
        let assertion = self.assertion(&endpoint.url, &endpoint.environment)?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
            ("subject_token", id_token.expose_secret()),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
        ];
        endpoint.ask(&form).await
    }

    /// Never used twice: the server remembers its `jti`.
    fn assertion(&self, audience: &str, environment: &Environment) -> Result<String, TokenError> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::RS512) };
        let claims = Claims {
            iss: &self.client_id,
            sub: &self.client_id,
            aud: audience,
            jti: environment.random_id().to_string(),
            exp: environment.now().as_second() + ASSERTION_LIFETIME_SECONDS,
        };
        // The key was read as RSA, so only a key too short for RS512 comes here.
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map_err(|_| TokenError::Refused { status: 0, code: "key_cannot_sign_rs512".into() })
    }
}
