//! FHIR instants: a date, a time to the second and an offset.

use jiff::Timestamp;

/// What is wrong with a text that should be an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnInstant {
    NoTime,
    NoOffset,
    Malformed,
}

impl std::fmt::Display for NotAnInstant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoTime => "must have a time",
            Self::NoOffset => "must have a time zone",
            Self::Malformed => "must be an instant",
        })
    }
}

pub fn parse(text: &str) -> Result<Timestamp, NotAnInstant> {
    let Some((date, time)) = text.split_once('T') else {
        return Err(if text.parse::<jiff::civil::Date>().is_ok() {
            NotAnInstant::NoTime
        } else {
            NotAnInstant::Malformed
        });
    };
    let clock = time.trim_end_matches('Z').split(['+', '-']).next().unwrap_or_default();
    if date.len() != 10 || !has_seconds(clock) {
        return Err(NotAnInstant::Malformed);
    }
    if !time.ends_with('Z') && !time.contains(['+', '-']) {
        return Err(NotAnInstant::NoOffset);
    }
    text.parse().map_err(|_| NotAnInstant::Malformed)
}

/// `hh:mm:ss`, with or without a fraction.
fn has_seconds(clock: &str) -> bool {
    clock.split('.').next().is_some_and(|whole| whole.len() == 8 && whole.split(':').count() == 3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_instant_has_date_time_and_offset() {
        for (text, result) in [
            ("2024-05-01T09:55:00.000Z", Ok(())),
            ("2021-06-24T13:22:13.311000+00:00", Ok(())),
            ("2026-04-11T13:15:00+01:00", Ok(())),
            ("2024-05-01", Err(NotAnInstant::NoTime)),
            ("2024-05-01T09:55:00", Err(NotAnInstant::NoOffset)),
            ("2024-05-01T09:55Z", Err(NotAnInstant::Malformed)),
            ("2024-02-30T09:55:00Z", Err(NotAnInstant::Malformed)),
            ("20240501T095500Z", Err(NotAnInstant::Malformed)),
            ("yesterday", Err(NotAnInstant::Malformed)),
        ] {
            assert_eq!(parse(text).map(|_| ()), result, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_tried(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
