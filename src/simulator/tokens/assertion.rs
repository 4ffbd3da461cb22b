//! Client assertions: signed JWTs as the platform takes them (RS512, registered key, exact audience, used once).

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::Mutex;
use serde_json::Value;

use super::Denied;
use crate::simulator::applications::{Access, Application};

/// Documented as 5 minutes; the server lets 10 seconds more pass.
const LIFETIME_SECONDS_MAX: i64 = 310;
const ASSERTION_BYTES_MAX: usize = 8192;

pub struct Assertions {
    /// By client id, then `kid`.
    keys: HashMap<String, HashMap<String, DecodingKey>>,
    /// `(client id, jti)` and when the assertion stops being valid; it is remembered until then.
    used: Mutex<HashMap<(String, String), i64>>,
}

impl Assertions {
    /// A key that cannot be read is left out: assertions made with it find no registered key.
    pub fn new(applications: &[Application]) -> Self {
        let keys = applications
            .iter()
            .map(|application| match &application.access {
                Access::ApplicationRestricted { keys, .. } | Access::UserRestricted { keys, .. } => {
                    (application.client_id.clone(), keys)
                }
            })
            .map(|(client_id, keys)| {
                let readable = |pem: &String| DecodingKey::from_rsa_pem(pem.as_bytes()).ok();
                (client_id, keys.iter().filter_map(|key| Some((key.kid.clone(), readable(&key.pem)?))).collect())
            })
            .collect();
        Self { keys, used: Mutex::default() }
    }

    pub fn reset(&self) {
        self.used.lock().clear();
    }

    /// The client id that the assertion proves.
    pub fn accept(&self, jwt: &str, token_url: &str, now: Timestamp) -> Result<String, Denied> {
        let (header, claims) = parts(jwt)?;
        if header["alg"].as_str() != Some("RS512") {
            return Err(Denied::invalid_request("alg must be RS512"));
        }
        if header["typ"].as_str() != Some("JWT") {
            return Err(Denied::invalid_request("typ must be JWT"));
        }
        let Some(kid) = header["kid"].as_str() else {
            return Err(Denied::invalid_request("kid is missing"));
        };
        let expires = check_expiry(&claims, now)?;
        let jti = match &claims["jti"] {
            Value::String(jti) if !jti.is_empty() => jti,
            Value::Null => return Err(Denied::invalid_request("jti is missing")),
            _ => return Err(Denied::invalid_request("jti must be a string")),
        };
        let (Some(issuer), Some(subject)) = (claims["iss"].as_str(), claims["sub"].as_str()) else {
            return Err(Denied::invalid_request("iss and sub must be the client id"));
        };
        if issuer != subject {
            return Err(Denied::invalid_request("iss and sub must be the same"));
        }
        if claims["aud"].as_str() != Some(token_url) {
            return Err(Denied::new(401, "invalid_request", format!("aud must be {token_url}")));
        }
        let Some(keys) = self.keys.get(issuer) else {
            return Err(Denied::new(401, "invalid_request", "iss is not a known client"));
        };
        let Some(key) = keys.get(kid) else {
            return Err(Denied::new(401, "invalid_request", "kid is not among the registered keys"));
        };
        if !is_signed(jwt, key) {
            return Err(Denied::new(401, "invalid_request", "the signature is not valid"));
        }
        self.use_once(issuer, jti, expires, now)?;
        Ok(issuer.to_owned())
    }

    fn use_once(&self, issuer: &str, jti: &str, expires: i64, now: Timestamp) -> Result<(), Denied> {
        let mut used = self.used.lock();
        used.retain(|_, until| *until > now.as_second());
        if used.insert((issuer.to_owned(), jti.to_owned()), expires).is_some() {
            return Err(Denied::invalid_request("jti has been used before"));
        }
        Ok(())
    }
}

fn parts(jwt: &str) -> Result<(Value, Value), Denied> {
    let malformed = || Denied::invalid_request("client_assertion is not a signed JWT");
    if jwt.len() > ASSERTION_BYTES_MAX {
        return Err(malformed());
    }
    let mut pieces = jwt.split('.');
    let (Some(header), Some(claims), Some(_), None) = (pieces.next(), pieces.next(), pieces.next(), pieces.next())
    else {
        return Err(malformed());
    };
    let read = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
    };
    read(header).zip(read(claims)).ok_or_else(malformed)
}

fn check_expiry(claims: &Value, now: Timestamp) -> Result<i64, Denied> {
    let expires = match &claims["exp"] {
        Value::Null => return Err(Denied::invalid_request("exp is missing")),
        value => value.as_i64().ok_or_else(|| Denied::invalid_request("exp must be a whole number"))?,
    };
    if expires <= now.as_second() {
        return Err(Denied::invalid_request("exp is in the past"));
    }
    if expires - now.as_second() > LIFETIME_SECONDS_MAX {
        return Err(Denied::invalid_request("exp is more than 5 minutes ahead"));
    }
    Ok(expires)
}

fn is_signed(jwt: &str, key: &DecodingKey) -> bool {
    let mut rules = Validation::new(Algorithm::RS512);
    // The claims have been checked above, by the simulator's own clock.
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    jsonwebtoken::decode::<Value>(jwt, key, &rules).is_ok()
}
