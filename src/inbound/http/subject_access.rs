//! `POST /v1/subject/export`: everything that the store has of a patient, for a subject access request. As `ers-gateway subject
//! export` writes it.
//!
//! Enters: an NHS number in a body, who asks and why. Leaves: one JSON object, streamed. Guarantees: it is in the audit log before
//! anything is looked for, never of whom; one export runs at a time, whatever the listener, at the pace of who takes it;
//! one that breaks off ends the connection, so that nobody takes it for whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
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

/// Of one gateway, its listeners share it: each export reads all events once.
#[derive(Clone)]
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
    let running = shared.deps.exports.0.clone().try_acquire_owned().map_err(|_| busy())?;
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
        let written = Export::new(&*store, number, ToClient(parts.clone())).write(patient, now).await;
        // The next may begin, however long this client takes for what is under way.
        drop(running);
        match written {
            Ok(_) => {
                let _ = tokio::time::timeout(TAKEN_WITHIN, parts.send(Part::End)).await;
            }
            Err(error) => tracing::error!(%error, "an export of a patient broke off"),
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"subject-access.json\""))
        .streaming(whole(taken)))
}

fn busy() -> ProblemDocument {
    let text = "One export of a patient runs already, and each reads all events: ask again when it is done.";
    ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, "export-runs", "Another export runs", text)
        .retry_after(BUSY_FOR)
}

enum Part {
    Of(Bytes),
    /// It is whole.
    End,
}

/// Without an end that was told, however it came to that, the answer breaks off.
fn whole(taken: mpsc::Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(taken), |taken| async move {
        let mut taken = taken?;
        match taken.recv().await {
            Some(Part::Of(part)) => Some((Ok(part), Some(taken))),
            Some(Part::End) => None,
            None => Some((Err(io::Error::other("it broke off")), None)),
        }
    })
}

struct ToClient(mpsc::Sender<Part>);

#[async_trait]
impl TakesExport for ToClient {
    async fn take(&mut self, part: Bytes) -> io::Result<()> {
        match tokio::time::timeout(TAKEN_WITHIN, self.0.send(Part::Of(part))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn an_export_without_its_end_is_an_error() {
        for (is_whole, ends_well) in [(true, [true].as_slice()), (false, [true, false].as_slice())] {
            let (parts, taken) = mpsc::channel(PARTS_MAX);
            let Ok(()) = parts.send(Part::Of("{".into())).await else { panic!("there is room") };
            if is_whole {
                let Ok(()) = parts.send(Part::End).await else { panic!("there is room") };
            }
            // As when its task ends, or panics.
            drop(parts);
            let told: Vec<bool> = whole(taken).map(|part| part.is_ok()).collect().await;
            assert_eq!(told, ends_well);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_waited_for_so_long_and_no_longer() {
        let (parts, taken) = mpsc::channel(1);
        let mut to = ToClient(parts);
        to.take("{".into()).await.expect("there is room");
        let late = to.take("}".into()).await.expect_err("nobody takes it");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(taken);
    }
}
