//! `/console/messages/{id}/edit`: a refused or given up message with a content that a person changes; and `…/difference`: what was
//! changed, beside the untouched original.
//!
//! Guarantees: only for who may act and see content; what is taken in was shown before, with what would become of it; the original
//! stays as it came; what a browser would not send back as it is cannot be edited here.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use bytes::Bytes;
use encoding_rs::Encoding;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::acts::said_by;
use super::form::Form;
use super::message::{Head, head, message_of};
use super::page::{self, Frame, Trouble};
use crate::inbound::http::Shared;
use crate::inbound::http::looks::Look;
use crate::intake::{Again, Change, Trial, difference, taken_from};
use crate::mapping::hex;
use crate::store::MessageView;
use crate::trials::NotTried;

/// A form takes three times as much, and has other fields.
const CONTENT_BYTES_MAX: u64 = 64 << 10;

#[derive(Template)]
#[template(path = "edit.html")]
struct EditPage {
    frame: Frame,
    head: Head,
    /// Why it cannot be edited here.
    refusal: Option<String>,
    content: String,
    problem: Option<String>,
    looked: Option<Looked>,
    given: Given,
}

/// What was changed, and what would become of it.
struct Looked {
    digest: String,
    changes: Vec<Change>,
    is_good: bool,
    outcome: String,
    problems: Vec<(String, String)>,
}

/// As a form sends it.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    form: String,
    content: String,
    step: String,
    looked: String,
    by: String,
    why: String,
}

/// A message as a browser shows it, and back.
struct Editable {
    raw: Bytes,
    encoding: &'static Encoding,
    line_end: &'static str,
}

impl Editable {
    async fn of(shared: &Shared, message: &MessageView) -> Result<Result<Self, String>, Trouble> {
        if message.size > CONTENT_BYTES_MAX {
            return Ok(Err("It is too long for a form".into()));
        }
        let raw = shared.deps.store.read_message(message.id, 0..u64::MAX).await?;
        let encoding = Encoding::for_label(message.charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
        let has = |pattern: &[u8]| raw.windows(pattern.len()).any(|part| part == pattern);
        let line_end = match (has(b"\r\n"), has(b"\r")) {
            (true, _) => "\r\n",
            (false, true) => "\r",
            _ => "\n",
        };
        let editable = Self { raw, encoding, line_end };
        Ok(match editable.back(&editable.shown()) {
            Ok(back) if back == editable.raw => Ok(editable),
            _ => {
                Err("A browser would not send it back as it is: it has other characters or line ends than text has"
                    .into())
            }
        })
    }

    fn shown(&self) -> String {
        self.encoding.decode_without_bom_handling(&self.raw).0.replace(self.line_end, "\n")
    }

    /// Browsers end lines with CR LF.
    fn back(&self, text: &str) -> Result<Bytes, String> {
        let text = text.replace("\r\n", "\n").replace('\n', self.line_end);
        let (bytes, encoding, has_misfits) = self.encoding.encode(&text);
        if has_misfits || encoding != self.encoding {
            return Err(format!("A character is not in {}, in which this message is written", self.encoding.name()));
        }
        Ok(bytes.into_owned().into())
    }
}

async fn edit_page(
    request: &HttpRequest,
    shared: &Shared,
    message: &MessageView,
) -> Result<(EditPage, Option<Editable>), Trouble> {
    let editable = Editable::of(shared, message).await?;
    let (refusal, editable) = match editable {
        Ok(editable) => (None, Some(editable)),
        Err(why) => (Some(why), None),
    };
    let page = EditPage {
        frame: Frame::of(request, shared, "Edit this message and take it in"),
        head: head(shared, message).await?,
        refusal,
        content: editable.as_ref().map(Editable::shown).unwrap_or_default(),
        problem: None,
        looked: None,
        given: Given::default(),
    };
    Ok((page, editable))
}

pub async fn ask(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let message = message_of(&shared, &id).await?;
    shared.looked(&request, Look::at(format!("content of message {}", message.id), &message.source, true)).await?;
    Ok(page::ok(&edit_page(&request, &shared, &message).await?.0))
}

pub async fn edit(
    request: HttpRequest,
    id: web::Path<String>,
    Form(given): Form<Given>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let message = message_of(&shared, &id).await?;
    shared.looked(&request, Look::at(format!("content of message {}", message.id), &message.source, true)).await?;
    let (mut page, editable) = edit_page(&request, &shared, &message).await?;
    let Some(editable) = editable else { return Ok(page::html(StatusCode::CONFLICT, &page)) };
    if given.form != page.frame.form {
        return Err(Trouble::new(StatusCode::BAD_REQUEST, "This form is of another session: try again"));
    }
    page.content = given.content.replace("\r\n", "\n");
    let content = match editable.back(&given.content) {
        Ok(content) => content,
        Err(why) => return Ok(with_problem(page, given, why)),
    };
    let looked = look(&shared, &message, &editable.raw, &content);
    if given.step == "take" && given.looked == looked.digest {
        let why = match said_by(&request, &shared, (&given.form, &given.by, &given.why)) {
            Ok(act) => match shared.deps.intake.take_edited(message.id, content, &act).await? {
                Again::Taken(answer) => {
                    let to = answer.message.unwrap_or(message.id);
                    return Ok(page::see_other(&format!("/console/messages/{to}")));
                }
                Again::StillRefused(problems) => {
                    let told: Vec<_> =
                        problems.iter().map(|problem| format!("{}: {}", problem.location, problem.text)).collect();
                    format!("It is still refused, and nothing was stored. {}", told.join("; "))
                }
                Again::Impossible(why) => why.to_owned(),
            },
            Err(why) => why,
        };
        page.looked = Some(looked);
        return Ok(with_problem(page, given, why));
    }
    let was_another = given.step == "take";
    page.looked = Some(looked);
    if was_another {
        return Ok(with_problem(page, given, "You changed it once more: see what would become of it now".into()));
    }
    page.given = given;
    Ok(page::ok(&page))
}

fn with_problem(page: EditPage, given: Given, problem: String) -> HttpResponse {
    page::html(StatusCode::UNPROCESSABLE_ENTITY, &EditPage { problem: Some(problem), given, ..page })
}

fn look(shared: &Shared, message: &MessageView, was: &Bytes, is: &Bytes) -> Looked {
    let changes = difference(was, is);
    let digest = hex(&Sha256::digest(is));
    let nothing = Looked { digest, changes, is_good: false, outcome: String::new(), problems: Vec::new() };
    let trial = match shared.trials() {
        Ok(trials) => trials.would_become(message, is),
        Err(_) => return nothing,
    };
    match trial {
        Ok(trial) if trial.ack.errors.is_empty() => Looked { is_good: true, outcome: outcome(&trial), ..nothing },
        Ok(trial) => Looked {
            outcome: "It would still be refused:".into(),
            problems: trial
                .ack
                .errors
                .iter()
                .map(|problem| (problem.location.to_string(), problem.text.clone()))
                .collect(),
            ..nothing
        },
        Err(NotTried::Impossible(why)) => Looked { outcome: why, ..nothing },
        Err(NotTried::Store(_)) => nothing,
    }
}

/// As far as can be said without the store: what it knows of the referral is asked when it is taken in.
fn outcome(trial: &Trial) -> String {
    let names: Vec<&str> = trial.commands.iter().map(|command| command.name.as_str()).collect();
    let calls: Vec<&str> = trial.plan.iter().filter_map(|call| call["call"].as_str()).collect();
    match names.is_empty() {
        true => "It would be taken as a notice: nothing is sent to e-RS.".into(),
        false => format!("It would be taken, as {}, with the calls {}.", names.join(", "), calls.join(", ")),
    }
}

#[derive(Template)]
#[template(path = "difference.html")]
struct DifferencePage {
    frame: Frame,
    head: Head,
    first: String,
    changes: Vec<Change>,
    was: String,
    is: String,
}

pub async fn show_difference(
    request: HttpRequest,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let message = message_of(&shared, &id).await?;
    let nothing = || Trouble::not_found("This message was not edited");
    let first = message.control_id.as_deref().and_then(taken_from).filter(|(_, is_edited)| *is_edited);
    let (first, _) = first.ok_or_else(nothing)?;
    shared.looked(&request, Look::at(format!("content of message {}", message.id), &message.source, true)).await?;
    let was = shared.deps.store.read_message(first, 0..CONTENT_BYTES_MAX).await?;
    let is = shared.deps.store.read_message(message.id, 0..CONTENT_BYTES_MAX).await?;
    let encoding = Encoding::for_label(message.charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    let text = |bytes: &Bytes| encoding.decode(bytes).0.replace("\r\n", "\n").replace('\r', "\n");
    Ok(page::ok(&DifferencePage {
        frame: Frame::of(&request, &shared, "What was changed"),
        head: head(&shared, &message).await?,
        first: first.to_string(),
        changes: difference(&was, &is),
        was: text(&was),
        is: text(&is),
    }))
}
