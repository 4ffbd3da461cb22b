//! `Prefer` (RFC 7240): does the client wait for the outcome, and how long?

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// `respond-async`, or nothing said: 202 as soon as the command is stored.
    Asynchronous,
    /// `wait=N`: the outcome, if it is known by then.
    Wait(Duration),
}

impl Preference {
    /// Reads all `Prefer` values; the first of each preference counts. `respond-async` beside `wait` means
    /// "wait, then answer 202", which is what waiting here does anyway. The wait is cut to `limit`.
    pub fn read<'a>(values: impl IntoIterator<Item = &'a str>, limit: Duration) -> Self {
        values
            .into_iter()
            .flat_map(|value| value.split(','))
            .filter_map(|preference| preference.split(';').next())
            .find_map(|preference| {
                let (name, seconds) = preference.split_once('=')?;
                if !name.trim().eq_ignore_ascii_case("wait") {
                    return None;
                }
                seconds.trim().trim_matches('"').parse::<u64>().ok()
            })
            .map(Duration::from_secs)
            .filter(|wait| !wait.is_zero())
            .map_or(Self::Asynchronous, |wait| Self::Wait(wait.min(limit)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn preferences_are_read_as_rfc_7240_writes_them() {
        let limit = Duration::from_secs(60);
        let wait = |seconds| Preference::Wait(Duration::from_secs(seconds));
        for (values, expected) in [
            (&[][..], Preference::Asynchronous),
            (&["respond-async"], Preference::Asynchronous),
            (&["wait=10"], wait(10)),
            (&["Wait = \"10\""], wait(10)),
            (&["respond-async, wait=10"], wait(10)),
            (&["handling=lenient; strict", "wait=3"], wait(3)),
            (&["wait=600"], wait(60)),
            (&["wait=0"], Preference::Asynchronous),
            (&["wait=soon"], Preference::Asynchronous),
            (&["wait=99999999999999999999"], Preference::Asynchronous),
        ] {
            assert_eq!(Preference::read(values.iter().copied(), limit), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_wait_beyond_the_limit(text in any::<String>(), limit in 1u64..100) {
            let limit = Duration::from_secs(limit);
            if let Preference::Wait(wait) = Preference::read([text.as_str()], limit) {
                prop_assert!(wait <= limit);
            }
        }
    }
}
