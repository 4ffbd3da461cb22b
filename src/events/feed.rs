//! The events in commit order, for those without a broker: page by page, or followed as they come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::environment::Environment;
use crate::store::{OutboxStore, Result, Signals, StoredEvent};

/// A missed bell costs at most this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Read at once for a follower; all that one holds in memory.
const BATCH: usize = 100;
/// A follower hears at least this often, so that a dead connection is noticed.
const QUIET_MAX: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub struct Feed {
    store: Arc<dyn OutboxStore>,
    signals: Signals,
}

impl Feed {
    pub fn new(store: Arc<dyn OutboxStore>, signals: Signals) -> Self {
        Self { store, signals }
    }

    /// At most `max` events after `position`, confirmed by the broker or not.
    pub async fn page(&self, position: u64, max: usize) -> Result<Vec<StoredEvent>> {
        self.store.events_after(position, max).await
    }

    /// The position of the newest event; what comes after it is new.
    pub async fn last_position(&self) -> Result<u64> {
        self.store.last_position().await
    }

    /// Everything after `position`, without end.
    pub fn follow(&self, position: u64, environment: Environment) -> Follow {
        Follow { feed: self.clone(), position, read: VecDeque::new(), environment }
    }
}

/// What a follower hears.
#[derive(Debug)]
pub enum Followed {
    Event(Box<StoredEvent>),
    /// Nothing new for a while.
    Quiet,
}

/// A place in the feed. A slow follower slows only itself: it reads from the store when it is ready.
pub struct Follow {
    feed: Feed,
    position: u64,
    read: VecDeque<StoredEvent>,
    environment: Environment,
}

impl Follow {
    /// The next event, or a sign of life. `None` when the gateway stops or the store cannot be read.
    pub async fn next(&mut self) -> Option<Followed> {
        let quiet_until = tokio::time::Instant::now() + QUIET_MAX;
        loop {
            if self.environment.shutdown().is_cancelled() {
                return None;
            }
            if let Some(event) = self.read.pop_front() {
                self.position = event.position;
                return Some(Followed::Event(Box::new(event)));
            }
            // Listens before reading, so that an event committed in between still rings.
            let bell = self.feed.signals.outbox.clone();
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            match self.feed.page(self.position, BATCH).await {
                Ok(events) => self.read = events.into(),
                Err(error) => {
                    tracing::warn!(%error, "a follower of the feed is let go");
                    return None;
                }
            }
            if !self.read.is_empty() {
                continue;
            }
            if tokio::time::Instant::now() >= quiet_until {
                return Some(Followed::Quiet);
            }
            tokio::select! {
                () = rung => {}
                () = self.environment.sleep(LOOK_EVERY) => {}
                () = self.environment.shutdown().cancelled() => {}
            }
        }
    }
}
