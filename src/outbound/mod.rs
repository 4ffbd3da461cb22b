//! HL7 v2 messages to hospital systems: application answers that enhanced mode asks for, over connections of our own.
//!
//! Enters: answers that are owed. Leaves: messages over MLLP, and what their receivers said. Guarantees: a message is on
//! disk before it is sent, and is sent until its receiver has answered, always as the same bytes with the same control
//! id; one at a time and in order to each destination; one instance sends; a message that its receiver refuses waits for
//! a person and holds no other.

mod answers;
mod destination;
mod metrics;
mod mllp_client;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};

pub use metrics::OutboundMetrics;
pub use mllp_client::{MllpClient, MllpClientError};

use crate::config;
use crate::environment::Environment;
use crate::instances::Duty;
use crate::intake::MakeAnswers;
use crate::store::{DispatchStore, Signals};

use answers::Answers;
use destination::Destination;

/// A missed bell costs at most this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When the gateway stops, a message that was sent gets this long to be answered; else it is sent again after the next
/// start.
const ANSWER_AT_STOP_MAX: Duration = Duration::from_secs(3);

pub struct OutboundParts {
    pub destinations: Vec<config::Destination>,
    pub store: Arc<dyn DispatchStore>,
    pub signals: Signals,
    pub answers: Arc<dyn MakeAnswers>,
    pub duty: Duty,
    pub metrics: OutboundMetrics,
    pub environment: Environment,
}

pub struct Outbound {
    destinations: Vec<Destination>,
    answers: Answers,
    duty: Duty,
    environment: Environment,
}

impl Outbound {
    pub fn new(parts: OutboundParts) -> Self {
        let OutboundParts { destinations, store, signals, answers, duty, metrics, environment } = parts;
        let answers = Answers {
            acknowledgements: destinations.iter().map(|one| (one.name.clone(), one.acknowledgement)).collect(),
            store: store.clone(),
            signals: signals.clone(),
            answers,
            environment: environment.clone(),
        };
        let destinations = destinations
            .into_iter()
            .map(|settings| Destination::new(settings, store.clone(), signals.clone(), &metrics, &environment))
            .collect();
        Self { destinations, answers, duty, environment }
    }

    /// Sends until the gateway stops.
    pub fn start(self) {
        if self.destinations.is_empty() {
            return;
        }
        let environment = self.environment.clone();
        environment.spawn(self.run());
    }

    async fn run(mut self) {
        while !self.environment.shutdown().is_cancelled() {
            let Some(held) = self.duty.hold().await else { return };
            let Self { destinations, answers, environment, .. } = &mut self;
            let sending = join_all(destinations.iter_mut().map(Destination::run));
            let stops_now = async {
                environment.shutdown().cancelled().await;
                environment.sleep(ANSWER_AT_STOP_MAX).await;
            };
            tokio::select! {
                _ = join(sending, answers.run()) => {}
                () = held.lost() => {}
                () = stops_now => {}
            }
            for destination in &mut self.destinations {
                destination.hang_up();
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
