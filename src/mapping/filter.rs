//! Named filters: what a mapping may do to a text between selector and command (`then:`).

use serde_json::Value;

use super::expression::upper_first;
use crate::command::{NhsNumber, Ubrn};
use crate::hl7::{Dtm, Zones};

/// A filter's name and what it does, for `map docs` and for the error that lists them.
pub const FILTERS: &[(&str, &str)] = &[
    ("trim", "cuts white space at both ends"),
    ("upper", "upper case"),
    ("lower", "lower case"),
    ("nhs_number", "ten digits with a valid check digit; spaces and hyphens go"),
    ("tracing_status", "`NSTS1`, `NSTS01` or `PDS01` to `01` (NHS number tracing status)"),
    ("ubrn", "twelve digits; spaces go"),
    ("date", "a date or time of HL7 or FHIR to `YYYY-MM-DD` (or as much of it as was given)"),
    ("instant", "an HL7 date and time to an instant with its offset; without one it is a time in London"),
    ("integer", "a whole number"),
    ("yes_no", "`Y` and `N` to true and false"),
    ("postcode", "upper case with one space before the last three characters"),
    ("reference_id", "the id in a reference of FHIR: `Slot/123` to `123`"),
    ("gender", "HL7 table 0001 or NHS codes to `male`, `female`, `other`, `unknown`"),
];

/// Why a filter refused a text; the code is of HL7 table 0357. Never shows the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub text: String,
}

const DATA_TYPE_ERROR: u16 = 102;

fn refuse(text: impl Into<String>) -> Refusal {
    Refusal { code: DATA_TYPE_ERROR, text: text.into() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Trim,
    Upper,
    Lower,
    NhsNumber,
    TracingStatus,
    Ubrn,
    Date,
    Instant,
    Integer,
    YesNo,
    Postcode,
    ReferenceId,
    Gender,
}

impl Filter {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "trim" => Self::Trim,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "nhs_number" => Self::NhsNumber,
            "tracing_status" => Self::TracingStatus,
            "ubrn" => Self::Ubrn,
            "date" => Self::Date,
            "instant" => Self::Instant,
            "integer" => Self::Integer,
            "yes_no" => Self::YesNo,
            "postcode" => Self::Postcode,
            "reference_id" => Self::ReferenceId,
            "gender" => Self::Gender,
            _ => return None,
        })
    }

    /// As mapping files write it.
    pub fn name(self) -> &'static str {
        FILTERS.iter().map(|(name, _)| *name).find(|name| Self::named(name) == Some(self)).unwrap_or_default()
    }

    /// `zones`: where a time without an offset is.
    pub fn apply(self, text: &str, zones: &Zones) -> Result<Value, Refusal> {
        Ok(match self {
            Self::Trim => Value::from(text.trim()),
            Self::Upper => Value::from(text.to_uppercase()),
            Self::Lower => Value::from(text.to_lowercase()),
            Self::NhsNumber => {
                let number = NhsNumber::parse(text.trim()).map_err(|error| refuse(upper_first(&error.to_string())))?;
                Value::from(number.as_str())
            }
            Self::TracingStatus => tracing_status(text)?,
            Self::Ubrn => {
                let ubrn = Ubrn::parse(text.trim()).ok_or_else(|| refuse("a UBRN is exactly 12 digits"))?;
                Value::from(ubrn.as_str())
            }
            Self::Date => date(text)?,
            Self::Instant => instant(text, zones)?,
            Self::Integer => Value::from(text.trim().parse::<i64>().map_err(|_| refuse("expected a whole number"))?),
            Self::YesNo => match text.trim() {
                "Y" | "y" => Value::from(true),
                "N" | "n" => Value::from(false),
                _ => return Err(refuse("expected Y or N")),
            },
            Self::Postcode => postcode(text),
            Self::ReferenceId => reference_id(text)?,
            Self::Gender => Value::from(match text.trim() {
                "M" | "1" => "male",
                "F" | "2" => "female",
                "O" | "A" | "N" | "9" => "other",
                _ => "unknown",
            }),
        })
    }
}

/// `hl7/reference.md` 4.1: ITK prints two digits, UK A.3 one; PDS is allowed for NSTS.
fn tracing_status(text: &str) -> Result<Value, Refusal> {
    let text = text.trim();
    let digits = text.strip_prefix("NSTS").or_else(|| text.strip_prefix("PDS")).unwrap_or(text);
    match digits.parse::<u8>() {
        Ok(status @ 1..=8) if digits.len() <= 2 => Ok(Value::from(format!("{status:02}"))),
        _ => Err(Refusal { code: 103, text: "not an NHS number tracing status (NSTS01 to NSTS08)".into() }),
    }
}

/// As precise as it was given (`YYYY`, `YYYY-MM`, `YYYY-MM-DD`). Date-only values stay dates: a birth date
/// is never shifted by a time zone (`hl7/reference.md` 7.3).
fn date(text: &str) -> Result<Value, Refusal> {
    let text = text.trim();
    // FHIR and ISO 8601 write the same parts with hyphens between them.
    let day = &text[..text.find('T').unwrap_or(text.len())];
    let compact: String;
    let text = match day.as_bytes() {
        [_, _, _, _, b'-', _, _] | [_, _, _, _, b'-', _, _, b'-', _, _] => {
            compact = day.replace('-', "");
            compact.as_str()
        }
        // A year with an offset is HL7; a month or a day of one digit is neither.
        [_, _, _, _, b'-', rest @ ..] if rest.len() != 4 || !rest.iter().all(u8::is_ascii_digit) => {
            return Err(refuse("expected a date, YYYYMMDD or YYYY-MM-DD"));
        }
        _ => text,
    };
    let digits: &str = &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())];
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let (year, month, day) = (part(0..4), part(4..6), part(6..8));
    let shown = match digits.len() {
        4 => year.to_owned(),
        6 => format!("{year}-{month}"),
        8.. => format!("{year}-{month}-{day}"),
        _ => return Err(refuse("expected a date, YYYYMMDD")),
    };
    let number = |text: &str| text.parse::<i8>().unwrap_or(1);
    let valid = year.parse::<i16>().ok().and_then(|year| jiff::civil::Date::new(year, number(month), number(day)).ok());
    valid.map(|_| Value::from(shown)).ok_or_else(|| refuse("expected a date, YYYYMMDD"))
}

/// `2026-04-11T13:15:00+01:00`, as the sender sees it.
fn instant(text: &str, zones: &Zones) -> Result<Value, Refusal> {
    let expected = || refuse("expected a date and time, YYYYMMDDHHMM with an offset such as +0100");
    let time = Dtm::parse(text).ok().filter(Dtm::has_time).ok_or_else(expected)?;
    let resolved = time.resolve(zones).ok_or_else(expected)?;
    Ok(Value::from(resolved.rfc3339()))
}

/// The last part of `Type/id`, or an id alone; what names another place or a UUID has none that e-RS would know.
fn reference_id(text: &str) -> Result<Value, Refusal> {
    let text = text.trim();
    let unversioned = text.split_once("/_history/").map_or(text, |(before, _)| before);
    let id = unversioned.rsplit('/').next().unwrap_or_default();
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if is_id { Ok(Value::from(id)) } else { Err(refuse("expected a reference such as Slot/123")) }
}

fn postcode(text: &str) -> Value {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
    let split = compact.char_indices().rev().nth(2).map_or(0, |(at, _)| at);
    let (outward, inward) = compact.split_at(split);
    Value::from(if outward.is_empty() { compact.clone() } else { format!("{outward} {inward}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_filter_exists() {
        for (name, _) in FILTERS {
            assert!(Filter::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_time_without_an_offset_has_that_of_the_header_or_of_the_source() {
        let source = jiff::tz::TimeZone::get("Europe/Madrid").expect("a zone");
        let mut zones = Zones { header: None, source };
        let instant = |text, zones: &Zones| Filter::Instant.apply(text, zones).ok();
        assert_eq!(instant("202607111315", &zones), Some("2026-07-11T13:15:00+02:00".into()));
        zones.header = Some(jiff::tz::offset(1));
        assert_eq!(instant("202607111315", &zones), Some("2026-07-11T13:15:00+01:00".into()));
        assert_eq!(instant("202607111315+0000", &zones), Some("2026-07-11T13:15:00+00:00".into()));
    }

    #[test]
    fn filters_do_what_they_say() {
        let zones = Zones { header: None, source: jiff::tz::TimeZone::get("Europe/London").expect("a zone") };
        for (filter, text, expected) in [
            ("nhs_number", "999 412 0034", Some("9994120034".into())),
            ("nhs_number", "9994137841", None),
            ("tracing_status", "NSTS1", Some("01".into())),
            ("tracing_status", "PDS02", Some("02".into())),
            ("tracing_status", "AL", None),
            ("date", "19570314", Some("1957-03-14".into())),
            ("date", "195703141200+0100", Some("1957-03-14".into())),
            ("date", "19570231", None),
            ("date", "1957", Some("1957".into())),
            ("date", "195", None),
            ("date", "1957-03-14", Some("1957-03-14".into())),
            ("date", "1957-03", Some("1957-03".into())),
            ("date", "2026-03-16T09:30:00+00:00", Some("2026-03-16".into())),
            ("date", "1957-02-31", None),
            ("date", "1957-3-14", None),
            ("date", "1957-0500", Some("1957".into())),
            ("reference_id", "Slot/20013001", Some("20013001".into())),
            ("reference_id", "https://example.invalid/R4/Slot/20013001/_history/2", Some("20013001".into())),
            ("reference_id", "urn:uuid:9d7a", None),
            ("instant", "20260411131500+0100", Some("2026-04-11T13:15:00+01:00".into())),
            ("instant", "202604111315", Some("2026-04-11T13:15:00+01:00".into())),
            ("instant", "202601111315", Some("2026-01-11T13:15:00+00:00".into())),
            ("instant", "20260411", None),
            ("instant", "soon", None),
            ("integer", " 14 ", Some(14.into())),
            ("integer", "x", None),
            ("yes_no", "Y", Some(true.into())),
            ("postcode", "zz999zz", Some("ZZ99 9ZZ".into())),
            ("gender", "2", Some("female".into())),
            ("ubrn", "0000 0007 0001", Some("000000070001".into())),
        ] {
            let filter_found = Filter::named(filter).expect(filter);
            assert_eq!(filter_found.apply(text, &zones).ok(), expected as Option<Value>, "{filter} of {text:?}");
        }
    }
}
