//! Where people sign in: a browser asks for a code, and its application exchanges the code once (RFC 6749, 7636).
//!
//! Nobody types a password: who signs in is said by `person` in the query, or chosen on a page of links.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Denied;
use crate::simulator::applications::{Access, Application, TestPerson};
use crate::simulator::exchange::{Answer, Call};
use crate::simulator::percent;

/// A code is exchanged at once, or not at all.
const CODE_LIFETIME: SignedDuration = SignedDuration::from_secs(60);
/// In the place of a person: whoever gives up at the page.
const NOBODY: &str = "nobody";

#[derive(Clone)]
struct Code {
    client_id: String,
    redirect_uri: String,
    challenge: Option<String>,
    nonce: Option<String>,
    person: TestPerson,
    expires: Timestamp,
    /// The refresh token that it was exchanged for: whoever shows the code again ends that session.
    used_for: Option<String>,
}

/// Who has signed in, by a code that was good.
pub struct SignedIn {
    pub person: TestPerson,
    /// Unsigned in all but form: whoever gets it straight from here need not look.
    pub id_token: Option<String>,
}

/// Why a code is not taken, and what ends because of it.
pub struct CodeRefused {
    pub why: &'static str,
    pub ends: Option<String>,
}

#[derive(Default)]
pub struct Logins {
    codes: Mutex<HashMap<String, Code>>,
}

impl Logins {
    pub fn reset(&self) {
        self.codes.lock().clear();
    }

    /// The page at which a browser arrives, or its way back.
    pub fn authorize(
        &self,
        call: &Call,
        (applications, people): (&[Application], &[TestPerson]),
        code: String,
        now: Timestamp,
    ) -> Answer {
        let query = percent::pairs(&call.query);
        let said = |name: &str| {
            query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
        };
        let is_known = |client_id: &&str| {
            let known = applications.iter().find(|application| application.client_id == **client_id);
            known.is_some_and(|application| matches!(application.access, Access::UserRestricted { .. }))
        };
        let (Some(client_id), Some(redirect_uri)) = (said("client_id").filter(is_known), said("redirect_uri")) else {
            return refusal("client_id is not known, or redirect_uri is missing");
        };
        // A real platform compares it with the registration; here whatever is on this machine, or over TLS, is registered.
        let is_local = ["http://127.0.0.1", "http://localhost", "http://[::1]", "https://"]
            .iter()
            .any(|start| redirect_uri.starts_with(start));
        if !is_local {
            return refusal("redirect_uri is not registered");
        }
        let Some(state) = said("state") else { return refusal("state is missing") };
        let back = |more: &str| {
            let separator = if redirect_uri.contains('?') { '&' } else { '?' };
            let location = format!("{redirect_uri}{separator}state={}&{more}", percent::encoded(state));
            Answer::bare(302).with("Location", location)
        };
        if said("response_type") != Some("code") {
            return back("error=unsupported_response_type");
        }
        if said("code_challenge").is_some() && said("code_challenge_method") != Some("S256") {
            return back("error=invalid_request");
        }
        let Some(chosen) = said("person") else { return page(call, people) };
        if chosen == NOBODY {
            return back("error=access_denied");
        }
        let Some(person) = people.iter().find(|person| person.user == chosen) else { return page(call, people) };
        let begun = Code {
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: said("code_challenge").map(str::to_owned),
            nonce: said("nonce").map(str::to_owned),
            person: person.clone(),
            expires: now.checked_add(CODE_LIFETIME).unwrap_or(Timestamp::MAX),
            used_for: None,
        };
        let answer = back(&format!("code={}", percent::encoded(&code)));
        self.codes.lock().insert(code, begun);
        answer
    }

    /// A code for the session that `refresh_token` begins.
    pub fn exchange(
        &self,
        (client_id, redirect_uri): (&str, &str),
        code: &str,
        verifier: Option<&str>,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<SignedIn, CodeRefused> {
        let refused = |why| CodeRefused { why, ends: None };
        let mut codes = self.codes.lock();
        let Some(begun) = codes.get_mut(code).filter(|begun| begun.client_id == client_id) else {
            return Err(refused("code is invalid"));
        };
        if let Some(session) = begun.used_for.take() {
            // Once more is refused as well.
            begun.used_for = Some(String::new());
            return Err(CodeRefused { why: "code was used before", ends: Some(session) });
        }
        if begun.expires <= now {
            return Err(refused("code has expired"));
        }
        if begun.redirect_uri != redirect_uri {
            return Err(refused("redirect_uri is another one"));
        }
        let is_theirs = |challenge: &String| {
            verifier.is_some_and(|verifier| *challenge == URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)))
        };
        if !begun.challenge.as_ref().is_none_or(is_theirs) {
            return Err(refused("code_verifier does not fit"));
        }
        begun.used_for = Some(refresh_token.to_owned());
        let id_token = begun.nonce.as_ref().map(|nonce| id_token(client_id, nonce, &begun.person, now));
        Ok(SignedIn { person: begun.person.clone(), id_token })
    }
}

pub fn id_token(client_id: &str, nonce: &str, person: &TestPerson, now: Timestamp) -> String {
    let header = json!({"alg": "RS512", "typ": "JWT", "kid": "identity-service"});
    let mut claims = userinfo(person);
    claims["nonce"] = nonce.into();
    claims["aud"] = client_id.into();
    claims["iss"] = "https://identity.simulator.invalid".into();
    claims["exp"] = (now.as_second() + 600).into();
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&header), part(&claims), URL_SAFE_NO_PAD.encode("simulated"))
}

/// Whose id token it is, if it is one of ours that has not expired.
pub fn subject(id_token: &str, people: &[TestPerson], now: Timestamp) -> Option<TestPerson> {
    let mut parts = id_token.split('.');
    let (_, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let is_ours = signature == URL_SAFE_NO_PAD.encode("simulated") && claims["exp"].as_i64()? > now.as_second();
    let user = claims["nhsid_useruid"].as_str().filter(|_| is_ours)?;
    people.iter().find(|person| person.user == user).cloned()
}

/// As CIS2 names it.
pub fn userinfo(person: &TestPerson) -> serde_json::Value {
    json!({
        "sub": person.user,
        "nhsid_useruid": person.user,
        "uid": person.user,
        "name": person.name,
        "id_assurance_level": person.identity_assurance.to_string(),
        "authentication_assurance_level": person.authenticator_assurance.to_string(),
    })
}

fn refusal(why: &str) -> Answer {
    Answer::bare(400).with("Content-Type", "text/plain; charset=utf-8".into()).with_body(why.to_owned())
}

/// A link for each test person.
fn page(call: &Call, people: &[TestPerson]) -> Answer {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let query: Vec<&str> = call.query.split('&').filter(|pair| !pair.starts_with("person=")).collect();
    let link = |user: &str, label: &str| {
        let query = escaped(&format!("{}&person={}", query.join("&"), percent::encoded(user)));
        format!("<li><a href=\"?{query}\">{}</a></li>", escaped(label))
    };
    let mut links: Vec<String> =
        people.iter().map(|person| link(&person.user, &format!("{} ({})", person.name, person.user))).collect();
    links.push(link(NOBODY, "give up"));
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Simulated sign-in</title><link rel=\"icon\" href=\"data:,\">\
         <h1>Who signs in?</h1><p>Invented people; nothing here is real.</p><ul>{}</ul></html>",
        links.join("")
    );
    Answer::bare(200).with("Content-Type", "text/html; charset=utf-8".into()).with_body(html)
}

impl From<CodeRefused> for Denied {
    fn from(refused: CodeRefused) -> Self {
        Self::new(401, "invalid_grant", refused.why)
    }
}
