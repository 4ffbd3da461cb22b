//! How commands are carried out: pace, parallelism, patience.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// Commands in hand at once.
    pub parallel_max: usize,
    pub pacing: Pacing,
    /// First wait after 429, 423 or 503; doubles with full jitter.
    #[serde(with = "duration")]
    pub backoff_base: Duration,
    #[serde(with = "duration")]
    pub backoff_ceiling: Duration,
    /// How long a lease lasts without renewal.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// Past this age a two-week-wait command waits for a person before it is sent.
    #[serde(with = "duration")]
    pub age_max_two_week_wait: Duration,
    #[serde(with = "duration")]
    pub age_max_urgent: Duration,
    #[serde(with = "duration")]
    pub age_max_routine: Duration,
    /// A read is answered within this time, or not at all.
    #[serde(with = "duration")]
    pub read_deadline: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            parallel_max: 64,
            pacing: Pacing::default(),
            backoff_base: Duration::from_secs(1),
            backoff_ceiling: Duration::from_secs(300),
            lease: Duration::from_secs(60),
            age_max_two_week_wait: Duration::from_secs(4 * 3_600),
            age_max_urgent: Duration::from_secs(24 * 3_600),
            age_max_routine: Duration::from_secs(72 * 3_600),
            read_deadline: Duration::from_secs(60),
        }
    }
}

/// e-RS allows one application 10 requests a second and 720 a minute smoothed (`errors-and-limits.md`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pacing {
    /// Off only against the simulator.
    pub enabled: bool,
    pub per_second: f64,
    #[serde(with = "duration")]
    pub gap_min: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { enabled: true, per_second: 9.6, gap_min: Duration::from_millis(84) }
    }
}
