//! Who looks at what: a row of the audit log for whoever sees something of one message, command or document, or searches by
//! an identifier.
//!
//! Enters: what a request is about to show. Leaves: a row, before it is shown. Guarantees: what is to be noted and cannot be
//! is not shown. A person says who it is (`Acting-Person`, and why in `Acting-Reason`), and every look is noted. Of a
//! program that names nobody only looks at content are, and not at what came from the source whose listener it asks, or as which
//! its token sends.
//! The same look from the same place is one row an hour, so that polling does not flood the log.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Shared;
use super::callers::Caller;
use super::problem::ProblemDocument;
use crate::command::State;
use crate::store::{Act, ActorKind, CommandView, Noted};

/// Who acts, in a header: UTF-8.
pub const ACTING_PERSON: &str = "acting-person";
/// Why, in a header: UTF-8.
pub const ACTING_REASON: &str = "acting-reason";
pub const ACT_TEXT_CHARS_MAX: usize = 1_000;
/// By whom, where the listener has no source and nobody is named.
const UNNAMED: &str = "unnamed";
const SAME_LOOK_FOR: Duration = Duration::from_secs(3_600);
/// Looks that are remembered; beyond, some are noted again.
const REMEMBERED_MAX: usize = 10_000;

/// What is about to be shown.
pub struct Look<'a> {
    pub act: &'static str,
    pub subject: String,
    /// What was searched for; beside the chain, as reasons are.
    pub searched: Option<String>,
    /// Tells apart looks that are called the same, by what is kept nowhere: digest of whom was searched for.
    pub of: Option<[u8; 32]>,
    /// Of which source, if of one.
    pub source: Option<&'a str>,
    /// More than identifiers, codes and states.
    pub is_content: bool,
}

impl<'a> Look<'a> {
    pub fn at(subject: String, source: &'a str, is_content: bool) -> Self {
        Self { act: "view", subject, searched: None, of: None, source: Some(source), is_content }
    }
}

/// What a read has read is shown with its command.
pub fn shows_content(command: &CommandView) -> bool {
    matches!(command.state, State::Completed) && command.plan.get("result").is_some_and(|result| !result.is_null())
}

#[derive(PartialEq, Eq, Hash)]
struct Seen {
    by: String,
    place: String,
    act: &'static str,
    subject: String,
    of: Option<[u8; 32]>,
    why: String,
}

/// Looks that were noted lately.
#[derive(Default)]
pub struct Looks(Mutex<HashMap<Seen, Instant>>);

impl Looks {
    fn knows(&self, seen: &Seen, now: Instant) -> bool {
        self.0.lock().get(seen).is_some_and(|at| now.duration_since(*at) < SAME_LOOK_FOR)
    }

    fn remember(&self, seen: Seen, now: Instant) {
        let mut looks = self.0.lock();
        if looks.len() >= REMEMBERED_MAX {
            looks.retain(|_, at| now.duration_since(*at) < SAME_LOOK_FOR);
        }
        if looks.len() >= REMEMBERED_MAX {
            looks.clear();
        }
        looks.insert(seen, now);
    }
}

impl Shared {
    /// Notes a look, where it is to be noted.
    pub async fn looked(&self, request: &HttpRequest, look: Look<'_>) -> Result<(), ProblemDocument> {
        let person = said(request.headers(), ACTING_PERSON)?;
        let reason = said(request.headers(), ACTING_REASON)?;
        let caller = Caller::of(request).ok_or_else(ProblemDocument::unavailable)?;
        let own = self.listener.source.as_deref();
        let is_own =
            !caller.is_signed_in() && look.source.is_some_and(|source| caller.owns(source) || own == Some(source));
        let (by, kind) = match person {
            Some(person) => caller.signed(&person),
            None if !look.is_content || is_own => return Ok(()),
            None if caller.is_signed_in() => caller.signed(UNNAMED),
            None => (caller.name().or(own).unwrap_or(UNNAMED).to_owned(), ActorKind::Program),
        };
        let why = [look.searched, reason].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let seen = Seen { by, place: place_of(request), act: look.act, subject: look.subject, of: look.of, why };
        let now = self.environment.instant();
        if self.looks.knows(&seen, now) {
            return Ok(());
        }
        let by = Act {
            by: seen.by.clone(),
            kind,
            place: seen.place.clone(),
            why: seen.why.clone(),
            at: self.environment.now(),
        };
        self.deps.audit.note(Noted { act: seen.act, subject: seen.subject.clone(), by }).await?;
        self.looks.remember(seen, now);
        Ok(())
    }
}

/// The other end of the connection: a person's machine, or a proxy.
pub fn place_of(request: &HttpRequest) -> String {
    request.peer_addr().map_or_else(|| "http".to_owned(), |peer| format!("http {}", peer.ip()))
}

fn said(headers: &HeaderMap, name: &str) -> Result<Option<String>, ProblemDocument> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).unwrap_or_default().trim();
    if text.is_empty() || text.chars().count() > ACT_TEXT_CHARS_MAX {
        return Err(ProblemDocument::bad_request(format!("{name} has 1 to {ACT_TEXT_CHARS_MAX} characters in UTF-8.")));
    }
    Ok(Some(text.to_owned()))
}
