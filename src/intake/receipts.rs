//! That senders got their answers, noted in batches: many share one commit, and nobody waits for it.
//!
//! Enters: a message whose answer was written. Leaves: rows, within [`GATHER`]. Guarantees: nothing about the
//! message itself, which is on disk before its answer exists; a crash loses the newest notes, and then it is not
//! known whether those senders have their answer, as when the line breaks.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::command::MessageId;
use crate::environment::Environment;
use crate::store::Store;

/// How long notes are gathered. A commit of its own for each would halve what one connection can send.
const GATHER: Duration = Duration::from_millis(50);

pub(super) struct Receipts {
    store: Arc<dyn Store>,
    environment: Environment,
    gathered: Mutex<Vec<(MessageId, Timestamp)>>,
}

impl Receipts {
    pub(super) fn new(store: Arc<dyn Store>, environment: Environment) -> Self {
        Self { store, environment, gathered: Mutex::default() }
    }

    pub(super) fn note(self: &Arc<Self>, message: MessageId) {
        let is_first = {
            let mut gathered = self.gathered.lock();
            gathered.push((message, self.environment.now()));
            gathered.len() == 1
        };
        if is_first {
            let receipts = self.clone();
            self.environment.spawn(async move {
                tokio::select! {
                    biased;
                    () = receipts.environment.sleep(GATHER) => {}
                    () = receipts.environment.shutdown().cancelled() => {}
                }
                receipts.write().await;
            });
        }
    }

    async fn write(&self) {
        let gathered = std::mem::take(&mut *self.gathered.lock());
        let count = gathered.len();
        if let Err(error) = self.store.acknowledged(gathered).await {
            tracing::warn!(count, %error, "answers were sent but could not be noted");
        }
    }
}
