//! HL7 v2 messages to hospital systems: application answers that enhanced mode asks for, over connections of our own, and
//! what mappings make of events. Documents of events into the folders of document systems.
//!
//! Enters: answers that are owed, events. Leaves: messages over MLLP, and what their receivers said; files. Guarantees: an event
//! is told once to each destination that asks for it, in the order of events; a message is on disk before it is sent, and is sent
//! until its receiver has answered, always as the same bytes with the same control id; one at a time and in order to each
//! destination; one instance sends; a message that its receiver refuses waits for a person and holds no other; a document is
//! in its folder whole or not at all.

mod addressee;
mod answers;
mod destination;
mod documents;
mod events;
mod folder;
mod messages;
mod metrics;
mod mllp_client;
mod telling;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, join4};

pub use metrics::OutboundMetrics;
pub use mllp_client::{MllpClient, MllpClientError};
pub use trial::try_event;

use crate::config::{self, DocumentFolder, EnvironmentName};
use crate::environment::Environment;
use crate::given::Given;
use crate::instances::Duty;
use crate::intake::MakeAnswers;
use crate::mapping::MappingSets;
use crate::modes::Board;
use crate::store::{Result, Store};

use answers::Answers;
use destination::Destination;
use events::{Events, EventsParts};
use folder::Folder;

/// A missed bell costs at most this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When the gateway stops, a message that was sent gets this long to be answered; else it is sent again after the next
/// start.
const ANSWER_AT_STOP_MAX: Duration = Duration::from_secs(3);

pub struct OutboundParts {
    pub destinations: Vec<config::Destination>,
    pub folders: Vec<DocumentFolder>,
    pub store: Arc<dyn Store>,
    pub answers: Arc<dyn MakeAnswers>,
    pub mappings: Arc<MappingSets>,
    pub given: Given,
    /// Whether it is production.
    pub place: EnvironmentName,
    pub duty: Duty,
    /// Who of them somebody has paused.
    pub board: Board,
    pub metrics: OutboundMetrics,
    pub environment: Environment,
}

pub struct Outbound {
    destinations: Vec<Destination>,
    folders: Vec<Folder>,
    answers: Answers,
    events: Vec<Arc<Events>>,
    store: Arc<dyn Store>,
    duty: Duty,
    environment: Environment,
}

impl Outbound {
    pub fn new(parts: OutboundParts) -> Self {
        let OutboundParts {
            destinations,
            folders,
            store,
            answers,
            mappings,
            given,
            place,
            duty,
            board,
            metrics,
            environment,
        } = parts;
        let signals = store.signals().clone();
        let of_events = EventsParts {
            store: &store,
            mappings: &mappings,
            given: &given,
            place,
            metrics: &metrics,
            environment: &environment,
        };
        let mut events: Vec<Arc<Events>> =
            destinations.iter().map(|settings| Arc::new(Events::of(settings, &of_events))).collect();
        let of_folders: Vec<Arc<Events>> =
            folders.iter().map(|settings| Arc::new(Events::of_folder(settings, &of_events))).collect();
        let answers = Answers {
            acknowledgements: destinations.iter().map(|one| (one.name.clone(), one.acknowledgement)).collect(),
            store: store.clone(),
            signals: signals.clone(),
            answers,
            environment: environment.clone(),
        };
        let destinations = destinations
            .into_iter()
            .zip(&events)
            .map(|(settings, events)| {
                Destination::new(settings, store.clone(), events.clone(), &board, &metrics, &environment)
            })
            .collect();
        let folders = folders
            .into_iter()
            .zip(&of_folders)
            .map(|(settings, events)| {
                Folder::new(settings, store.clone(), events.clone(), &board, &metrics, &environment)
            })
            .collect();
        events.extend(of_folders);
        Self { destinations, folders, answers, events, store, duty, environment }
    }

    /// Sends until the gateway stops. Events from now on are told, also to a destination that is new.
    pub async fn start(self) {
        if let Err(error) = self.note_who_left().await {
            tracing::warn!(%error, "who is not in the settings any more is noted at the next start");
        }
        if self.destinations.is_empty() && self.folders.is_empty() {
            return;
        }
        for events in &self.events {
            if let Err(error) = events.begin().await {
                tracing::warn!(%error, "a destination begins later: the store does not answer");
            }
        }
        let environment = self.environment.clone();
        environment.spawn(self.run());
    }

    /// What was told before and is not in the settings: if it comes back, it is not taken for one that was away for a moment.
    async fn note_who_left(&self) -> Result<()> {
        let stays = |name: &str| self.events.iter().any(|events| events.tells_something() && events.name == name);
        for place in self.store.told().await? {
            if place.left_at.is_none() && !stays(&place.destination) {
                tracing::warn!(destination = %place.destination, "it is not in the settings any more, and is told of no event");
                self.store.leave_told(&place.destination, self.environment.now()).await?;
            }
        }
        Ok(())
    }

    async fn run(mut self) {
        while !self.environment.shutdown().is_cancelled() {
            let Some(held) = self.duty.hold().await else { return };
            let Self { destinations, folders, answers, events, environment, .. } = &mut self;
            let sending = join_all(destinations.iter_mut().map(Destination::run));
            let writing = join_all(folders.iter_mut().map(Folder::run));
            let telling = join_all(events.iter().map(|events| events.run()));
            let stops_now = async {
                environment.shutdown().cancelled().await;
                environment.sleep(ANSWER_AT_STOP_MAX).await;
            };
            tokio::select! {
                _ = join4(sending, writing, answers.run(), telling) => {}
                () = held.lost() => {}
                () = stops_now => {}
            }
            for destination in &mut self.destinations {
                destination.hang_up();
            }
            for folder in &self.folders {
                folder.stops();
            }
            held.leave().await;
        }
    }
}

/// Waits until there may be something to do. False if the gateway is asked to stop.
async fn wait_for_work(bell: impl Future<Output = ()>, environment: &Environment) -> bool {
    tokio::select! {
        () = bell => true,
        () = environment.sleep(LOOK_EVERY) => true,
        () = environment.shutdown().cancelled() => false,
    }
}
