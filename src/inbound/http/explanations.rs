//! `GET /v1/messages/{id}/explanation`: which field of a message made which member of its command and which element of the calls.
//!
//! Guarantees: only for who may see content, and noted before it is shown.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::Shared;
use super::looks::Look;
use super::problem::ProblemDocument;
use super::request::id;
use crate::command::MessageId;
use crate::trials::{NotTried, Trials};

impl Shared {
    pub fn trials(&self) -> Result<&Trials, ProblemDocument> {
        self.deps.trials.as_deref().ok_or_else(ProblemDocument::unavailable)
    }
}

impl From<NotTried> for ProblemDocument {
    fn from(why: NotTried) -> Self {
        match why {
            NotTried::Impossible(why) => {
                Self::new(StatusCode::CONFLICT, "not-tried", "The message cannot be read once more", why)
            }
            NotTried::Store(error) => error.into(),
        }
    }
}

pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let id: MessageId = id(&path)?;
    let unknown = || ProblemDocument::not_found("There is no message with this identifier.");
    let message = shared.deps.search.message(id).await?.ok_or_else(unknown)?;
    shared.looked(&request, Look::at(format!("explanation of message {id}"), &message.source, true)).await?;
    let explained = shared.trials()?.explain(&message).await?;
    let mut shown = json!(explained.explanation);
    (shown["mappingSet"], shown["isCurrent"]) = (explained.set.into(), explained.is_current.into());
    Ok(HttpResponse::Ok().json(shown))
}
