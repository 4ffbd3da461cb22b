//! `/console/mine`: for somebody who is signed in to e-RS through this gateway: as whom they act, and what waits in their name.
//!
//! Enters: the browser's cookie of the sign-in. Leaves: their commands on their way, those that they confirm. Guarantees: only
//! theirs are shown and sent; what is too old or overtaken is sent only by who ticks that by name.

use actix_web::http::StatusCode;
use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::form::Form;
use super::page::{self, Frame, Trouble, ago, time};
use super::words::class_text;
use crate::command::CommandId;
use crate::ers::Role;
use crate::inbound::http::sign_in::SignedIn;
use crate::inbound::http::{Shared, SignInDeps, cookies, place_of};
use crate::sign_in::{DeskError, Person};
use crate::waiting::{EXPIRED, Item, Outcome, Which};

#[derive(Template)]
#[template(path = "mine.html")]
struct Mine {
    frame: Frame,
    name: String,
    user: String,
    left: String,
    role: Option<String>,
    choices: Vec<Choice>,
    rows: Vec<Row>,
    told: Vec<String>,
    problem: Option<String>,
}

/// An organisation and function to act as.
struct Choice {
    organisation: String,
    function: String,
    is_chosen: bool,
    needs_clinician: bool,
}

struct Row {
    command: CommandId,
    name: String,
    class: &'static str,
    source: String,
    local_id: String,
    since: String,
    age: String,
    too_old: bool,
    is_behind: bool,
}

#[derive(Template)]
#[template(path = "mine_sign_in.html")]
struct SignInFirst {
    frame: Frame,
    connections: Vec<String>,
}

fn deps(shared: &Shared) -> Result<&SignInDeps, Trouble> {
    shared.deps.sign_in.as_ref().ok_or_else(|| Trouble::not_found("Nobody signs in to e-RS at this gateway"))
}

async fn whose(request: &HttpRequest, shared: &Shared) -> Result<Option<SignedIn>, Trouble> {
    Ok(deps(shared)?.whose_browser(request).await?)
}

pub async fn show(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let Some(SignedIn { person, .. }) = whose(&request, &shared).await? else {
        let connections = deps(&shared)?.desk.connections().map(str::to_owned).collect();
        let frame = Frame::of(&request, &shared, "What waits for you");
        return Ok(page::ok(&SignInFirst { frame, connections }));
    };
    Ok(page::ok(&mine(&request, &shared, &person, Vec::new(), None).await?))
}

async fn mine(
    request: &HttpRequest,
    shared: &Shared,
    person: &Person,
    told: Vec<String>,
    problem: Option<String>,
) -> Result<Mine, Trouble> {
    let now = shared.environment.now();
    let items = deps(shared)?.waiting.of(person).await?;
    let is = |organisation: &str, function: &str| {
        person.role.as_ref().is_some_and(|role| role.organisation == organisation && role.business_function == function)
    };
    let choices = person.offers.iter().flat_map(|offer| {
        offer.business_functions.iter().map(|function| Choice {
            organisation: offer.organisation.clone(),
            function: function.clone(),
            is_chosen: is(&offer.organisation, function),
            needs_clinician: function == "SERVICE_PROVIDER_CLINICIAN_ADMIN",
        })
    });
    Ok(Mine {
        frame: Frame::of(request, shared, "What waits for you"),
        name: person.name.clone().unwrap_or_else(|| person.user.clone()),
        user: person.user.clone(),
        left: ago(person.until, now).trim_start_matches("in ").to_owned(),
        role: person.role.as_ref().map(|role| format!("{} at {}", role.business_function, role.organisation)),
        choices: choices.collect(),
        rows: items.iter().map(|item| row(item, now)).collect(),
        told,
        problem,
    })
}

fn row(item: &Item, now: jiff::Timestamp) -> Row {
    let command = &item.command;
    Row {
        command: command.id,
        name: command.name.clone(),
        class: class_text(command.class),
        source: command.source.clone(),
        local_id: command.body.get("localId").and_then(|id| id.as_str()).unwrap_or_default().to_owned(),
        since: time(item.since),
        age: ago(item.since, now),
        too_old: item.too_old,
        is_behind: command.held_by.is_some(),
    }
}

/// As the forms send it. Several boxes of one name are several pairs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleForm {
    role: String,
    #[serde(default)]
    on_behalf_of: String,
}

/// Who asks, or why not.
async fn require(request: &HttpRequest, shared: &Shared) -> Result<SignedIn, Trouble> {
    whose(request, shared)
        .await?
        .ok_or_else(|| Trouble::new(StatusCode::UNAUTHORIZED, "Your session at e-RS has ended: sign in again"))
}

pub async fn choose(
    request: HttpRequest,
    Form(form): Form<RoleForm>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let SignedIn { person, .. } = require(&request, &shared).await?;
    let (organisation, function) = form.role.split_once(' ').unwrap_or_default();
    let clinician = form.on_behalf_of.trim();
    let role = Role {
        organisation: organisation.to_owned(),
        business_function: function.to_owned(),
        on_behalf_of: (!clinician.is_empty()).then(|| clinician.to_owned()),
    };
    match deps(&shared)?.desk.choose(&person, role, &place_of(&request)).await {
        Ok(_) => Ok(page::see_other("/console/mine")),
        Err(error) => {
            let page = mine(&request, &shared, &person, Vec::new(), Some(error.to_string())).await?;
            Ok(page::html(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
    }
}

pub async fn confirm(
    request: HttpRequest,
    Form(form): Form<Vec<(String, String)>>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let SignedIn { person, .. } = require(&request, &shared).await?;
    let chosen: Result<Vec<CommandId>, _> =
        form.iter().filter(|(name, _)| name == "command").map(|(_, id)| id.parse()).collect();
    let although: Vec<String> =
        form.iter().filter(|(name, _)| name == "although").map(|(_, code)| code.clone()).collect();
    let problem = match (&chosen, &person.role) {
        (Err(_), _) => Some("One of these commands cannot be read: try again"),
        (Ok(chosen), _) if chosen.is_empty() => Some("Tick what is to be sent"),
        (_, None) => Some("Choose as whom you act first"),
        _ => None,
    };
    let outcomes = match (chosen, problem) {
        (Ok(chosen), None) => {
            let waiting = &deps(&shared)?.waiting;
            waiting.confirm(&person, Which::These(chosen), &although, &place_of(&request)).await?
        }
        _ => Vec::new(),
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let page = mine(&request, &shared, &person, in_words(&outcomes), problem.map(str::to_owned)).await?;
    Ok(page::html(status, &page))
}

fn in_words(outcomes: &[Outcome]) -> Vec<String> {
    let confirmed = outcomes.iter().filter(|outcome| outcome.code == "CONFIRMED").count();
    let sent = (confirmed > 0).then(|| format!("{confirmed} confirmed: they go in their order"));
    let others = outcomes.iter().filter(|outcome| outcome.code != "CONFIRMED").map(|outcome| {
        let hint =
            if outcome.code == EXPIRED { "; tick “also what is too old” to send it all the same" } else { "" };
        format!("{}: {}{hint}", outcome.command, outcome.text)
    });
    sent.into_iter().chain(others).collect()
}

pub async fn sign_out(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let SignedIn { person, cookie } = require(&request, &shared).await?;
    let desk = &deps(&shared)?.desk;
    desk.sign_out(&person, &cookie, &place_of(&request)).await.map_err(|error| match error {
        DeskError::Store(error) => error.into(),
        other => Trouble::new(StatusCode::BAD_GATEWAY, other.to_string()),
    })?;
    let mut answer = page::see_other("/console/mine");
    if let Ok(unset) = cookies::unset(cookies::PERSON, desk.is_over_tls()).parse() {
        answer.headers_mut().append(SET_COOKIE, unset);
    }
    Ok(answer)
}
