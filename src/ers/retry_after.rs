//! `Retry-After` (RFC 9110 10.2.3): seconds, or a date.

use std::time::Duration;

use jiff::Timestamp;

use super::transport::Response;

/// Nobody is waited for longer than this on the word of one header.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// How long the server asks us to wait; `None` if it says nothing that can be read.
pub fn of(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.header("retry-after")?.trim();
    let asked = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(asked.min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        let now: Timestamp = "2026-03-16T09:30:00Z".parse().expect("a literal instant");
        for (text, expected) in [
            ("5", Some(5)),
            (" 0 ", Some(0)),
            ("999999999", Some(3_600)),
            ("Mon, 16 Mar 2026 09:30:20 GMT", Some(20)),
            ("Mon, 16 Mar 2026 09:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            let response =
                Response { status: 503, headers: vec![("retry-after".into(), text.into())], body: Default::default() };
            assert_eq!(of(&response, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }
}
