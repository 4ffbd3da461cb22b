//! `/console/sign-in/elsewhere` and `/console/sign-in/back`: to the trust's identity provider, and back.
//!
//! Guarantees: whoever comes back began here, in the same browser, within ten minutes; each sign-in, and each that was refused, is
//! in the audit log; nobody gets the name of a local account; nobody is sent to another site afterwards; an address that begins
//! without end, or comes back without having begun, is held back.

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::guard::{is_over_tls, session_cookie};
use super::page::{self, Frame, Trouble};
use super::provider::{self, NotLetIn, Provider};
use super::sign_in::{self, inside};
use crate::inbound::http::cookies::is_for_a_part;
use crate::inbound::http::tries::{HeldBack, Try};
use crate::inbound::http::{Shared, place_of};
use crate::store::{Act, ActorKind, Noted};

const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
const SECRET_BYTES: usize = 32;
const CONTEXT: &str = "console sign-in";
const COOKIE_BYTES_MAX: usize = 2_048;
const PATH: &str = "/console/sign-in";

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    to: String,
}

/// As the provider sends a browser back (RFC 6749, 4.1.2).
#[derive(Deserialize)]
pub struct Brought {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    error: String,
}

/// What must be known again when the browser is back: sealed, in its own cookie.
#[derive(Serialize, Deserialize)]
struct Begun {
    state: String,
    nonce: String,
    verifier: String,
    to: String,
    at: Timestamp,
}

/// A page of ours between the provider and the console: a browser sends a strict cookie only where we have sent it.
#[derive(Template)]
#[template(path = "signed_in.html")]
struct SignedInPage {
    frame: Frame,
    to: String,
}

fn cookie(shared: &Shared, value: String) -> Cookie<'static> {
    let name = if is_over_tls(shared) { "__Secure-ers-gateway-way" } else { "ers-gateway-way" };
    // It comes back from another site.
    let cookie = Cookie::build(name, value).path(PATH).http_only(true).secure(is_over_tls(shared));
    cookie.same_site(SameSite::Lax).max_age(time::Duration::seconds(LIFETIME.as_secs())).finish()
}

fn provider(shared: &Shared) -> Result<std::sync::Arc<Provider>, Trouble> {
    let known = shared.deps.known.borrow().clone();
    known.provider().cloned().ok_or_else(|| Trouble::not_found("No identity provider is in the settings"))
}

fn secret(shared: &Shared) -> String {
    let mut bytes = [0; SECRET_BYTES];
    shared.environment.fill_random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

pub async fn leave(
    request: HttpRequest,
    wanted: web::Query<Wanted>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let provider = provider(&shared)?;
    // Whatever page shows an image from here uses up nobody's sign-ins.
    if is_for_a_part(request.headers()) {
        return Err(Trouble::new(StatusCode::FORBIDDEN, "People come here in a window of their browser, not pages"));
    }
    let tries = &shared.deps.tries;
    if let Err(held_back) = tries.may(Try::ConsoleSignIn, &request, shared.environment.instant()) {
        return Ok(too_often(&request, &shared, &wanted.to, TOO_MANY_BEGUN, held_back));
    }
    let begun = Begun {
        state: secret(&shared),
        nonce: secret(&shared),
        verifier: secret(&shared),
        to: inside(&wanted.to).to_owned(),
        at: shared.environment.now(),
    };
    let way = provider.way(&begun.state, &begun.nonce, &SecretString::from(begun.verifier.clone())).await;
    let way = match way {
        Ok(way) => way,
        Err(why) => {
            if is_not_theirs(&why) {
                tries.ended_well(Try::ConsoleSignIn, &request, shared.environment.instant());
            }
            return refused(&request, &shared, &begun.to, &why).await;
        }
    };
    let plain = serde_json::to_vec(&begun).expect("it has only string keys");
    let sealed = URL_SAFE_NO_PAD.encode(shared.deps.keys.seal(CONTEXT, &plain));
    let mut response = page::see_other(&way);
    response.add_cookie(&cookie(&shared, sealed)).map_err(|_| Trouble::unavailable())?;
    Ok(response)
}

/// Whoever begins can do nothing for it.
fn is_not_theirs(why: &NotLetIn) -> bool {
    matches!(why, NotLetIn::Unavailable(_) | NotLetIn::SetUp(_))
}

fn begun(request: &HttpRequest, shared: &Shared, state: &str) -> Option<Begun> {
    let kept = request.cookie(cookie(shared, String::new()).name())?;
    if kept.value().len() > COOKIE_BYTES_MAX {
        return None;
    }
    let plain = shared.deps.keys.open(CONTEXT, &URL_SAFE_NO_PAD.decode(kept.value()).ok()?).ok()?;
    let begun: Begun = serde_json::from_slice(plain.expose_secret()).ok()?;
    let counts = begun.state == state && begun.at + LIFETIME > shared.environment.now();
    counts.then_some(begun)
}

pub async fn come_back(
    request: HttpRequest,
    brought: web::Query<Brought>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let provider = provider(&shared)?;
    let Some(begun) = begun(&request, &shared, &brought.state) else {
        if let Err(held_back) = shared.deps.tries.may(Try::Token, &request, shared.environment.instant()) {
            return Ok(too_often(&request, &shared, "", TOO_OFTEN_BACK, held_back));
        }
        let why = NotLetIn::NotOfThisSignIn("it was begun in another browser, or more than ten minutes ago");
        return refused(&request, &shared, "", &why).await;
    };
    let who = match brought.error.as_str() {
        "" => {
            let verifier = SecretString::from(begun.verifier);
            provider.who(&brought.code, &begun.nonce, &verifier, shared.environment.now()).await
        }
        error => Err(NotLetIn::Refused(provider::bounded(error))),
    };
    let known = shared.deps.known.borrow().clone();
    let who = who.and_then(|who| match known.person(&who.name) {
        Some(_) => Err(NotLetIn::NoName("an account of this gateway has that one already".into())),
        None => Ok(who),
    });
    let who = match who {
        Ok(who) => who,
        Err(why) => {
            if is_not_theirs(&why) {
                shared.deps.tries.ended_well(Try::ConsoleSignIn, &request, shared.environment.instant());
            }
            return refused(&request, &shared, &begun.to, &why).await;
        }
    };
    shared.deps.tries.ended_well(Try::ConsoleSignIn, &request, shared.environment.instant());
    let name = who.name.clone();
    let session = shared.deps.console.let_in(&known, who, &shared.environment).ok_or_else(Trouble::unavailable)?;
    note(&request, &shared, "sign in", &name, "").await?;
    let frame = Frame::of(&request, &shared, "You are signed in");
    let mut response = page::ok(&SignedInPage { frame, to: begun.to });
    let mut spent = cookie(&shared, String::new());
    spent.make_removal();
    for cookie in [session_cookie(&shared, shared.deps.console.seal(&session)), spent] {
        response.add_cookie(&cookie).map_err(|_| Trouble::unavailable())?;
    }
    Ok(response)
}

async fn note(request: &HttpRequest, shared: &Shared, act: &'static str, by: &str, why: &str) -> Result<(), Trouble> {
    let by = Act {
        by: by.to_owned(),
        kind: ActorKind::Account,
        place: place_of(request),
        why: why.to_owned(),
        at: shared.environment.now(),
    };
    Ok(shared.deps.audit.note(Noted { act, subject: "console".into(), by }).await?)
}

const TOO_MANY_BEGUN: &str = "Too many sign-ins were begun from this address and not finished: try again in a moment";
const TOO_OFTEN_BACK: &str = "Too much came from this address that belongs to no sign-in: begin anew in a moment";

fn too_often(request: &HttpRequest, shared: &Shared, to: &str, text: &str, held_back: HeldBack) -> HttpResponse {
    let page = sign_in::page(request, shared, to, "", Some(text.to_owned()));
    let mut response = page::html(StatusCode::TOO_MANY_REQUESTS, &page);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(held_back.seconds()));
    response
}

async fn refused(request: &HttpRequest, shared: &Shared, to: &str, why: &NotLetIn) -> Result<HttpResponse, Trouble> {
    // What counts against nobody is told no more often than what has no right.
    let is_told = || shared.deps.tries.is_told(request, shared.environment.instant());
    if !is_not_theirs(why) || is_told() {
        tracing::warn!(place = place_of(request), %why, "a sign-in at the identity provider was refused");
    }
    // What never reached the provider's yes floods no log that is kept.
    if matches!(why, NotLetIn::NoRole | NotLetIn::NoName(_)) {
        note(request, shared, "refuse sign in", "somebody unknown", &why.to_string()).await?;
    }
    let status = match why {
        NotLetIn::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        NotLetIn::SetUp(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::UNAUTHORIZED,
    };
    let page = sign_in::page(request, shared, to, "", Some(why.to_string()));
    Ok(page::html(status, &page))
}
