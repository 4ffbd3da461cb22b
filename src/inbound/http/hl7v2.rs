//! `POST /v1/hl7v2`: HL7 over HTTP. One message in, its HL7 answer out.
//!
//! Any HL7 answer (AA to CR) goes with 200 in the type that was received; everything else is trouble of
//! the transport, and its body is `text/plain`, never an HL7 type.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};

use super::answer_body::{Acknowledges, AnswerBody};
use super::callers::Caller;
use super::problem::RETRY_AFTER_SECONDS;
use super::request::{BodyError, content_type, read_body};
use super::{HttpDeps, Shared};
use crate::environment::Environment;
use crate::inbound::content_type::ContentType;
use crate::intake::{Answer, Content, Inbound, Outcome};
use crate::store::Transport;

/// The source is the listener's; if it has none, MSH-3 and MSH-4 choose.
pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
) -> HttpResponse {
    let source = shared.listener.source.clone();
    receive(request, payload, shared, caller, source).await
}

/// The source is named in the path.
pub async fn post_for_source(
    request: HttpRequest,
    payload: web::Payload,
    source: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> HttpResponse {
    receive(request, payload, shared, caller, Some(source.into_inner())).await
}

async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
    source: Option<String>,
) -> HttpResponse {
    let source = match caller.sends_as(source) {
        Ok(source) => source,
        Err(problem) => return plain(problem.status_code(), problem.detail()),
    };
    let taken = |t: &ContentType| t.is_hl7v2() || (t.is_text_plain() && shared.listener.accept_text_plain);
    let Some(received_as) = content_type(&request).filter(taken) else {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send HL7 v2 as application/hl7-v2; charset=utf-8.");
    };
    let bytes = match read_body(&request, payload, shared.listener.body_bytes_max).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge { limit }) => return too_large(&format!("At most {limit} bytes are taken.")),
        Err(BodyError::TooSlow) => return plain(StatusCode::REQUEST_TIMEOUT, "The body came too slowly."),
        Err(BodyError::Broken) => return plain(StatusCode::BAD_REQUEST, "The body ended before it was complete."),
    };
    let source_was_named = source.is_some();
    let inbound = Inbound {
        source,
        transport: Transport::Http,
        received_at: shared.environment.now(),
        peer: None,
        content: Content::Hl7v2 { bytes, charset: received_as.charset.clone() },
    };
    let answer = shared.deps.intake.receive(inbound).await;
    respond(answer, &received_as, source_was_named, &shared.deps, &shared.environment)
}

/// The answer of intake in the shape of HL7 over HTTP.
fn respond(
    answer: Answer,
    received_as: &ContentType,
    source_was_named: bool,
    deps: &HttpDeps,
    environment: &Environment,
) -> HttpResponse {
    match answer.outcome {
        Outcome::Unavailable => return busy(),
        Outcome::TooLarge => return too_large("The message is larger than its source may send."),
        _ => {}
    }
    if let Some(hl7) = answer.hl7 {
        let acknowledges = answer.message.map(|message| Acknowledges {
            message,
            intake: deps.intake.clone(),
            environment: environment.clone(),
        });
        return HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, received_as.to_string()))
            .body(AnswerBody::new(hl7, acknowledges));
    }
    match answer.outcome {
        Outcome::Unreadable => {
            plain(StatusCode::BAD_REQUEST, "This is not an HL7 v2 message: no readable MSH segment.")
        }
        Outcome::UnknownSource if source_was_named => {
            plain(StatusCode::NOT_FOUND, "No source of this name is configured.")
        }
        Outcome::UnknownSource => plain(StatusCode::FORBIDDEN, "No source is configured for this MSH-3 and MSH-4."),
        Outcome::Rejected => plain(StatusCode::UNPROCESSABLE_ENTITY, "The message was refused, and wants no answer."),
        // Stored, and MSH-15/MSH-16 want no answer.
        Outcome::Accepted | Outcome::Notice | Outcome::Duplicate => HttpResponse::NoContent().finish(),
        Outcome::TooLarge => too_large("The message is larger than its source may send."),
        Outcome::Unavailable => busy(),
    }
}

fn busy() -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS))
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body("The gateway cannot take it now, and stored nothing. Send the same message again later.\n")
}

fn too_large(text: &str) -> HttpResponse {
    plain(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn plain(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status).insert_header((CONTENT_TYPE, "text/plain; charset=utf-8")).body(format!("{text}\n"))
}
