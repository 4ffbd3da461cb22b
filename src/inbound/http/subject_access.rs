//! `POST /v1/subject/export`: everything that the store has of a patient, for a subject access request. As `ers-gateway subject
//! export` writes it.
//!
//! Enters: an NHS number in a body, who asks and why. Leaves: one JSON object, streamed. Guarantees: it is in the audit log before
//! anything is looked for, never of whom; one export runs at a time, at the pace of who takes it; one that breaks off
//! ends the connection, so that nobody takes it for whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};

use super::Shared;
use super::acts::{ACT_BYTES_MAX, said};
use super::callers::Caller;
use super::looks::{ACT_TEXT_CHARS_MAX, place_of};
use super::problem::ProblemDocument;
use super::request::{nhs_number, read_body};
use crate::patients::{self, Export, TakesExport};
use crate::store::Noted;

/// Parts that wait for the client.
const PARTS_MAX: usize = 4;
/// Whoever reads no further for so long gets no more: another may want the next.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Seconds.
const BUSY_FOR: u64 = 30;

/// Of a listener: each export reads all events once.
pub struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    nhs_number: String,
    by: String,
    why: String,
}

pub async fn export(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let bytes = read_body(&request, payload, ACT_BYTES_MAX).await?;
    // Never what was sent: it may be a patient's.
    let form = || {
        ProblemDocument::bad_request(format!(
            r#"The body is {{"nhsNumber": "ten digits", "by": "who asks", "why": "the request"}}; by and why have 1 to {ACT_TEXT_CHARS_MAX} characters."#
        ))
    };
    let Asked { nhs_number: number, by, why } = serde_json::from_slice(&bytes).map_err(|_| form())?;
    if !said(&by) || !said(&why) {
        return Err(form());
    }
    let number = nhs_number(&number)?;
    let running = shared.exports.0.clone().try_acquire_owned().map_err(|_| busy())?;
    let (store, keys) = (shared.deps.store.clone(), &shared.deps.keys);
    // Before anything is shown; also where nothing is found, for it was looked for.
    let act = caller.act(&by, place_of(&request), why, shared.environment.now());
    store.note(Noted { act: "export patient", subject: "everything of a patient".into(), by: act }).await?;
    patients::read_unread(&*store, keys, |_| {}).await?;
    let patient = keys.patient_digest(&number);
    if store.messages_of_patient(patient, 0, 1).await?.is_empty() {
        return Err(ProblemDocument::not_found("There is nothing of this patient: is it the right number?"));
    }
    let (parts, taken) = mpsc::channel(PARTS_MAX);
    let now = shared.environment.now();
    shared.environment.spawn(async move {
        let _running = running;
        let written = Export::new(&*store, number, ToClient(parts.clone())).write(patient, now).await;
        if let Err(error) = written {
            tracing::error!(%error, "an export of a patient broke off");
            let _ = parts.send(Err(io::Error::other("it broke off"))).await;
        }
    });
    let parts = stream::unfold(taken, |mut taken| async move { taken.recv().await.map(|part| (part, taken)) });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"subject-access.json\""))
        .streaming(parts))
}

fn busy() -> ProblemDocument {
    let text = "One export of a patient runs already, and each reads all events: ask again when it is done.";
    ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, "export-runs", "Another export runs", text)
        .retry_after(BUSY_FOR)
}

struct ToClient(mpsc::Sender<io::Result<Bytes>>);

#[async_trait]
impl TakesExport for ToClient {
    async fn take(&mut self, part: Bytes) -> io::Result<()> {
        match tokio::time::timeout(TAKEN_WITHIN, self.0.send(Ok(part))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take it")),
        }
    }
}
