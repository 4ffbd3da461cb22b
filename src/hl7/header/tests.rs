use proptest::prelude::*;

use super::*;
use crate::hl7::samples::{all, sample};

fn live() -> Vec<String> {
    vec!["P".to_owned()]
}

/// Location and code, as `MSH-9: 200`.
fn told(problems: &[AckError]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let at = problem.location.as_ref().expect("a header problem has a field");
            format!("{}-{}: {}", at.segment, at.field.expect("a field"), problem.code)
        })
        .collect()
}

#[test]
fn the_header_is_read_by_position() {
    let bytes = sample("03");
    let header = Header::scan(&bytes).expect("a header");
    assert_eq!(header.delimiters(), Ok(Delimiters::STANDARD));
    assert_eq!(header.sending_application(), "SBEPR");
    assert_eq!(header.sending_facility(), "RXX00");
    assert_eq!((header.message_type().as_ref(), header.trigger().as_ref()), ("REF", "I12"));
    assert_eq!(header.control_id(), b"SB20260316T0931-7");
    assert_eq!(header.processing_id(), "P");
    assert_eq!(header.version(), Some(Version::V2_5_1));
    assert_eq!((header.field(15), header.field(16)), (&b"AL"[..], &b"AL"[..]));
    assert_eq!(header.offset(), Some(Offset::UTC));
    assert_eq!(header.field(0), b"");
    assert_eq!(header.field(22), b"");
    assert_eq!(header.field(usize::MAX), b"");
    assert!(header.problems(&live()).is_empty());
}

#[test]
fn every_sample_has_the_control_id_that_its_index_says() {
    let expected = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7/expected.json"));
    let expected: Vec<serde_json::Value> =
        serde_json::from_slice(&expected.expect("expected.json is there")).expect("it is JSON");
    let mut seen = 0;
    for (name, bytes) in all() {
        let row = expected.iter().find(|row| row["file"] == name.as_str()).expect("a row for each file");
        if name.ends_with(".bin") || row["messages"] != 1 || name.starts_with("49-") || name.starts_with("67-") {
            continue;
        }
        let header = Header::scan(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(row["msh10"].as_str().map(str::as_bytes), Some(header.control_id()), "{name}");
        seen += 1;
    }
    assert!(seen > 50, "{seen} samples were looked at");
}

#[test]
fn a_header_tells_all_that_is_wrong_with_it() {
    for (number, expected) in [
        ("41", &["MSH-2: 102"][..]),
        ("42", &["MSH-9: 200"]),
        ("43", &["MSH-10: 101"]),
        ("74", &["MSH-12: 203"]),
        ("75", &["MSH-11: 202"]),
        ("01", &[]),
        ("40", &[]),
    ] {
        let bytes = sample(number);
        assert_eq!(told(&Header::scan(&bytes).expect("a header").problems(&live())), expected, "{number}");
    }
    let nothing = Header::scan(b"MSH|^~\\&|A").expect("a header");
    assert_eq!(told(&nothing.problems(&live())), ["MSH-9: 200", "MSH-10: 101", "MSH-11: 202", "MSH-12: 203"]);
    let long = format!("MSH|^~\\&|||||||REF^I12|{}|P|2.4", "x".repeat(257));
    assert_eq!(told(&Header::scan(long.as_bytes()).expect("a header").problems(&live())), ["MSH-10: 102"]);
}

#[test]
fn the_control_id_is_found_even_when_the_delimiters_are_bad() {
    for (raw, at) in [
        (&b"MSH|^^\\^|A|B|C|D|2026||REF^I12|E41|P|2.4"[..], 2),
        (b"MSH||A|B|C|D|2026||REF^I12|E41|P|2.4", 2),
        (b"MSHx^~\\&xAxBxCxDx2026xxREF^I12xE41xPx2.4", 1),
    ] {
        let header = Header::scan(raw).expect("a header");
        assert_eq!(header.control_id(), b"E41", "{raw:?}");
        assert_eq!(told(&header.problems(&live())), [format!("MSH-{at}: 102")]);
    }
}

#[test]
fn what_has_no_header_is_unreadable() {
    let wide = sample("49");
    for (bytes, expected) in [
        (&b""[..], Unreadable::NoHeader),
        (b"GET / HTTP/1.1\r\n", Unreadable::NoHeader),
        (b"PID|1", Unreadable::NoHeader),
        (&wide, Unreadable::Wide),
    ] {
        assert_eq!(Header::scan(bytes).err(), Some(expected));
    }
    for bytes in [&b"\xef\xbb\xbfMSH|^~\\&|A"[..], b"\r\n MSH|^~\\&|A", b"MSH|^~\\&|A\rMSH"] {
        assert_eq!(Header::scan(bytes).expect("a header").field(3), b"A", "{bytes:?}");
    }
    assert_eq!(Header::scan(b"MSH").expect("a header").delimiters(), Err(DelimiterError::Field));
}

#[test]
fn charsets_are_the_repetitions_of_msh_18() {
    let header = |msh18: &str| format!("MSH|^~\\&||||||||||||||||{msh18}\rPID|1");
    for (msh18, expected) in [("", &[][..]), ("8859/1", &["8859/1"]), ("ASCII~ISO IR87", &["ASCII", "ISO IR87"])] {
        let bytes = header(msh18);
        assert_eq!(Header::scan(bytes.as_bytes()).expect("a header").charsets(), expected, "{msh18}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_scanning_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut message = b"MSH".to_vec();
        message.extend_from_slice(&bytes);
        if let Ok(header) = Header::scan(&message) {
            header.problems(&live());
            header.offset();
            header.charsets();
        }
        let _ = Header::scan(&bytes);
    }
}

#[test]
fn control_ids_that_differ_in_a_byte_are_known_apart() {
    let known = |id: &[u8]| {
        let message = [b"MSH|^~\\&|PAS|RXX|||||ADT^A31|".as_slice(), id, b"|P|2.4\r"].concat();
        Header::scan(&message).expect("a header").known_control_id()
    };
    assert_ne!(known(b"A\xe8"), known(b"A\xe9"));
    assert_eq!(known("Zo\u{eb}-1".as_bytes()).as_deref(), Some("Zo\u{eb}-1"));
    assert_eq!(known(b""), None);
    assert_eq!(known(&[b'7'; 257]), None);
}
