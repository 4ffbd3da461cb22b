//! The platform's limits per application: a quota per minute, and a spike arrest that smooths.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::settings::Quota;

const MINUTE_MS: i64 = 60_000;

#[derive(Default)]
struct Used {
    minute: i64,
    in_minute: u32,
    last_ms: Option<i64>,
}

pub struct QuotaKeeper {
    quota: Mutex<Option<Quota>>,
    clients: Mutex<HashMap<String, Used>>,
}

impl QuotaKeeper {
    pub fn new(quota: Option<Quota>) -> Self {
        Self { quota: Mutex::new(quota), clients: Mutex::default() }
    }

    pub fn set(&self, quota: Option<Quota>) {
        *self.quota.lock() = quota;
        self.clients.lock().clear();
    }

    /// Counts one request; false when it is one too many. A request that the spike arrest stops does not
    /// count towards the quota.
    pub fn admits(&self, client_id: &str, now: Timestamp) -> bool {
        let Some(quota) = *self.quota.lock() else { return true };
        let now = now.as_millisecond();
        let mut clients = self.clients.lock();
        let used = clients.entry(client_id.to_owned()).or_default();
        let apart = MINUTE_MS / i64::from(quota.spike_arrest_per_minute.max(1));
        if used.last_ms.is_some_and(|last| (0..apart).contains(&(now - last))) {
            return false;
        }
        let minute = now.div_euclid(MINUTE_MS);
        if used.minute != minute {
            (used.minute, used.in_minute) = (minute, 0);
        }
        if used.in_minute >= quota.per_minute {
            return false;
        }
        used.in_minute += 1;
        used.last_ms = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).expect("a small number of milliseconds")
    }

    #[test]
    fn requests_closer_than_the_spike_arrest_are_stopped() {
        let keeper = QuotaKeeper::new(Some(Quota::PRODUCTION));
        assert!(keeper.admits("a", at(0)));
        assert!(!keeper.admits("a", at(82)));
        assert!(keeper.admits("b", at(82)), "another application has its own limits");
        assert!(keeper.admits("a", at(83)));
    }

    #[test]
    fn the_quota_counts_per_minute() {
        let keeper = QuotaKeeper::new(Some(Quota { per_minute: 2, spike_arrest_per_minute: 60_000 }));
        assert!(keeper.admits("a", at(0)) && keeper.admits("a", at(10)));
        assert!(!keeper.admits("a", at(20)));
        assert!(keeper.admits("a", at(60_000)));
    }
}
