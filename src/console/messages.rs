//! `/console/messages`: what came, newest first, by what it is searched for.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::form::Form;
use super::page::{self, Frame, Trouble, encoded, time};
use super::words::state_tag;
use crate::command::{MessageId, NhsNumber, State, Ubrn, Verdict};
use crate::inbound::http::Shared;
use crate::inbound::http::looks::Look;
use crate::keys::Keys;
use crate::store::{Alias, AliasKind, MessageFilter, MessageView};

const PAGE: usize = 50;
const TEXT_CHARS_MAX: usize = 200;

/// As the form sends it: what is empty is not asked for.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    source: String,
    verdict: String,
    state: String,
    control_id: String,
    cause: String,
    since: String,
    until: String,
    before: String,
}

#[derive(Template)]
#[template(path = "messages.html")]
struct Messages {
    frame: Frame,
    asked: Asked,
    verdicts: Vec<Choice>,
    states: Vec<Choice>,
    rows: Vec<Row>,
    next: Option<String>,
    problem: Option<&'static str>,
    /// What was found by an identifier of a patient or referral: in one page, for it stands in no address.
    is_by_identifier: bool,
}

/// One entry of a list to choose from.
struct Choice {
    value: &'static str,
    text: &'static str,
    is_chosen: bool,
}

pub struct Row {
    pub id: MessageId,
    pub received: String,
    pub source: String,
    pub kind: String,
    pub control_id: String,
    pub verdict: &'static str,
    pub colour: &'static str,
    pub problems: usize,
}

pub async fn list(
    request: HttpRequest,
    asked: Result<web::Query<Asked>, actix_web::Error>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let asked =
        asked.map_err(|_| Trouble::new(StatusCode::BAD_REQUEST, "This address has a name that no search knows"))?;
    let asked = asked.into_inner();
    let mut shown = Messages {
        frame: Frame::of(&request, &shared, "Messages"),
        verdicts: choices(Verdict::ALL.map(Verdict::name), &asked.verdict),
        states: choices(State::NAMES, &asked.state),
        asked: asked.clone(),
        rows: Vec::new(),
        next: None,
        problem: None,
        is_by_identifier: false,
    };
    let filter = match filter(&asked) {
        Ok(filter) => filter,
        Err(problem) => {
            shown.problem = Some(problem);
            return Ok(page::html(StatusCode::BAD_REQUEST, &shown));
        }
    };
    if let Some(control_id) = &filter.control_id {
        let look = Look {
            act: "search",
            subject: "messages by control id".into(),
            searched: Some(format!("control id {control_id}")),
            of: None,
            source: filter.source.as_deref(),
            is_content: true,
        };
        shared.looked(&request, look).await?;
    }
    let mut found = shared.deps.search.messages(filter).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    shown.next = found.last().filter(|_| more).map(|last| address(&asked, last.id));
    shown.rows = found.iter().map(row).collect();
    Ok(page::ok(&shown))
}

fn row(message: &MessageView) -> Row {
    let tag = state_tag(message.verdict.name());
    Row {
        id: message.id,
        received: time(message.received_at),
        source: message.source.clone(),
        kind: message.kind.clone(),
        control_id: message.control_id.clone().unwrap_or_default(),
        verdict: tag.text,
        colour: tag.colour,
        problems: message.problems.as_array().map_or(0, Vec::len),
    }
}

/// An identifier of a patient or a referral, as a form sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identifier {
    kind: String,
    value: String,
    #[serde(default)]
    source: String,
}

/// By an identifier, which is in no address and no log.
pub async fn search(
    request: HttpRequest,
    Form(identifier): Form<Identifier>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let mut shown = Messages {
        frame: Frame::of(&request, &shared, "Messages"),
        verdicts: choices(Verdict::ALL.map(Verdict::name), ""),
        states: choices(State::NAMES, ""),
        asked: Asked::default(),
        rows: Vec::new(),
        next: None,
        problem: None,
        is_by_identifier: true,
    };
    let (filter, what) = match by_identifier(&identifier, &shared.deps.keys) {
        Ok(found) => found,
        Err(problem) => {
            shown.problem = Some(problem);
            return Ok(page::html(StatusCode::BAD_REQUEST, &shown));
        }
    };
    let of = filter.patient.or(filter.referral.as_ref().map(|referral| referral.digest));
    let look = Look { act: "search", subject: what.into(), searched: None, of, source: None, is_content: true };
    shared.looked(&request, look).await?;
    shown.rows = shared.deps.search.messages(filter).await?.iter().map(row).collect();
    Ok(page::ok(&shown))
}

fn by_identifier(asked: &Identifier, keys: &Keys) -> Result<(MessageFilter, &'static str), &'static str> {
    let value = asked.value.trim();
    if value.chars().count() > TEXT_CHARS_MAX || asked.source.chars().count() > TEXT_CHARS_MAX {
        return Err("One of the fields is too long");
    }
    let filter = MessageFilter { max: PAGE, ..MessageFilter::default() };
    let alias = |kind: AliasKind, parts: &[&str]| Alias { kind, digest: keys.alias_digest(kind, parts) };
    match asked.kind.as_str() {
        "nhs" => {
            let number =
                NhsNumber::parse(value).map_err(|_| "An NHS number has ten digits, and its check digit holds")?;
            Ok((MessageFilter { patient: Some(keys.patient_digest(&number)), ..filter }, "messages by NHS number"))
        }
        "ubrn" => {
            let ubrn = Ubrn::parse(value).ok_or("A UBRN has twelve digits")?;
            let referral = Some(alias(AliasKind::Ubrn, &[ubrn.as_str()]));
            Ok((MessageFilter { referral, ..filter }, "messages by UBRN"))
        }
        "local" => match asked.source.trim() {
            "" => Err("A local ID is looked for with its source: name it"),
            source => {
                let referral = Some(alias(AliasKind::LocalId, &[source, value]));
                Ok((MessageFilter { referral, ..filter }, "messages by local id"))
            }
        },
        _ => Err("Say what it is: an NHS number, a UBRN or a local ID"),
    }
}

fn choices<const N: usize>(names: [&'static str; N], chosen: &str) -> Vec<Choice> {
    names.into_iter().map(|value| Choice { value, text: state_tag(value).text, is_chosen: value == chosen }).collect()
}

fn filter(asked: &Asked) -> Result<MessageFilter, &'static str> {
    let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
    let fields = [&asked.source, &asked.control_id, &asked.since, &asked.until];
    if fields.iter().any(|text| text.chars().count() > TEXT_CHARS_MAX) {
        return Err("One of the fields is too long");
    }
    let verdict = given(&asked.verdict)
        .map(|name| Verdict::ALL.into_iter().find(|verdict| verdict.name() == name).ok_or("There is no such verdict"))
        .transpose()?;
    let state = given(&asked.state);
    if state.as_deref().is_some_and(|state| !State::NAMES.contains(&state)) {
        return Err("There is no such state");
    }
    Ok(MessageFilter {
        source: given(&asked.source),
        verdict,
        state,
        control_id: given(&asked.control_id),
        cause: given(&asked.cause).map(|id| id.parse().map_err(|_| "There is no such problem")).transpose()?,
        since: given(&asked.since).map(|text| instant(&text)).transpose()?,
        until: given(&asked.until).map(|text| instant(&text)).transpose()?,
        before: given(&asked.before)
            .map(|id| id.parse().map_err(|_| "The next page cannot be found: search again"))
            .transpose()?,
        max: PAGE + 1,
        ..MessageFilter::default()
    })
}

/// `2026-03-16`, `2026-03-16 02:10` or with seconds, in UTC.
fn instant(text: &str) -> Result<Timestamp, &'static str> {
    const FORM: &str = "A time is written 2026-03-16 02:10 (UTC)";
    let at = match (text.parse::<DateTime>(), text.parse::<Date>()) {
        (Ok(at), _) => at,
        (_, Ok(day)) => day.at(0, 0, 0, 0),
        _ => return Err(FORM),
    };
    at.to_zoned(TimeZone::UTC).map(|at| at.timestamp()).map_err(|_| FORM)
}

/// Of the page that follows.
fn address(asked: &Asked, last: MessageId) -> String {
    let fields = [
        ("source", &asked.source),
        ("verdict", &asked.verdict),
        ("state", &asked.state),
        ("control_id", &asked.control_id),
        ("cause", &asked.cause),
        ("since", &asked.since),
        ("until", &asked.until),
    ];
    let mut to = format!("/console/messages?before={last}");
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        to.push_str(&format!("&{name}={}", encoded(value)));
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_as_people_write_them() {
        let at = |text| instant(text).map(|at| at.to_string());
        assert_eq!(at("2026-03-16"), Ok("2026-03-16T00:00:00Z".into()));
        assert_eq!(at("2026-03-16 02:10"), Ok("2026-03-16T02:10:00Z".into()));
        assert_eq!(at("2026-03-16T02:10"), Ok("2026-03-16T02:10:00Z".into()));
        assert!(at("yesterday").is_err() && at("16/03/2026").is_err());
    }
}
