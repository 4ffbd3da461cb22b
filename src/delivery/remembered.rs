//! Answers to reads that say the same for hours (reference data), so that they are asked for once.
//!
//! Enters: the answer to a call whose step is `cached`. Leaves: it again, until its time is over. Guarantees: what one
//! connection was told is told to no other; memory is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::environment::Environment;
use crate::mapping::{PreparedCall, Reply};

/// Answers kept; when there are more, all are forgotten.
const KEPT_MAX: usize = 256;

pub(super) struct Remembered {
    environment: Environment,
    /// By connection, method and path.
    answers: Mutex<HashMap<(String, String, String), (Instant, Arc<Reply>)>>,
}

impl Remembered {
    pub(super) fn new(environment: &Environment) -> Self {
        Self { environment: environment.clone(), answers: Mutex::default() }
    }

    pub(super) fn answer(&self, connection: &str, call: &PreparedCall) -> Option<Arc<Reply>> {
        call.cached?;
        let now = self.environment.instant();
        let answers = self.answers.lock();
        answers.get(&key(connection, call)).filter(|(until, _)| now < *until).map(|(_, reply)| reply.clone())
    }

    pub(super) fn keep(&self, connection: &str, call: &PreparedCall, lifetime: Duration, reply: &Reply) {
        let mut answers = self.answers.lock();
        if answers.len() >= KEPT_MAX {
            answers.clear();
        }
        let until = self.environment.instant() + lifetime;
        answers.insert(key(connection, call), (until, Arc::new(reply.clone())));
    }
}

fn key(connection: &str, call: &PreparedCall) -> (String, String, String) {
    (connection.to_owned(), call.method.clone(), call.path.clone())
}
