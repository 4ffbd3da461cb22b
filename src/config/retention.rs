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
}
