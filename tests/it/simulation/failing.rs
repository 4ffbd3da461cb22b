//! Commits that fail while the gateway goes on.
//!
//! What is replaced: the layer of the store's own methods, above SQLite. A *full disk*: nothing was written, and the caller
//! is told so. A *failed sync*: what was written may be there after the next start although its caller was told that it
//! is not; so it stands, and the process ends before it can look. (While the process lives, SQLite shows nothing of it.)

use std::sync::Arc;

use async_trait::async_trait;
use ers_gateway::environment::Environment;
use ers_gateway::store::{Admission, Admitted, Claim, ClaimedCommand, Progress, Result, Store, StoreError};
use jiff::Timestamp;

use super::before_store::Layer;
use super::schedule::Life;
use super::story::Story;
use super::weather::Weather;

/// Before anything is tried again.
const ENDS_WITHIN_MILLIS: std::ops::Range<u64> = 0..90;

pub struct Failing {
    pub weather: Weather,
    pub story: Story,
    pub outside: Environment,
    pub process: Arc<Life>,
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
        match fate.map_or(Fate::Written, |(_, fate)| fate) {
            Fate::NotSynced if !self.process.may_end() => Fate::Written,
            fate => {
                if fate != Fate::Written {
                    self.story.tell(format!("disk: {what} meets {fate:?}"));
                }
                fate
            }
        }
    }

    async fn meets<T>(&self, what: &str, written: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.fate(what) {
            Fate::Written => written.await,
            Fate::Full => Err(StoreError::Unavailable("database or disk is full".into())),
            Fate::NotSynced => {
                written.await?;
                let (outside, process) = (self.outside.clone(), self.process.clone());
                let soon = self.weather.chance().millis(ENDS_WITHIN_MILLIS);
                self.outside.spawn(async move {
                    outside.sleep(soon).await;
                    process.kill();
                });
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
