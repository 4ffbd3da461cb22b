//! Modes while running: a person pauses, shadows or resumes a source, one service of it, a connection or a destination.
//!
//! Enters: decisions, with a name, a reason and perhaps a time from which on. Leaves: the [`Board`] that intake and outbound
//! ask, and delivery's sources with the modes of now. Guarantees: a decision is in the store, with its row in the audit log,
//! before it holds; all instances of the store obey it, also after restarts, the one that was asked at once and the others
//! within two seconds; a store that is away changes nothing.

mod board;
mod comparison;
mod decision;
mod foresight;
mod since;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use board::{Board, SourceStanding, in_force, planned};
pub use comparison::{BesideErs, Comparison, NotRead, Sent, SentError, compare, leaves, read_sent};
pub use decision::{Asked, Wish};
pub use foresight::Foresight;
pub use since::{NotLive, Since};
pub use views::{ServiceView, SwitchView, TargetView};

use crate::config::Config;
use crate::delivery::Sources;
use crate::environment::Environment;
use crate::store::{Act, Noted, Store, StoreError, SwitchKind, Switched};

/// In the audit log.
const ACT: &str = "switch mode";
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotSwitched {
    #[error("nothing of this name is in the settings")]
    Unknown,
    #[error("{0}")]
    Impossible(&'static str),
    /// Somebody else has switched it since: says how it stands.
    #[error("{0}")]
    Meanwhile(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub struct Modes {
    store: Arc<dyn Store>,
    environment: Environment,
    board: Board,
    /// As the settings have them; watches stand among them.
    configured: Sources,
    /// By kind: what can be switched.
    targets: BTreeMap<SwitchKind, Vec<String>>,
    /// The sources as they are now, for delivery.
    now: watch::Sender<Arc<Sources>>,
    since: Since,
}

impl Modes {
    /// Knows what is switched when it returns. `configured`: whatever delivery takes for a source.
    pub async fn begin(
        config: &Config,
        configured: Sources,
        store: Arc<dyn Store>,
        environment: Environment,
        since: Since,
    ) -> Result<Self, StoreError> {
        let destinations = config.destinations.iter().map(|one| one.name.clone());
        let folders = config.documents.folders.iter().map(|one| one.name.clone());
        let targets = BTreeMap::from([
            (SwitchKind::Source, config.sources.iter().map(|one| one.name.clone()).collect()),
            (SwitchKind::Connection, config.connections.iter().map(|one| one.name.clone()).collect()),
            (SwitchKind::Destination, destinations.chain(folders).collect()),
        ]);
        let (now, _) = watch::channel(Arc::new(configured.clone()));
        let modes = Self { store, environment, board: Board::default(), configured, targets, now, since };
        modes.look().await?;
        Ok(modes)
    }

    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Sources with the modes of now.
    pub fn sources(&self) -> watch::Receiver<Arc<Sources>> {
        self.now.subscribe()
    }

    /// Looks what others decided, and what begins by its time, until the gateway stops.
    pub fn start(self: &Arc<Self>) {
        let modes = self.clone();
        self.environment.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = modes.environment.shutdown().cancelled() => return,
                    () = modes.environment.sleep(LOOK_EVERY) => {}
                }
                if let Err(error) = modes.look().await {
                    tracing::debug!(%error, "what people have switched cannot be read now: what was known holds");
                    modes.apply();
                }
            }
        });
    }

    /// Takes a decision, and obeys it from here on. `seen`: the version at which its preview was made; anything else by now is
    /// another ground than the one that was decided on.
    pub async fn switch(&self, asked: &Asked, seen: Option<u64>, act: Act) -> Result<(), NotSwitched> {
        let before = self.before(asked).await?;
        if seen.is_some_and(|seen| seen != before.version) {
            return Err(NotSwitched::Meanwhile(self.switched_meanwhile(asked)));
        }
        let switched = asked.decided(&before, &act).map_err(NotSwitched::Impossible)?;
        tracing::info!(by = act.by, what = asked.subject(), "somebody switches a mode");
        match self.store.switch(switched, Noted { act: ACT, subject: asked.subject(), by: act }).await {
            Err(StoreError::Outdated(_)) => {
                self.look().await?;
                return Err(NotSwitched::Meanwhile(self.switched_meanwhile(asked)));
            }
            outcome => outcome?,
        }
        // It is decided, whether it can be read back now or a moment later.
        if let Err(error) = self.look().await {
            tracing::warn!(%error, "what was switched holds as soon as the store answers");
        }
        self.store.signals().dispatches.notify_waiters();
        Ok(())
    }

    /// What stands switched at what is to be decided about, as the store has it.
    async fn before(&self, asked: &Asked) -> Result<Switched, NotSwitched> {
        if !self.targets.get(&asked.kind).is_some_and(|names| names.contains(&asked.name)) {
            return Err(NotSwitched::Unknown);
        }
        self.look().await?;
        Ok(self.board.of(asked.kind, &asked.name))
    }

    async fn look(&self) -> Result<(), StoreError> {
        self.board.replace(self.store.switched().await?);
        self.apply();
        Ok(())
    }

    /// Has delivery see what holds now.
    fn apply(&self) {
        let at = self.environment.now();
        self.now.send_if_modified(|sources| {
            let mut now = Sources::clone(sources);
            let mut is_changed = false;
            for (name, configured) in &self.configured {
                let SourceStanding { mode, services, .. } = self.board.source(configured, at);
                let Some(source) = now.get_mut(name) else { continue };
                if (source.mode, &source.services) != (mode, &services) {
                    tracing::info!(source = name, mode = mode.name(), "a source has another mode from now on");
                    (source.mode, source.services) = (mode, services);
                    is_changed = true;
                }
            }
            if is_changed {
                *sources = Arc::new(now);
            }
            is_changed
        });
        self.since.show(&self.not_live(), at);
    }
}
