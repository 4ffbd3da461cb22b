//! Commits that fail while the gateway goes on.
//!
//! What is replaced: the layer of the store's own methods, above SQLite. A *full disk*: nothing was written, and the
//! caller is told so. A *failed sync*: what was written stands, although its caller was told that it does not; that is the
//! most that SQLite's log may hold after a sync that failed, and what a shared database may do whose answer was lost.

use std::sync::Arc;

use async_trait::async_trait;
use ers_gateway::store::{Admission, Admitted, Claim, ClaimedCommand, Progress, Result, Store, StoreError};
use jiff::Timestamp;

use super::before_store::Layer;
use super::story::Story;
use super::weather::Weather;

pub struct Failing {
    pub weather: Weather,
    pub story: Story,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Written,
    Full,
    NotSynced,
}

impl Failing {
    fn fate(&self, what: &str) -> Fate {
        let fates = [(1, Fate::Full), (1, Fate::NotSynced)];
        let fate = fates.into_iter().find(|(percent, _)| self.weather.strikes(*percent));
        let fate = fate.map_or(Fate::Written, |(_, fate)| fate);
        if fate != Fate::Written {
            self.story.tell(format!("disk: {what} meets {fate:?}"));
        }
        fate
    }

    async fn meets<T>(&self, what: &str, written: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.fate(what) {
            Fate::Written => written.await,
            Fate::Full => Err(StoreError::Unavailable("database or disk is full".into())),
            Fate::NotSynced => {
                written.await?;
                Err(StoreError::Unavailable("disk I/O error".into()))
            }
        }
    }
}

#[async_trait]
impl Layer for Failing {
    async fn admit(&self, store: &Arc<dyn Store>, admission: Admission) -> Result<Admitted> {
        self.meets("a message", store.admit(admission)).await
    }

    async fn claim(&self, store: &Arc<dyn Store>, claim: Claim) -> Result<Vec<ClaimedCommand>> {
        self.meets("a claim", store.claim(claim)).await
    }

    async fn record(&self, store: &Arc<dyn Store>, progress: Progress) -> Result<()> {
        self.meets("a step", store.record(progress)).await
    }

    async fn confirm(&self, store: &Arc<dyn Store>, positions: Vec<u64>, at: Timestamp) -> Result<()> {
        self.meets("a confirmation", store.confirm(positions, at)).await
    }
}
