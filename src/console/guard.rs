//! Who opens a page: looked at before any page answers.
//!
//! Enters: a request and what its page needs. Leaves: the request with its caller, the way to the sign-in, or a page that says
//! why not. Guarantees: no form of another site is taken, nor one of another session.

use actix_web::body::MessageBody;
use actix_web::cookie::Cookie;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, web};

use super::door::Session;
use super::page::{self, Frame, Trouble};
use crate::config::HttpAccess;
use crate::inbound::http::Shared;
use crate::inbound::http::callers::{Caller, Needs, is_told};
use crate::inbound::http::cookies::is_from_elsewhere;

/// A part of a page that its script reads again says so.
const ASKED_BY_SCRIPT: &str = "hx-request";

/// The session of a request, where somebody is signed in.
#[derive(Clone)]
pub struct SignedIn(pub Session);

/// Browsers come over TLS, to this listener or to a proxy before it.
pub fn is_over_tls(shared: &Shared) -> bool {
    let provider = shared.deps.known.borrow().provider().cloned();
    shared.listener.tls.is_some()
        || provider.is_some_and(|provider| provider.settings.redirect_uri.starts_with("https:"))
        || shared.deps.sign_in.as_ref().is_some_and(|deps| deps.desk.is_over_tls())
}

/// With TLS no other host, and no page without TLS, can set it.
pub fn cookie_name(shared: &Shared) -> &'static str {
    if is_over_tls(shared) { "__Host-ers-gateway" } else { "ers-gateway" }
}

pub fn session_cookie(shared: &Shared, value: String) -> Cookie<'static> {
    Cookie::build(cookie_name(shared), value)
        .path("/")
        .http_only(true)
        .secure(is_over_tls(shared))
        .same_site(actix_web::cookie::SameSite::Strict)
        .finish()
}

/// Who opens it; `None`: nobody who is known.
fn caller(request: &ServiceRequest, shared: &Shared) -> Option<Caller> {
    if shared.listener.access() == HttpAccess::Open {
        return Some(Caller::anybody());
    }
    let cookie = request.cookie(cookie_name(shared))?;
    let known = shared.deps.known.borrow().clone();
    let (session, person) = shared.deps.console.open(cookie.value(), &known, shared.environment.now())?;
    request.extensions_mut().insert(SignedIn(session));
    Some(Caller::person(person))
}

/// Lets through who may open it.
pub async fn guard<B: MessageBody + 'static>(
    needs: Vec<(&'static str, Needs)>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Some(shared) = request.app_data::<web::Data<Shared>>().cloned() else {
        return Err(Trouble::unavailable().into());
    };
    let takes = |(method, _): &&(&str, Needs)| method.eq_ignore_ascii_case(request.method().as_str());
    let Some((_, needs)) = needs.iter().find(takes).copied() else {
        return Err(Trouble::new(StatusCode::METHOD_NOT_ALLOWED, "This page does not take that").into());
    };
    if !request.method().is_safe() && is_from_elsewhere(request.headers()) {
        if is_told(&request, &shared) {
            tracing::warn!(route = request.match_pattern(), "a page of another site asked for an act");
        }
        return Err(Trouble::new(StatusCode::FORBIDDEN, "Pages of other sites do nothing here").into());
    }
    let caller = caller(&request, &shared);
    let opens = caller.as_ref().is_some_and(|caller| caller.may(needs)) || needs == Needs::Nothing;
    match caller {
        Some(caller) if opens => {
            request.extensions_mut().insert(caller);
        }
        None if opens => {}
        None if request.headers().contains_key(ASKED_BY_SCRIPT) => {
            let mut answer = HttpResponse::Unauthorized();
            answer.insert_header(("hx-redirect", "/console/sign-in"));
            return Ok(request.into_response(answer.finish()).map_into_right_body());
        }
        None if request.method() == Method::GET => {
            let to = format!("/console/sign-in?to={}", page::encoded(&back_to(request.request())));
            return Ok(request.into_response(page::see_other(&to)).map_into_right_body());
        }
        None => return Err(Trouble::new(StatusCode::UNAUTHORIZED, "Your session has ended: sign in again").into()),
        Some(caller) => {
            tracing::warn!(caller = caller.name(), route = request.match_pattern(), "a role does not open this page");
            let frame = Frame::of(request.request(), &shared, "Not for your role");
            let refusal = page::refusal(
                StatusCode::FORBIDDEN,
                frame,
                "Your role does not allow this. Ask an administrator: roles stand under people in the settings.",
            );
            return Ok(request.into_response(refusal).map_into_right_body());
        }
    }
    // What a page asks by itself is no sign that somebody is there.
    let is_asked_by_itself = request.headers().contains_key(ASKED_BY_SCRIPT);
    let session = request.extensions().get::<SignedIn>().cloned().filter(|_| !is_asked_by_itself);
    let mut response = next.call(request).await?.map_into_left_body();
    if let Some(SignedIn(session)) = session
        && let Some(renewed) = shared.deps.console.renewed(&session, shared.environment.now())
        && !response.response().cookies().any(|cookie| cookie.name() == cookie_name(&shared))
    {
        let cookie = session_cookie(&shared, shared.deps.console.seal(&renewed));
        response.response_mut().add_cookie(&cookie)?;
    }
    Ok(response)
}

/// Where somebody wanted to go, for after the sign-in.
fn back_to(request: &HttpRequest) -> String {
    request.uri().path_and_query().map_or_else(|| "/console".to_owned(), ToString::to_string)
}
