//! HL7 times (TS, DTM): `YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]`, read with their precision.
//!
//! Guarantees: a date stays a date; a time without an offset gets one in the order of `reference.md` 7.3.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use thiserror::Error;

/// The last part that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Fraction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DtmError {
    #[error("a time must have the form YYYYMMDDHHMMSS.SSSS+ZZZZ, cut after any part")]
    Form,
    #[error("there is no such date or time")]
    Range,
}

/// A time as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtm {
    /// Parts that were not sent are the first of their kind.
    local: DateTime,
    precision: Precision,
    offset: Option<Offset>,
}

/// Where a time without an offset is, after its own: the offset of MSH-7, then the zone of the source.
#[derive(Clone, Debug)]
pub struct Zones {
    pub header: Option<Offset>,
    /// Of the source; Europe/London unless it says otherwise.
    pub source: TimeZone,
}

/// An instant, and what had to be decided to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub instant: Timestamp,
    /// In force at that instant, for writing the time as the sender sees it.
    pub offset: Offset,
    /// The clock skipped this time (March): moved forward by what was skipped. Worth a warning.
    pub moved: bool,
    /// The clock showed this time twice (October): the first was taken.
    pub repeated: bool,
}

impl Dtm {
    /// `text` is the first component: v2.3 and v2.4 may repeat the precision in the second.
    pub fn parse(text: &str) -> Result<Self, DtmError> {
        let text = text.trim();
        if !text.is_ascii() {
            return Err(DtmError::Form);
        }
        let (local, offset) = match text.find(['+', '-']) {
            Some(at) => (&text[..at], Some(parse_offset(&text[at..])?)),
            None => (text, None),
        };
        let (digits, fraction) = match local.split_once('.') {
            Some((digits, fraction)) => (digits, Some(fraction)),
            None => (local, None),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DtmError::Form);
        }
        let precision = match (digits.len(), fraction) {
            (4, None) => Precision::Year,
            (6, None) => Precision::Month,
            (8, None) => Precision::Day,
            (10, None) => Precision::Hour,
            (12, None) => Precision::Minute,
            (14, None) => Precision::Second,
            (14, Some(_)) => Precision::Fraction,
            _ => return Err(DtmError::Form),
        };
        let part = |from: usize, to: usize, absent: i8| {
            digits.get(from..to).map_or(Ok(absent), |part| part.parse().map_err(|_| DtmError::Form))
        };
        let year: i16 = digits[..4].parse().map_err(|_| DtmError::Form)?;
        let date = Date::new(year, part(4, 6, 1)?, part(6, 8, 1)?).map_err(|_| DtmError::Range)?;
        let nanosecond = fraction.map_or(Ok(0), parse_fraction)?;
        let time = Time::new(part(8, 10, 0)?, part(10, 12, 0)?, part(12, 14, 0)?, nanosecond);
        let local = DateTime::from_parts(date, time.map_err(|_| DtmError::Range)?);
        Ok(Self { local, precision, offset })
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The offset that it carries itself.
    pub fn offset(&self) -> Option<Offset> {
        self.offset
    }

    /// Whether it names a day and a time on it.
    pub fn has_time(&self) -> bool {
        self.precision >= Precision::Hour
    }

    /// The date as sent, never shifted by an offset. `None` if not even the day was sent.
    pub fn date(&self) -> Option<Date> {
        (self.precision >= Precision::Day).then(|| self.local.date())
    }

    /// The local time as sent, with the first of what was not sent.
    pub fn local(&self) -> DateTime {
        self.local
    }

    /// `None` for a date.
    pub fn resolve(&self, zones: &Zones) -> Option<Resolved> {
        if !self.has_time() {
            return None;
        }
        if let Some(offset) = self.offset.or(zones.header) {
            let instant = offset.to_timestamp(self.local).ok()?;
            return Some(Resolved { instant, offset, moved: false, repeated: false });
        }
        let ambiguous = zones.source.to_ambiguous_zoned(self.local);
        let (moved, repeated) = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => (false, false),
            AmbiguousOffset::Gap { .. } => (true, false),
            AmbiguousOffset::Fold { .. } => (false, true),
        };
        let zoned = ambiguous.compatible().ok()?;
        Some(Resolved { instant: zoned.timestamp(), offset: zoned.offset(), moved, repeated })
    }
}

impl Resolved {
    /// `2026-04-11T13:15:00+01:00`, as e-RS wants it.
    pub fn rfc3339(&self) -> String {
        self.instant.display_with_offset(self.offset).to_string()
    }
}

fn parse_offset(text: &str) -> Result<Offset, DtmError> {
    let (sign, digits) = text.split_at(1);
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DtmError::Form);
    }
    let number = |part: &str| part.parse::<i32>().map_err(|_| DtmError::Form);
    let (hours, minutes) = (number(&digits[..2])?, number(&digits[2..])?);
    if hours > 14 || minutes > 59 {
        return Err(DtmError::Range);
    }
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).map_err(|_| DtmError::Range)
}

/// One to four digits by the standard; some send up to nine.
fn parse_fraction(digits: &str) -> Result<i32, DtmError> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DtmError::Form);
    }
    format!("{digits:0<9}").parse().map_err(|_| DtmError::Form)
}

/// MSH-7 of what we send: seconds and offset.
pub fn format(time: &Zoned) -> String {
    time.strftime("%Y%m%d%H%M%S%z").to_string()
}

#[cfg(test)]
mod tests;
