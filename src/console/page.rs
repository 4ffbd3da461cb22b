//! What all pages have in common: their frame, their headers, and how they say that something is wrong.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType, LOCATION, REFERRER_POLICY, X_FRAME_OPTIONS};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use askama::Template;
use jiff::Timestamp;

use super::guard::SignedIn;
use crate::inbound::http::Shared;
use crate::inbound::http::callers::{Caller, Needs};
use crate::inbound::http::problem::ProblemDocument;
use crate::store::StoreError;

/// Only what this gateway serves itself, and nobody shows it in a frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What stands around every page.
pub struct Frame {
    pub title: String,
    /// Of the gateway: several may be open beside one another.
    pub instance: String,
    pub person: Option<String>,
    /// In every form.
    pub form: String,
    pub may_act: bool,
    pub may_audit: bool,
    pub sees_content: bool,
    /// Whoever acts says who: nobody is signed in.
    pub asks_name: bool,
    pub now: String,
}

impl Frame {
    pub fn of(request: &HttpRequest, shared: &Shared, title: &str) -> Self {
        let caller = Caller::of(request);
        let may = |needs| caller.as_ref().is_some_and(|caller| caller.may(needs));
        let session = request.extensions().get::<SignedIn>().cloned();
        Self {
            title: title.to_owned(),
            instance: shared.deps.instance.clone(),
            person: session.as_ref().map(|SignedIn(session)| session.person.clone()),
            form: session.as_ref().map(|SignedIn(session)| session.form.to_string()).unwrap_or_default(),
            may_act: may(Needs::Act),
            may_audit: may(Needs::Audit),
            sees_content: may(Needs::Content),
            asks_name: session.is_none(),
            now: time(shared.environment.now()),
        }
    }
}

/// `2026-03-16 09:30:15 UTC`
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long ago, or ahead, in the largest unit that says it.
pub fn ago(from: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(from).as_secs();
    let (seconds, word) = if seconds < 0 { (-seconds, "in ") } else { (seconds, "") };
    let text = match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    };
    format!("{word}{text}")
}

pub fn html(status: StatusCode, page: &impl Template) -> HttpResponse {
    match page.render() {
        Ok(text) => with_headers(HttpResponse::build(status)).content_type(ContentType::html()).body(text),
        Err(error) => {
            tracing::error!(%error, "a page cannot be made");
            Trouble::unavailable().error_response()
        }
    }
}

pub fn ok(page: &impl Template) -> HttpResponse {
    html(StatusCode::OK, page)
}

fn with_headers(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "same-origin"));
    response
}

pub fn see_other(to: &str) -> HttpResponse {
    with_headers(HttpResponse::SeeOther()).insert_header((LOCATION, to)).finish()
}

/// For a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal {
    frame: Frame,
    text: String,
}

/// Why not, within the console's frame.
pub fn refusal(status: StatusCode, frame: Frame, text: &str) -> HttpResponse {
    html(status, &Refusal { frame, text: text.to_owned() })
}

/// What went wrong, in words; a page without a frame where nobody is known.
#[derive(Debug)]
pub struct Trouble {
    status: StatusCode,
    text: String,
}

impl Trouble {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The store does not answer now. Nothing was done. Try again")
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'a> {
    text: &'a str,
}

impl ResponseError for Trouble {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let text = TroublePage { text: &self.text }.render().unwrap_or_else(|_| "The gateway cannot show this".into());
        with_headers(HttpResponse::build(self.status)).content_type(ContentType::html()).body(text)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found("There is nothing here: it may have been removed by its age"),
            StoreError::Outdated(_) => Self::new(
                StatusCode::CONFLICT,
                "It is in another state by now, and nothing was done. Look at it again before deciding",
            ),
            StoreError::Unavailable(_) => Self::unavailable(),
            StoreError::Damaged(text) | StoreError::Locked(text) => {
                tracing::error!(error = %text, "the store is damaged");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The store cannot be read: tell the people who run the gateway",
                )
            }
        }
    }
}

/// As the API says it.
impl From<ProblemDocument> for Trouble {
    fn from(problem: ProblemDocument) -> Self {
        Self::new(problem.status_code(), problem.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit_that_says_them() {
        let now = Timestamp::from_second(1_000_000_000).expect("a time");
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_661, "1 h 1 min"), (200_000, "2 days"), (-120, "in 2 min")]
        {
            assert_eq!(ago(now - jiff::SignedDuration::from_secs(seconds), now), text);
        }
    }

    #[test]
    fn nothing_in_a_query_is_more_than_text() {
        assert_eq!(
            encoded("/console/messages?source=a&x=\"<é"),
            "%2Fconsole%2Fmessages%3Fsource%3Da%26x%3D%22%3C%C3%A9"
        );
    }
}
