use proptest::prelude::*;

use super::*;
use crate::hl7::samples;
use crate::hl7::{Component, Repetition, Subcomponent};

/// Quadratic time on so many would be hours.
const DELIMITER_BYTES: usize = 4 * 1024 * 1024;
const HEADER: &str = r"MSH|^~\&|EASTVALE|RYY00|ERSGW|RXX00|20260316093015||REF^I12^REF_I12|E1|P|2.4";

fn parse(text: &str) -> Message<'_> {
    Message::parse(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn names<'a>(message: &Message<'a>) -> Vec<&'a str> {
    message.segments().iter().map(Segment::name).collect()
}

#[test]
fn segments_end_in_any_line_end_or_none() {
    for text in [
        "MSH|^~\\&|A\rPID|1\rPV1\r",
        "MSH|^~\\&|A\nPID|1\nPV1\n",
        "MSH|^~\\&|A\r\nPID|1\r\nPV1\r\n",
        "MSH|^~\\&|A\rPID|1\nPV1\r\n",
        "MSH|^~\\&|A\rPID|1\rPV1",
        "\u{feff}MSH|^~\\&|A\rPID|1\rPV1",
        "\r\n\nMSH|^~\\&|A\r\r\r\nPID|1\n  \t\nPV1\n\n\n",
    ] {
        let message = parse(text);
        assert_eq!(names(&message), ["MSH", "PID", "PV1"], "{text:?}");
        assert_eq!(message.segments()[1].raw(), "PID|1", "{text:?}");
        assert_eq!(message.segments()[2].field_count(), 0, "{text:?}");
    }
}

#[test]
fn the_header_fields_are_numbered_from_the_separator() {
    let message = parse(HEADER);
    let header = message.segment("MSH").expect("MSH");
    let field = |n| header.field(n).map(|f| (f.raw(), f.offset()));
    assert_eq!(field(0), None);
    assert_eq!(field(1), Some(("|", 3)));
    assert_eq!(field(2), Some((r"^~\&", 4)));
    assert_eq!(field(3), Some(("EASTVALE", 9)));
    assert_eq!(field(9).map(|f| f.0), Some("REF^I12^REF_I12"));
    assert_eq!(field(12).map(|f| f.0), Some("2.4"));
    assert_eq!(field(13), None);
    assert_eq!(header.field_count(), 12);
    // MSH-2 is one value, although it consists of delimiters.
    let encoding = header.field(2).expect("MSH-2");
    let inside: Vec<_> = encoding.repetitions().collect();
    assert_eq!(inside.len(), 1);
    assert_eq!(inside[0].component(1).and_then(|c| c.subcomponent(1)).map(|s| s.raw()), Some(r"^~\&"));
    assert_eq!(inside[0].component(2), None);
}

#[test]
fn parts_know_their_number_and_place() {
    let text = format!("{HEADER}\rPID|1||999^^^NHS&2.16&ISO^NH~H1^^^RXX||\rNTE|1\rNTE|2|é|x^y");
    let message = parse(&text);
    let pid = message.segment("PID").expect("PID");
    assert_eq!((pid.ordinal(), pid.index(), pid.field_count()), (1, 1, 5));
    assert!(pid.field(2).is_some_and(|f| f.is_empty()));
    assert!(pid.field(5).is_some_and(|f| f.is_empty()));
    assert!(pid.field(6).is_none());
    let id = pid.field(3).expect("PID-3");
    let repetitions: Vec<_> = id.repetitions().collect();
    assert_eq!(
        repetitions.iter().map(|r| (r.number(), r.raw())).collect::<Vec<_>>(),
        [(1, "999^^^NHS&2.16&ISO^NH"), (2, "H1^^^RXX")]
    );
    let authority = repetitions[0].component(4).expect("PID-3.4");
    assert_eq!(authority.subcomponents().map(|s| s.raw()).collect::<Vec<_>>(), ["NHS", "2.16", "ISO"]);
    let iso = authority.subcomponent(3).expect("PID-3.4.3");
    assert_eq!((iso.number(), iso.raw(), &text[iso.offset()..iso.offset() + 3]), (3, "ISO", "ISO"));
    assert_eq!(repetitions[1].component(4).map(|c| c.raw()), Some("RXX"));
    assert_eq!(repetitions[0].component(0), None);
    assert_eq!(repetitions[0].component(6), None);
    let notes: Vec<_> = message.segments_named("NTE").map(|s| (s.ordinal(), s.index())).collect();
    assert_eq!(notes, [(1, 2), (2, 3)]);
    let last = message.segments()[3].field(3).expect("NTE-3");
    assert_eq!(&text[last.offset()..], "x^y");
}

#[test]
fn the_senders_delimiters_are_used() {
    let bytes = samples::sample("40");
    let text = String::from_utf8(bytes).expect("the sample is ASCII");
    let message = parse(&text);
    let id = message.segment("PID").and_then(|pid| pid.field(3)).expect("PID-3");
    assert_eq!(id.repetitions().map(|r| r.component(5).map(|c| c.raw())).collect::<Vec<_>>(), [Some("NH"), Some("MR")]);
}

#[test]
fn file_and_batch_headers_define_delimiters_too() {
    let text = format!("{HEADER}\rBHS|^~\\&|A");
    let message = parse(&text);
    let batch = message.segment("BHS").expect("BHS");
    assert_eq!(batch.field(2).map(|f| f.raw()), Some(r"^~\&"));
    assert_eq!(batch.field(3).map(|f| f.raw()), Some("A"));
}

#[test]
fn what_is_no_segment_is_refused_and_never_skipped() {
    let name = |line| StructureError::SegmentName { line };
    for (text, expected) in [
        ("", StructureError::NoHeader),
        ("\r\n", StructureError::NoHeader),
        ("PID|1", StructureError::NoHeader),
        (" MSH|^~\\&", StructureError::NoHeader),
        ("GET / HTTP/1.1", StructureError::NoHeader),
        ("MSH", StructureError::Delimiters(DelimiterError::Field)),
        ("MSH|", StructureError::Delimiters(DelimiterError::Length)),
        ("MSH|^^\\^|A", StructureError::Delimiters(DelimiterError::Duplicate)),
        ("MSHA^~\\&|A", StructureError::Delimiters(DelimiterError::Field)),
        ("MSH|^~\\&|A\rX|oops", name(2)),
        ("MSH|^~\\&|A\r\r PID|1", name(3)),
        ("MSH|^~\\&|A\r\nsecond half of a note", name(2)),
        ("MSH|^~\\&|A\rPIDX|1", name(2)),
        ("MSH|^~\\&|A\r1AB|1", name(2)),
        ("MSH|^~\\&|A\ré1|1", name(2)),
        ("MSH|^~\\&|A\rPID|1\u{1c}\r\u{1c}", name(3)),
        ("MSH|^~\\&|A\rMSH|^~\\&|B", StructureError::SecondHeader { line: 2 }),
    ] {
        assert_eq!(Message::parse(text).map(|m| m.segments().len()), Err(expected), "{text:?}");
    }
}

#[test]
fn every_readable_sample_is_read_whole() {
    for (name, bytes) in samples::all() {
        let unreadable = ["41-", "49-", "60-", "66-", "67-", "78-"].iter().any(|start| name.starts_with(start));
        if unreadable || name.ends_with(".bin") {
            continue;
        }
        let (text, _, _) = encoding_rs::WINDOWS_1252.decode(&bytes);
        let message = Message::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let joined: Vec<_> = message.segments().iter().map(Segment::raw).collect();
        let lines: Vec<_> = text.split(['\r', '\n']).filter(|line| !line.is_empty()).collect();
        assert_eq!(joined, lines, "{name}");
    }
}

#[test]
fn limits_hold_on_hostile_messages() {
    let fields = format!("MSH|^~\\&{}", "|".repeat(70_000));
    assert!(matches!(Message::parse(&fields), Err(StructureError::TooManyFields { ordinal: 1, .. })));
    let allowed = format!("MSH|^~\\&{}", "|".repeat(SEGMENT_FIELDS_MAX - 1));
    assert_eq!(parse(&allowed).segments()[0].field_count(), u16::MAX);
    let segments = format!("MSH|^~\\&\r{}", "ZZZ\r".repeat(65_535));
    assert_eq!(Message::parse(&segments).err(), Some(StructureError::TooManySegments));
    let many = format!("MSH|^~\\&\r{}", format!("ZZZ{}\r", "|".repeat(60_000)).repeat(20));
    assert!(matches!(Message::parse(&many), Err(StructureError::TooManyFields { ordinal: 17, .. })));
}

#[test]
fn megabytes_of_delimiters_are_read_in_linear_time() {
    for delimiter in ["|", "~", "^", "&", "\r", "\\", "^~", "\rAAA|"] {
        let text = format!("MSH|^~\\&\rNTE|1|{}", delimiter.repeat(DELIMITER_BYTES / delimiter.len()));
        let began = std::time::Instant::now();
        if let Ok(message) = Message::parse(&text) {
            let parts: usize = message.segments()[1..].iter().map(parts_of).sum();
            assert!(parts > 0);
        }
        assert!(began.elapsed().as_secs() < 20, "{delimiter:?} took {:?}", began.elapsed());
    }
}

/// Walks everything; the number of subcomponents.
fn parts_of(segment: &Segment<'_>) -> usize {
    let fields = (1..=segment.field_count()).filter_map(|number| segment.field(number));
    let repetitions = fields.flat_map(|field| field.repetitions());
    repetitions.flat_map(|r| r.components().collect::<Vec<_>>()).map(|c| c.subcomponents().count()).sum()
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in any::<String>()) {
        let _ = Message::parse(&text);
    }

    #[test]
    fn parts_rejoin_to_the_text_they_were_cut_from(body in "([A-Z]{3}[|^~&\\\\é A-Za-z0-9]{0,60}(\r|\n|\r\n)){0,8}") {
        let text = format!("MSH|^~\\&|A\r{body}");
        let Ok(message) = Message::parse(&text) else { return Ok(()) };
        for (index, segment) in message.segments().iter().enumerate() {
            prop_assert_eq!(segment.index(), index);
            prop_assert_eq!(&text[segment.offset()..segment.offset() + segment.raw().len()], segment.raw());
            let fields: Vec<_> = (1..=segment.field_count()).filter_map(|n| segment.field(n)).collect();
            prop_assert_eq!(fields.len(), usize::from(segment.field_count()));
            let raw: Vec<_> = fields.iter().map(Field::raw).collect();
            let joined = if segment.name() == "MSH" { format!("MSH|{}", raw[1..].join("|")) } else {
                [&[segment.name()], raw.as_slice()].concat().join("|")
            };
            prop_assert_eq!(joined, segment.raw());
            for field in fields.iter().skip(if segment.name() == "MSH" { 2 } else { 0 }) {
                check_field(&text, field)?;
            }
        }
    }

    #[test]
    fn the_inside_of_a_field_agrees_with_another_parser(raw in "[a-zé^~&]{1,40}") {
        let text = format!("MSH|^~\\&|A\rZZZ|{raw}\r");
        let ours = parse(&text);
        let ours: Vec<Vec<Vec<&str>>> = ours.segments()[1].field(1).expect("ZZZ-1").repetitions().map(|r| {
            r.components().map(|c| c.subcomponents().map(|s| s.raw()).collect()).collect()
        }).collect();
        let theirs = hl7_parser::parser::parse_field(&raw).expect("a field without line ends");
        let theirs: Vec<Vec<Vec<&str>>> = theirs.repeats().map(|r| {
            r.components().map(|c| c.subcomponents().map(|s| s.raw_value()).collect()).collect()
        }).collect();
        prop_assert_eq!(ours, theirs);
    }
}

fn check_field(text: &str, field: &Field<'_>) -> Result<(), TestCaseError> {
    let at = |offset: usize, raw: &str| &text[offset..offset + raw.len()] == raw;
    prop_assert!(at(field.offset(), field.raw()));
    let repetitions: Vec<_> = field.repetitions().collect();
    prop_assert_eq!(repetitions.iter().map(Repetition::raw).collect::<Vec<_>>().join("~"), field.raw());
    for (index, repetition) in repetitions.iter().enumerate() {
        prop_assert!(at(repetition.offset(), repetition.raw()));
        prop_assert_eq!(usize::from(repetition.number()), index + 1);
        let components: Vec<_> = repetition.components().collect();
        prop_assert_eq!(components.iter().map(Component::raw).collect::<Vec<_>>().join("^"), repetition.raw());
        for component in &components {
            prop_assert!(at(component.offset(), component.raw()));
            prop_assert_eq!(repetition.component(component.number()), Some(*component));
            let inside: Vec<_> = component.subcomponents().collect();
            prop_assert_eq!(inside.iter().map(Subcomponent::raw).collect::<Vec<_>>().join("&"), component.raw());
            for subcomponent in &inside {
                prop_assert!(at(subcomponent.offset(), subcomponent.raw()));
                prop_assert_eq!(component.subcomponent(subcomponent.number()), Some(*subcomponent));
            }
        }
    }
    Ok(())
}
