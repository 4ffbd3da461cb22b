//! `/console/reports/{day}`: what came on a day and what became of it, in two equations; for the morning after.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::page::{self, Frame, Trouble};
use super::words::state_tag;
use crate::command::State;
use crate::inbound::http::Shared;
use crate::reports;

#[derive(Template)]
#[template(path = "report.html")]
struct Report {
    frame: Frame,
    day: String,
    before: String,
    after: Option<String>,
    balanced: bool,
    differences: Vec<Difference>,
    sources: Vec<Source>,
}

struct Difference {
    source: String,
    what: String,
    count: i64,
    find: String,
}

struct Source {
    name: String,
    received: u64,
    accepted: u64,
    rejected: u64,
    duplicates: u64,
    notices: u64,
    made: u64,
    /// What became of the commands.
    states: Vec<(&'static str, u64)>,
    causes: Vec<Cause>,
}

struct Cause {
    count: u64,
    place: String,
    code: String,
    text: String,
    who: String,
}

/// The report of today so far.
pub async fn today(shared: web::Data<Shared>) -> HttpResponse {
    let today = shared.environment.now().to_zoned(TimeZone::UTC).date();
    page::see_other(&format!("/console/reports/{today}"))
}

pub async fn show(
    request: HttpRequest,
    day: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let none = || Trouble::not_found("A day is written 2026-03-16");
    let day: Date = day.parse().map_err(|_| none())?;
    let now = shared.environment.now();
    let report = reports::report(&*shared.deps.store, day, now).await?.ok_or_else(none)?;
    let today = now.to_zoned(TimeZone::UTC).date();
    let list = |json: &Value| json.as_array().cloned().unwrap_or_default();
    Ok(page::ok(&Report {
        frame: Frame::of(&request, &shared, "A day's report"),
        day: day.to_string(),
        before: day.yesterday().unwrap_or(day).to_string(),
        after: day.tomorrow().ok().filter(|next| *next <= today).map(|next| next.to_string()),
        balanced: report["balanced"] == true,
        differences: list(&report["differences"])
            .iter()
            .map(|one| Difference {
                source: text(one, "source"),
                what: text(one, "what"),
                count: one["count"].as_i64().unwrap_or_default(),
                find: text(one, "find"),
            })
            .collect(),
        sources: list(&report["sources"]).iter().map(source).collect(),
    }))
}

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_owned()
}

fn count(json: &Value, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_default()
}

fn source(json: &Value) -> Source {
    let (messages, commands) = (&json["messages"], &json["commands"]);
    let states = State::NAMES.map(|name| (state_tag(name).text, count(commands, name)));
    Source {
        name: text(json, "source"),
        received: count(messages, "received"),
        accepted: count(messages, "accepted"),
        rejected: count(messages, "rejected"),
        duplicates: count(messages, "duplicates"),
        notices: count(messages, "notices"),
        made: count(commands, "made"),
        states: states.into_iter().filter(|(_, count)| *count > 0).collect(),
        causes: json["causes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|cause| Cause {
                count: count(cause, "count"),
                place: text(cause, "place"),
                code: text(cause, "code"),
                text: text(cause, "text"),
                who: text(cause, "who"),
            })
            .collect(),
    }
}
