//! How often unattended software may read the worklists of a service: twice a day.
//!
//! e-RS says so and not how it refuses; here it is as for any quota (429).

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

const A_DAY: u32 = 2;

#[derive(Default)]
pub struct WorklistQuota {
    /// By client id and service: the day of the last time, and how often on that day.
    read: Mutex<HashMap<(String, String), (Date, u32)>>,
}

impl WorklistQuota {
    pub fn reset(&self) {
        self.read.lock().clear();
    }

    /// Counts this time, if it is one of those that are allowed.
    pub fn admits(&self, client_id: &str, service: &str, now: Timestamp) -> bool {
        let today = now.to_zoned(TimeZone::UTC).date();
        let mut read = self.read.lock();
        let entry = read.entry((client_id.to_owned(), service.to_owned())).or_insert((today, 0));
        if entry.0 != today {
            *entry = (today, 0);
        }
        let admitted = entry.1 < A_DAY;
        entry.1 += u32::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_read_twice_a_day() {
        let quota = WorklistQuota::default();
        for (client, service, at, admitted) in [
            ("one", "11002", "2026-03-16T00:00:00Z", true),
            ("one", "11002", "2026-03-16T12:00:00Z", true),
            ("one", "11002", "2026-03-16T23:59:59Z", false),
            ("one", "11000", "2026-03-16T23:59:59Z", true),
            ("two", "11002", "2026-03-16T23:59:59Z", true),
            ("one", "11002", "2026-03-17T00:00:00Z", true),
        ] {
            let now = at.parse().expect("a literal instant");
            assert_eq!(quota.admits(client, service, now), admitted, "{client} {service} {at}");
        }
    }
}
