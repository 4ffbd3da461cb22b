//! What a person does: first a page that says exactly what will happen, then the act, with a reason.
//!
//! Enters: forms. Leaves: the store's acts, and the message's page as it is then. Guarantees: no act without a reason and a
//! name, both in the audit log; of a signed-in person the name is the account's, whatever a form says; nothing is done twice
//! by a page that is loaded again.

use actix_web::http::StatusCode;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::form::Form;
use super::guard::SignedIn;
use super::message::command_of;
use super::page::{self, Frame, Trouble};
use super::words::state_tag;
use crate::command::{CommandId, MessageId, Ubrn};
use crate::inbound::http::callers::Caller;
use crate::inbound::http::looks::ACT_TEXT_CHARS_MAX;
use crate::inbound::http::{Shared, place_of};
use crate::intake::Again;
use crate::store::{self, Act, CommandView, Finding};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Replay,
    Discard,
    Release,
    Pass,
    Decide,
}

impl Verb {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "replay" => Self::Replay,
            "discard" => Self::Discard,
            "release" => Self::Release,
            "pass" => Self::Pass,
            "decide" => Self::Decide,
            _ => return None,
        })
    }

    fn title(self) -> &'static str {
        match self {
            Self::Replay => "Replay this command",
            Self::Discard => "Give this command up",
            Self::Release => "Release this command",
            Self::Pass => "Let this command pass",
            Self::Decide => "Decide what became of it",
        }
    }

    fn button(self) -> &'static str {
        match self {
            Self::Replay => "Replay it",
            Self::Discard => "Give it up",
            Self::Release => "Release it",
            Self::Pass => "Let it pass",
            Self::Decide => "Decide",
        }
    }

    /// Exactly what will happen.
    fn consequences(self, command: &CommandView) -> Vec<String> {
        let name = &command.name;
        match self {
            Self::Replay => vec![
                format!("{name} goes back into the queue, at the step where it stopped."),
                "Calls to e-RS that are known to be done are not made again.".into(),
                "Everything is checked again before it is sent.".into(),
            ],
            Self::Discard => vec![
                format!("{name} is not sent to e-RS, now or later. This cannot be taken back."),
                "What waits behind it about the same referral goes on.".into(),
                "If the patient still needs it, it has to be done by hand in e-RS.".into(),
            ],
            Self::Release => vec![
                format!("{name} goes back into the queue and is sent as soon as a user's session is there."),
                "Without a session it comes back to where it is now.".into(),
            ],
            Self::Pass => vec![
                "What holds it is given up: it is not sent to e-RS. Never what is on its way, or in doubt.".into(),
                format!("{name} goes on at once."),
            ],
            Self::Decide => vec![
                "You have looked in e-RS and say what you found there.".into(),
                format!("Done: {name} goes on behind that step, and nothing is sent again. e-RS is read to make sure."),
                "Not done: the step is sent once more.".into(),
            ],
        }
    }
}

#[derive(Template)]
#[template(path = "act.html")]
struct ActPage {
    frame: Frame,
    address: String,
    back: String,
    button: &'static str,
    subject: String,
    state: &'static str,
    colour: &'static str,
    consequences: Vec<String>,
    decides: bool,
    problem: Option<String>,
    given: Given,
}

/// As a form sends it.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    form: String,
    by: String,
    why: String,
    done: String,
    ubrn: String,
}

fn act_page(request: &HttpRequest, shared: &Shared, verb: Verb, command: &CommandView) -> ActPage {
    let tag = state_tag(command.state.name());
    ActPage {
        frame: Frame::of(request, shared, verb.title()),
        address: request.path().to_owned(),
        back: format!("/console/messages/{}#{}", command.message, command.id),
        button: verb.button(),
        subject: format!("{} {}", command.name, command.id),
        state: tag.text,
        colour: tag.colour,
        consequences: verb.consequences(command),
        decides: verb == Verb::Decide,
        problem: None,
        given: Given::default(),
    }
}

fn no_such_act() -> Trouble {
    Trouble::not_found("There is no such act")
}

pub async fn ask_about_command(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let verb = Verb::parse(&path.1).ok_or_else(no_such_act)?;
    let command = command_of(&shared, &path.0).await?;
    Ok(page::ok(&act_page(&request, &shared, verb, &command)))
}

pub async fn act_on_command(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    Form(given): Form<Given>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let verb = Verb::parse(&path.1).ok_or_else(no_such_act)?;
    let command = command_of(&shared, &path.0).await?;
    let read = act(&request, &shared, &given).and_then(|act| Ok((act, finding(verb, &given)?)));
    let (act, finding) = match read {
        Ok(read) => read,
        Err(problem) => {
            let page = ActPage { problem: Some(problem), given, ..act_page(&request, &shared, verb, &command) };
            return Ok(page::html(StatusCode::BAD_REQUEST, &page));
        }
    };
    carry_out(&shared, verb, command.id, act, finding).await?;
    Ok(page::see_other(&format!("/console/messages/{}#{}", command.message, command.id)))
}

async fn carry_out(
    shared: &Shared,
    verb: Verb,
    id: CommandId,
    act: Act,
    finding: Option<Finding>,
) -> Result<(), store::StoreError> {
    let operator = &shared.deps.operator;
    match (verb, finding) {
        (Verb::Replay, _) => operator.replay(id, act).await,
        (Verb::Discard, _) => operator.discard(id, act).await,
        (Verb::Release, _) => operator.release(id, act).await,
        (Verb::Pass, _) => store::pass(&*shared.deps.search, &**operator, id, act).await.map(drop),
        (Verb::Decide, Some(finding)) => operator.decide(id, finding, act).await,
        (Verb::Decide, None) => Err(store::StoreError::NotFound),
    }
}

/// Who acts, and why; or what is missing. Of a form: its session, who acts, why.
pub fn said_by(request: &HttpRequest, shared: &Shared, said: (&str, &str, &str)) -> Result<Act, String> {
    let (form, by, why) = said;
    if let Some(SignedIn(session)) = request.extensions().get::<SignedIn>()
        && session.form.to_string() != form
    {
        return Err("This form is of another session: try again".into());
    }
    let caller = Caller::of(request).ok_or("Nobody is signed in")?;
    let is_said = |text: &str| !text.trim().is_empty() && text.chars().count() <= ACT_TEXT_CHARS_MAX;
    if !is_said(why) {
        return Err(format!("Say why, in 1 to {ACT_TEXT_CHARS_MAX} characters: it stands in the audit log"));
    }
    if !caller.is_signed_in() && !is_said(by) {
        return Err("Say who you are: it stands in the audit log".into());
    }
    Ok(caller.act(by.trim(), place_of(request), why.trim().to_owned(), shared.environment.now()))
}

fn act(request: &HttpRequest, shared: &Shared, given: &Given) -> Result<Act, String> {
    said_by(request, shared, (&given.form, &given.by, &given.why))
}

fn finding(verb: Verb, given: &Given) -> Result<Option<Finding>, String> {
    if verb != Verb::Decide {
        return Ok(None);
    }
    let ubrn = match given.ubrn.trim() {
        "" => None,
        text => Some(Ubrn::parse(text).ok_or("A UBRN has 12 digits")?),
    };
    match (given.done.as_str(), ubrn) {
        ("yes", ubrn) => Ok(Some(Finding { done: true, ubrn: ubrn.map(Into::into) })),
        ("no", None) => Ok(Some(Finding { done: false, ubrn: None })),
        ("no", Some(_)) => Err("What was not done has no UBRN".into()),
        _ => Err("Say whether it was done".into()),
    }
}

const MESSAGE_CONSEQUENCES: [&str; 4] = [
    "The message is read once more, with the mappings and tables as they are now.",
    "If it is good now, its commands stand in the queue behind what came since; the first message stays as it was.",
    "If it is still refused, nothing is stored, and you see what is wrong.",
    "Nothing of it was sent to e-RS before, so nothing is sent twice.",
];

fn message_page(request: &HttpRequest, shared: &Shared, id: MessageId) -> ActPage {
    let tag = state_tag("rejected");
    ActPage {
        frame: Frame::of(request, shared, "Take this message in once more"),
        address: request.path().to_owned(),
        back: format!("/console/messages/{id}"),
        button: "Take it in",
        subject: format!("message {id}"),
        state: tag.text,
        colour: tag.colour,
        consequences: MESSAGE_CONSEQUENCES.map(str::to_owned).into(),
        decides: false,
        problem: None,
        given: Given::default(),
    }
}

fn message_id(text: &str) -> Result<MessageId, Trouble> {
    text.parse().map_err(|_| Trouble::not_found("There is no message with this identifier"))
}

pub async fn ask_about_message(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    Ok(page::ok(&message_page(&request, &shared, message_id(&id)?)))
}

pub async fn replay_message(
    request: HttpRequest,
    id: web::Path<String>,
    Form(given): Form<Given>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let id = message_id(&id)?;
    let problem = match act(&request, &shared, &given) {
        Ok(act) => match shared.deps.intake.take_again(id, &act).await? {
            Again::Taken(answer) => {
                let to = answer.message.unwrap_or(id);
                return Ok(page::see_other(&format!("/console/messages/{to}")));
            }
            Again::StillRefused(problems) => {
                let told: Vec<_> =
                    problems.iter().map(|problem| format!("{}: {}", problem.location, problem.text)).collect();
                format!("It is still refused, and nothing was stored. {}", told.join("; "))
            }
            Again::Impossible(why) => why.to_string(),
        },
        Err(problem) => problem,
    };
    let page = ActPage { problem: Some(problem), given, ..message_page(&request, &shared, id) };
    Ok(page::html(StatusCode::UNPROCESSABLE_ENTITY, &page))
}
