//! Modes while running: `GET /v1/sources` (with connections and destinations); `GET` and `PUT /v1/sources/{name}/mode`,
//! `/v1/connections/{name}/mode`, `/v1/destinations/{name}/mode`, what it would come to with `?preview=true`; and
//! `POST /v1/sources/{name}/comparison`, what a source in shadow would have sent beside what was sent,
//! and beside what e-RS shows (`?ers=true`).
//!
//! Guarantees: nothing is switched that does not say who and why; a preview switches nothing; a comparison needs the right to
//! content, and is noted; what carries the version of its preview is refused once somebody else has switched.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::acts::said;
use super::callers::{Caller, Needs};
use super::looks::{ACT_TEXT_CHARS_MAX, Look, place_of};
use super::problem::ProblemDocument;
use super::request::{query, read_body};
use crate::command::Ubrn;
use crate::modes::{Asked, Comparison, Modes, NotRead, NotSwitched, Wish, compare, read_sent};
use crate::sign_in::NotAnswered;
use crate::store::SwitchKind;

const BODY_BYTES_MAX: usize = 8 * 1024;
/// For reading e-RS; what is not read by then is said.
const READ_WITHIN: Duration = Duration::from_secs(45);

type Answered = Result<HttpResponse, ProblemDocument>;

impl Shared {
    /// What is switched; a gateway without sources of its own has nothing to.
    pub fn modes(&self) -> Result<&Modes, ProblemDocument> {
        self.deps.modes.as_deref().ok_or_else(ProblemDocument::unavailable)
    }
}

impl From<NotSwitched> for ProblemDocument {
    fn from(why: NotSwitched) -> Self {
        match why {
            NotSwitched::Unknown => Self::not_found("There is nothing of this name in the settings."),
            NotSwitched::Impossible(why) => {
                Self::new(StatusCode::CONFLICT, "not-switched", "It cannot be switched so", why)
            }
            NotSwitched::Meanwhile(how) => {
                Self::new(StatusCode::CONFLICT, "switched-meanwhile", "Somebody has switched it since", how)
            }
            NotSwitched::Store(error) => error.into(),
        }
    }
}

/// Reasons may name a patient.
pub fn reads_reasons(caller: &Caller) -> bool {
    caller.may(Needs::Audit) || caller.may(Needs::Content)
}

pub async fn list(shared: web::Data<Shared>, caller: Caller) -> Answered {
    let (modes, reasons) = (shared.modes()?, reads_reasons(&caller));
    Ok(HttpResponse::Ok().json(json!({
        "sources": modes.targets(SwitchKind::Source, reasons),
        "connections": modes.targets(SwitchKind::Connection, reasons),
        "destinations": modes.targets(SwitchKind::Destination, reasons),
    })))
}

/// By the first part of the path.
fn kind(request: &HttpRequest) -> SwitchKind {
    match request.path().split('/').nth(2) {
        Some("connections") => SwitchKind::Connection,
        Some("destinations") => SwitchKind::Destination,
        _ => SwitchKind::Source,
    }
}

pub async fn get(request: HttpRequest, name: web::Path<String>, shared: web::Data<Shared>, caller: Caller) -> Answered {
    show(&shared, kind(&request), &name, &caller)
}

fn show(shared: &Shared, kind: SwitchKind, name: &str, caller: &Caller) -> Answered {
    let target = shared.modes()?.target(kind, name, reads_reasons(caller)).ok_or(NotSwitched::Unknown)?;
    Ok(HttpResponse::Ok().json(target))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutQuery {
    #[serde(default)]
    preview: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    mode: Wish,
    service: Option<String>,
    from: Option<Timestamp>,
    /// The version that the preview had.
    seen: Option<u64>,
    by: Option<String>,
    why: Option<String>,
}

pub async fn put(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    shared: web::Data<Shared>,
    caller: Caller,
) -> Answered {
    let PutQuery { preview } = query(&request)?;
    let bytes = read_body(&request, payload, BODY_BYTES_MAX).await?;
    let body: Body = serde_json::from_slice(&bytes).map_err(|_| {
        ProblemDocument::bad_request(
            r#"The body is {"mode": "live", "shadow", "paused", "resumed" or "settings", "service": "of a source, one alone", "from": "an instant, if not at once", "seen": the version of the preview, "by": "who decides", "why": "the reason"}."#,
        )
    })?;
    let Body { mode, service, from, seen, by, why } = body;
    let asked = Asked { kind: kind(&request), name: name.into_inner(), service, wish: mode, from };
    let modes = shared.modes()?;
    if preview {
        return Ok(HttpResponse::Ok().json(modes.foresee(&asked).await?));
    }
    let (Some(by), Some(why)) = (by.filter(|by| said(by)), why.filter(|why| said(why))) else {
        return Err(ProblemDocument::bad_request(format!(
            "by and why each have 1 to {ACT_TEXT_CHARS_MAX} characters; both go to the audit log."
        )));
    };
    modes.switch(&asked, seen, caller.act(&by, place_of(&request), why, shared.environment.now())).await?;
    show(&shared, asked.kind, &asked.name, &caller)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComparisonQuery {
    since: Option<Timestamp>,
    /// Beside what e-RS shows as well.
    #[serde(default)]
    ers: bool,
}

impl Shared {
    /// Puts what was rehearsed beside what e-RS shows now, as far as that can be read in time.
    pub async fn beside_ers(&self, source: &str, found: &mut Comparison) -> Result<(), ProblemDocument> {
        let asker = self.deps.asker.as_ref().ok_or_else(ProblemDocument::unavailable)?;
        let until = self.environment.now() + READ_WITHIN;
        let read = async |ubrn: &Ubrn| {
            let left = Duration::try_from(until.duration_since(self.environment.now())).unwrap_or_default();
            let too_late = || NotRead { why: "e-RS was asked for as long as a page waits".into(), ends: true };
            tokio::select! {
                biased;
                answered = asker.referral(source, ubrn) => answered.map_err(|error| match error {
                    NotAnswered::Refused { status, issue } => {
                        // Down, asked too often or by whom it does not know: the next would hear the same.
                        let ends = status >= 500 || matches!(status, 401 | 429);
                        NotRead { why: format!("e-RS answered {status} {issue}").trim_end().to_owned(), ends }
                    }
                    NotAnswered::Unavailable(why) => NotRead { why, ends: true },
                }),
                () = self.environment.sleep(left) => Err(too_late()),
            }
        };
        found.beside_ers(read).await;
        Ok(())
    }
}

/// For the audit log.
pub fn comparison_of(source: &str, with_ers: bool) -> String {
    let with_ers = if with_ers { ", e-RS read as well" } else { "" };
    format!("comparison of source {source}{with_ers}")
}

pub async fn comparison(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    shared: web::Data<Shared>,
) -> Answered {
    let ComparisonQuery { since, ers } = query(&request)?;
    let bytes = read_body(&request, payload, shared.listener.body_bytes_max).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| ProblemDocument::bad_request("The file is text in UTF-8."))?;
    let sent = read_sent(text).map_err(|error| ProblemDocument::bad_request(format!("The file: {error}.")))?;
    shared.modes()?.target(SwitchKind::Source, &name, false).ok_or(NotSwitched::Unknown)?;
    shared.looked(&request, Look::at(comparison_of(&name, ers), &name, true)).await?;
    let mut found = compare(&*shared.deps.store, &name, since, &sent).await?;
    if ers {
        shared.beside_ers(&name, &mut found).await?;
    }
    Ok(HttpResponse::Ok().json(found))
}
