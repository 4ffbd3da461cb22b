//! `POST /v1/fhir`: one FHIR R4 resource or Bundle in, an OperationOutcome out.
//!
//! Answered as commands are: 202 with `Location` once it is stored, or, with `Prefer: wait=N`, 200 with the outcome if
//! it is known in time. What is wrong with it is 422 with every problem at its FHIRPath.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::Shared;
use super::awaited::Awaited;
use super::callers::Caller;
use super::commands::{DUPLICATE_KEY_IDENTIFIER, idempotency_key, source_named};
use super::operation_outcome::{FHIR_JSON, Refused, taken};
use super::problem::ProblemDocument;
use super::request::{content_type, read_body};
use crate::intake::{Answer, Content, Inbound, Outcome};
use crate::store::Transport;

/// The source is the listener's, or `?source=`.
pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, Refused> {
    receive(request, payload, shared, caller, None).await
}

/// The source is named in the path.
pub async fn post_for_source(
    request: HttpRequest,
    payload: web::Payload,
    source: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, Refused> {
    receive(request, payload, shared, caller, Some(source.into_inner())).await
}

async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
    named: Option<String>,
) -> Result<HttpResponse, Refused> {
    let source = source_named(&request, &shared, &caller, named)?;
    if !content_type(&request).is_some_and(|t| t.is_fhir() || t.is_json()) {
        return Err(Refused::from(ProblemDocument::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The media type is not taken here",
            "Send FHIR R4 as application/fhir+json in UTF-8.",
        )));
    }
    let idempotency_key = idempotency_key(&request)?;
    let bytes = read_body(&request, payload, shared.listener.body_bytes_max).await?;

    let awaited = Awaited::by(&request, &shared);
    let answer = shared
        .deps
        .intake
        .receive(Inbound {
            source: Some(source),
            transport: Transport::Http,
            received_at: shared.environment.now(),
            peer: None,
            content: Content::Fhir { bytes, idempotency_key },
        })
        .await;
    let what = match answer.outcome {
        Outcome::Accepted => "accepted",
        Outcome::Notice => "noticed",
        Outcome::Duplicate => "known already",
        _ => return Err(refusal(answer)),
    };
    Ok(awaited.respond(&answer, &shared, FHIR_JSON, |commands| taken(answer.message, what, commands)).await?)
}

fn refusal(answer: Answer) -> Refused {
    let document = match answer.outcome {
        Outcome::Rejected if answer.problems.iter().any(|problem| problem.code == DUPLICATE_KEY_IDENTIFIER) => {
            ProblemDocument::new(
                StatusCode::CONFLICT,
                "identifier-reused",
                "This identifier came with other content before",
                "Give another message another identifier; send the first content again to hear of the first.",
            )
        }
        Outcome::Unreadable => ProblemDocument::new(
            StatusCode::BAD_REQUEST,
            "not-json",
            "The body is not JSON",
            "A message is one FHIR resource as JSON in UTF-8.",
        ),
        Outcome::UnknownSource => ProblemDocument::not_found("No source of this name is configured."),
        Outcome::TooLarge => ProblemDocument::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            "It is larger than its source may send.",
        ),
        Outcome::Unavailable => ProblemDocument::unavailable(),
        // The others are answered positively before it comes to this.
        Outcome::Rejected | Outcome::Accepted | Outcome::Notice | Outcome::Duplicate => ProblemDocument::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-message",
            "The message is refused",
            "It was kept, but will not be carried out.",
        ),
    };
    Refused::with(document, answer.message, answer.problems)
}
