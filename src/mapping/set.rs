//! A mapping set: every file under `mappings/`, checked together and named by its digest.

use std::sync::Arc;

use serde_json::Value;

use super::operations::Operation;
use super::plan::{NextCall, PlanEvent, PlanState, PreparedCall, Reply};

/// What a plan may look at besides its own saved values.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext<'a> {
    /// `CreateReferral`
    pub command: &'a str,
    pub body: &'a Value,
    /// What is known of the thread's referral: `ubrn`, `version`.
    pub known: &'a Value,
    /// `codeSystemBase`, `organisation`, `businessFunction` of the connection.
    pub connection: &'a Value,
    /// Settings of the source that a plan may ask for: `searchFirst`.
    pub settings: &'a Value,
    /// RFC 3339, UTC.
    pub now: &'a str,
}

/// What a reply changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Absorbed {
    /// Published when the step's result is recorded.
    pub events: Vec<PlanEvent>,
    /// Merged into the thread's `known`; a `ubrn` in it becomes an alias.
    pub known: serde_json::Map<String, Value>,
}

/// A plan that cannot go on. The text names file, step and expression, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PlanProblem {
    /// Bounded: `MAPPING`, or the code that a step's `require` names.
    pub code: String,
    pub text: String,
}

pub struct MappingSet {
    digest: String,
}

impl MappingSet {
    /// Hex SHA-256 over the names and contents of the set's files.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub fn operation(&self, _call: &str) -> Option<&Operation> {
        None
    }

    /// The next call of the plan, skipping steps whose condition does not hold; moves `state` past them.
    /// Pure: the same inputs give the same call.
    pub fn next_call(&self, _context: &PlanContext<'_>, _state: &mut PlanState) -> Result<NextCall, PlanProblem> {
        Ok(NextCall::Done { result: Value::Null })
    }

    /// Takes in the reply to `call`: keeps what the step saves, moves `state` to what follows.
    pub fn absorb(
        &self,
        _context: &PlanContext<'_>,
        _state: &mut PlanState,
        _call: &PreparedCall,
        _reply: &Reply,
    ) -> Result<Absorbed, PlanProblem> {
        Ok(Absorbed::default())
    }
}

/// The current set, and those that unfinished plans are pinned to.
pub struct MappingSets {
    current: parking_lot::RwLock<Arc<MappingSet>>,
    pinned: parking_lot::RwLock<std::collections::HashMap<String, Arc<MappingSet>>>,
}

impl MappingSets {
    pub fn new(current: Arc<MappingSet>) -> Self {
        let sets = Self { current: parking_lot::RwLock::new(current.clone()), pinned: parking_lot::RwLock::default() };
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
