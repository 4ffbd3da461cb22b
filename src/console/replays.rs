//! `/console/replays`: many at once because of one decision: first what it would come to, then its progress.
//!
//! Guarantees: nothing begins before its preview was shown; what begins is what the preview was of; the environment is named
//! outside the simulator by the page that begins it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::acts::said_by;
use super::form::Form;
use super::page::{self, Frame, Trouble, time};
use crate::inbound::http::Shared;
use crate::replays;
use crate::store::{BulkReplay, NewBulkReplay, ReplayFilter, ReplayOf, ReplayOutcome, ReplayStanding, Share};

const LISTED_MAX: usize = 50;
const ITEMS_MAX: usize = 100;

#[derive(Template)]
#[template(path = "replays.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    id: Uuid,
    begun: String,
    of: String,
    standing: &'static str,
    by: String,
    items: u64,
}

pub async fn list(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let replays = shared.deps.store.bulk_replays(None, LISTED_MAX).await?;
    let rows = replays.iter().map(|replay| Row {
        id: replay.id,
        begun: time(replay.created_at),
        of: in_words(&replay.filter),
        standing: replay.standing.name(),
        by: replay.by.clone(),
        items: replay.counts.values().sum(),
    });
    Ok(page::ok(&List { frame: Frame::of(&request, &shared, "Bulk replays"), rows: rows.collect() }))
}

pub fn in_words(filter: &ReplayFilter) -> String {
    let mut words = vec![match filter.of {
        ReplayOf::Failed => "failed commands".to_owned(),
        ReplayOf::Rejected => "refused messages".to_owned(),
    }];
    words.extend(filter.command.as_ref().map(|name| format!("named {name}")));
    words.extend(filter.source.as_ref().map(|source| format!("from {source}")));
    words.extend(filter.cause.map(|cause| format!("of problem {cause}")));
    words.extend(filter.since.map(|at| format!("received since {}", time(at))));
    words.extend(filter.until.map(|at| format!("received before {}", time(at))));
    words.join(" ")
}

/// As a link or a form sends it.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    of: String,
    source: String,
    cause: String,
    share: String,
    overtaken: String,
    /// Of the preview: nothing received later is replayed, and what was ticked then.
    until: String,
    previewed: String,
    form: String,
    by: String,
    why: String,
}

impl Asked {
    pub fn of(of: &str, source: &str, cause: &str) -> Self {
        Self { of: of.to_owned(), source: source.to_owned(), cause: cause.to_owned(), ..Self::default() }
    }

    pub fn filter(&self) -> Result<ReplayFilter, &'static str> {
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let cause = given(&self.cause).map(|id| id.parse().map_err(|_| "There is no such problem")).transpose()?;
        let of = match self.of.as_str() {
            "failed" => ReplayOf::Failed,
            "rejected" => ReplayOf::Rejected,
            _ => return Err("Say what is replayed: what failed, or what was refused"),
        };
        Ok(ReplayFilter {
            of,
            source: given(&self.source),
            cause,
            until: given(&self.until)
                .map(|at| at.parse().map_err(|_| "The preview is not known: begin again"))
                .transpose()?,
            ..ReplayFilter::default()
        })
    }

    fn share(&self) -> Result<Share, &'static str> {
        match self.share.trim() {
            "" => Ok(Share::QUARTER),
            text => text
                .parse::<f64>()
                .ok()
                .and_then(|percent| Share::of(percent / 100.0))
                .ok_or("The share is a number of per cent, from 1 to 100"),
        }
    }

    fn sends_overtaken(&self) -> bool {
        self.overtaken == "yes"
    }
}

#[derive(Template)]
#[template(path = "replay_new.html")]
struct Preview {
    frame: Frame,
    asked: Asked,
    of: String,
    place: &'static str,
    candidates: u64,
    sent: u64,
    overtaken: u64,
    begun: Option<u64>,
    other_set: Option<u64>,
    more: bool,
    names: Vec<(String, u64)>,
    reread: Option<Reread>,
    problem: Option<String>,
}

/// Refused messages that were read once more for the preview.
struct Reread {
    messages: u64,
    taken: u64,
    still_refused: u64,
    problems: Vec<(String, u64)>,
}

fn number(json: &Value, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_default()
}

fn counts(json: &Value) -> Vec<(String, u64)> {
    let members = json.as_object().into_iter().flatten();
    members.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or_default())).collect()
}

async fn preview(
    request: &HttpRequest,
    shared: &Shared,
    mut asked: Asked,
    problem: Option<String>,
) -> Result<Preview, Trouble> {
    asked.until = shared.environment.now().to_string();
    asked.previewed = if asked.sends_overtaken() { "yes".into() } else { "no".into() };
    let filter = asked.filter().map_err(|why| Trouble::new(StatusCode::BAD_REQUEST, why))?;
    let (store, intake) = (&*shared.deps.store, Some(&*shared.deps.intake));
    let would = replays::preview(store, intake, &filter, asked.sends_overtaken()).await?;
    let reread = &would["readOnceMore"];
    Ok(Preview {
        frame: Frame::of(request, shared, "Replay many"),
        of: in_words(&filter),
        place: shared.deps.place.name(),
        candidates: number(&would, "candidates"),
        sent: number(&would, "wouldBeSent"),
        overtaken: number(&would, "overtaken"),
        begun: would["begun"].as_u64(),
        other_set: would["onAnotherMappingSet"].as_u64(),
        more: would["more"] == true,
        names: counts(&would["byName"]),
        reread: reread.is_object().then(|| Reread {
            messages: number(reread, "messages"),
            taken: number(reread, "taken"),
            still_refused: number(reread, "stillRefused"),
            problems: counts(&reread["problems"]),
        }),
        asked,
        problem,
    })
}

pub async fn new(
    request: HttpRequest,
    asked: Result<web::Query<Asked>, actix_web::Error>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let asked =
        asked.map_err(|_| Trouble::new(StatusCode::BAD_REQUEST, "This address has a name that is not known here"))?;
    Ok(page::ok(&preview(&request, &shared, asked.into_inner(), None).await?))
}

pub async fn begin(
    request: HttpRequest,
    Form(asked): Form<Asked>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let read = said_by(&request, &shared, (&asked.form, &asked.by, &asked.why)).and_then(|act| {
        match asked.previewed == if asked.sends_overtaken() { "yes" } else { "no" } {
            true => Ok((act, asked.filter()?, asked.share()?)),
            false => Err("It comes to something else now, as below: look again, then replay".into()),
        }
    });
    let (act, filter, share) = match read {
        Ok(read) => read,
        Err(problem) => {
            let page = preview(&request, &shared, asked, Some(problem)).await?;
            return Ok(page::html(StatusCode::BAD_REQUEST, &page));
        }
    };
    let id = shared.environment.new_id();
    let replay = NewBulkReplay { id, filter, share, overtaken: asked.sends_overtaken() };
    shared.deps.store.begin_replay(replay, act).await?;
    Ok(page::see_other(&format!("/console/replays/{id}")))
}

#[derive(Template)]
#[template(path = "replay.html")]
struct Show {
    frame: Frame,
    progress: Progress,
}

/// What is read again every few seconds.
#[derive(Template)]
#[template(path = "replay_progress.html")]
struct Progress {
    id: Uuid,
    of: String,
    standing: &'static str,
    by: String,
    why: String,
    begun: String,
    changed: String,
    share: u64,
    counts: Vec<(&'static str, u64)>,
    items: Vec<ItemRow>,
    acts: Vec<(&'static str, &'static str)>,
}

struct ItemRow {
    message: String,
    outcome: &'static str,
    why: String,
}

fn outcome_text(outcome: ReplayOutcome) -> &'static str {
    match outcome {
        ReplayOutcome::Sent => "on their way",
        ReplayOutcome::Completed => "done",
        ReplayOutcome::Failed => "failed again",
        ReplayOutcome::InDoubt => "in doubt",
        ReplayOutcome::Unauthorised => "wait for a user",
        ReplayOutcome::Discarded => "given up meanwhile",
        ReplayOutcome::Refused => "refused again",
        ReplayOutcome::Overtaken => "left out: overtaken by something later",
        ReplayOutcome::Skipped => "left out: changed meanwhile",
    }
}

async fn found(shared: &Shared, id: &str) -> Result<BulkReplay, Trouble> {
    let none = || Trouble::not_found("There is no bulk replay with this identifier");
    let id: Uuid = id.parse().map_err(|_| none())?;
    shared.deps.store.bulk_replay(id).await?.ok_or_else(none)
}

async fn progress(request: &HttpRequest, shared: &Shared, replay: &BulkReplay) -> Result<Progress, Trouble> {
    let frame = Frame::of(request, shared, "");
    let items = shared.deps.store.replay_items(replay.id, None, ITEMS_MAX).await?;
    Ok(Progress {
        id: replay.id,
        of: in_words(&replay.filter),
        standing: replay.standing.name(),
        by: replay.by.clone(),
        // May name a patient.
        why: if frame.may_audit || frame.sees_content { replay.why.clone() } else { String::new() },
        begun: time(replay.created_at),
        changed: time(replay.changed_at),
        share: (replay.share.part() * 100.0).round() as u64,
        counts: ReplayOutcome::ALL
            .into_iter()
            .map(|outcome| (outcome_text(outcome), replay.count(outcome)))
            .filter(|(_, count)| *count > 0)
            .collect(),
        items: items
            .iter()
            .map(|item| ItemRow {
                message: item.message.to_string(),
                outcome: outcome_text(item.outcome),
                why: item.why.clone(),
            })
            .collect(),
        acts: match replay.standing {
            ReplayStanding::Running => vec![("pause", "Pause"), ("cancel", "Cancel")],
            ReplayStanding::Paused => vec![("resume", "Resume"), ("cancel", "Cancel")],
            ReplayStanding::Cancelled | ReplayStanding::Done => Vec::new(),
        },
    })
}

pub async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let replay = found(&shared, &id).await?;
    let progress = progress(&request, &shared, &replay).await?;
    Ok(page::ok(&Show { frame: Frame::of(&request, &shared, "Bulk replay"), progress }))
}

pub async fn live(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let replay = found(&shared, &id).await?;
    Ok(page::ok(&progress(&request, &shared, &replay).await?))
}

pub async fn change(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    Form(asked): Form<Asked>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let to = match path.1.as_str() {
        "pause" => ReplayStanding::Paused,
        "resume" => ReplayStanding::Running,
        "cancel" => ReplayStanding::Cancelled,
        _ => return Err(Trouble::not_found("There is no such act")),
    };
    let replay = found(&shared, &path.0).await?;
    let act = said_by(&request, &shared, (&asked.form, &asked.by, &asked.why))
        .map_err(|why| Trouble::new(StatusCode::BAD_REQUEST, why))?;
    shared.deps.store.stand_replay(replay.id, to, act).await?;
    Ok(page::see_other(&format!("/console/replays/{}", replay.id)))
}
