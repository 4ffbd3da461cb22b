//! `/console/audit`: who did what, when, from where and why; the newest first.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::page::{self, Frame, Trouble, time};
use crate::inbound::http::Shared;
use crate::inbound::http::looks::Look;
use crate::store::AuditEntry;

const PAGE: u64 = 50;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Up to this entry.
    upto: Option<u64>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<u64>,
}

struct Row {
    number: u64,
    at: String,
    by: String,
    kind: String,
    place: String,
    act: String,
    subject: String,
    why: String,
}

pub async fn show(
    request: HttpRequest,
    asked: web::Query<Asked>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Trouble> {
    let look =
        Look { act: "view", subject: "audit log".into(), searched: None, of: None, source: None, is_content: true };
    shared.looked(&request, look).await?;
    let written = shared.deps.audit.audit_written().await?;
    let last = asked.upto.unwrap_or(written).min(written);
    let after = last.saturating_sub(PAGE);
    let mut entries = shared.deps.audit.audit_log(after, PAGE as usize).await?;
    entries.retain(|entry| entry.number <= last);
    Ok(page::ok(&AuditPage {
        frame: Frame::of(&request, &shared, "Audit log"),
        rows: entries.into_iter().rev().map(row).collect(),
        older: (after > 0).then_some(after),
    }))
}

fn row(entry: AuditEntry) -> Row {
    Row {
        number: entry.number,
        at: time(entry.at),
        by: entry.by,
        kind: entry.kind.unwrap_or_default(),
        place: entry.place.unwrap_or_default(),
        act: entry.act,
        subject: entry.subject,
        why: entry.why.unwrap_or_else(|| "removed by its age".into()),
    }
}
