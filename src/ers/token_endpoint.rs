//! The token server: one form in, one token or one reason out (`auth.md`).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::retry_after;
use super::transport::{Body, Request, Response, Transport, TransportError};
use crate::environment::Environment;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Where tokens come from, and how it is reached.
pub(super) struct TokenEndpoint {
    pub url: String,
    pub transport: Arc<dyn Transport>,
    pub environment: Environment,
}

/// What a successful reply holds.
#[derive(Debug)]
pub(super) struct Grant {
    pub access_token: SecretString,
    pub lifetime: Duration,
    pub refresh_token: Option<SecretString>,
    /// What is left of the session, however often it is refreshed.
    pub session_lifetime: Option<Duration>,
    /// Who signed in, where the server says so with the token.
    pub id_token: Option<SecretString>,
}

/// Why there is no token. Its text names codes and what to do, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not reached, busy or broken: it may work later.
    #[error("the token server is not available: {why}")]
    Unavailable { why: String, retry_after: Option<Duration> },
    /// It will not work until somebody changes the registration, the key or the settings.
    #[error("the token server refused ({status} {code}): check client id, key and registration")]
    Refused { status: u16, code: String },
    /// Nobody is signed in any more.
    #[error("{0}")]
    SignInNeeded(String),
}

#[derive(Deserialize)]
struct Reply {
    access_token: SecretString,
    /// Seconds; e-RS's platform sends a string, the standard says a number.
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    refresh_token: Option<SecretString>,
    #[serde(default)]
    refresh_token_expires_in: Value,
    #[serde(default)]
    id_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct ErrorReply {
    error: String,
}

impl TokenEndpoint {
    pub async fn ask(&self, form: &[(&str, &str)]) -> Result<Grant, TokenError> {
        let request = Request {
            method: "POST".into(),
            url: self.url.clone(),
            headers: vec![
                ("Content-Type".into(), "application/x-www-form-urlencoded".into()),
                ("Accept".into(), "application/json".into()),
            ],
            body: Body::Bytes(encode_form(form).into()),
            timeout: TIMEOUT,
        };
        match self.transport.send(request).await {
            Ok(response) => read(&response, &self.environment),
            Err(TransportError::NotSent(why) | TransportError::Unanswered(why)) => {
                Err(TokenError::Unavailable { why, retry_after: None })
            }
        }
    }
}

fn read(response: &Response, environment: &Environment) -> Result<Grant, TokenError> {
    if response.status == 200 {
        let reply: Reply = serde_json::from_slice(&response.body)
            .map_err(|_| TokenError::Unavailable { why: "its reply has no access_token".into(), retry_after: None })?;
        return Ok(Grant {
            access_token: reply.access_token,
            lifetime: lifetime(&reply.expires_in),
            refresh_token: reply.refresh_token,
            session_lifetime: seconds(&reply.refresh_token_expires_in),
            id_token: reply.id_token,
        });
    }
    let code = serde_json::from_slice::<ErrorReply>(&response.body).map(|reply| bounded(&reply.error));
    let code = code.unwrap_or_else(|_| "no code".into());
    Err(match response.status {
        429 | 500..=599 => TokenError::Unavailable {
            why: format!("{} {code}", response.status),
            retry_after: retry_after::of(response, environment.now()),
        },
        400 | 401 if code == "invalid_grant" => {
            TokenError::SignInNeeded("the refresh token is invalid, used or expired: sign in again".into())
        }
        status => TokenError::Refused { status, code },
    })
}

/// A code of the standard's alphabet, cut at a limit: it is shown to people.
fn bounded(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

/// Without a readable `expires_in` the token is used once.
fn lifetime(expires_in: &Value) -> Duration {
    seconds(expires_in).unwrap_or_default()
}

/// A day at most.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds: u64 = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }?;
    Some(Duration::from_secs(seconds.min(86_400)))
}

/// application/x-www-form-urlencoded (WHATWG URL 5.2); a space as `%20`, which every parser takes.
/// `application/x-www-form-urlencoded`.
pub fn encode_form(form: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in form {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

fn encode(part: &str, into: &mut String) {
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(char::from(byte)),
            other => into.push_str(&format!("%{other:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Grant, TokenError> {
        let response = Response { status, headers: Vec::new(), body: body.to_owned().into() };
        read(&response, &Environment::system())
    }

    #[test]
    fn a_form_is_percent_encoded() {
        let form = encode_form(&[("client_assertion_type", "urn:ietf:params"), ("a b", "é&=")]);
        assert_eq!(form, "client_assertion_type=urn%3Aietf%3Aparams&a%20b=%C3%A9%26%3D");
    }

    #[test]
    fn a_lifetime_is_a_string_or_a_number() {
        for (expires_in, seconds) in
            [("\"599\"", 599), ("599", 599), ("\" 599 \"", 599), ("\"soon\"", 0), ("null", 0), ("-1", 0), ("1e300", 0)]
        {
            let body = format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#);
            assert_eq!(answer(200, &body).expect("a token").lifetime, Duration::from_secs(seconds), "{expires_in}");
        }
    }

    #[test]
    fn errors_say_whether_to_wait_to_sign_in_or_to_mend() {
        use TokenError::{Refused, SignInNeeded, Unavailable};
        let code = |code: &str| format!(r#"{{"error":"{code}","error_description":"d","message_id":"m"}}"#);
        for (status, body) in
            [(429, String::new()), (500, code("server_error")), (503, "<html>".into()), (200, "{}".into())]
        {
            assert!(matches!(answer(status, &body), Err(Unavailable { .. })), "{status} {body}");
        }
        for (status, body) in [
            (400, code("invalid_request")),
            (400, code("unsupported_grant_type")),
            (401, code("invalid_client")),
            (401, code("access_denied")),
            (403, String::new()),
            (302, String::new()),
        ] {
            assert!(matches!(answer(status, &body), Err(Refused { .. })), "{status} {body}");
        }
        assert!(matches!(answer(401, &code("invalid_grant")), Err(SignInNeeded(_))));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let grant = answer(200, r#"{"access_token":"very-secret","refresh_token":"also-secret"}"#).expect("a token");
        assert!(!format!("{grant:?}").contains("secret\""), "{grant:?}");
        assert!(!format!("{grant:?}").contains("very"), "{grant:?}");
    }
}
