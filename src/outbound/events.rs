//! Events to dispatches, for one destination or folder: what it is told, from where it was told last.
//!
//! Guarantees: a dispatch and the place behind its event are one commit, so that each event is told once; a new destination
//! begins with the next event, and so does one that comes back into the settings, unless it is to catch up; what cannot be made
//! stands among the dispatches with its reason, holds nothing, and is made anew when a person says so.

use std::sync::Arc;
use std::time::Duration;

use super::addressee::Addressee;
use super::documents::Documents;
use super::messages::Messages;
use super::metrics::{OutboundMetrics, ToldMetrics};
use super::wait_for_work;
use crate::backoff::Backoff;
use crate::command::DispatchId;
use crate::config::{self, EnvironmentName};
use crate::environment::Environment;
use crate::given::Given;
use crate::mapping::{MappingSet, MappingSets};
use crate::store::{DueDispatch, Made, NewDispatch, Result, Store, StoredEvent, ToldPlace, why_unreadable};

/// Read at once, and told in one commit.
const EVENTS_AT_ONCE: usize = 100;
/// What one commit holds, or one event makes: documents go along.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;
/// Many events may come at once; they are told together.
const GATHER: Duration = Duration::from_millis(50);

pub(super) struct Events {
    pub name: String,
    /// Sources whose events are told.
    tells: Vec<String>,
    catch_up: bool,
    maker: Maker,
    store: Arc<dyn Store>,
    mappings: Arc<MappingSets>,
    metrics: ToldMetrics,
    environment: Environment,
}

/// What an event becomes.
enum Maker {
    Messages(Box<Messages>),
    Documents(Box<Documents>),
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
        let maker = Maker::Messages(Box::new(Messages {
            addressee: Addressee::of(destination, parts.place),
            store: parts.store.clone(),
            given: parts.given.clone(),
            environment: parts.environment.clone(),
        }));
        Self::new(&destination.name, &destination.tells, destination.catch_up, maker, parts)
    }

    pub fn of_folder(folder: &config::DocumentFolder, parts: &EventsParts<'_>) -> Self {
        let maker = Maker::Documents(Box::new(Documents {
            name: folder.name.clone(),
            store: parts.store.clone(),
            given: parts.given.clone(),
            environment: parts.environment.clone(),
        }));
        Self::new(&folder.name, &folder.tells, folder.catch_up, maker, parts)
    }

    fn new(name: &str, tells: &[String], catch_up: bool, maker: Maker, parts: &EventsParts<'_>) -> Self {
        Self {
            name: name.to_owned(),
            tells: tells.to_vec(),
            catch_up,
            maker,
            store: parts.store.clone(),
            mappings: parts.mappings.clone(),
            metrics: parts.metrics.told(name),
            environment: parts.environment.clone(),
        }
    }

    pub fn tells_something(&self) -> bool {
        !self.tells.is_empty()
    }

    /// A new destination is told what comes from now on. One that was left out of the settings and is back is told the same, or
    /// what happened meanwhile as well.
    pub async fn begin(&self) -> Result<()> {
        if !self.tells_something() {
            return Ok(());
        }
        let place = self.store.told().await?.into_iter().find(|place| place.destination == self.name);
        let (from, to) = match place {
            Some(ToldPlace { left_at: None, .. }) => return Ok(()),
            None => (None, self.store.last_position().await?),
            Some(ToldPlace { position, left_at: Some(since), .. }) if self.catch_up => {
                tracing::warn!(
                    destination = %self.name, %since, after = position,
                    "it was not in the settings for a while: it is told what happened since (catch_up)"
                );
                (Some(position), position)
            }
            Some(ToldPlace { position, left_at: Some(since), .. }) => {
                let newest = self.store.last_position().await?;
                tracing::warn!(
                    destination = %self.name, %since, after = position, up_to = newest,
                    "it was not in the settings for a while: events up to now are not told to it. With catch_up: true they are"
                );
                (Some(position), newest)
            }
        };
        // False if another instance was faster.
        self.store.tell(&self.name, from, to, Vec::new()).await?;
        Ok(())
    }

    /// Tells what there is until the gateway stops.
    pub async fn run(&self) {
        if !self.tells_something() {
            return;
        }
        let mut backoff = Backoff::default();
        let mut is_stuck = false;
        while let Err(error) = self.begin().await {
            tracing::warn!(destination = %self.name, %error, "it begins later: the store does not answer");
            if !backoff.wait(&self.environment).await {
                return;
            }
        }
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
                            destination = %self.name,
                            "there is no folder of its dialect under mappings/outbound: its events wait"
                        );
                    }
                    backoff.wait(&self.environment).await
                }
                Err(error) => {
                    tracing::warn!(destination = %self.name, %error, "events cannot be told now");
                    backoff.wait(&self.environment).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn tell_next(&self) -> Result<Told> {
        let name = &self.name;
        let Some(from) = self.store.told_up_to(name).await? else {
            self.begin().await?;
            return Ok(Told::Some);
        };
        let events = self.store.events_after(from, EVENTS_AT_ONCE).await?;
        let set = self.mappings.current();
        let (mut to, mut bytes) = (None, 0);
        let (mut told, mut unmade, mut passed_over) = (0, 0, 0);
        let mut dispatches = Vec::new();
        for event in &events {
            to = Some(event.position);
            if !self.tells.contains(&event.source) {
                continue;
            }
            let Some(made) = self.dispatches(event, &set, &dispatches).await? else { return Ok(Told::NoDialect) };
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
                            "what is to be told of an event could not be made; a person decides"
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

    /// `None`: there is no such dialect.
    async fn dispatches(
        &self,
        event: &StoredEvent,
        set: &MappingSet,
        made: &[NewDispatch],
    ) -> Result<Option<Vec<NewDispatch>>> {
        if let Some(why) = unreadable(event) {
            // Whether there is something to tell is not known, so a person looks.
            return Ok(Some(vec![NewDispatch {
                id: DispatchId(self.environment.new_id()),
                subject: format!("event {}", event.id),
                event: Some(event.position),
                at: self.environment.now(),
                made: Made::Unmade(why),
            }]));
        }
        match &self.maker {
            Maker::Documents(documents) => documents.dispatches(event, made).await.map(Some),
            Maker::Messages(messages) => match set.outbound(&messages.addressee.dialect) {
                None => Ok(None),
                Some(dialect) => messages.dispatches(event, dialect).await.map(Some),
            },
        }
    }

    /// One that could not be made, once more.
    pub async fn make_anew(&self, dispatch: &DueDispatch) -> Result<Made> {
        let lost = || Ok(Made::Unmade("it cannot be made anew: what it was to tell is not kept".to_owned()));
        let Some(position) = dispatch.event else { return lost() };
        let found = self.store.events_after(position.saturating_sub(1), 1).await?;
        let Some(event) = found.iter().find(|event| event.position == position) else { return lost() };
        if let Some(why) = unreadable(event) {
            return Ok(Made::Unmade(why));
        }
        match &self.maker {
            Maker::Documents(documents) => documents.make_anew(dispatch, event).await,
            Maker::Messages(messages) => {
                let set = self.mappings.current();
                messages.make_anew(dispatch, event, set.outbound(&messages.addressee.dialect)).await
            }
        }
    }
}

/// That what is to be told is not known, if it is not.
fn unreadable(event: &StoredEvent) -> Option<String> {
    let why = why_unreadable(&event.data)?;
    Some(format!(
        "its event, {}, cannot be read in the store: {why}. See by its command whether it is to be told",
        event.name
    ))
}

/// How far a look came.
enum Told {
    /// There was nothing.
    All,
    /// There may be more.
    Some,
    NoDialect,
}
