//! `/console/sources`: how sources, connections and destinations stand; switching one, behind a page that says exactly what
//! will happen; and a source in shadow beside what was really sent.
//!
//! Guarantees: what is switched is what the page before told of, or the page tells anew; nothing is switched without a reason.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::acts::said_by;
use super::form::Form;
use super::page::{self, Frame, Trouble, time};
use crate::config::Mode;
use crate::inbound::http::Shared;
use crate::inbound::http::callers::Caller;
use crate::inbound::http::looks::Look;
use crate::inbound::http::modes::{comparison_of, reads_reasons};
use crate::modes::{self, Asked, Comparison, NotSwitched, ServiceView, SwitchView, TargetView, Wish};
use crate::store::SwitchKind;

#[derive(Template)]
#[template(path = "sources.html")]
struct List {
    frame: Frame,
    groups: Vec<Group>,
}

struct Group {
    title: &'static str,
    kind: SwitchKind,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    mode: &'static str,
    colour: &'static str,
    /// Since when and by whom, and why where that may be read.
    because: String,
    planned: String,
    services: Vec<ServiceRow>,
    acts: Vec<(&'static str, &'static str)>,
}

struct ServiceRow {
    service: String,
    mode: &'static str,
    colour: &'static str,
    because: String,
    planned: String,
    acts: Vec<(&'static str, &'static str)>,
}

pub(super) fn tag(mode: Mode) -> (&'static str, &'static str) {
    match mode {
        Mode::Live => ("Live", "green"),
        Mode::Shadow => ("Shadow", "grey"),
        Mode::Paused => ("Paused", "orange"),
    }
}

pub async fn list(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let reasons = Caller::of(&request).is_some_and(|caller| reads_reasons(&caller));
    let modes = shared.modes()?;
    let groups = [
        ("Sources", SwitchKind::Source),
        ("Connections to e-RS", SwitchKind::Connection),
        ("Hospital systems and folders that are sent messages and documents", SwitchKind::Destination),
    ];
    let groups = groups.into_iter().map(|(title, kind)| Group {
        title,
        kind,
        rows: modes.targets(kind, reasons).iter().map(|target| row(kind, target)).collect(),
    });
    Ok(page::ok(&List { frame: Frame::of(&request, &shared, "Sources"), groups: groups.collect() }))
}

fn row(kind: SwitchKind, target: &TargetView) -> Row {
    let (mode, colour) = tag(target.mode);
    let because = match (&target.switched, &target.paused_connections[..]) {
        (Some(switch), []) => because(switch),
        (None, []) => "as the settings say".to_owned(),
        (_, paused) => format!("because of a paused connection: {}", paused.join(", ")),
    };
    Row {
        name: target.name.clone(),
        mode,
        colour,
        because,
        planned: target.planned.as_ref().map(plan).unwrap_or_default(),
        services: target
            .services
            .iter()
            .map(|service| {
                let (mode, colour) = service.mode.map_or(("As the source", "white"), tag);
                ServiceRow {
                    service: service.service.clone(),
                    mode,
                    colour,
                    because: service.switched.as_ref().map(self::because).unwrap_or_default(),
                    planned: service.planned.as_ref().map(plan).unwrap_or_default(),
                    acts: acts_of_service(service),
                }
            })
            .collect(),
        acts: acts(kind, target),
    }
}

fn because(switch: &SwitchView) -> String {
    let why = switch.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("since {}, by {}{why}", time(switch.from), switch.by)
}

fn plan(switch: &SwitchView) -> String {
    format!("{} from {}, by {}", tag(switch.mode).0.to_lowercase(), time(switch.from), switch.by)
}

/// What makes sense as it stands.
fn acts(kind: SwitchKind, target: &TargetView) -> Vec<(&'static str, &'static str)> {
    let is_paused_here = target.switched.as_ref().is_some_and(|switch| switch.mode == Mode::Paused);
    let own = target.switched.as_ref().map_or(target.settings, |switch| switch.mode);
    let mut acts = Vec::new();
    if is_paused_here {
        acts.push(("resumed", "Resume"));
    } else if own != Mode::Paused {
        acts.push(("paused", "Pause"));
    }
    if kind == SwitchKind::Source {
        acts.push(("live", "Go live"));
        acts.push(("shadow", "Shadow"));
    }
    if target.switched.is_some() || target.planned.is_some() || !target.services.is_empty() {
        acts.push(("settings", "As the settings"));
    }
    acts
}

fn acts_of_service(service: &ServiceView) -> Vec<(&'static str, &'static str)> {
    let pause = if service.mode == Some(Mode::Paused) { ("resumed", "Resume") } else { ("paused", "Pause") };
    vec![pause, ("live", "Go live"), ("shadow", "Shadow"), ("settings", "As the source")]
}

/// As a link or a form sends it.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    service: String,
    /// `2026-03-16T08:00`, in UTC; empty: at once.
    from: String,
    form: String,
    /// The version that the page told of.
    seen: String,
    by: String,
    why: String,
}

impl Given {
    fn asked(&self, path: &(String, String, String)) -> Result<Asked, Trouble> {
        let (kind, name, wish) = path;
        let nothing = || Trouble::not_found("There is nothing here that can be switched so");
        let kind = SwitchKind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(nothing)?;
        let wish = Wish::named(wish).ok_or_else(nothing)?;
        let service = Some(self.service.trim()).filter(|service| !service.is_empty()).map(str::to_owned);
        Ok(Asked { kind, name: name.clone(), service, wish, from: self.from()? })
    }

    fn from(&self) -> Result<Option<Timestamp>, Trouble> {
        let text = self.from.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let read = text.parse::<DateTime>().ok().and_then(|at| at.to_zoned(TimeZone::UTC).ok());
        let wrong = || Trouble::new(StatusCode::BAD_REQUEST, "A time is like 2026-03-16T08:00, in UTC");
        read.map(|at| Some(at.timestamp())).ok_or_else(wrong)
    }
}

#[derive(Template)]
#[template(path = "switch.html")]
struct SwitchPage {
    frame: Frame,
    address: String,
    subject: String,
    button: String,
    now: Option<(&'static str, &'static str)>,
    consequences: Vec<String>,
    /// The version of what is told.
    seen: u64,
    /// It can be said for one service, and for a time.
    takes_service: bool,
    takes_time: bool,
    problem: Option<String>,
    given: Given,
}

async fn switch_page(
    request: &HttpRequest,
    shared: &Shared,
    asked: &Asked,
    given: Given,
    problem: Option<String>,
) -> Result<SwitchPage, Trouble> {
    let foresight = match shared.modes()?.foresee(asked).await {
        Ok(foresight) => Ok(foresight),
        Err(NotSwitched::Impossible(why)) => Err(why.to_owned()),
        Err(NotSwitched::Meanwhile(how)) => Err(how),
        Err(NotSwitched::Unknown) => return Err(Trouble::not_found("Nothing of this name is in the settings")),
        Err(NotSwitched::Store(error)) => return Err(error.into()),
    };
    let title = match asked.wish {
        Wish::Live => "Go live",
        Wish::Shadow => "Rehearse only (shadow)",
        Wish::Paused => "Pause",
        Wish::Resumed => "Resume",
        Wish::Settings => "Go by the settings again",
    };
    let service = asked.service.as_ref().map(|service| format!(", service {service}")).unwrap_or_default();
    let when = asked.from.map(|from| format!(" from {}", time(from))).unwrap_or_default();
    let (now, seen, consequences, problem) = match foresight {
        Ok(foresight) => (Some(tag(foresight.now)), foresight.version, foresight.consequences, problem),
        Err(why) => (None, 0, Vec::new(), problem.or(Some(why))),
    };
    let is_source = asked.kind == SwitchKind::Source;
    Ok(SwitchPage {
        frame: Frame::of(request, shared, &format!("{title}: {}", asked.name)),
        address: request.path().to_owned(),
        subject: format!("{} {}{service}", asked.kind.name(), asked.name),
        button: format!("{title}{when}"),
        now,
        consequences,
        seen,
        takes_service: is_source && asked.wish != Wish::Resumed,
        takes_time: !matches!(asked.wish, Wish::Resumed | Wish::Settings),
        problem,
        given,
    })
}

pub async fn ask(
    request: HttpRequest,
    path: web::Path<(String, String, String)>,
    given: Result<web::Query<Given>, actix_web::Error>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let unknown = |_| Trouble::new(StatusCode::BAD_REQUEST, "This address has a name that is not known here");
    let given = given.map_err(unknown)?.into_inner();
    let asked = given.asked(&path)?;
    Ok(page::ok(&switch_page(&request, &shared, &asked, given, None).await?))
}

pub async fn switch(
    request: HttpRequest,
    path: web::Path<(String, String, String)>,
    Form(given): Form<Given>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let asked = given.asked(&path)?;
    let seen = given.seen.parse().map_err(|_| "See what this would come to, then decide".to_owned());
    let said = said_by(&request, &shared, (&given.form, &given.by, &given.why)).and_then(|act| Ok((act, seen?)));
    let (status, problem) = match said {
        Ok((act, seen)) => match shared.modes()?.switch(&asked, Some(seen), act).await {
            Ok(()) => return Ok(page::see_other("/console/sources")),
            Err(NotSwitched::Impossible(why)) => (StatusCode::BAD_REQUEST, why.to_owned()),
            Err(NotSwitched::Meanwhile(how)) => {
                (StatusCode::CONFLICT, format!("Somebody has switched it since this page was opened. {how}"))
            }
            Err(NotSwitched::Unknown) => return Err(Trouble::not_found("Nothing of this name is in the settings")),
            Err(NotSwitched::Store(error)) => return Err(error.into()),
        },
        Err(problem) => (StatusCode::BAD_REQUEST, problem),
    };
    let page = switch_page(&request, &shared, &asked, given, Some(problem)).await?;
    Ok(page::html(status, &page))
}

#[derive(Template)]
#[template(path = "comparison.html")]
struct ComparisonPage {
    frame: Frame,
    name: String,
    sent: String,
    found: Option<Comparison>,
    problem: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentForm {
    form: String,
    sent: String,
    /// `yes`: e-RS is read as well.
    ers: String,
}

fn known_source(shared: &Shared, name: &str) -> Result<(), Trouble> {
    let target = shared.modes()?.target(SwitchKind::Source, name, false);
    target.map(drop).ok_or_else(|| Trouble::not_found("There is no source of this name in the settings"))
}

pub async fn comparison(
    request: HttpRequest,
    name: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    known_source(&shared, &name)?;
    let frame = Frame::of(&request, &shared, &format!("{name} beside what was sent"));
    let name = name.into_inner();
    Ok(page::ok(&ComparisonPage { frame, name, sent: String::new(), found: None, problem: None }))
}

pub async fn compare(
    request: HttpRequest,
    name: web::Path<String>,
    Form(given): Form<SentForm>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    known_source(&shared, &name)?;
    let frame = Frame::of(&request, &shared, &format!("{name} beside what was sent"));
    if given.form != frame.form {
        return Err(Trouble::new(StatusCode::BAD_REQUEST, "This form is of another session: try again"));
    }
    let reads_ers = given.ers == "yes";
    shared.looked(&request, Look::at(comparison_of(&name, reads_ers), &name, true)).await?;
    let (found, problem) = match modes::read_sent(&given.sent) {
        Ok(sent) => {
            let mut found = modes::compare(&*shared.deps.store, &name, None, &sent).await?;
            if reads_ers {
                shared.beside_ers(&name, &mut found).await?;
            }
            (Some(found), None)
        }
        Err(error) => (None, Some(format!("It cannot be read: {error}"))),
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let name = name.into_inner();
    Ok(page::html(status, &ComparisonPage { frame, name, sent: given.sent, found, problem }))
}
