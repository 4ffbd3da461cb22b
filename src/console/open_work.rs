//! `/console/open`: what waits for a person or a time, to be looked through, or printed and worked through by hand.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::page::{self, Frame, Trouble, ago, time};
use super::words::{class_text, state_tag};
use crate::command::{CommandId, MessageId, State};
use crate::inbound::http::Shared;
use crate::inbound::http::looks::Look;
use crate::store::{CommandView, MessageFilter};

/// Messages that are looked through for one page, from the newest.
const PAGE: usize = 500;
const STATES: [&str; 5] = ["failed", "in_doubt", "unauthorised", "waiting", "queued"];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    state: String,
    before: Option<MessageId>,
}

#[derive(Template)]
#[template(path = "open.html")]
struct OpenWork {
    frame: Frame,
    states: Vec<StateLink>,
    what: &'static str,
    rows: Vec<OpenRow>,
    next: Option<String>,
}

struct StateLink {
    name: &'static str,
    text: &'static str,
    is_shown: bool,
}

struct OpenRow {
    command: CommandId,
    message: MessageId,
    name: String,
    class: &'static str,
    source: String,
    local_id: String,
    received: String,
    age: String,
    why: String,
    /// The most urgent first.
    rank: u8,
}

pub async fn show(
    request: HttpRequest,
    asked: Result<web::Query<Asked>, actix_web::Error>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let asked =
        asked.map_err(|_| Trouble::new(StatusCode::BAD_REQUEST, "This address has a name that is not known here"))?;
    let state = STATES.into_iter().find(|state| *state == asked.state).unwrap_or("failed");
    let now = shared.environment.now();
    let frame = Frame::of(&request, &shared, "Open work");
    if frame.sees_content {
        let subject = format!("open work: {state}");
        let look = Look { act: "view", subject, searched: None, of: None, source: None, is_content: true };
        shared.looked(&request, look).await?;
    }
    let filter =
        MessageFilter { state: Some(state.into()), before: asked.before, max: PAGE + 1, ..MessageFilter::default() };
    let mut found = shared.deps.search.messages(filter).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|last| format!("/console/open?state={state}&before={}", last.id));
    let mut rows = Vec::new();
    for message in &found {
        let commands = shared.deps.search.commands_of(message.id).await?;
        rows.extend(commands.iter().filter(|command| command.state.name() == state).map(|command| {
            OpenRow {
                command: command.id,
                message: message.id,
                name: command.name.clone(),
                class: class_text(command.class),
                source: command.source.clone(),
                // The sender's own identifier of the referral is content.
                local_id: command
                    .body
                    .get("localId")
                    .and_then(|id| id.as_str())
                    .filter(|_| frame.sees_content)
                    .unwrap_or_default()
                    .to_owned(),
                received: time(command.received_at),
                age: ago(command.received_at, now),
                why: why(command),
                rank: command.class.rank(),
            }
        }));
    }
    rows.sort_by(|a, b| (a.rank, &a.received).cmp(&(b.rank, &b.received)));
    Ok(page::ok(&OpenWork {
        frame,
        states: STATES.map(|name| StateLink { name, text: state_tag(name).text, is_shown: name == state }).into(),
        what: state_tag(state).text,
        rows,
        next,
    }))
}

fn why(command: &CommandView) -> String {
    match &command.state {
        State::Failed { why } => format!("{}: {}", why.code, why.text),
        State::Unauthorised { since, .. } => format!("nobody is signed in who may, since {}", time(*since)),
        State::InDoubt { since, look_at, .. } => match look_at {
            Some(at) => format!("in doubt since {}, looked at again {}", time(*since), time(*at)),
            None => format!("in doubt since {}: a person decides", time(*since)),
        },
        State::Waiting { until, .. } => format!("tried again {}", time(*until)),
        _ => String::new(),
    }
}
