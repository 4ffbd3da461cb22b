//! `GET /v1/events`: the feed, as pages or as server-sent events, for those without a broker.

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::looks::Look;
use super::problem::ProblemDocument;
use super::request::{header, query};
use crate::events::{Follow, Followed, cloud_event};
use crate::store::StoredEvent;

const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    /// Position of the last event already seen; 0 is the beginning.
    after: Option<u64>,
    limit: Option<usize>,
}

pub async fn get(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let asked: After = query(&request)?;
    let look =
        Look { act: "view", subject: "events".into(), searched: None, of: None, source: None, is_content: false };
    shared.looked(&request, look).await?;
    let streams = header(request.headers(), ACCEPT.as_str())
        .is_some_and(|accept| accept.to_ascii_lowercase().contains("text/event-stream"));
    if !streams {
        return page(&shared, asked).await;
    }
    // A browser that reconnects says where it was; that counts more than the address it first asked for.
    let after = match header(request.headers(), "last-event-id").filter(|id| !id.is_empty()) {
        Some(id) => {
            id.parse().map_err(|_| ProblemDocument::bad_request("Last-Event-ID is the position of an event."))?
        }
        None => match asked.after {
            Some(after) => after,
            None => shared.deps.feed.last_position().await?,
        },
    };
    let follow = shared.deps.feed.follow(after, shared.environment.clone());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(server_sent(follow)))
}

/// `next` is the `after` of the following request; the same number again when nothing new came.
async fn page(shared: &Shared, asked: After) -> Result<HttpResponse, ProblemDocument> {
    let after = asked.after.unwrap_or(0);
    let events = shared.deps.feed.page(after, asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)).await?;
    let next = events.last().map_or(after, |event| event.position);
    let body = json!({ "events": events.iter().map(cloud_event).collect::<Vec<_>>(), "next": next });
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(body))
}

/// Ends when the gateway stops or the store cannot be read; the client comes back with `Last-Event-ID`.
fn server_sent(follow: Follow) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(follow, |mut follow| async move {
        let text = match follow.next().await? {
            Followed::Event(event) => frame(&event),
            Followed::Quiet => ": nothing new\n\n".to_owned(),
        };
        Some((Ok(Bytes::from(text)), follow))
    })
    .boxed()
}

/// JSON has no line ends of its own here, so one `data` line holds it.
fn frame(event: &StoredEvent) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.position, event.name, cloud_event(event))
}
