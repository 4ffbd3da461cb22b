//! One line's worth of publishing: fetch, publish, await the confirmation, note it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::cloud_event::cloud_event;
use super::line::{Line, Said};
use super::publisher::Publisher;
use super::window::Window;
use crate::amqp::TopologyError;
use crate::backoff::Backoff;
use crate::command::MessageId;
use crate::store::{StoreError, StoredEvent, why_unreadable};
use crate::telemetry::{Span, SpanKind};

/// A missed bell costs at most this; also how often the channel is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a session ended without an error.
pub enum Ended {
    /// The gateway stops, and the outbox is empty or has to wait for the next start.
    Stopped,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the connection to the broker ended: {0}")]
    Broken(#[from] lapin::Error),
    #[error("the connection to the broker ended")]
    Closed,
    #[error("the broker owes an answer for too long")]
    Stalled,
    #[error("another instance may be publishing now")]
    Displaced,
    #[error("the outbox cannot be read or written: {0}")]
    Store(#[from] StoreError),
}

type Answered = (u64, String, Option<(MessageId, Span)>, Result<Said, SessionError>);

pub struct Session<'a> {
    publisher: &'a Publisher,
    line: &'a dyn Line,
    window: Window,
    confirming: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Confirmed by the broker, not yet noted by the store.
    confirmed: &'a mut Vec<u64>,
    /// After a refusal nothing is sent before this.
    paused_until: Option<Instant>,
}

impl<'a> Session<'a> {
    pub async fn open(
        publisher: &'a Publisher,
        line: &'a dyn Line,
        confirmed: &'a mut Vec<u64>,
    ) -> Result<Self, SessionError> {
        line.open().await?;
        Ok(Self {
            window: Window::new(publisher.broker.in_flight_max),
            publisher,
            line,
            confirming: FuturesUnordered::new(),
            confirmed,
            paused_until: None,
        })
    }

    pub async fn run(mut self, backoff: &mut Backoff) -> Result<Ended, SessionError> {
        let environment = self.publisher.environment.clone();
        let bell = self.publisher.signals.outbox.clone();
        let mut look = true;
        // Kept across turns, so that steady traffic does not put it off.
        let mut look_at = environment.instant() + LOOK_EVERY;
        loop {
            // Listens before reading, so that an event committed in between still rings.
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();

            let stopping = environment.shutdown().is_cancelled();
            self.note_confirmed().await?;
            let now = environment.instant();
            if now >= look_at {
                self.check_channel(now)?;
                (look, look_at) = (true, now + LOOK_EVERY);
            }
            if look {
                look = self.fetch().await?;
            }
            self.publish().await?;
            if stopping && !look && self.window.is_empty() {
                return Ok(Ended::Stopped);
            }

            tokio::select! {
                biased;
                Some(answer) = self.confirming.next() => {
                    self.take(answer, backoff)?;
                    // Whatever else is there already is noted in the same transaction.
                    while let Some(Some(answer)) = self.confirming.next().now_or_never() {
                        self.take(answer, backoff)?;
                    }
                    look |= self.window.room() > 0;
                }
                () = rung => look = true,
                // One more look, so that what delivery did last is published too.
                () = environment.shutdown().cancelled(), if !stopping => look = true,
                () = environment.sleep(look_at.saturating_duration_since(now)) => {}
            }
        }
    }

    /// Reads on in the outbox; true if there is probably more than fitted.
    async fn fetch(&mut self) -> Result<bool, SessionError> {
        let room = self.window.room();
        if room == 0 {
            return Ok(true);
        }
        let events = self.publisher.outbox.unconfirmed(self.window.position(), room).await?;
        let full = events.len() == room;
        self.window.fetched(events);
        Ok(full)
    }

    async fn publish(&mut self) -> Result<(), SessionError> {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        if self.paused_until.is_some() {
            // The old channel first gets its answers: it ends when it is replaced.
            if self.window.in_flight() > 0 {
                return Ok(());
            }
            let renewing = tokio::time::timeout(self.publisher.confirm_timeout, self.line.renew());
            renewing.await.map_err(|_| SessionError::Stalled)??;
            self.paused_until = None;
        }
        while let Some(event) = self.window.next(self.publisher.environment.instant()) {
            self.report_violations(&event);
            if let Some(why) = why_unreadable(&event.data) {
                tracing::error!(event.id = %event.id, event.name = %event.name, why, "an event cannot be read: it goes out without its content");
            }
            let body = cloud_event(&event).to_string();
            let sent = self.line.publish(&event, body.as_bytes());
            let sent = tokio::time::timeout(self.publisher.confirm_timeout, sent).await;
            let said = sent.map_err(|_| SessionError::Stalled)??;
            let span = self.span_of(&event);
            let (position, name) = (event.position, event.name);
            self.confirming.push(async move { (position, name, span, said.await) }.boxed());
        }
        Ok(())
    }

    /// The last span of a message's trace: from what happened to the broker's word that it has it.
    fn span_of(&self, event: &StoredEvent) -> Option<(MessageId, Span)> {
        let id = |name: &str| event.data[name].as_str().and_then(|text| text.parse::<uuid::Uuid>().ok());
        let message = id("message").map(MessageId).filter(|message| self.publisher.traces.has(*message))?;
        let span = Span {
            id: event.id.0,
            parent: Some(id("command").unwrap_or(message.0)),
            name: format!("publish {}", event.name).into(),
            kind: SpanKind::Producer,
            from: event.at,
            to: event.at,
            attributes: vec![("messaging.system", "rabbitmq".into()), ("gateway.source", event.source.clone().into())],
            failed: None,
        };
        Some((message, span))
    }

    /// A fact is too late to be taken back here: it is published, and people are told of the fault.
    fn report_violations(&self, event: &StoredEvent) {
        for problem in self.publisher.schemas.violations(&event.name, &event.data) {
            self.publisher.metrics.invalid.inc();
            tracing::error!(
                event.id = %event.id,
                event.name = %event.name,
                pointer = %problem.pointer,
                rule = %problem.text,
                "an event breaks its schema; correct the mapping that makes it"
            );
        }
    }

    /// What the broker said about one publish. Only what it has leads to a confirmation in the outbox.
    fn take(&mut self, (position, name, span, said): Answered, backoff: &mut Backoff) -> Result<(), SessionError> {
        let metrics = &self.publisher.metrics;
        match said? {
            said @ (Said::Taken | Said::TakenByNobody) => {
                if said == Said::TakenByNobody {
                    // The broker took it and found no queue. Sending it again would change nothing.
                    metrics.unroutable.inc();
                    tracing::warn!(event.name = %name, "no queue is bound for this event; it is only in the feed");
                }
                metrics.published(&name);
                if let Some((message, span)) = span {
                    let span = Span { to: self.publisher.environment.now(), ..span };
                    self.publisher.traces.tell(message, span);
                }
                self.confirmed.push(position);
                backoff.reset();
            }
            Said::Refused => {
                metrics.nacked.inc();
                self.window.refused(position);
                // A queue that loses its leader refuses all that is in flight: one reason for one pause.
                if self.paused_until.is_none() {
                    let pause = backoff.next(&self.publisher.environment);
                    tracing::warn!(event.name = %name, pause_ms = pause.as_millis(), "the broker refused an event");
                    self.paused_until = Some(Instant::now() + pause);
                }
            }
        }
        Ok(())
    }

    async fn note_confirmed(&mut self) -> Result<(), SessionError> {
        if self.confirmed.is_empty() {
            return Ok(());
        }
        self.publisher.outbox.confirm(self.confirmed.clone(), self.publisher.environment.now()).await?;
        for position in self.confirmed.drain(..) {
            self.window.confirmed(position);
        }
        Ok(())
    }

    fn check_channel(&self, now: Instant) -> Result<(), SessionError> {
        if !self.line.is_up() {
            return Err(SessionError::Closed);
        }
        let oldest = self.window.oldest_sent_at();
        if oldest.is_some_and(|sent| now.saturating_duration_since(sent) > self.publisher.confirm_timeout) {
            return Err(SessionError::Stalled);
        }
        Ok(())
    }
}
