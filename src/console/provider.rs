//! The trust's identity provider, asked who somebody is (OpenID Connect Core 1.0, 3.1: authorisation code; RFC 7636).
//!
//! Enters: the code that a browser brings back, with what its sign-in began with. Leaves: a name, a role, and whether content may
//! be seen. Guarantees: an id token counts only with a signature by a key of the provider, for this gateway, of this sign-in,
//! in its time; who is in no group that the settings name is nobody; no token is kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::{IdentityProvider, PersonRole};
use crate::ers::{Body, Request, ReqwestTransport, Transport, encode_form};

/// Signatures by a key pair: a shared secret would let whoever has it sign.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
const TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever signs out does not wait for it.
const WAY_OUT_TIMEOUT: Duration = Duration::from_secs(3);
/// Clocks of two machines.
const CLOCKS_APART: i64 = 60;
const NAME_CHARS_MAX: usize = 64;

/// Why somebody is not let in: for themselves and the audit log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLetIn {
    #[error("The identity provider cannot be reached now ({0}): try again later")]
    Unavailable(String),
    #[error(
        "The identity provider did not take what this gateway asked ({0}): its people must check client id, secret and redirect_uri"
    )]
    SetUp(String),
    #[error("What came back is not of this sign-in ({0}): begin again")]
    NotOfThisSignIn(&'static str),
    #[error("The identity provider did not let you in ({0})")]
    Refused(String),
    #[error("You are in no group that may use this console: ask its administrator")]
    NoRole,
    #[error("The identity provider gives no name that the audit log can know you by ({0})")]
    NoName(String),
}

/// Who somebody is, as the provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetIn {
    pub name: String,
    pub role: PersonRole,
    pub content: bool,
}

pub struct Provider {
    pub settings: IdentityProvider,
    /// Why there is none, if its CAs cannot be read.
    transport: Result<Arc<dyn Transport>, String>,
}

/// What it says of itself (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    /// OpenID Connect RP-Initiated Logout 1.0, 2.1.
    #[serde(default)]
    end_session_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Granted {
    id_token: SecretString,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.settings.issuer)
    }
}

impl Provider {
    pub fn new(settings: IdentityProvider) -> Self {
        let transport = ReqwestTransport::by(settings.proxy.as_ref(), settings.ca.as_deref());
        let transport = transport.map(|transport| Arc::new(transport) as Arc<dyn Transport>);
        Self { settings, transport: transport.map_err(|error| error.to_string()) }
    }

    /// Where a browser is to go.
    pub async fn way(&self, state: &str, nonce: &str, verifier: &SecretString) -> Result<String, NotLetIn> {
        let description = self.description().await?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose_secret()));
        let asked = encode_form(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect_uri),
            ("scope", &self.settings.scope),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        Ok(with_query(&description.authorization_endpoint, &asked))
    }

    /// Where a browser signs out at the provider, if it says so (RP-Initiated Logout 1.0, 2). Without a hint who it is, for no
    /// id token is kept: the provider asks.
    pub async fn way_out(&self) -> Result<Option<String>, NotLetIn> {
        let said = tokio::time::timeout(WAY_OUT_TIMEOUT, self.description()).await;
        let said = said.map_err(|_| NotLetIn::Unavailable("it does not answer".into()))??;
        let Some(end) = said.end_session_endpoint.filter(|url| is_web_address(url)) else { return Ok(None) };
        let mut asked = vec![("client_id", self.settings.client_id.as_str())];
        asked.extend(self.settings.post_logout_redirect_uri.as_deref().map(|uri| ("post_logout_redirect_uri", uri)));
        Ok(Some(with_query(&end, &encode_form(&asked))))
    }

    /// Who came back with this code.
    pub async fn who(
        &self,
        code: &str,
        nonce: &str,
        verifier: &SecretString,
        now: Timestamp,
    ) -> Result<LetIn, NotLetIn> {
        let description = self.description().await?;
        let granted = self.exchange(&description, code, verifier).await?;
        let keys = self.ask("GET", &description.jwks_uri, Vec::new(), Body::Empty).await?;
        let keys: JwkSet =
            serde_json::from_value(keys).map_err(|_| NotLetIn::Unavailable("its keys cannot be read".into()))?;
        let said = verified(&self.settings, granted.id_token.expose_secret(), &keys, nonce, now)?;
        let_in(&self.settings, &said)
    }

    async fn description(&self) -> Result<Description, NotLetIn> {
        let url = format!("{}/.well-known/openid-configuration", self.settings.issuer.trim_end_matches('/'));
        let said = self.ask("GET", &url, Vec::new(), Body::Empty).await?;
        let description: Description = serde_json::from_value(said)
            .map_err(|_| NotLetIn::SetUp("what it says of itself cannot be read".into()))?;
        if description.issuer != self.settings.issuer {
            return Err(NotLetIn::SetUp("it calls itself by another name than issuer in the settings".into()));
        }
        Ok(description)
    }

    async fn exchange(
        &self,
        description: &Description,
        code: &str,
        verifier: &SecretString,
    ) -> Result<Granted, NotLetIn> {
        let IdentityProvider { client_id, client_secret, redirect_uri, .. } = &self.settings;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier.expose_secret()),
        ];
        let mut headers = vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        // Without a word, in the header (Discovery 3).
        let methods = description.token_endpoint_auth_methods_supported.as_deref();
        let in_header = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        if in_header {
            let pair = [client_id.as_str(), client_secret.expose_secret()].map(|part| encode_form(&[("", part)]));
            // RFC 6749 2.3.1: both are form-encoded first.
            let [id, secret] = pair.map(|part| part.trim_start_matches('=').to_owned());
            headers.push(("Authorization".into(), format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))));
        } else {
            form.push(("client_id", client_id));
            form.push(("client_secret", client_secret.expose_secret()));
        }
        let body = Body::Bytes(encode_form(&form).into());
        let said = self.ask("POST", &description.token_endpoint, headers, body).await?;
        serde_json::from_value(said).map_err(|_| NotLetIn::SetUp("it gave no id token".into()))
    }

    async fn ask(
        &self,
        method: &str,
        url: &str,
        mut headers: Vec<(String, String)>,
        body: Body,
    ) -> Result<Value, NotLetIn> {
        let transport = self.transport.as_ref().map_err(|why| NotLetIn::SetUp(why.clone()))?;
        headers.push(("Accept".into(), "application/json".into()));
        let request = Request { method: method.into(), url: url.into(), headers, body, timeout: TIMEOUT };
        let answer = transport.send(request).await;
        let answer = answer.map_err(|_| NotLetIn::Unavailable("it does not answer".into()))?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            200..=299 => Ok(said),
            500.. => Err(NotLetIn::Unavailable(format!("it answers {}", answer.status))),
            status => match said["error"].as_str() {
                Some("invalid_grant") => Err(NotLetIn::NotOfThisSignIn("the code was used before, or is too old")),
                error => Err(NotLetIn::SetUp(format!("{status} {}", bounded(error.unwrap_or_default())))),
            },
        }
    }
}

fn with_query(url: &str, query: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{query}")
}

/// A link to it leads to a page and runs nothing.
fn is_web_address(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// What an id token says, if it is one of this sign-in (OpenID Connect Core 3.1.3.7).
fn verified(
    settings: &IdentityProvider,
    token: &str,
    keys: &JwkSet,
    nonce: &str,
    now: Timestamp,
) -> Result<Value, NotLetIn> {
    use NotLetIn::NotOfThisSignIn;
    let header = jsonwebtoken::decode_header(token).map_err(|_| NotOfThisSignIn("the id token cannot be read"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(NotOfThisSignIn("the id token is not signed by a key pair"));
    }
    let key = match (&header.kid, &keys.keys[..]) {
        (Some(kid), _) => keys.find(kid),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let key = key.and_then(|key| DecodingKey::from_jwk(key).ok());
    let key = key.ok_or(NotOfThisSignIn("the id token is signed by a key that the provider does not show"))?;
    let mut wanted = Validation::new(header.alg);
    wanted.set_audience(&[&settings.client_id]);
    wanted.set_issuer(&[&settings.issuer]);
    wanted.set_required_spec_claims(&["iss", "aud", "exp"]);
    // By the clock of this gateway, below.
    wanted.validate_exp = false;
    let said = jsonwebtoken::decode::<Value>(token, &key, &wanted);
    let said = said.map_err(|_| NotOfThisSignIn("the id token has another signature, issuer or audience"))?.claims;
    if said["aud"].as_array().is_some_and(|several| several.len() > 1) && said["azp"] != settings.client_id.as_str() {
        return Err(NotOfThisSignIn("the id token was given to another application"));
    }
    if said["nonce"] != nonce {
        return Err(NotOfThisSignIn("the id token is of another one"));
    }
    let seconds = now.as_second();
    let is_over = said["exp"].as_i64().is_none_or(|end| end.saturating_add(CLOCKS_APART) < seconds);
    let is_early = said["nbf"].as_i64().is_some_and(|begin| begin.saturating_sub(CLOCKS_APART) > seconds);
    if is_over || is_early {
        return Err(NotOfThisSignIn("the id token is over, or not good yet: are the clocks right?"));
    }
    Ok(said)
}

/// Whom the settings let in, and as what.
fn let_in(settings: &IdentityProvider, said: &Value) -> Result<LetIn, NotLetIn> {
    let groups: Vec<String> = match &said[&settings.groups_claim] {
        Value::Array(groups) => groups.iter().filter_map(|group| Some(group.as_str()?.to_owned())).collect(),
        Value::String(group) => vec![group.clone()],
        _ => Vec::new(),
    };
    let role = settings.groups.role_of(&groups).ok_or(NotLetIn::NoRole)?;
    let name = said[&settings.name_claim].as_str().unwrap_or_default();
    let is_plain = !name.trim().is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.chars().any(|character| character.is_control());
    if !is_plain {
        return Err(NotLetIn::NoName(format!("the claim {}", settings.name_claim)));
    }
    Ok(LetIn { name: name.trim().to_owned(), role, content: settings.groups.opens_content(&groups) })
}

/// It is shown to people, and stands in logs.
pub fn bounded(text: &str) -> String {
    text.chars().filter(|character| character.is_ascii_graphic()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn settings() -> IdentityProvider {
        serde_json::from_value(json!({
            "issuer": "https://sso.trust.test", "client_id": "gateway", "client_secret": "s",
            "redirect_uri": "https://gateway.trust.test/console/sign-in/back",
            "groups": {"operator": ["on call"], "content": ["on call"]},
        }))
        .expect("settings")
    }

    struct Signer {
        key: EncodingKey,
        keys: JwkSet,
    }

    /// Of a new key pair, as the provider shows its half.
    fn signer(kid: &str) -> Signer {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key pair");
        let point = pair.public_key_raw();
        let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        let key = json!({"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "x": part(1), "y": part(33)});
        Signer {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            keys: serde_json::from_value(json!({ "keys": [key] })).expect("a set of keys"),
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://sso.trust.test", "aud": "gateway", "sub": "17", "nonce": "n", "exp": NOW + 300, "iat": NOW,
            "preferred_username": "jo.bloggs", "groups": ["all staff", "on call"],
        })
    }

    fn token(signer: &Signer, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &signer.key).expect("a token")
    }

    fn read(token: &str, keys: &JwkSet) -> Result<LetIn, NotLetIn> {
        let now = Timestamp::from_second(NOW).expect("a time");
        let said = verified(&settings(), token, keys, "n", now)?;
        let_in(&settings(), &said)
    }

    #[test]
    fn an_id_token_of_this_sign_in_says_who_somebody_is() {
        let signer = signer("k1");
        let jo = LetIn { name: "jo.bloggs".into(), role: PersonRole::Operator, content: true };
        assert_eq!(read(&token(&signer, "k1", &claims()), &signer.keys), Ok(jo));
    }

    #[test]
    fn a_token_that_is_not_of_this_sign_in_is_refused() {
        let (signer, other) = (signer("k1"), self::signer("k1"));
        let good = token(&signer, "k1", &claims());
        let changed = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            token(&signer, "k1", &claims)
        };
        let unsigned =
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), good.split('.').nth(1).unwrap_or_default());
        let by_secret = jsonwebtoken::encode(&Header::default(), &claims(), &EncodingKey::from_secret(b"s"));
        for (what, token) in [
            ("another key", token(&other, "k1", &claims())),
            ("an unknown key", token(&signer, "k2", &claims())),
            ("no signature", unsigned),
            ("a shared secret", by_secret.expect("a token")),
            ("another issuer", changed("iss", "https://evil.test".into())),
            ("another audience", changed("aud", "payroll".into())),
            ("given to another", changed("aud", json!(["gateway", "payroll"]))),
            ("another sign-in", changed("nonce", "m".into())),
            ("no nonce", changed("nonce", Value::Null)),
            ("over", changed("exp", (NOW - 61).into())),
            ("without an end", changed("exp", Value::Null)),
            ("not good yet", changed("nbf", (NOW + 61).into())),
            ("nothing", String::new()),
        ] {
            let read = read(&token, &signer.keys);
            assert!(matches!(read, Err(NotLetIn::NotOfThisSignIn(_))), "{what}: {read:?}");
        }
        assert!(read(&changed("aud", json!(["gateway"])), &signer.keys).is_ok());
    }

    #[test]
    fn who_is_in_no_group_or_has_no_name_is_nobody() {
        let signer = signer("k1");
        let changed = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            read(&token(&signer, "k1", &claims), &signer.keys)
        };
        for groups in [json!([]), json!(["all staff"]), json!(["ON CALL"]), json!(7), Value::Null] {
            assert_eq!(changed("groups", groups), Err(NotLetIn::NoRole));
        }
        assert!(changed("groups", "on call".into()).is_ok(), "one group may stand alone");
        for name in ["", " ", "a\u{7}b", &"x".repeat(65)] {
            assert!(matches!(changed("preferred_username", name.into()), Err(NotLetIn::NoName(_))), "{name:?}");
        }
    }
}
