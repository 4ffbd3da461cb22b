//! Every address of the API, in one table: what is served and what the description must name.

use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::ALLOW;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, ResponseError, Route, web};

use super::callers::{Needs, guard};
use super::problem::ProblemDocument;
use super::{
    acts, audit, bundles, commands, dispatches, documents, edits, events, explanations, fhir, health, hl7v2, holds,
    instances, legal_holds, messages, modes, openapi, problems, replays, reports, sign_in, subject_access, trials,
    waiting,
};

/// Method, path as OpenAPI writes it, what it needs of who calls it, and who answers.
type Entry = (&'static str, &'static str, Needs, fn() -> Route);

pub const ROUTES: [Entry; 67] = [
    ("post", "/v1/hl7v2", Needs::Send, || web::post().to(hl7v2::post)),
    ("post", "/v1/hl7v2/{source}", Needs::Send, || web::post().to(hl7v2::post_for_source)),
    ("post", "/v1/fhir", Needs::Send, || web::post().to(fhir::post)),
    ("post", "/v1/fhir/{source}", Needs::Send, || web::post().to(fhir::post_for_source)),
    ("post", "/v1/commands/{name}", Needs::Send, || web::post().to(commands::post)),
    ("get", "/v1/commands/{id}", Needs::SeeOwn, || web::get().to(commands::get)),
    ("get", "/v1/commands/{id}/documents/{step}", Needs::SeeOwn, || web::get().to(documents::get)),
    ("post", "/v1/commands/{id}/replay", Needs::Act, || web::post().to(acts::replay)),
    ("post", "/v1/commands/{id}/discard", Needs::Act, || web::post().to(acts::discard)),
    ("post", "/v1/commands/{id}/release", Needs::Act, || web::post().to(acts::release)),
    ("post", "/v1/commands/{id}/decide", Needs::Act, || web::post().to(acts::decide)),
    ("post", "/v1/commands/{id}/pass", Needs::Act, || web::post().to(acts::pass)),
    ("get", "/v1/holds", Needs::See, || web::get().to(holds::list)),
    ("post", "/v1/replays", Needs::Act, || web::post().to(replays::post)),
    ("post", "/v1/trials", Needs::Content, || web::post().to(trials::post)),
    ("get", "/v1/replays", Needs::See, || web::get().to(replays::list)),
    ("get", "/v1/replays/{id}", Needs::See, || web::get().to(replays::get)),
    ("post", "/v1/replays/{id}/pause", Needs::Act, || web::post().to(replays::pause)),
    ("post", "/v1/replays/{id}/resume", Needs::Act, || web::post().to(replays::resume)),
    ("post", "/v1/replays/{id}/cancel", Needs::Act, || web::post().to(replays::cancel)),
    ("get", "/v1/sources", Needs::See, || web::get().to(modes::list)),
    ("get", "/v1/sources/{name}/mode", Needs::See, || web::get().to(modes::get)),
    ("put", "/v1/sources/{name}/mode", Needs::Act, || web::put().to(modes::put)),
    ("post", "/v1/sources/{name}/comparison", Needs::Content, || web::post().to(modes::comparison)),
    ("get", "/v1/connections/{name}/mode", Needs::See, || web::get().to(modes::get)),
    ("put", "/v1/connections/{name}/mode", Needs::Act, || web::put().to(modes::put)),
    ("get", "/v1/destinations/{name}/mode", Needs::See, || web::get().to(modes::get)),
    ("put", "/v1/destinations/{name}/mode", Needs::Act, || web::put().to(modes::put)),
    ("get", "/v1/reports/{day}", Needs::See, || web::get().to(reports::get)),
    ("get", "/v1/problems", Needs::See, || web::get().to(problems::list)),
    ("get", "/v1/messages", Needs::See, || web::get().to(messages::list)),
    ("post", "/v1/messages/search", Needs::Content, || web::post().to(messages::search)),
    ("post", "/v1/messages/{id}/replay", Needs::Act, || web::post().to(acts::take_again)),
    ("post", "/v1/messages/{id}/edit", Needs::ActOnContent, || web::post().to(edits::edit)),
    ("get", "/v1/messages/{id}/explanation", Needs::Content, || web::get().to(explanations::get)),
    ("get", "/v1/messages/{id}/bundle", Needs::Content, || web::get().to(bundles::get)),
    ("get", "/v1/messages/{id}/difference", Needs::Content, || web::get().to(edits::get_difference)),
    ("get", "/v1/messages/{id}", Needs::SeeOwn, || web::get().to(messages::get)),
    ("get", "/v1/dispatches", Needs::See, || web::get().to(dispatches::list)),
    ("get", "/v1/dispatches/{id}", Needs::See, || web::get().to(dispatches::get)),
    ("post", "/v1/dispatches/{id}/replay", Needs::Act, || web::post().to(dispatches::replay)),
    ("post", "/v1/dispatches/{id}/discard", Needs::Act, || web::post().to(dispatches::discard)),
    ("get", "/v1/legal-holds", Needs::Administer, || web::get().to(legal_holds::list)),
    ("post", "/v1/legal-holds", Needs::Administer, || web::post().to(legal_holds::put)),
    ("post", "/v1/legal-holds/{id}/lift", Needs::Administer, || web::post().to(legal_holds::lift)),
    ("post", "/v1/subject/export", Needs::AdministerContent, || web::post().to(subject_access::export)),
    ("get", "/v1/audit", Needs::Audit, || web::get().to(audit::list)),
    ("get", "/v1/events", Needs::Content, || web::get().to(events::get)),
    ("get", "/v1/instances", Needs::See, || web::get().to(instances::list)),
    ("get", "/v1/sign-in", Needs::Nothing, || web::get().to(sign_in::list)),
    ("get", "/v1/sign-in/start", Needs::Nothing, || web::get().to(sign_in::start)),
    ("get", "/v1/sign-in/callback", Needs::Nothing, || web::get().to(sign_in::callback)),
    ("post", "/v1/sign-in/exchange", Needs::Send, || web::post().to(sign_in::exchange)),
    ("get", "/v1/sign-in/session", Needs::SignedIn, || web::get().to(sign_in::session)),
    ("delete", "/v1/sign-in/session", Needs::SignedIn, || web::delete().to(sign_in::sign_out)),
    ("put", "/v1/sign-in/session/role", Needs::SignedIn, || web::put().to(sign_in::choose)),
    ("get", "/v1/sign-in/session/clinicians", Needs::SignedIn, || web::get().to(sign_in::clinicians)),
    ("get", "/v1/sign-in/sessions", Needs::See, || web::get().to(sign_in::sessions)),
    ("get", "/v1/waiting", Needs::See, || web::get().to(waiting::list)),
    ("get", "/v1/waiting/mine", Needs::SignedIn, || web::get().to(waiting::mine)),
    ("post", "/v1/waiting/confirm", Needs::SignedIn, || web::post().to(waiting::confirm)),
    ("post", "/v1/waiting/{id}/assign", Needs::Act, || web::post().to(waiting::assign)),
    ("get", "/metrics", Needs::Watch, || web::get().to(health::metrics)),
    ("get", "/health/live", Needs::Nothing, || web::get().to(health::live)),
    ("get", "/health/ready", Needs::Nothing, || web::get().to(health::ready)),
    ("get", "/asyncapi.json", Needs::Nothing, || web::get().to(openapi::asyncapi)),
    ("get", "/openapi.json", Needs::Nothing, || web::get().to(openapi::get)),
];

pub fn configure(app: &mut web::ServiceConfig) {
    // Paths that differ only in the name of a parameter are one resource with several methods.
    let mut served: Vec<String> = Vec::new();
    for (_, path, ..) in &ROUTES {
        let shape = shape(path);
        if served.contains(&shape) {
            continue;
        }
        let mut resource = web::resource(*path);
        let mut needs = Vec::new();
        for (method, _, need, route) in ROUTES.iter().filter(|(_, other, ..)| self::shape(other) == shape) {
            resource = resource.route(route());
            needs.push((*method, *need));
        }
        let guarded = from_fn(move |request: actix_web::dev::ServiceRequest, next| {
            guard(needed(&needs, request.method()), request, next)
        });
        app.service(resource.default_service(web::to(wrong_method)).wrap(guarded));
        served.push(shape);
    }
    app.default_service(web::to(nothing_here));
}

/// Of a method that an address does not take nothing is needed to be told so.
fn needed(needs: &[(&str, Needs)], asked: &Method) -> Needs {
    let takes = |(method, _): &&(&str, Needs)| method.eq_ignore_ascii_case(asked.as_str());
    needs.iter().find(takes).map_or(Needs::Nothing, |(_, need)| *need)
}

/// `/v1/commands/{}` for `/v1/commands/{id}`.
fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// Names the methods that the address does take (RFC 9110 section 15.5.6).
async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let asked = request.match_pattern().map(|pattern| shape(&pattern)).unwrap_or_default();
    let methods: Vec<String> = ROUTES
        .iter()
        .filter(|(_, path, ..)| shape(path) == asked)
        .map(|(method, ..)| method.to_ascii_uppercase())
        .collect();
    let problem = ProblemDocument::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong-method",
        "This address does not take this method",
        "The API is described at /openapi.json.",
    );
    let mut response = problem.error_response();
    if let Ok(allow) = methods.join(", ").parse() {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

async fn nothing_here() -> Result<HttpResponse, ProblemDocument> {
    Err(ProblemDocument::not_found("There is nothing at this address. The API is described at /openapi.json."))
}
