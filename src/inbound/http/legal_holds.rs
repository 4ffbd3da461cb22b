//! Legal holds: `GET` and `POST /v1/legal-holds`, `POST /v1/legal-holds/{id}/lift`. As `ers-gateway store hold` does it.
//!
//! Enters: a message, or an NHS number in a body; who acts and why. Leaves: the holds that stand.
//! Guarantees: an NHS number stands in a body only, and is kept nowhere; who put a hold there or lifted it, and why, is in the audit log
//! with the same commit.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Shared;
use super::acts::{ACT_BYTES_MAX, Asked, said};
use super::callers::Caller;
use super::looks::{ACT_TEXT_CHARS_MAX, place_of};
use super::problem::ProblemDocument;
use super::request::{nhs_number, read_body};
use super::views;
use crate::command::MessageId;
use crate::patients;
use crate::store::{Held, LegalHold, StoreError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Put {
    by: String,
    why: String,
    /// With all of its referral.
    #[serde(default)]
    message: Option<MessageId>,
    /// Everything of a patient.
    #[serde(default)]
    nhs_number: Option<String>,
}

pub async fn list(shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let holds: Vec<Value> = shared.deps.store.legal_holds().await?.iter().map(views::legal_hold).collect();
    Ok(HttpResponse::Ok().json(json!({ "holds": holds })))
}

pub async fn put(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let bytes = read_body(&request, payload, ACT_BYTES_MAX).await?;
    // Never what was sent: it may be a patient's.
    let form = || {
        ProblemDocument::bad_request(format!(
            r#"The body is {{"by": "who acts", "why": "the reason"}}, with "message": its identifier, or "nhsNumber"; by and why have 1 to {ACT_TEXT_CHARS_MAX} characters."#
        ))
    };
    let Put { by, why, message, nhs_number: number } = serde_json::from_slice(&bytes).map_err(|_| form())?;
    if !said(&by) || !said(&why) {
        return Err(form());
    }
    let store = &*shared.deps.store;
    let on = match (message, number) {
        (Some(message), None) => Held::Message(message),
        (None, Some(number)) => Held::Patient(shared.deps.keys.patient_digest(&nhs_number(&number)?)),
        _ => return Err(form()),
    };
    let act = caller.act(&by, place_of(&request), why, shared.environment.now());
    let hold = LegalHold { id: shared.environment.new_id(), on, at: act.at, by: act.by.clone() };
    if let Held::Patient(_) = on {
        match patients::read_unread(store, &shared.deps.keys, |_| {}).await {
            Ok(()) => {}
            // All others are held nonetheless.
            Err(error @ StoreError::Damaged(_)) => {
                tracing::error!(%error, "whom a message mentions is not known: no hold on a patient keeps it");
            }
            Err(error) => return Err(error.into()),
        }
    }
    store.put_legal_hold(hold.clone(), act).await?;
    let mut shown = views::legal_hold(&hold);
    if let Held::Patient(digest) = on {
        // None: is it the right number?
        shown["messages"] = patients::messages_of(store, digest).await?.into();
    }
    Ok(HttpResponse::Created().json(shown))
}

/// What it kept is removed by its age again.
pub async fn lift(Asked { id, act, shared, .. }: Asked<Uuid>) -> Result<HttpResponse, ProblemDocument> {
    shared.deps.store.lift_legal_hold(id, act).await?;
    Ok(HttpResponse::NoContent().finish())
}
