//! `/console/sign-in` and `/console/sign-out`.
//!
//! Guarantees: each sign-in, and each that failed, is in the audit log; a new session has a new cookie, whatever came with
//! the request; nobody is sent to another site afterwards: whoever came from the identity provider is offered the way out
//! there, and their session here is over before.

use actix_web::http::StatusCode;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use askama::Template;
use serde::Deserialize;

use super::door::Refused;
use super::form::Form;
use super::guard::{SignedIn, session_cookie};
use super::page::{self, Frame, Trouble};
use crate::config::HttpAccess;
use crate::inbound::http::callers::Caller;
use crate::inbound::http::{Shared, place_of};
use crate::store::{Act, ActorKind, Noted};

/// Of a password; argon2 takes the whole of it in.
const PASSWORD_BYTES_MAX: usize = 1_024;
const NAME_CHARS_MAX: usize = 64;

#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    frame: Frame,
    to: String,
    name: String,
    problem: Option<String>,
    has_people: bool,
    has_provider: bool,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutPage {
    frame: Frame,
    /// At the identity provider.
    way_out: Option<String>,
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    name: String,
    password: String,
    #[serde(default)]
    to: String,
}

/// A page of this console; anything else is its first one.
pub fn inside(to: &str) -> &str {
    let is_ours = to == "/console" || to.starts_with("/console/") || to.starts_with("/console?");
    let is_plain = !to.contains(['\\', '\r', '\n']) && !to.starts_with("/console/sign-");
    if is_ours && is_plain { to } else { "/console" }
}

pub fn page(request: &HttpRequest, shared: &Shared, to: &str, name: &str, problem: Option<String>) -> SignInPage {
    SignInPage {
        frame: Frame::of(request, shared, "Sign in"),
        to: inside(to).to_owned(),
        name: name.to_owned(),
        problem,
        has_people: shared.deps.known.borrow().has_people(),
        has_provider: shared.deps.known.borrow().provider().is_some(),
    }
}

pub async fn form(request: HttpRequest, wanted: web::Query<Wanted>, shared: web::Data<Shared>) -> HttpResponse {
    if shared.listener.access() == HttpAccess::Open {
        return page::see_other(inside(&wanted.to));
    }
    page::ok(&page(&request, &shared, &wanted.to, "", None))
}

pub async fn sign_in(
    request: HttpRequest,
    Form(given): Form<Given>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let Given { name, password, to } = given;
    if name.chars().count() > NAME_CHARS_MAX || password.len() > PASSWORD_BYTES_MAX {
        return Err(Trouble::new(StatusCode::BAD_REQUEST, "The name or the password is too long"));
    }
    let known = shared.deps.known.borrow().clone();
    let signed = shared.deps.console.sign_in(&known, &name, password, &shared.environment).await;
    // Whoever types a password into the field of the name finds it in no log.
    let who = if known.person(&name).is_some() { name.as_str() } else { "somebody unknown" };
    let act = |by: &str, why: &str| Act {
        by: by.to_owned(),
        kind: ActorKind::Account,
        place: place_of(&request),
        why: why.to_owned(),
        at: shared.environment.now(),
    };
    match signed {
        Ok(session) => {
            shared.deps.audit.note(Noted { act: "sign in", subject: "console".into(), by: act(who, "") }).await?;
            let mut response = page::see_other(inside(&to));
            let cookie = session_cookie(&shared, shared.deps.console.seal(&session));
            response.add_cookie(&cookie).map_err(|_| Trouble::unavailable())?;
            Ok(response)
        }
        Err(refused) => {
            let (why, problem) = match &refused {
                Refused::Wrong => ("wrong name or password", "The name or the password is wrong"),
                Refused::Locked => (
                    "locked after wrong passwords",
                    "Too many wrong passwords for this name: try again in a quarter of an hour",
                ),
                Refused::Busy => ("too many at once", "Too many people sign in at once: try again in a moment"),
            };
            tracing::warn!(place = place_of(&request), why, "a sign-in was refused");
            // One for each password that was looked at: what is turned away before floods no log that is kept.
            if refused == Refused::Wrong {
                let noted = Noted { act: "refuse sign in", subject: "console".into(), by: act(who, why) };
                shared.deps.audit.note(noted).await?;
            }
            Ok(page::html(StatusCode::UNAUTHORIZED, &page(&request, &shared, &to, &name, Some(problem.to_owned()))))
        }
    }
}

pub async fn sign_out(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let session = request.extensions().get::<SignedIn>().cloned();
    let Some(SignedIn(session)) = session else { return Ok(page::see_other("/console")) };
    let now = shared.environment.now();
    shared.deps.console.end(&session, now);
    let is_by_provider = session.is_by_provider();
    let by =
        Act { by: session.person, kind: ActorKind::Account, place: place_of(&request), why: String::new(), at: now };
    shared.deps.audit.note(Noted { act: "sign out", subject: "console".into(), by }).await?;
    let mut response = match is_by_provider {
        true => signed_out(&request, &shared).await,
        false => page::see_other("/console/sign-in"),
    };
    let mut cookie = session_cookie(&shared, String::new());
    cookie.make_removal();
    response.add_cookie(&cookie).map_err(|_| Trouble::unavailable())?;
    Ok(response)
}

/// Their session here is over: the way to end that at the provider, which whoever uses the browser next would come in by.
async fn signed_out(request: &HttpRequest, shared: &Shared) -> HttpResponse {
    let provider = shared.deps.known.borrow().provider().cloned();
    let way_out = match &provider {
        None => Ok(None),
        Some(provider) => provider.way_out().await,
    };
    let way_out = way_out.unwrap_or_else(|why| {
        tracing::warn!(%why, "the identity provider does not say where to sign out");
        None
    });
    // Nobody is known any more, also not to the frame.
    request.extensions_mut().remove::<SignedIn>();
    request.extensions_mut().remove::<Caller>();
    page::ok(&SignedOutPage { frame: Frame::of(request, shared, "You are signed out"), way_out })
}

/// As it stands in the settings.
pub fn password_digest(password: &str, salt: &[u8]) -> Option<String> {
    Argon2::default().hash_password_with_salt(password.as_bytes(), salt).ok().map(|digest| digest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere_after_a_sign_in() {
        for to in ["/console", "/console/messages?source=a", "/console?x"] {
            assert_eq!(inside(to), to);
        }
        for to in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/console",
            "/console\\x",
            "/consolex",
            "/console/sign-out",
            "/console/a\r\nx",
        ] {
            assert_eq!(inside(to), "/console", "{to}");
        }
    }
}
