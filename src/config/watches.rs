//! Worklists of e-RS that the gateway looks at by itself.

use std::time::Duration;

use jiff::civil::Time;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Mode, Source, duration};

/// One worklist of one connection, looked at again and again and compared with what it was.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The source of what it sees, in events and metrics.
    pub name: String,
    pub connection: String,
    /// eRS-ReferralListSelector-1, or ADVICE_AND_GUIDANCE_REQUESTS.
    pub list: String,
    /// Service ids, each asked for on its own; none: the whole list.
    #[serde(default)]
    pub services: Vec<String>,
    /// Times of the day.
    #[serde(default)]
    pub at: Vec<Time>,
    /// Or again and again.
    #[serde(default, deserialize_with = "duration::optional")]
    pub every: Option<Duration>,
    /// Of `at`.
    #[serde(default = "time_zone")]
    pub time_zone: String,
    /// What is there when a list is seen for the first time.
    #[serde(default)]
    pub first: FirstSight,
    #[serde(default)]
    pub mode: Mode,
    /// Visible to mappings as `settings`.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstSight {
    /// Everything is new, and told.
    #[default]
    Tell,
    /// Nothing is told: it was seen to by hand.
    Remember,
}

impl Watch {
    /// As delivery sees whoever a command comes from.
    pub fn as_source(&self) -> Source {
        let source = json!({ "name": self.name, "connection": self.connection, "settings": self.settings });
        let source: Source = serde_json::from_value(source).expect("a source needs a name and a connection");
        Source { mode: self.mode, time_zone: self.time_zone.clone(), ..source }
    }
}

fn time_zone() -> String {
    "Europe/London".into()
}
