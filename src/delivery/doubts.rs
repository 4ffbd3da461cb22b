//! Since when this process knows of each doubt, by a clock that nobody sets.
//!
//! Enters: commands in doubt. Leaves: for how long each is known. Guarantees: whoever looks whether a write was done has given
//! e-RS its time to do it, also where the machine's clock was set forward, or the process is a new one.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::command::CommandId;

/// Beyond so many those are forgotten that are known for long; a doubt that is seen again then only waits again.
const KNOWN_MAX: usize = 10_000;
const LONG: Duration = Duration::from_secs(3_600);

#[derive(Default)]
pub(super) struct Doubts(Mutex<HashMap<CommandId, Instant>>);

impl Doubts {
    /// For how long it is known; from now on, if it is new.
    pub(super) fn known_for(&self, command: CommandId, now: Instant) -> Duration {
        let mut known = self.0.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, since| now.saturating_duration_since(*since) < LONG);
        }
        now.saturating_duration_since(*known.entry(command).or_insert(now))
    }

    /// Whether it was the last.
    pub(super) fn settled(&self, command: CommandId) -> bool {
        let mut known = self.0.lock();
        known.remove(&command);
        known.is_empty()
    }
}
