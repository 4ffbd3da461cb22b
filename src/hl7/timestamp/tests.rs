use proptest::prelude::*;

use super::*;

fn london(header: Option<&str>) -> Zones {
    let header = header.map(|offset| parse_offset(offset).expect("an offset"));
    Zones { header, source: TimeZone::get("Europe/London").expect("the zone is built in") }
}

fn instant(text: &str, zones: &Zones) -> Option<String> {
    Dtm::parse(text).expect(text).resolve(zones).map(|resolved| resolved.rfc3339())
}

#[test]
fn times_are_read_with_their_precision() {
    for (text, local, precision) in [
        ("1957", "1957-01-01T00:00:00", Precision::Year),
        ("195703", "1957-03-01T00:00:00", Precision::Month),
        ("19570314", "1957-03-14T00:00:00", Precision::Day),
        ("2026031609", "2026-03-16T09:00:00", Precision::Hour),
        ("202603160930", "2026-03-16T09:30:00", Precision::Minute),
        ("20260316093015", "2026-03-16T09:30:15", Precision::Second),
        ("20260316093015.1", "2026-03-16T09:30:15.1", Precision::Fraction),
        ("20260316093015.1234+0100", "2026-03-16T09:30:15.1234", Precision::Fraction),
        (" 20260316 ", "2026-03-16T00:00:00", Precision::Day),
    ] {
        let time = Dtm::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((time.local().to_string().as_str(), time.precision()), (local, precision), "{text}");
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for (text, expected) in [
        ("", DtmError::Form),
        ("195", DtmError::Form),
        ("2026031", DtmError::Form),
        ("2026-03-16", DtmError::Form),
        ("20260316093015.", DtmError::Form),
        ("202603160930.5", DtmError::Form),
        ("20260316093015.1234567890", DtmError::Form),
        ("20260316+01", DtmError::Form),
        ("20260316+01é0", DtmError::Form),
        ("2026031６", DtmError::Form), // a full-width digit
        ("20260230", DtmError::Range),
        ("20261301", DtmError::Range),
        ("2026031625", DtmError::Range),
        ("20260316+2500", DtmError::Range),
        ("\"\"", DtmError::Form),
    ] {
        assert_eq!(Dtm::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn a_date_stays_a_date() {
    let born = Dtm::parse("19570314").expect("a date");
    assert_eq!(born.date().map(|date| date.to_string()).as_deref(), Some("1957-03-14"));
    assert_eq!(born.resolve(&london(Some("+0100"))), None);
    let late = Dtm::parse("20260701003000+0100").expect("a time");
    assert_eq!(late.date().map(|date| date.to_string()).as_deref(), Some("2026-07-01"));
    assert_eq!(Dtm::parse("1957").expect("a year").date(), None);
}

#[test]
fn the_zone_is_the_times_own_then_that_of_msh_7_then_that_of_the_source() {
    let paris = Zones { header: None, source: TimeZone::get("Europe/Paris").expect("the zone is built in") };
    for (text, zones, expected) in [
        ("20260411131500-0500", london(Some("+0200")), "2026-04-11T13:15:00-05:00"),
        ("20260411131500", london(Some("+0200")), "2026-04-11T13:15:00+02:00"),
        ("20260411131500", london(None), "2026-04-11T13:15:00+01:00"),
        ("20260111131500", london(None), "2026-01-11T13:15:00+00:00"),
        ("202604111315", paris, "2026-04-11T13:15:00+02:00"),
    ] {
        assert_eq!(instant(text, &zones).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn an_hour_shown_twice_is_the_first_and_one_never_shown_moves_forward() {
    let resolve = |text| Dtm::parse(text).expect(text).resolve(&london(None)).expect("a time");
    let october = resolve("20261025013000");
    assert_eq!(
        (october.rfc3339().as_str(), october.repeated, october.moved),
        ("2026-10-25T01:30:00+01:00", true, false)
    );
    let march = resolve("20260329013000");
    assert_eq!((march.rfc3339().as_str(), march.repeated, march.moved), ("2026-03-29T02:30:00+01:00", false, true));
    let usual = resolve("20260329023000");
    assert_eq!((usual.repeated, usual.moved), (false, false));
}

#[test]
fn what_we_write_has_an_offset() {
    let at: Zoned = "2026-04-11T13:15:09.5+01:00[Europe/London]".parse().expect("a literal time");
    assert_eq!(format(&at), "20260411131509+0100");
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in any::<String>()) {
        let _ = Dtm::parse(&text);
    }

    #[test]
    fn what_looks_like_a_time_never_panics(text in r"[0-9]{4,16}(\.[0-9]{0,10})?([+-][0-9]{3,5})?") {
        if let Ok(time) = Dtm::parse(&text) {
            let _ = time.resolve(&london(None));
        }
    }
}
