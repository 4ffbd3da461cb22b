//! Events to messages, for one destination: what it is told, from where it was told last.
//!
//! Guarantees: a message and the place behind its event are one commit, so that each event is told once; a new destination
//! begins with the next event; what cannot be made stands among the dispatches with its reason, holds nothing, and is made
//! anew when a person says so.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::addressee::Addressee;
use super::metrics::{OutboundMetrics, ToldMetrics};
use super::telling::{Planned, Telling};
use super::wait_for_work;
use crate::backoff::Backoff;
use crate::config::{self, EnvironmentName};
use crate::environment::Environment;
use crate::given::Given;
use crate::mapping::{MappingSets, OutboundDialect};
use crate::store::{
    DueDispatch, KeptDocument, Made, NewDispatch, Result, Store, StoreError, StoredEvent, place_of_document,
};

/// Read at once, and told in one commit.
const EVENTS_AT_ONCE: usize = 100;
/// What one commit holds, or one event makes: documents go along.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;
/// Base64 of a document that goes along.
const DOCUMENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Many events may come at once; they are told together.
const GATHER: Duration = Duration::from_millis(50);

pub(super) struct Events {
    addressee: Addressee,
    /// Sources whose events are told.
    tells: Vec<String>,
    store: Arc<dyn Store>,
    mappings: Arc<MappingSets>,
    given: Given,
    metrics: ToldMetrics,
    environment: Environment,
}

/// What every destination's events need.
pub(super) struct EventsParts<'p> {
    pub store: &'p Arc<dyn Store>,
    pub mappings: &'p Arc<MappingSets>,
    pub given: &'p Given,
    pub place: EnvironmentName,
    pub metrics: &'p OutboundMetrics,
    pub environment: &'p Environment,
}

impl Events {
    pub fn of(destination: &config::Destination, parts: &EventsParts<'_>) -> Self {
        Self {
            addressee: Addressee::of(destination, parts.place),
            tells: destination.tells.clone(),
            store: parts.store.clone(),
            mappings: parts.mappings.clone(),
            given: parts.given.clone(),
            metrics: parts.metrics.told(&destination.name),
            environment: parts.environment.clone(),
        }
    }

    /// A new destination is told what comes from now on.
    pub async fn begin(&self) -> Result<()> {
        if !self.tells.is_empty() && self.store.told_up_to(&self.addressee.name).await?.is_none() {
            let newest = self.store.last_position().await?;
            // False if another instance was faster.
            self.store.tell(&self.addressee.name, None, newest, Vec::new()).await?;
        }
        Ok(())
    }

    /// Tells what there is until the gateway stops.
    pub async fn run(&self) {
        if self.tells.is_empty() {
            return;
        }
        let mut backoff = Backoff::default();
        let mut is_stuck = false;
        loop {
            let bell = self.store.signals().outbox.clone();
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let goes_on = match self.tell_next().await {
                Ok(Told::Some) => {
                    backoff.reset();
                    is_stuck = false;
                    !self.environment.shutdown().is_cancelled()
                }
                Ok(Told::All) => {
                    let gathered = async {
                        rung.await;
                        self.environment.sleep(GATHER).await;
                    };
                    wait_for_work(gathered, &self.environment).await
                }
                Ok(Told::NoDialect) => {
                    if !std::mem::replace(&mut is_stuck, true) {
                        tracing::error!(
                            destination = %self.addressee.name, dialect = %self.addressee.dialect,
                            "there is no such folder under mappings/outbound: its events wait"
                        );
                    }
                    backoff.wait(&self.environment).await
                }
                Err(error) => {
                    tracing::warn!(destination = %self.addressee.name, %error, "events cannot be told now");
                    backoff.wait(&self.environment).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn tell_next(&self) -> Result<Told> {
        let name = &self.addressee.name;
        let Some(from) = self.store.told_up_to(name).await? else {
            self.begin().await?;
            return Ok(Told::Some);
        };
        let events = self.store.events_after(from, EVENTS_AT_ONCE).await?;
        let set = self.mappings.current();
        let Some(dialect) = set.outbound(&self.addressee.dialect) else { return Ok(Told::NoDialect) };
        let (mut to, mut bytes) = (None, 0);
        let (mut told, mut unmade, mut passed_over) = (0, 0, 0);
        let mut dispatches = Vec::new();
        for event in &events {
            to = Some(event.position);
            if !self.tells.contains(&event.source) {
                continue;
            }
            let made = self.messages(event, dialect).await?;
            passed_over += u64::from(made.is_empty());
            for dispatch in &made {
                match &dispatch.made {
                    Made::Message(content) => {
                        told += 1;
                        bytes += content.bytes.len();
                    }
                    Made::Unmade(why) => {
                        unmade += 1;
                        tracing::error!(
                            destination = %name, dispatch.id = %dispatch.id, event.id = %event.id, event.name = %event.name, why,
                            "a message could not be made of an event; a person decides"
                        );
                    }
                }
            }
            dispatches.extend(made);
            if bytes >= BYTES_AT_ONCE {
                break;
            }
        }
        let Some(to) = to else { return Ok(Told::All) };
        if self.store.tell(name, Some(from), to, dispatches).await? {
            for (outcome, count) in [("told", told), ("unmade", unmade), ("passed_over", passed_over)] {
                self.metrics.told(outcome, count);
            }
        }
        Ok(Told::Some)
    }

    async fn messages(&self, event: &StoredEvent, dialect: &OutboundDialect) -> Result<Vec<NewDispatch>> {
        let telling = Telling::new(&self.addressee, event, &self.given);
        let mut dispatches = Vec::new();
        for planned in telling.plan(dialect) {
            dispatches.push(NewDispatch {
                id: self.given.dispatch_id(&telling.which(&planned)),
                subject: format!("event {}", event.id),
                event: Some(event.position),
                at: self.environment.now(),
                made: self.make(&telling, &planned).await?,
            });
        }
        Ok(dispatches)
    }

    async fn make(&self, telling: &Telling<'_>, planned: &Planned<'_>) -> Result<Made> {
        let document = match planned.document() {
            None => Value::Null,
            Some(href) => match self.document(href).await? {
                Ok(document) => document,
                Err(why) => return Ok(Made::Unmade(why.to_owned())),
            },
        };
        Ok(telling.make(planned, document, self.environment.now()))
    }

    /// `{"contentType", "base64"}`, or why there is none.
    async fn document(&self, href: &str) -> Result<std::result::Result<Value, &'static str>> {
        let Some((command, step)) = place_of_document(href) else {
            return Ok(Err("the event names no place of a document that the gateway has"));
        };
        let attempts = match self.store.attempts(command).await {
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(_) => return Ok(Err("the document that goes along cannot be read")),
            Ok(attempts) => attempts,
        };
        Ok(match KeptDocument::newest(&attempts, &step) {
            None => Err("the document that goes along is not kept any more"),
            Some(kept) if kept.base64.len() > DOCUMENT_BYTES_MAX => Err("the document is too large for a message"),
            Some(kept) => {
                let content_type = kept.content_type().map(Value::from).unwrap_or_default();
                Ok(json!({ "contentType": content_type, "base64": kept.base64 }))
            }
        })
    }

    /// One that could not be made, once more by the files of now.
    pub async fn make_anew(&self, dispatch: &DueDispatch) -> Result<Made> {
        let lost = || Ok(Made::Unmade("it cannot be made anew: what it was to tell is not kept".to_owned()));
        let Some(position) = dispatch.event else { return lost() };
        let found = self.store.events_after(position.saturating_sub(1), 1).await?;
        let Some(event) = found.iter().find(|event| event.position == position) else { return lost() };
        let set = self.mappings.current();
        let Some(dialect) = set.outbound(&self.addressee.dialect) else {
            return Ok(Made::Unmade(format!("there is no mappings/outbound/{}", self.addressee.dialect)));
        };
        let telling = Telling::new(&self.addressee, event, &self.given);
        let planned = telling.plan(dialect);
        match planned.iter().find(|planned| self.given.dispatch_id(&telling.which(planned)) == dispatch.id) {
            None => Ok(Made::Unmade("no mapping file makes it of its event any more: discard it".to_owned())),
            Some(planned) => self.make(&telling, planned).await,
        }
    }
}

/// How far a look came.
enum Told {
    /// There was nothing.
    All,
    /// There may be more.
    Some,
    NoDialect,
}
