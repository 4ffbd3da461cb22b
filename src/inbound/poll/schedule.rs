//! When a worklist is looked at.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Watch;

/// The last time that a look was due: of `at`, today's latest, so that what a gateway slept through counts for the day
/// that it belongs to. A time that daylight saving skips is the one an hour later.
pub fn due(watch: &Watch, now: Timestamp) -> Option<Timestamp> {
    if let Some(every) = watch.every {
        return Some(at_last(every, now));
    }
    let zone = TimeZone::get(&watch.time_zone).unwrap_or(TimeZone::UTC);
    let today = now.to_zoned(zone.clone()).date();
    let times =
        watch.at.iter().filter_map(|time| Some(today.to_datetime(*time).to_zoned(zone.clone()).ok()?.timestamp()));
    times.filter(|time| *time <= now).max()
}

/// The last multiple of a time since 1970.
fn at_last(every: Duration, now: Timestamp) -> Timestamp {
    let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_second(now.as_second().div_euclid(every) * every).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn watch(settings: serde_json::Value) -> Watch {
        let mut whole = json!({"name": "knee", "connection": "ers", "list": "REFERRALS_FOR_REVIEW"});
        whole.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        serde_json::from_value(whole).expect("a watch")
    }

    #[test]
    fn a_look_is_due_at_the_latest_of_todays_times() {
        let twice = watch(json!({"at": ["13:00:00", "07:00:00"]}));
        for (now, wanted) in [
            ("2026-03-16T06:59:59Z", None),
            ("2026-03-16T07:00:00Z", Some("2026-03-16T07:00:00Z")),
            ("2026-03-16T12:59:59Z", Some("2026-03-16T07:00:00Z")),
            ("2026-03-16T23:59:59Z", Some("2026-03-16T13:00:00Z")),
            ("2026-03-17T00:00:00Z", None),
            // Summer time.
            ("2026-07-16T06:30:00Z", Some("2026-07-16T06:00:00Z")),
        ] {
            let wanted = wanted.map(|text: &str| text.parse::<Timestamp>().expect("an instant"));
            assert_eq!(due(&twice, now.parse().expect("an instant")), wanted, "{now}");
        }
        // 01:30 is not on the clock of this day.
        let at_night = watch(json!({"at": ["01:30:00"]}));
        let night = due(&at_night, "2026-03-29T05:00:00Z".parse().expect("an instant"));
        assert_eq!(night, "2026-03-29T01:30:00Z".parse().ok());
    }

    #[test]
    fn again_and_again_is_a_grid_that_restarts_do_not_move() {
        let often = watch(json!({"every": "15m"}));
        for now in ["2026-03-16T07:15:00Z", "2026-03-16T07:29:59Z"] {
            assert_eq!(due(&often, now.parse().expect("an instant")), "2026-03-16T07:15:00Z".parse().ok(), "{now}");
        }
    }
}
