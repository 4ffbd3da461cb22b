//! The loop: claims what is due, gives each command a task, never ends before the gateway does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tracing::Instrument as _;

use super::asking::Asker;
use super::breaker::Breakers;
use super::doubts::Doubts;
use super::estimate::{Estimator, Measured};
use super::kept::KeptAnswers;
use super::lease::{Lease, Moment};
use super::metrics::DeliveryMetrics;
use super::pace::Pacer;
use super::patient::PatientDesk;
use super::run;
use super::sets::PinnedSets;
use super::shared_reads::SharedReads;
use crate::config::{self, Connection, Mode, Pacing, Pds, Source};
use crate::environment::Environment;
use crate::ers::{Client, PrivateKeyError, Transport, TransportError, Ways};
use crate::keys::Keys;
use crate::mapping::MappingSets;
use crate::pds::PatientCheck;
use crate::sign_in::{People, Person, SealedSession};
use crate::store::{Claim, ClaimedCommand, Progress, Store, StoreError};
use crate::telemetry::Traces;

/// Commands leased in one commit.
const CLAIM_MAX: usize = 64;
/// Without a bell the queue is looked at this often: a missed one costs no more.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What is due and cannot be claimed (its source is paused) is not asked for all the time.
const OVERDUE_PAUSE: Duration = Duration::from_millis(50);
/// While some commands are in hand, the next claim waits this long for company: one commit for several.
const GATHER: Duration = Duration::from_millis(1);
/// Between a claim that found nothing and the next: what rings is paused, or other instances are quicker.
const NOTHING_PAUSE: Duration = Duration::from_millis(10);
const STORE_WAIT: Duration = Duration::from_secs(1);

/// Settings of the sending systems by name. Modes may change while the gateway runs.
pub type Sources = BTreeMap<String, Source>;

/// What delivery is made of.
pub struct DeliveryParts {
    pub environment: Environment,
    pub store: Arc<dyn Store>,
    pub mappings: Arc<MappingSets>,
    pub transport: Arc<dyn Transport>,
    pub keys: Keys,
    pub connections: Vec<Connection>,
    /// Where patients are checked.
    pub pds: Option<Pds>,
    pub sources: watch::Receiver<Arc<Sources>>,
    pub settings: config::Delivery,
    /// Name of this instance in leases.
    pub instance: String,
    pub metrics: DeliveryMetrics,
    pub traces: Traces,
}

/// One connection with the pace of its application.
pub(super) struct Member {
    pub(super) client: Arc<Client>,
    pub(super) pacer: Pacer,
    pub(super) transport: Arc<dyn Transport>,
    /// Who signed in, where somebody did.
    pub(super) person: Option<Person>,
}

impl Member {
    /// The same way at the same pace, as somebody else.
    pub(super) fn in_the_name_of(&self, client: Arc<Client>, person: Option<Person>) -> Self {
        Self { client, pacer: self.pacer.clone(), transport: self.transport.clone(), person }
    }
}

/// Why delivery cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
    #[error("the way of a connection to e-RS: {0}")]
    Way(#[from] TransportError),
}

/// What all runs share.
pub(super) struct Shared {
    pub(super) environment: Environment,
    pub(super) store: Arc<dyn Store>,
    pub(super) sets: PinnedSets,
    pub(super) keys: Keys,
    pub(super) connections: HashMap<String, Connection>,
    /// By connection; where people sign in, it is nobody until one is needed.
    pub(super) members: HashMap<String, Arc<Member>>,
    pub(super) people: Arc<People>,
    pub(super) patients: Option<PatientDesk>,
    pub(super) sources: watch::Receiver<Arc<Sources>>,
    pub(super) settings: config::Delivery,
    pub(super) metrics: DeliveryMetrics,
    pub(super) traces: Traces,
    pub(super) breakers: Breakers,
    pub(super) kept: KeptAnswers,
    pub(super) measured: Measured,
    pub(super) doubts: Doubts,
    pub(super) shared_reads: SharedReads,
    /// Runs that have begun.
    pub(super) runs: AtomicU64,
    instance: String,
    hands: Arc<Semaphore>,
    hand_freed: Notify,
}

pub struct Delivery {
    shared: Arc<Shared>,
    estimator: Estimator,
}

/// How many commands are carried out now.
#[derive(Clone)]
pub struct Hands {
    free: Arc<Semaphore>,
    all: usize,
}

impl Hands {
    pub fn in_use(&self) -> u64 {
        self.all.saturating_sub(self.free.available_permits()) as u64
    }
}

/// PDS with a pace of its own: its quota is another than that of e-RS.
fn patient_desk(pds: &Pds, parts: &DeliveryParts) -> Result<PatientDesk, PrivateKeyError> {
    let pacing = Pacing {
        enabled: parts.settings.pacing.enabled,
        per_second: pds.per_second,
        gap_min: Duration::from_secs_f64(1.0 / pds.per_second).mul_f64(0.8),
    };
    let shared = parts.store.shared_quota().map(|quota| (pds.client_id.as_str(), quota));
    Ok(PatientDesk {
        check: PatientCheck::new(pds, parts.transport.clone(), &parts.environment)?,
        pacer: Pacer::new(&pacing, shared, &parts.metrics, &parts.environment),
    })
}

impl Delivery {
    /// Reads the private keys and CAs of the connections; sends nothing.
    pub fn new(parts: DeliveryParts) -> Result<Self, SetUpError> {
        let ways = Ways::of(&parts.connections, parts.transport.clone())?;
        let mut pacers: HashMap<&str, Pacer> = HashMap::new();
        let mut members = HashMap::new();
        for connection in &parts.connections {
            let vault = SealedSession {
                connection: connection.name.clone(),
                user: None,
                store: parts.store.clone(),
                keys: parts.keys.clone(),
                environment: parts.environment.clone(),
            };
            let transport = ways.to(&connection.name);
            let client = Client::new(connection, transport.clone(), Box::new(vault), &parts.environment)?;
            let pacer = pacers.entry(&connection.client_id).or_insert_with(|| {
                let shared = parts.store.shared_quota().map(|quota| (connection.client_id.as_str(), quota));
                Pacer::new(&parts.settings.pacing, shared, &parts.metrics, &parts.environment)
            });
            let member = Member { client: Arc::new(client), pacer: pacer.clone(), transport, person: None };
            members.insert(connection.name.clone(), Arc::new(member));
        }
        let people =
            People::new(&parts.connections, parts.store.clone(), parts.keys.clone(), ways, parts.environment.clone());
        parts.metrics.expect_doubts(&parts.mappings.current());
        let patients = parts.pds.as_ref().map(|pds| patient_desk(pds, &parts)).transpose()?;
        let shared = Shared {
            patients,
            sets: PinnedSets::new(parts.mappings, parts.store.clone()),
            breakers: Breakers::new(parts.metrics.breaker_open.clone(), &parts.environment),
            kept: KeptAnswers::new(&parts.environment),
            measured: Measured::default(),
            doubts: Doubts::default(),
            shared_reads: SharedReads::default(),
            runs: AtomicU64::new(0),
            hands: Arc::new(Semaphore::new(parts.settings.parallel_max.max(1))),
            hand_freed: Notify::new(),
            environment: parts.environment,
            store: parts.store,
            keys: parts.keys,
            connections: parts.connections.into_iter().map(|one| (one.name.clone(), one)).collect(),
            members,
            people: Arc::new(people),
            sources: parts.sources,
            settings: parts.settings,
            metrics: parts.metrics,
            traces: parts.traces,
            instance: parts.instance,
        };
        let shared = Arc::new(shared);
        Ok(Self { estimator: Estimator::new(shared.clone()), shared })
    }

    pub fn hands(&self) -> Hands {
        Hands { free: self.shared.hands.clone(), all: self.shared.settings.parallel_max.max(1) }
    }

    /// Asks e-RS for people who wait.
    pub fn asker(&self) -> Asker {
        Asker::new(self.shared.clone())
    }

    /// Who is signed in.
    pub fn people(&self) -> Arc<People> {
        self.shared.people.clone()
    }

    /// Says when what waits will be sent, while this runs.
    pub fn estimator(&self) -> Estimator {
        self.estimator.clone()
    }

    /// Runs until the gateway is asked to stop. What an earlier process left running is seen to first.
    pub async fn run(self) {
        let shutdown = self.shared.environment.shutdown().clone();
        tokio::select! {
            biased;
            () = self.recover() => {}
            () = shutdown.cancelled() => return,
        }
        self.shared.environment.spawn(self.estimator.clone().watch());
        let mut sources = self.shared.sources.clone();
        let bell = self.shared.store.signals().commands.clone();
        loop {
            // Before the claim, so that what is rung during it is heard.
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let freed = self.shared.hand_freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let asked = self.shared.environment.instant();
            let claimed = match self.claim().await {
                Ok(Claimed::Full) => continue,
                Ok(claimed) => claimed,
                Err(error) => {
                    self.shared.metrics.store_unavailable.inc();
                    tracing::error!(%error, "commands cannot be claimed: trying again");
                    self.shared.environment.sleep(STORE_WAIT).await;
                    Claimed::Fewer
                }
            };
            // In this order, so that a busy store is not asked when the next one is due.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = &mut freed, if claimed == Claimed::NoHands => {}
                () = &mut rung, if matches!(claimed, Claimed::Fewer | Claimed::Nothing) => {}
                Ok(()) = sources.changed() => {}
                () = self.until_due() => {}
            }
            if claimed == Claimed::Nothing {
                self.shared.environment.sleep(NOTHING_PAUSE.saturating_sub(asked.elapsed())).await;
            } else if self.shared.hands.available_permits() < self.shared.settings.parallel_max {
                self.shared.environment.sleep(GATHER).await;
            }
        }
    }

    async fn recover(&self) {
        loop {
            match self.shared.store.recover(self.shared.environment.now()).await {
                Ok(recovered) => {
                    if recovered.requeued + recovered.in_doubt > 0 {
                        let (requeued, in_doubt) = (recovered.requeued, recovered.in_doubt);
                        tracing::warn!(requeued, in_doubt, "commands were under way when the gateway last ended");
                    }
                    return;
                }
                Err(error) => {
                    self.shared.metrics.store_unavailable.inc();
                    tracing::error!(%error, "what was under way cannot be recovered: trying again");
                    self.shared.environment.sleep(STORE_WAIT).await;
                }
            }
        }
    }

    /// Leases as many commands as there are hands, and sets the hands to work.
    async fn claim(&self) -> Result<Claimed, StoreError> {
        let max = self.shared.hands.available_permits().min(CLAIM_MAX);
        if max == 0 {
            return Ok(Claimed::NoHands);
        }
        let asked = Moment::now(&self.shared.environment);
        let now = asked.time();
        let sources = self.shared.sources.borrow().clone();
        let paused = sources.iter().filter(|(_, source)| source.mode == Mode::Paused);
        let paused = paused.map(|(name, _)| name.clone()).collect();
        let owner = self.shared.instance.clone();
        let lease_until = now + self.shared.settings.lease;
        let batch = self.shared.store.claim(Claim { max, now, owner, lease_until, paused }).await?;
        let claimed = match batch.len() {
            0 => Claimed::Nothing,
            some if some < max => Claimed::Fewer,
            _ => Claimed::Full,
        };
        for command in batch {
            let hand = self.shared.hands.clone().try_acquire_owned();
            let shared = self.shared.clone();
            let lease = Lease::new(shared.settings.lease, asked, &shared.environment);
            // At this level, so that a warning has its command under any filter.
            let span = tracing::error_span!(
                "command",
                message.id = %command.message,
                command.id = %command.id,
                command = command.name,
                class = command.class.name(),
            );
            let task = async move {
                carry_out(&shared, command, lease).await;
                drop(hand);
                shared.hand_freed.notify_waiters();
            };
            self.shared.environment.spawn(task.instrument(span));
        }
        Ok(claimed)
    }

    /// Sleeps while nothing can become due by itself.
    async fn until_due(&self) {
        let now = self.shared.environment.now();
        let pause = match self.shared.store.next_due().await {
            Ok(Some(due)) => {
                Duration::try_from(due.duration_since(now)).unwrap_or_default().clamp(OVERDUE_PAUSE, LOOK_AGAIN)
            }
            Ok(None) | Err(_) => LOOK_AGAIN,
        };
        self.shared.environment.sleep(pause).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claimed {
    /// There may be more.
    Full,
    Fewer,
    Nothing,
    NoHands,
}

/// Runs one command while its lease is kept.
async fn carry_out(shared: &Arc<Shared>, command: ClaimedCommand, lease: Lease) {
    let (id, fence) = (command.id, command.fence);
    let lease = Arc::new(lease);
    let lost = async {
        loop {
            shared.environment.sleep(shared.settings.lease / 3).await;
            // A step that changes nothing renews the lease.
            let asked = Moment::now(&shared.environment);
            match shared.store.record(Progress::of(id, fence, asked.time())).await {
                Ok(()) => lease.renewed(asked),
                Err(StoreError::Outdated(why)) => return why,
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = run::carry_out(shared.clone(), command, lease.clone()) => {}
        why = lost => tracing::error!(why, "the lease was lost: whoever took over goes on"),
    }
}
