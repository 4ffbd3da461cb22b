//! Every address of the API, in one table: what is served and what the description must name.

use actix_web::http::StatusCode;
use actix_web::http::header::ALLOW;
use actix_web::{HttpRequest, HttpResponse, ResponseError, Route, web};

use super::problem::ProblemDocument;
use super::{
    acts, audit, commands, dispatches, documents, events, fhir, health, hl7v2, holds, instances, messages, openapi,
};

/// Method, path as OpenAPI writes it, and who answers.
type Entry = (&'static str, &'static str, fn() -> Route);

pub const ROUTES: [Entry; 27] = [
    ("post", "/v1/hl7v2", || web::post().to(hl7v2::post)),
    ("post", "/v1/hl7v2/{source}", || web::post().to(hl7v2::post_for_source)),
    ("post", "/v1/fhir", || web::post().to(fhir::post)),
    ("post", "/v1/fhir/{source}", || web::post().to(fhir::post_for_source)),
    ("post", "/v1/commands/{name}", || web::post().to(commands::post)),
    ("get", "/v1/commands/{id}", || web::get().to(commands::get)),
    ("get", "/v1/commands/{id}/documents/{step}", || web::get().to(documents::get)),
    ("post", "/v1/commands/{id}/replay", || web::post().to(acts::replay)),
    ("post", "/v1/commands/{id}/discard", || web::post().to(acts::discard)),
    ("post", "/v1/commands/{id}/release", || web::post().to(acts::release)),
    ("post", "/v1/commands/{id}/decide", || web::post().to(acts::decide)),
    ("post", "/v1/commands/{id}/pass", || web::post().to(acts::pass)),
    ("get", "/v1/holds", || web::get().to(holds::list)),
    ("get", "/v1/messages", || web::get().to(messages::list)),
    ("post", "/v1/messages/{id}/replay", || web::post().to(acts::take_again)),
    ("get", "/v1/messages/{id}", || web::get().to(messages::get)),
    ("get", "/v1/dispatches", || web::get().to(dispatches::list)),
    ("get", "/v1/dispatches/{id}", || web::get().to(dispatches::get)),
    ("post", "/v1/dispatches/{id}/replay", || web::post().to(dispatches::replay)),
    ("post", "/v1/dispatches/{id}/discard", || web::post().to(dispatches::discard)),
    ("get", "/v1/audit", || web::get().to(audit::list)),
    ("get", "/v1/events", || web::get().to(events::get)),
    ("get", "/v1/instances", || web::get().to(instances::list)),
    ("get", "/metrics", || web::get().to(health::metrics)),
    ("get", "/health/live", || web::get().to(health::live)),
    ("get", "/health/ready", || web::get().to(health::ready)),
    ("get", "/openapi.json", || web::get().to(openapi::get)),
];

pub fn configure(app: &mut web::ServiceConfig) {
    // Paths that differ only in the name of a parameter are one resource with several methods.
    let mut served: Vec<String> = Vec::new();
    for (_, path, _) in &ROUTES {
        let shape = shape(path);
        if served.contains(&shape) {
            continue;
        }
        let mut resource = web::resource(*path);
        for (_, _, route) in ROUTES.iter().filter(|(_, other, _)| self::shape(other) == shape) {
            resource = resource.route(route());
        }
        app.service(resource.default_service(web::to(wrong_method)));
        served.push(shape);
    }
    app.default_service(web::to(nothing_here));
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
        .filter(|(_, path, _)| shape(path) == asked)
        .map(|(method, _, _)| method.to_ascii_uppercase())
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
