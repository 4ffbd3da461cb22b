//! The mapping set that a plan is pinned to, with the outcome table that belongs to it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ers::OutcomeTable;
use crate::mapping::{MappingFiles, MappingSet, MappingSets};
use crate::store::{MappingStore, StoreError};

const OUTCOMES: &str = "ers/outcomes.yaml";

/// A set as delivery uses it.
#[derive(Clone)]
pub(super) struct PinnedSet {
    pub(super) mappings: Arc<MappingSet>,
    pub(super) outcomes: Arc<OutcomeTable>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PinError {
    #[error(transparent)]
    Store(StoreError),
    /// For a person: text names files, never values.
    #[error("the mapping set that this command was made with cannot be used: {0}")]
    Unusable(String),
}

pub(super) struct PinnedSets {
    mappings: Arc<MappingSets>,
    store: Arc<dyn MappingStore>,
    ready: Mutex<HashMap<String, PinnedSet>>,
}

impl PinnedSets {
    pub(super) fn new(mappings: Arc<MappingSets>, store: Arc<dyn MappingStore>) -> Self {
        Self { mappings, store, ready: Mutex::default() }
    }

    /// Digest of the set that new commands are made with.
    pub(super) fn current(&self) -> String {
        self.mappings.current().digest().to_owned()
    }

    /// The set of that digest: in hand, or loaded from the store.
    pub(super) async fn get(&self, digest: &str) -> Result<PinnedSet, PinError> {
        if let Some(ready) = self.ready.lock().get(digest) {
            return Ok(ready.clone());
        }
        let mappings = match self.mappings.pinned(digest) {
            Some(mappings) => mappings,
            None => self.load(digest).await?,
        };
        let text = mappings.files().get(OUTCOMES).unwrap_or_default();
        let outcomes = OutcomeTable::parse(text).map_err(|error| PinError::Unusable(error.to_string()))?;
        let pinned = PinnedSet { mappings, outcomes: Arc::new(outcomes) };
        self.ready.lock().insert(digest.to_owned(), pinned.clone());
        Ok(pinned)
    }

    async fn load(&self, digest: &str) -> Result<Arc<MappingSet>, PinError> {
        let archive = self.store.load_set(digest).await.map_err(PinError::Store)?;
        let archive = archive.ok_or_else(|| PinError::Unusable(format!("set {digest} is not in the store")))?;
        let files = MappingFiles::from_archive(&archive).map_err(|error| PinError::Unusable(error.to_string()))?;
        let set = MappingSet::load(files).map_err(|diagnostics| {
            PinError::Unusable(format!("set {digest} has {} problems in this version", diagnostics.len()))
        })?;
        let set = Arc::new(set);
        self.mappings.keep(set.clone());
        Ok(set)
    }
}
