//! The network between the gateway and e-RS, with the simulator at its other end.
//!
//! A request needs time to arrive, and its answer to come back; what arrived is carried out whether or not the process
//! that sent it lives on. While it storms, connections are refused, requests and answers are lost, requests arrive after
//! the gateway has given up, and the platform in front of e-RS refuses for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use ers_gateway::environment::Environment;
use ers_gateway::ers::{Body, Request, Response, Transport, TransportError};
use futures_util::StreamExt as _;
use tokio::sync::oneshot;

use super::story::Story;
use super::weather::Weather;

const WAY_MILLIS: std::ops::Range<u64> = 1..40;
/// After the gateway has given up.
const LATE_MILLIS: std::ops::Range<u64> = 1..20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    Slow,
    NotSent,
    Lost,
    AnswerLost,
    /// It arrives when nobody waits any more.
    Late,
    RefusedWith(u16),
}

/// Requests that are on their way, or were not answered yet.
#[derive(Clone, Default)]
pub struct Flying {
    count: Arc<AtomicU64>,
}

impl Flying {
    pub fn none(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

pub struct Wire {
    pub ers: Arc<dyn Transport>,
    pub outside: Environment,
    pub gateway: Environment,
    pub weather: Weather,
    pub story: Story,
    pub flying: Flying,
}

impl Wire {
    fn fate(&self, is_token: bool) -> Fate {
        let weather = &self.weather;
        if is_token {
            // A refresh token works once: what is lost here costs the session, and a person signs in.
            return if weather.strikes(3) { Fate::NotSent } else { Fate::Arrives };
        }
        for (percent, fate) in [
            (3, Fate::NotSent),
            (2, Fate::Lost),
            (4, Fate::AnswerLost),
            (2, Fate::Late),
            (2, Fate::RefusedWith(503)),
            (2, Fate::RefusedWith(429)),
            (5, Fate::Slow),
        ] {
            if weather.strikes(percent) {
                return fate;
            }
        }
        Fate::Arrives
    }

    fn way(&self) -> Duration {
        self.weather.chance().millis(WAY_MILLIS)
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let unanswered = |why: &str| Err(TransportError::Unanswered(why.to_owned()));
        let place = request.url.rsplit('/').next().unwrap_or_default().to_owned();
        let is_token = place == "token";
        let fate = self.fate(is_token);
        let timeout = request.timeout;
        let request = whole(request).await?;
        if fate != Fate::Arrives {
            self.story.tell(format!("wire: {} {place} is {fate:?}", request.method));
        }
        self.gateway.sleep(self.way()).await;
        let way = match fate {
            Fate::NotSent => return Err(TransportError::NotSent("refused".into())),
            Fate::Lost => return unanswered("the connection was cut"),
            Fate::RefusedWith(status) => {
                let headers = vec![("retry-after".to_owned(), "1".to_owned())];
                return Ok(Response { status, headers, body: Bytes::new() });
            }
            Fate::Late => timeout + self.weather.chance().millis(LATE_MILLIS),
            Fate::Slow => self.weather.chance().millis(0..5_000),
            Fate::Arrives | Fate::AnswerLost => self.way(),
        };
        let (tell, told) = oneshot::channel();
        let (ers, outside, back) = (self.ers.clone(), self.outside.clone(), self.way());
        let (flying, story) = (self.flying.clone(), self.story.clone());
        flying.count.fetch_add(1, Ordering::Relaxed);
        self.outside.spawn(async move {
            outside.sleep(way).await;
            let method = request.method.clone();
            let answer = ers.send(request).await;
            let status = answer.as_ref().map(|answer| answer.status).unwrap_or_default();
            story.tell(format!("e-RS: {method} {place}: {status}"));
            flying.count.fetch_sub(1, Ordering::Relaxed);
            outside.sleep(back).await;
            if fate != Fate::AnswerLost {
                // Nobody may be there to hear it.
                let _ = tell.send(answer);
            }
        });
        match self.gateway.within(timeout, told).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => unanswered("the connection was cut"),
            None => unanswered("no answer in time"),
        }
    }
}

/// With its body read: what is streamed from the store leaves before it arrives.
pub async fn whole(request: Request) -> Result<Request, TransportError> {
    let body = match request.body {
        Body::Stream { mut stream, .. } => {
            let mut bytes = BytesMut::new();
            while let Some(chunk) = stream.next().await {
                bytes.extend_from_slice(&chunk.map_err(|error| TransportError::NotSent(error.to_string()))?);
            }
            Body::Bytes(bytes.freeze())
        }
        body => body,
    };
    Ok(Request { body, ..request })
}
