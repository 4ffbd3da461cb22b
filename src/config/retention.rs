//! How long what is finished is kept. Nothing is removed unless a key here says so: how long records of care must
//! be kept is for the organisation to decide.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// From the receipt of a message whose commands are all final to its removal.
    #[serde(deserialize_with = "duration::optional")]
    pub messages: Option<Duration>,
    /// From an event to its removal; with a broker, only once that has it.
    #[serde(deserialize_with = "duration::optional")]
    pub events: Option<Duration>,
    /// From the end of a message to a hospital system, or of a document for a folder, to its removal; absent: as `messages`,
    /// or else as `events`.
    #[serde(deserialize_with = "duration::optional")]
    pub dispatches: Option<Duration>,
    /// From the last look at a worklist to the removal of how it was.
    #[serde(deserialize_with = "duration::optional")]
    pub worklists: Option<Duration>,
    /// From an act to the removal of what was typed as its reason; the act stays in the audit log.
    #[serde(deserialize_with = "duration::optional")]
    pub reasons: Option<Duration>,
}

impl Retention {
    pub fn dispatches(&self) -> Option<Duration> {
        self.dispatches.or(self.messages).or(self.events)
    }

    /// By their keys.
    pub fn ages(&self) -> [(&'static str, Option<Duration>); 5] {
        [
            ("messages", self.messages),
            ("events", self.events),
            ("dispatches", self.dispatches),
            ("worklists", self.worklists),
            ("reasons", self.reasons),
        ]
    }
}
