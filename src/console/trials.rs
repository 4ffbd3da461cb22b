//! `/console/trials`: the messages of a problem, or of a replay, read once more with the mappings as they are on disk now.
//!
//! Guarantees: nothing is stored, sent or loaded; only for who may see content, and the audit log tells of it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::page::{self, Frame, Trouble};
use super::replays::Asked;
use crate::inbound::http::Shared;
use crate::inbound::http::looks::Look;
use crate::store::ReplayOf;
use crate::trials::{NotTried, RERUN_MAX, Rerun, RerunAsked};

/// In one page, which is read while somebody waits.
const MESSAGES_MAX: u64 = 2_000;

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tried {
    of: String,
    source: String,
    cause: String,
    after: u64,
}

#[derive(Template)]
#[template(path = "trial.html")]
struct TrialPage {
    frame: Frame,
    of: String,
    tried: Tried,
    refusal: Option<String>,
    found: Option<Rerun>,
    taken: u64,
    /// A failed command keeps the mappings that made it.
    keeps_its_mappings: bool,
}

pub async fn show(
    request: HttpRequest,
    tried: Result<web::Query<Tried>, actix_web::Error>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let unknown = |_| Trouble::new(StatusCode::BAD_REQUEST, "This address has a name that is not known here");
    let tried = tried.map_err(unknown)?.into_inner();
    let filter = Asked::of(&tried.of, &tried.source, &tried.cause).filter();
    let filter = filter.map_err(|why| Trouble::new(StatusCode::BAD_REQUEST, why))?;
    let mut look = Look::at("trial of mappings".to_owned(), "", true);
    look.source = filter.source.as_deref();
    shared.looked(&request, look).await?;
    let (found, refusal) = match whole(&shared, &tried, &filter).await {
        Ok(found) => (Some(found), None),
        Err(NotTried::Impossible(why)) => (None, Some(why)),
        Err(NotTried::Store(error)) => return Err(error.into()),
    };
    Ok(page::ok(&TrialPage {
        frame: Frame::of(&request, &shared, "Try the mappings on disk"),
        of: super::replays::in_words(&filter),
        keeps_its_mappings: filter.of == ReplayOf::Failed,
        taken: found.iter().flat_map(|found| found.taken.values()).sum(),
        tried,
        refusal,
        found,
    }))
}

async fn whole(shared: &Shared, tried: &Tried, filter: &crate::store::ReplayFilter) -> Result<Rerun, NotTried> {
    let trials =
        shared.deps.trials.as_deref().ok_or_else(|| NotTried::Impossible("This gateway tries nothing.".into()))?;
    let page = async |after| trials.rerun(&RerunAsked { filter: filter.clone(), archive: None, after }).await;
    let mut found = page(tried.after).await?;
    let mut pages = 1;
    while let Some(next) = found.next.filter(|_| pages * (RERUN_MAX as u64) < MESSAGES_MAX) {
        found = found.and(page(next).await?);
        pages += 1;
    }
    Ok(found)
}
