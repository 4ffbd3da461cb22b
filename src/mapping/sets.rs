//! The mapping set of now, and those that plans made earlier need until they are done.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::set::MappingSet;

/// The current set, and those that unfinished plans are pinned to.
pub struct MappingSets {
    current: RwLock<Arc<MappingSet>>,
    pinned: RwLock<HashMap<String, Arc<MappingSet>>>,
}

impl MappingSets {
    pub fn new(current: Arc<MappingSet>) -> Self {
        let sets = Self { current: RwLock::new(current.clone()), pinned: RwLock::default() };
        sets.keep(current);
        sets
    }

    /// For new messages.
    pub fn current(&self) -> Arc<MappingSet> {
        self.current.read().clone()
    }

    /// For a plan made earlier; `None` if its files must first be loaded from the store.
    pub fn pinned(&self, digest: &str) -> Option<Arc<MappingSet>> {
        self.pinned.read().get(digest).cloned()
    }

    pub fn keep(&self, set: Arc<MappingSet>) {
        self.pinned.write().insert(set.digest().to_owned(), set);
    }

    pub fn replace(&self, set: Arc<MappingSet>) {
        self.keep(set.clone());
        *self.current.write() = set;
    }
}
