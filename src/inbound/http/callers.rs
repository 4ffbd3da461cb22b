//! Who asks, and what they may: looked at before any route answers.
//!
//! Enters: a request and what its route needs. Leaves: the request with its [`Caller`], or 401, 403 or 429. Guarantees: a route
//! that says nothing of what it needs does not compile; of a token that is not known nothing is told or logged but
//! that it is not, and an address that shows many is held back ([`tries`](super::tries)).

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _, dev, web};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::cookies::is_from_elsewhere;
use super::problem::ProblemDocument;
use super::request::header;
use super::sign_in::SignedIn;
use super::tries::Try;
use crate::config::{Account, Config, HttpAccess, Person, PersonRole, Role, Token, TokenDigest};
use crate::console::Provider;
use crate::store::{Act, ActorKind};

/// What a route needs of who calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: for everybody.
    Nothing,
    /// Metrics.
    Watch,
    /// Sends messages of a source.
    Send,
    /// What became of what a source sent: of its own, or whoever sees everything.
    SeeOwn,
    /// Lists of everything, without content.
    See,
    /// What is about patients.
    Content,
    /// Who did what, and why: reasons may name a patient.
    Audit,
    /// Changes what becomes of something.
    Act,
    /// The same of somebody who sees what it says.
    ActOnContent,
    /// Decides what is kept of patients, and sees for whom: legal holds.
    Administer,
    /// The same of somebody who sees what it says: everything of a patient.
    AdministerContent,
    /// A person who has signed in at e-RS, in their browser. No token stands for one.
    SignedIn,
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    who: Who,
}

#[derive(Clone, Debug)]
enum Who {
    /// Where everybody may do everything.
    Anybody,
    Program(Token),
    /// Signed in at the console.
    Person(Account),
}

impl Caller {
    pub fn anybody() -> Self {
        Self { who: Who::Anybody }
    }

    pub fn person(person: Account) -> Self {
        Self { who: Who::Person(person) }
    }

    /// Whose token it is, or who is signed in; `None` where nobody was asked.
    pub fn name(&self) -> Option<&str> {
        match &self.who {
            Who::Anybody => None,
            Who::Program(token) => Some(&token.name),
            Who::Person(person) => Some(&person.name),
        }
    }

    pub fn is_signed_in(&self) -> bool {
        matches!(self.who, Who::Person(_))
    }

    /// Whether it is a sender that looks at what it sent itself.
    pub fn owns(&self, source: &str) -> bool {
        matches!(&self.who, Who::Program(token) if token.role == Role::Sender && is_own(token, source))
    }

    /// Who acts: whoever is signed in, and else the name that was given, with the token that it came with.
    pub fn signed(&self, named: &str) -> (String, ActorKind) {
        match &self.who {
            Who::Anybody => (named.to_owned(), ActorKind::Person),
            Who::Program(token) => (format!("{named} (token {})", token.name), ActorKind::Person),
            Who::Person(person) => (person.name.clone(), ActorKind::Account),
        }
    }

    /// What they do, for the audit log.
    pub fn act(&self, named: &str, place: String, why: String, at: Timestamp) -> Act {
        let (by, kind) = self.signed(named);
        Act { by, kind, place, why, at }
    }

    pub fn may(&self, needs: Needs) -> bool {
        if needs == Needs::SignedIn {
            return false;
        }
        match &self.who {
            Who::Anybody => true,
            Who::Program(token) => token_may(token, needs),
            Who::Person(person) => person_may(person, needs),
        }
    }

    /// Whether what was read for a patient, or a document, of this source may be shown.
    pub fn sees_content_of(&self, source: &str) -> bool {
        match &self.who {
            Who::Anybody => true,
            Who::Program(token) if token.role == Role::Sender => is_own(token, source),
            Who::Program(token) => token.content,
            Who::Person(person) => person.content,
        }
    }

    /// Whether messages and commands of this source are there for the caller at all.
    pub fn knows_of(&self, source: &str) -> bool {
        !matches!(&self.who, Who::Program(token) if token.role == Role::Sender && !is_own(token, source))
    }

    /// As which source it sends: the one that it names, or its only one. `None`: the message says.
    pub fn sends_as(&self, named: Option<String>) -> Result<Option<String>, ProblemDocument> {
        let Who::Program(token) = &self.who else { return Ok(named) };
        match (named, &token.sources[..]) {
            (Some(named), _) if is_own(token, &named) => Ok(Some(named)),
            (Some(_), _) => Err(ProblemDocument::not_for_caller("The token is not for this source.")),
            (None, [only]) => Ok(Some(only.clone())),
            (None, _) => Err(ProblemDocument::bad_request(
                "The token is for several sources: name one in the path (/v1/hl7v2/SOURCE, /v1/fhir/SOURCE) or with ?source=.",
            )),
        }
    }
}

fn token_may(token: &Token, needs: Needs) -> bool {
    match (token.role, needs) {
        (_, Needs::Nothing) => true,
        (Role::Monitor, needs) => needs == Needs::Watch,
        (Role::Sender, needs) => matches!(needs, Needs::Send | Needs::SeeOwn),
        (Role::Viewer | Role::Operator, Needs::Watch | Needs::See | Needs::SeeOwn) => true,
        (Role::Viewer | Role::Operator, Needs::Content) => token.content,
        (Role::Operator, Needs::Act) => true,
        (Role::Operator, Needs::Audit | Needs::ActOnContent | Needs::Administer | Needs::AdministerContent) => {
            token.content
        }
        (
            Role::Viewer,
            Needs::Act | Needs::ActOnContent | Needs::Audit | Needs::Administer | Needs::AdministerContent,
        )
        | (Role::Viewer | Role::Operator, Needs::Send | Needs::SignedIn) => false,
    }
}

fn person_may(person: &Account, needs: Needs) -> bool {
    match needs {
        Needs::Nothing | Needs::Watch | Needs::See | Needs::SeeOwn => true,
        Needs::Content => person.content,
        Needs::Act => person.role != PersonRole::Viewer,
        Needs::ActOnContent => person.role != PersonRole::Viewer && person.content,
        Needs::Audit | Needs::Administer => person.role == PersonRole::Administrator,
        Needs::AdministerContent => person.role == PersonRole::Administrator && person.content,
        Needs::Send | Needs::SignedIn => false,
    }
}

fn is_own(token: &Token, source: &str) -> bool {
    token.sources.iter().any(|own| own == source)
}

impl Caller {
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }
}

impl FromRequest for Caller {
    type Error = ProblemDocument;
    type Future = std::future::Ready<Result<Self, ProblemDocument>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        std::future::ready(Self::of(request).ok_or_else(ProblemDocument::unavailable))
    }
}

/// The tokens and people of now.
#[derive(Debug, Default)]
pub struct Known {
    by_digest: HashMap<TokenDigest, Token>,
    people: HashMap<String, Person>,
    provider: Option<Arc<Provider>>,
}

impl Known {
    pub fn of(config: &Config) -> Self {
        Self {
            by_digest: config.tokens.iter().map(|token| (token.sha256, token.clone())).collect(),
            people: config.people.iter().map(|person| (person.name.clone(), person.clone())).collect(),
            provider: config.identity_provider.clone().map(|settings| Arc::new(Provider::new(settings))),
        }
    }

    pub fn person(&self, name: &str) -> Option<&Person> {
        self.people.get(name)
    }

    /// Where people of the trust sign in.
    pub fn provider(&self) -> Option<&Arc<Provider>> {
        self.provider.as_ref()
    }

    pub fn has_people(&self) -> bool {
        !self.people.is_empty()
    }

    fn token(&self, shown: &str, now: Timestamp) -> Result<&Token, &'static str> {
        let digest = TokenDigest(Sha256::digest(shown.as_bytes()).into());
        let token = self.by_digest.get(&digest).ok_or("it is not known here")?;
        let today = now.to_zoned(TimeZone::UTC).date();
        if token.expires.is_some_and(|last| today > last) { Err("it has expired") } else { Ok(token) }
    }
}

/// Who asks; nobody, and why.
fn caller(request: &ServiceRequest, shared: &Shared) -> Result<Caller, &'static str> {
    if shared.listener.access() == HttpAccess::Open {
        return Ok(Caller::anybody());
    }
    let shown = header(request.headers(), "authorization").ok_or("none was shown")?;
    let (scheme, token) = shown.split_once(' ').ok_or("it is not shown as Bearer")?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err("it is not shown as Bearer");
    }
    let known: Arc<Known> = shared.deps.known.borrow().clone();
    let token = known.token(token.trim(), shared.environment.now())?.clone();
    Ok(Caller { who: Who::Program(token) })
}

/// Whose browser asks; never through a page of another site.
async fn person(request: &ServiceRequest, shared: &Shared) -> Result<SignedIn, ProblemDocument> {
    if is_from_elsewhere(request.headers()) {
        return Err(ProblemDocument::not_for_caller(
            "A page of another site asks in a browser where somebody is signed in.",
        ));
    }
    let found = match &shared.deps.sign_in {
        Some(deps) => deps.whose_browser(request.request()).await?,
        None => None,
    };
    found.ok_or_else(|| {
        ProblemDocument::new(
            StatusCode::UNAUTHORIZED,
            "not-signed-in",
            "Nobody is signed in in this browser",
            "Sign in at /v1/sign-in/start. Tokens of programs do not stand for a person.",
        )
    })
}

/// Lets through who may call this method of this address.
pub async fn guard<B: MessageBody + 'static>(
    needs: Needs,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if needs == Needs::Nothing {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    let Some(shared) = request.app_data::<web::Data<Shared>>().cloned() else {
        return Err(ProblemDocument::unavailable().into());
    };
    if needs == Needs::SignedIn {
        return match person(&request, &shared).await {
            Ok(person) => {
                request.extensions_mut().insert(person);
                next.call(request).await.map(ServiceResponse::map_into_left_body)
            }
            Err(problem) => {
                if is_told(&request, &shared) {
                    let route = request.match_pattern();
                    tracing::info!(route, why = problem.title(), "nobody who has signed in asks");
                }
                Ok(request.into_response(problem.error_response()).map_into_right_body())
            }
        };
    }
    if !request.method().is_safe() && is_from_elsewhere(request.headers()) {
        if is_told(&request, &shared) {
            tracing::warn!(route = request.match_pattern(), "a page of another site asked for an act");
        }
        let refusal = ProblemDocument::not_for_caller("Pages of other sites do nothing here.").error_response();
        return Ok(request.into_response(refusal).map_into_right_body());
    }
    let refusal = match caller(&request, &shared) {
        Ok(caller) if caller.may(needs) => {
            request.extensions_mut().insert(caller);
            return next.call(request).await.map(ServiceResponse::map_into_left_body);
        }
        Ok(caller) => {
            tracing::warn!(caller = caller.name(), route = request.match_pattern(), "a token does not open this");
            ProblemDocument::not_for_caller("Its role does not allow this; see tokens in the settings.")
                .error_response()
        }
        // Only now, when the token was looked at: a right one is never held back.
        Err(why) => match shared.deps.tries.may(Try::Token, request.request(), shared.environment.instant()) {
            Err(held_back) => held_back.problem().error_response(),
            Ok(()) => unauthorised(&request, why),
        },
    };
    Ok(request.into_response(refusal).map_into_right_body())
}

/// Whether what has no right is in the log: not without end from one address.
pub fn is_told(request: &ServiceRequest, shared: &Shared) -> bool {
    shared.deps.tries.is_told(request.request(), shared.environment.instant())
}

fn unauthorised(request: &ServiceRequest, why: &str) -> HttpResponse {
    tracing::warn!(route = request.match_pattern(), why, "a request without a token that opens this");
    let problem = ProblemDocument::new(
        StatusCode::UNAUTHORIZED,
        "unauthorised",
        "A token is needed here",
        format!("Send it as Authorization: Bearer TOKEN; {why}."),
    );
    let mut response = problem.error_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
