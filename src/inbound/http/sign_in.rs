//! Signing in: `/v1/sign-in/…`. JSON and redirects; pages stand on the same [`Desk`](crate::sign_in::Desk).
//!
//! Enters: browsers. Leaves: redirects, cookies, and what a person may choose. Guarantees: what a browser brings back is taken
//! only from the browser that was sent; nobody's cookie is known before they have signed in.

use actix_web::http::StatusCode;
use actix_web::http::header::{LOCATION, SET_COOKIE};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, dev, web};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::callers::Caller;
use super::cookies;
use super::looks::place_of;
use super::problem::ProblemDocument;
use super::request::{query, read_body};
use super::tries::{HeldBack, Try};
use super::{Shared, SignInDeps};
use crate::ers::{Role, SignInRefused};
use crate::sign_in::{Arrived, DeskError, Person};

type Answered = Result<HttpResponse, ProblemDocument>;

const BODY_BYTES_MAX: usize = 8 * 1024;
const ID_TOKEN_BYTES_MAX: usize = 32 * 1024;
/// A little more than a state lives.
const ON_ITS_WAY_SECONDS: i64 = 600;

/// Who asks, signed in. Put there by the guard.
#[derive(Clone)]
pub struct SignedIn {
    pub person: Person,
    pub cookie: String,
}

impl FromRequest for SignedIn {
    type Error = ProblemDocument;
    type Future = std::future::Ready<Result<Self, ProblemDocument>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().cloned();
        std::future::ready(found.ok_or_else(ProblemDocument::unavailable))
    }
}

impl SignInDeps {
    /// Whose browser asks.
    pub async fn whose_browser(&self, request: &HttpRequest) -> Result<Option<SignedIn>, ProblemDocument> {
        let Some(cookie) = cookies::get(request, cookies::PERSON, self.desk.is_over_tls()) else { return Ok(None) };
        let person = self.desk.people.of_browser(&cookie).await?;
        Ok(person.map(|person| SignedIn { person, cookie }))
    }
}

fn deps(shared: &Shared) -> Result<&SignInDeps, ProblemDocument> {
    let nobody = || ProblemDocument::not_found("Nobody signs in at this gateway.");
    shared.deps.sign_in.as_ref().filter(|deps| deps.desk.connections().next().is_some()).ok_or_else(nobody)
}

/// The connections where people sign in.
pub async fn list(shared: web::Data<Shared>) -> Answered {
    let connections = match &shared.deps.sign_in {
        Some(deps) => deps.desk.connections().map(start_of).collect(),
        None => Vec::new(),
    };
    Ok(HttpResponse::Ok().json(json!({ "connections": connections })))
}

fn start_of(connection: &str) -> Value {
    json!({ "connection": connection, "start": format!("/v1/sign-in/start?connection={connection}") })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartQuery {
    #[serde(default)]
    connection: Option<String>,
    #[serde(default)]
    then: Option<String>,
}

/// Sends the browser to sign in.
pub async fn start(request: HttpRequest, shared: web::Data<Shared>) -> Answered {
    let StartQuery { connection, then } = query(&request)?;
    let desk = &deps(&shared)?.desk;
    let mut connections = desk.connections();
    let connection = match (connection, connections.next(), connections.next()) {
        (Some(connection), ..) => connection,
        (None, Some(only), None) => only.to_owned(),
        _ => return Err(ProblemDocument::bad_request("Say where: ?connection=NAME; see /v1/sign-in.")),
    };
    // Whatever page shows an image from here uses up nobody's sign-ins.
    if cookies::is_for_a_part(request.headers()) {
        return Err(ProblemDocument::not_for_caller("People come here in a window of their browser, not pages."));
    }
    let tries = &shared.deps.tries;
    tries.may(Try::SignIn, &request, shared.environment.instant()).map_err(HeldBack::problem)?;
    let sent = desk.begin(&connection, then.as_deref().unwrap_or_default()).await.map_err(|error| {
        if is_not_theirs(&error) {
            tries.ended_well(Try::SignIn, &request, shared.environment.instant());
        }
        problem(error)
    })?;
    let cookie = cookies::set(cookies::ON_ITS_WAY, &sent.browser, ON_ITS_WAY_SECONDS, desk.is_over_tls());
    Ok(HttpResponse::Found().insert_header((LOCATION, sent.location)).insert_header((SET_COOKIE, cookie)).finish())
}

/// Whoever begins can do nothing for it.
fn is_not_theirs(error: &DeskError) -> bool {
    use SignInRefused::{SetUp, Unavailable};
    matches!(error, DeskError::Store(_) | DeskError::Refused(SetUp(_) | Unavailable(_)))
}

/// The identity provider may say more than it needs to.
#[derive(Deserialize)]
struct CallbackQuery {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// The browser is back.
pub async fn callback(request: HttpRequest, shared: web::Data<Shared>) -> Answered {
    let CallbackQuery { state, code, error } = query(&request)?;
    let desk = &deps(&shared)?.desk;
    let is_tls = desk.is_over_tls();
    let browser = cookies::get(&request, cookies::ON_ITS_WAY, is_tls);
    let brought = match (&code, &error) {
        (Some(code), None) => Ok(code.as_str()),
        (_, Some(error)) => Err(error.as_str()),
        (None, None) => Err("nothing"),
    };
    let state = state.unwrap_or_default();
    let arrived = desk.come_back(browser.as_deref(), &state, brought, &place_of(&request)).await;
    let arrived = arrived.map_err(|error| {
        if is_not_theirs(&error) {
            shared.deps.tries.ended_well(Try::SignIn, &request, shared.environment.instant());
        }
        problem(error)
    })?;
    shared.deps.tries.ended_well(Try::SignIn, &request, shared.environment.instant());
    let Arrived { browser, until, then, .. } = arrived;
    let mut answer = HttpResponse::Found();
    answer.insert_header((LOCATION, then));
    answer.append_header((SET_COOKIE, cookies::set(cookies::PERSON, &browser, until.as_secs(), is_tls)));
    answer.append_header((SET_COOKIE, cookies::unset(cookies::ON_ITS_WAY, is_tls)));
    Ok(answer.finish())
}

/// Who the person is, as whom they act, and how much time is left.
pub async fn session(shared: web::Data<Shared>, SignedIn { person, .. }: SignedIn) -> Answered {
    Ok(HttpResponse::Ok().json(told(&person, &shared)))
}

fn told(person: &Person, shared: &Shared) -> Value {
    let left = person.until.duration_since(shared.environment.now()).as_secs().max(0);
    json!({
        "connection": person.connection,
        "user": person.user,
        "name": person.name,
        "since": person.since,
        "until": person.until,
        "secondsLeft": left,
        "offers": person.offers,
        "role": person.role,
    })
}

/// As whom they act from now on.
pub async fn choose(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    SignedIn { person, .. }: SignedIn,
) -> Answered {
    let bytes = read_body(&request, payload, BODY_BYTES_MAX).await?;
    let role: Role = serde_json::from_slice(&bytes).map_err(|_| {
        ProblemDocument::bad_request(
            r#"The body is {"organisation": "ODS code", "businessFunction": "…"}, with "onBehalfOf" for who acts for others."#,
        )
    })?;
    let chosen = deps(&shared)?.desk.choose(&person, role, &place_of(&request)).await.map_err(problem)?;
    Ok(HttpResponse::Ok().json(told(&chosen, &shared)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ExchangeBody {
    #[serde(default)]
    connection: Option<String>,
    id_token: SecretString,
    organisation: String,
    business_function: String,
    #[serde(default)]
    on_behalf_of: Option<String>,
}

/// A program shows the id token of somebody who signed in there.
pub async fn exchange(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Answered {
    let bytes = read_body(&request, payload, ID_TOKEN_BYTES_MAX).await?;
    let body: ExchangeBody = serde_json::from_slice(&bytes).map_err(|_| {
        ProblemDocument::bad_request(
            r#"The body is {"idToken": "…", "organisation": "ODS code", "businessFunction": "…"}, with "connection" where there are several."#,
        )
    })?;
    let desk = &deps(&shared)?.desk;
    let connection = body.connection.or_else(|| desk.connections().next().map(str::to_owned)).unwrap_or_default();
    let role = Role {
        organisation: body.organisation,
        business_function: body.business_function,
        on_behalf_of: body.on_behalf_of,
    };
    let by = caller.name().unwrap_or("unnamed").to_owned();
    let exchanged = desk.exchange(&connection, &body.id_token, role, (&by, &place_of(&request))).await;
    Ok(HttpResponse::Ok().json(told(&exchanged.map_err(problem)?, &shared)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CliniciansQuery {
    organisation: String,
}

/// For whom they may act.
pub async fn clinicians(
    request: HttpRequest,
    shared: web::Data<Shared>,
    SignedIn { person, .. }: SignedIn,
) -> Answered {
    let CliniciansQuery { organisation } = query(&request)?;
    let users = deps(&shared)?.desk.clinicians(&person, &organisation).await.map_err(problem)?;
    Ok(HttpResponse::Ok().json(json!({ "users": users })))
}

pub async fn sign_out(
    request: HttpRequest,
    shared: web::Data<Shared>,
    SignedIn { person, cookie }: SignedIn,
) -> Answered {
    let desk = &deps(&shared)?.desk;
    desk.sign_out(&person, &cookie, &place_of(&request)).await.map_err(problem)?;
    let unset = cookies::unset(cookies::PERSON, desk.is_over_tls());
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, unset)).finish())
}

/// Everybody who is signed in, for the people who run the gateway.
pub async fn sessions(shared: web::Data<Shared>) -> Answered {
    let people = match &shared.deps.sign_in {
        Some(deps) => deps.desk.people.all().await?,
        None => Vec::new(),
    };
    let sessions = people.iter().map(|person| {
        let mut told = told(person, &shared);
        if let Some(told) = told.as_object_mut() {
            told.remove("offers");
        }
        told
    });
    Ok(HttpResponse::Ok().json(json!({ "sessions": sessions.collect::<Vec<_>>() })))
}

fn problem(error: DeskError) -> ProblemDocument {
    let text = error.to_string();
    let refused = |status, kind| ProblemDocument::new(status, kind, "You are not signed in", text.clone());
    match error {
        DeskError::Store(error) => error.into(),
        DeskError::NoSuchConnection => ProblemDocument::not_found(text),
        DeskError::NotOffered(_) => {
            ProblemDocument::new(StatusCode::UNPROCESSABLE_ENTITY, "not-offered", "This is not yours to choose", text)
        }
        DeskError::Gone => refused(StatusCode::UNAUTHORIZED, "session-over"),
        DeskError::Refused(why) => match why {
            SignInRefused::NotKnown => refused(StatusCode::BAD_REQUEST, "sign-in-not-known"),
            SignInRefused::NotCompleted(_) => refused(StatusCode::FORBIDDEN, "sign-in-not-completed"),
            SignInRefused::IdToken => refused(StatusCode::FORBIDDEN, "id-token"),
            SignInRefused::Code => refused(StatusCode::FORBIDDEN, "sign-in-code"),
            SignInRefused::SetUp(_) => refused(StatusCode::BAD_GATEWAY, "sign-in-set-up"),
            SignInRefused::Unavailable(_) => refused(StatusCode::SERVICE_UNAVAILABLE, "sign-in-unavailable"),
            SignInRefused::IdentityAssurance => refused(StatusCode::FORBIDDEN, "identity-assurance"),
            SignInRefused::AuthenticatorAssurance => refused(StatusCode::FORBIDDEN, "authenticator-assurance"),
            SignInRefused::NotExchanged => refused(StatusCode::NOT_FOUND, "not-exchanged"),
            SignInRefused::NotOfThisSignIn(_) => refused(StatusCode::FORBIDDEN, "not-of-this-sign-in"),
            SignInRefused::NoRole(_) => refused(StatusCode::FORBIDDEN, "no-role"),
            SignInRefused::NotTold(_) => refused(StatusCode::BAD_GATEWAY, "e-rs-does-not-say"),
        },
    }
}
