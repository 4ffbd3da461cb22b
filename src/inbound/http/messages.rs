//! `GET /v1/messages` and `/v1/messages/{id}`: what came in and what became of it, without its content. `POST
//! /v1/messages/search` takes the same filters in its body, so that an identifier of a patient stands in no address.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::callers::{Caller, Needs};
use super::looks::{Look, shows_content};
use super::problem::ProblemDocument;
use super::request::{id, nhs_number, query, read_body};
use super::views;
use crate::command::{MessageId, State, Ubrn, Verdict};
use crate::keys::Keys;
use crate::store::{Alias, AliasKind, CauseId, MessageFilter, MessageView, PatientDigest, scan};

const PAGE: usize = 50;
const PAGE_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    source: Option<String>,
    verdict: Option<Verdict>,
    state: Option<String>,
    control_id: Option<String>,
    cause: Option<CauseId>,
    /// With its source, which gave it.
    local_id: Option<String>,
    ubrn: Option<String>,
    /// Only in a body.
    nhs_number: Option<String>,
    /// Only in a body: messages are looked through one by one.
    containing: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    before: Option<MessageId>,
    limit: Option<usize>,
}

/// Of a search.
const SEARCH_BYTES_MAX: usize = 8 * 1024;

impl Filter {
    /// What somebody looks for by an identifier: which kind, and which where it is no patient's.
    fn searched(&self) -> Option<(&'static str, Option<String>)> {
        let named = |what: &str, value: &str| Some(format!("{what} {value}"));
        match self {
            // Never what it was: it may be a patient's name.
            Self { containing: Some(_), .. } => Some(("messages by their text", None)),
            Self { nhs_number: Some(_), .. } => Some(("messages by NHS number", None)),
            Self { ubrn: Some(ubrn), .. } => Some(("messages by UBRN", named("UBRN", ubrn))),
            Self { local_id: Some(id), .. } => Some(("messages by local id", named("local id", id))),
            Self { control_id: Some(id), .. } => Some(("messages by control id", named("control id", id))),
            _ => None,
        }
    }

    /// Identifiers of referrals and patients are content; a control id is the sender's own number.
    fn is_of_a_patient(&self) -> bool {
        self.containing.is_some() || self.nhs_number.is_some() || self.ubrn.is_some() || self.local_id.is_some()
    }

    fn referral(&self, keys: &Keys) -> Result<Option<Alias>, ProblemDocument> {
        let (kind, digest) = match (&self.ubrn, &self.local_id, &self.source) {
            (Some(_), Some(_), _) => return Err(ProblemDocument::bad_request("Name a ubrn or a localId, not both.")),
            (Some(ubrn), None, _) => {
                let ubrn = Ubrn::parse(ubrn)
                    .ok_or_else(|| ProblemDocument::bad_request("A ubrn has twelve digits, spaces or not."))?;
                (AliasKind::Ubrn, keys.alias_digest(AliasKind::Ubrn, &[ubrn.as_str()]))
            }
            (None, Some(id), Some(source)) => {
                (AliasKind::LocalId, keys.alias_digest(AliasKind::LocalId, &[source, id]))
            }
            (None, Some(_), None) => {
                return Err(ProblemDocument::bad_request("Name the source that gave the localId: source=NAME."));
            }
            (None, None, _) => return Ok(None),
        };
        Ok(Some(Alias { kind, digest }))
    }

    fn patient(&self, keys: &Keys) -> Result<Option<PatientDigest>, ProblemDocument> {
        let Some(number) = &self.nhs_number else { return Ok(None) };
        Ok(Some(keys.patient_digest(&nhs_number(number)?)))
    }
}

pub async fn get(
    request: HttpRequest,
    path: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let id: MessageId = id(&path)?;
    let search = &shared.deps.search;
    let message = search
        .message(id)
        .await?
        .filter(|message| caller.knows_of(&message.source))
        .ok_or_else(|| ProblemDocument::not_found("There is no message with this identifier."))?;
    let commands = search.commands_of(id).await?;
    let is_content = commands.iter().any(shows_content) && caller.sees_content_of(&message.source);
    shared.looked(&request, Look::at(format!("message {id}"), &message.source, is_content)).await?;
    let mut shown = views::message(&message);
    shown["commands"] = commands.iter().map(|command| shared.summary(command, &caller)).collect();
    shown["legalHold"] = shared.deps.patients.is_held(id).await?.into();
    Ok(HttpResponse::Ok().json(shown))
}

/// Newest first; `next` is the `before` of the page that follows, absent on the last.
pub async fn list(
    request: HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Result<HttpResponse, ProblemDocument> {
    let filter: Filter = query(&request)?;
    if filter.nhs_number.is_some() || filter.containing.is_some() {
        return Err(ProblemDocument::bad_request(
            "An NHS number or a text is kept out of addresses, which proxies log: POST /v1/messages/search takes it in its body.",
        ));
    }
    if filter.is_of_a_patient() && !caller.may(Needs::Content) {
        return Err(ProblemDocument::not_for_caller("The token does not open what is about patients."));
    }
    page(&request, &shared, filter).await
}

/// The same, with the filter in the body.
pub async fn search(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ProblemDocument> {
    let bytes = read_body(&request, payload, SEARCH_BYTES_MAX).await?;
    // Never what was sent: it may be a patient's.
    let filter: Filter = serde_json::from_slice(&bytes)
        .map_err(|_| ProblemDocument::bad_request("The body is a JSON object with the filters of GET /v1/messages."))?;
    page(&request, &shared, filter).await
}

async fn page(
    request: &HttpRequest,
    shared: &web::Data<Shared>,
    filter: Filter,
) -> Result<HttpResponse, ProblemDocument> {
    if filter.state.as_deref().is_some_and(|state| !State::NAMES.contains(&state)) {
        return Err(ProblemDocument::bad_request(format!("state is one of {}.", State::NAMES.join(", "))));
    }
    let keys = &shared.deps.keys;
    let (referral, patient) = (filter.referral(keys)?, filter.patient(keys)?);
    if let Some((subject, searched)) = filter.searched() {
        let source = filter.source.as_deref();
        let of = patient.or(referral.as_ref().map(|referral| referral.digest));
        let look = Look { act: "search", subject: subject.into(), searched, of, source, is_content: true };
        shared.looked(request, look).await?;
    }
    let page = filter.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let containing = filter.containing;
    let filter = MessageFilter {
        source: filter.source,
        verdict: filter.verdict,
        state: filter.state,
        control_id: filter.control_id,
        cause: filter.cause,
        referral,
        patient,
        since: filter.since,
        until: filter.until,
        before: filter.before,
        max: page + 1,
    };
    if let Some(text) = containing.filter(|text| !text.is_empty()) {
        let filter = MessageFilter { max: page, ..filter };
        return containing_text(request, shared, filter, &text).await;
    }
    let mut found = shared.deps.search.messages(filter).await?;
    let more = found.len() > page;
    found.truncate(page);
    let mut body = json!({ "messages": found.iter().map(views::message).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        body["next"] = json!(last.id);
    }
    Ok(HttpResponse::Ok().json(body))
}

/// One part of a search: what it found, how many it looked through, and where it goes on.
async fn containing_text(
    request: &HttpRequest,
    shared: &web::Data<Shared>,
    filter: MessageFilter,
    text: &str,
) -> Result<HttpResponse, ProblemDocument> {
    let caller = Caller::of(request);
    let sees = |view: &MessageView| caller.as_ref().is_some_and(|caller| caller.sees_content_of(&view.source));
    let scanned = scan(&*shared.deps.store, filter, text, sees, &shared.environment).await?;
    let found: Vec<_> = scanned.found.iter().map(views::message).collect();
    let mut body = json!({ "messages": found, "looked": scanned.looked });
    if let Some(next) = scanned.next {
        body["next"] = json!(next);
    }
    Ok(HttpResponse::Ok().json(body))
}
