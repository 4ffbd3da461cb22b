//! `/console/messages/{id}`: the story of one message, across all rooms and in words; and `…/content`: what it says.
//!
//! Guarantees: the story has identifiers, codes and states alone; what was said and answered is on the page of its content,
//! for who may see it, and each look there is in the audit log.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use encoding_rs::Encoding;
use serde_json::Value;

use super::hl7_view::{self, SegmentView};
use super::page::{self, Frame, Trouble, time};
use super::words::{self, Happening, state_tag};
use crate::command::{CommandId, MessageId, State, Verdict};
use crate::inbound::http::Shared;
use crate::inbound::http::bundles::zipped;
use crate::inbound::http::callers::Caller;
use crate::inbound::http::looks::Look;
use crate::intake::taken_from;
use crate::store::{AttemptView, CommandView, MessageView};
use crate::trials::NotTried;

/// Of a message, on its page; the API has the rest.
const CONTENT_BYTES_MAX: u64 = 256 << 10;
/// Of what was sent to e-RS and answered, each.
const JSON_CHARS_MAX: usize = 100_000;

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    head: Head,
    problems: Vec<ProblemRow>,
    may_replay: bool,
    /// What it was edited from.
    edited_from: Option<MessageId>,
    commands: Vec<CommandStory>,
}

/// What stands above every page of a message.
pub struct Head {
    pub id: MessageId,
    pub source: String,
    pub kind: String,
    pub transport: &'static str,
    pub control_id: String,
    pub received: String,
    pub acknowledged: String,
    pub verdict: &'static str,
    pub colour: &'static str,
    pub bytes: u64,
    pub is_held: bool,
}

struct ProblemRow {
    place: String,
    code: String,
    text: String,
}

struct CommandStory {
    id: CommandId,
    name: String,
    state: &'static str,
    colour: &'static str,
    class: &'static str,
    meaning: String,
    held_by: Option<CommandId>,
    /// What a person may do to it now: path and words.
    acts: Vec<(&'static str, &'static str)>,
    story: Vec<Happening>,
}

pub async fn message_of(shared: &Shared, id: &str) -> Result<MessageView, Trouble> {
    let none = || Trouble::not_found("There is no message with this identifier: it may have been removed by its age");
    let id: MessageId = id.parse().map_err(|_| none())?;
    shared.deps.search.message(id).await?.ok_or_else(none)
}

pub async fn head(shared: &Shared, message: &MessageView) -> Result<Head, Trouble> {
    let tag = state_tag(message.verdict.name());
    Ok(Head {
        id: message.id,
        source: message.source.clone(),
        kind: message.kind.clone(),
        transport: message.transport.name(),
        control_id: message.control_id.clone().unwrap_or_default(),
        received: time(message.received_at),
        acknowledged: message.acknowledged_at.map(time).unwrap_or_else(|| "not noted".into()),
        verdict: tag.text,
        colour: tag.colour,
        bytes: message.size,
        is_held: shared.deps.patients.is_held(message.id).await?,
    })
}

pub async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let message = message_of(&shared, &id).await?;
    let is_noted = Caller::of(&request).is_some_and(|caller| caller.is_signed_in());
    shared.looked(&request, Look::at(format!("message {}", message.id), &message.source, is_noted)).await?;
    let mut commands = Vec::new();
    for command in shared.deps.search.commands_of(message.id).await? {
        commands.push(story(&shared, &command).await?);
    }
    let problems = message.problems.as_array().into_iter().flatten().map(|problem| ProblemRow {
        place: problem["location"].as_str().unwrap_or_default().to_owned(),
        code: problem["code"].to_string(),
        text: problem["text"].as_str().unwrap_or_default().to_owned(),
    });
    let given_up = !commands.is_empty() && commands.iter().all(|command| command.state == state_tag("discarded").text);
    Ok(page::ok(&MessagePage {
        frame: Frame::of(&request, &shared, "Message"),
        head: head(&shared, &message).await?,
        problems: problems.collect(),
        edited_from: message
            .control_id
            .as_deref()
            .and_then(taken_from)
            .filter(|(_, is_edited)| *is_edited)
            .map(|(first, _)| first),
        may_replay: message.verdict == Verdict::Rejected || given_up,
        commands,
    }))
}

/// The page of the message that a command came with, at that command.
pub async fn of_command(id: web::Path<String>, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let command = command_of(&shared, &id).await?;
    Ok(page::see_other(&format!("/console/messages/{}#{}", command.message, command.id)))
}

pub async fn command_of(shared: &Shared, id: &str) -> Result<CommandView, Trouble> {
    let none = || Trouble::not_found("There is no command with this identifier: it may have been removed by its age");
    let id: CommandId = id.parse().map_err(|_| none())?;
    shared.deps.search.command(id).await?.ok_or_else(none)
}

async fn story(shared: &Shared, command: &CommandView) -> Result<CommandStory, Trouble> {
    let now = shared.environment.now();
    let transitions = shared.deps.search.transitions(command.id).await?;
    let attempts = shared.deps.search.attempts(command.id).await?;
    let mut story: Vec<_> = transitions.iter().map(|step| (step.at, words::transition(step))).collect();
    story.extend(attempts.iter().map(|attempt| (attempt.started_at, words::attempt(attempt))));
    story.sort_by_key(|(at, _)| *at);
    let tag = state_tag(command.state.name());
    let estimate = shared.deps.estimates.estimate(command);
    Ok(CommandStory {
        id: command.id,
        name: command.name.clone(),
        state: tag.text,
        colour: tag.colour,
        class: words::class_text(command.class),
        meaning: words::meaning(command, estimate, now),
        held_by: command.held_by,
        acts: acts(command),
        story: story.into_iter().map(|(_, happening)| happening).collect(),
    })
}

/// What makes sense of a command as it stands.
fn acts(command: &CommandView) -> Vec<(&'static str, &'static str)> {
    let mut acts = Vec::new();
    match &command.state {
        State::Failed { .. } => acts.extend([("replay", "Replay"), ("discard", "Give up")]),
        State::Unauthorised { .. } => acts.extend([("release", "Release"), ("discard", "Give up")]),
        State::InDoubt { .. } => acts.push(("decide", "Decide")),
        State::Queued | State::Waiting { .. } => acts.push(("discard", "Give up")),
        State::Running { .. } | State::Completed | State::Discarded | State::Shadowed => {}
    }
    if command.held_by.is_some() {
        acts.push(("pass", "Let it pass what holds it"));
    }
    acts
}

#[derive(Template)]
#[template(path = "content.html")]
struct ContentPage {
    frame: Frame,
    head: Head,
    segments: Vec<SegmentView>,
    /// What is no HL7 v2.
    text: String,
    is_cut: bool,
    commands: Vec<CommandContent>,
}

struct CommandContent {
    id: CommandId,
    name: String,
    body: String,
    exchanges: Vec<Exchange>,
}

struct Exchange {
    title: String,
    request: String,
    response: String,
}

pub async fn content(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let message = message_of(&shared, &id).await?;
    shared.looked(&request, Look::at(format!("content of message {}", message.id), &message.source, true)).await?;
    let raw = shared.deps.store.read_message(message.id, 0..CONTENT_BYTES_MAX).await?;
    let encoding = Encoding::for_label(message.charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    let text = encoding.decode(&raw).0;
    let segments = hl7_view::segments(&text);
    let mut commands = Vec::new();
    for command in shared.deps.search.commands_of(message.id).await? {
        let attempts = shared.deps.search.attempts(command.id).await?;
        commands.push(CommandContent {
            id: command.id,
            name: command.name.clone(),
            body: pretty(&command.body),
            exchanges: attempts.iter().map(exchange).collect(),
        });
    }
    Ok(page::ok(&ContentPage {
        frame: Frame::of(&request, &shared, "Content of a message"),
        head: head(&shared, &message).await?,
        text: if segments.is_empty() { shown_text(&text) } else { String::new() },
        segments,
        is_cut: message.size > CONTENT_BYTES_MAX,
        commands,
    }))
}

/// The message as a case that names nobody, to be given to others.
pub async fn bundle(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let message = message_of(&shared, &id).await?;
    shared.looked(&request, Look::at(format!("bundle of message {}", message.id), &message.source, true)).await?;
    match shared.trials()?.bundle(&message).await {
        Ok(bundle) => Ok(zipped(&bundle, message.id)),
        Err(NotTried::Impossible(why)) => Err(Trouble::new(StatusCode::CONFLICT, why)),
        Err(NotTried::Store(error)) => Err(error.into()),
    }
}

/// JSON is set out in lines.
fn shown_text(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |json| pretty(&json))
}

fn exchange(attempt: &AttemptView) -> Exchange {
    Exchange {
        title: format!("{} {} at {}", attempt.call, attempt.step, time(attempt.started_at)),
        request: pretty(&attempt.request),
        response: pretty(&attempt.response),
    }
}

fn pretty(json: &Value) -> String {
    let mut text = serde_json::to_string_pretty(json).unwrap_or_default();
    if let Some((end, _)) = text.char_indices().nth(JSON_CHARS_MAX) {
        text.truncate(end);
        text.push_str("\n… the rest is not shown here");
    }
    text
}
