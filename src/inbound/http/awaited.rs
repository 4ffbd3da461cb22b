//! What a client that sent commands or FHIR is answered once the message is stored: 202, or, with `Prefer: wait=N`, 200 with
//! what became of it if that is known in time.
//!
//! Enters: the request, before its message is given to intake; then intake's answer. Leaves: the response, whose body is the
//! endpoint's own. Guarantees: an outcome cannot slip through between the storing and the waiting; it is noted when the
//! sender had its answer.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::Shared;
use super::answer_body::{Acknowledges, AnswerBody};
use super::prefer::Preference;
use super::problem::ProblemDocument;
use super::settle::{Settling, is_at_rest};
use crate::intake::Answer;
use crate::store::CommandView;

/// Listens since before the command exists.
pub struct Awaited {
    preference: Preference,
    settling: Settling,
}

impl Awaited {
    pub fn by(request: &HttpRequest, shared: &Shared) -> Self {
        let said = request.headers().get_all("prefer").filter_map(|value| value.to_str().ok());
        Self {
            preference: Preference::read(said, shared.listener.wait_max),
            settling: Settling::listen(&shared.deps, &shared.environment),
        }
    }

    /// The response to a positive answer; `body` tells of the commands as they are then.
    pub async fn respond(
        self,
        answer: &Answer,
        shared: &Shared,
        content_type: &'static str,
        body: impl FnOnce(&[CommandView]) -> Value,
    ) -> Result<HttpResponse, ProblemDocument> {
        let mut commands = commands_of(answer, shared).await?;
        let mut response = HttpResponse::Accepted();
        if let Preference::Wait(wait) = self.preference {
            commands = self.settling.wait(commands, wait).await?;
            response.insert_header(("Preference-Applied", format!("wait={}", wait.as_secs())));
            if commands.iter().all(|command| is_at_rest(&command.state)) {
                response.status(StatusCode::OK);
            }
        } else {
            response.insert_header(("Preference-Applied", "respond-async"));
        }
        let location = match (commands.first(), answer.message) {
            (Some(command), _) => Some(format!("/v1/commands/{}", command.id)),
            (None, Some(message)) => Some(format!("/v1/messages/{message}")),
            (None, None) => None,
        };
        if let Some(location) = location {
            response.insert_header((LOCATION, location));
        }
        let acknowledges = answer.message.map(|message| Acknowledges {
            message,
            intake: shared.deps.intake.clone(),
            environment: shared.environment.clone(),
        });
        let body = body(&commands).to_string();
        Ok(response.insert_header((CONTENT_TYPE, content_type)).body(AnswerBody::new(body.into(), acknowledges)))
    }
}

/// The commands of an answer; a resend is answered with those of the first.
async fn commands_of(answer: &Answer, shared: &Shared) -> Result<Vec<CommandView>, ProblemDocument> {
    let search = &shared.deps.search;
    let mut views = Vec::with_capacity(answer.commands.len());
    for command in &answer.commands {
        views.extend(search.command(*command).await?);
    }
    if views.is_empty()
        && let Some(message) = answer.message
    {
        views = search.commands_of(message).await?;
    }
    Ok(views)
}
