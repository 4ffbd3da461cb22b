use encoding_rs::{ISO_8859_2, ISO_8859_15, SHIFT_JIS, WINDOWS_1254};
use proptest::prelude::*;

use super::*;
use crate::hl7::samples::sample;

fn decode_declared<'a>(bytes: &'a [u8], msh18: &str) -> Result<Decoded<'a>, CharsetError> {
    let labels: Vec<_> = if msh18.is_empty() { Vec::new() } else { msh18.split('~').map(Cow::from).collect() };
    let declared = Declared { http: None, msh18: &labels, source: WINDOWS_1252 };
    decode(bytes, declared, Undecodable::Refuse)
}

#[test]
fn msh_18_chooses_the_encoding() {
    for (msh18, bytes, text, encoding) in [
        ("", &b"plain"[..], "plain", UTF_8),
        ("ASCII", b"plain", "plain", UTF_8),
        ("", "FFÎON".as_bytes(), "FFÎON", UTF_8),
        ("", b"M\xdcller", "Müller", WINDOWS_1252), // the source's default
        ("ISO IR6", b"M\xdcller", "Müller", WINDOWS_1252),
        ("8859/1", b"M\xdcller", "Müller", WINDOWS_1252),
        ("8859/2", b"\xb3", "ł", ISO_8859_2),
        ("8859/9", b"\xfe", "ş", WINDOWS_1254),
        ("8859/15", b"\xa4", "€", ISO_8859_15),
        ("UNICODE UTF-8", "Siân".as_bytes(), "Siân", UTF_8),
        ("UTF8", "Siân".as_bytes(), "Siân", UTF_8),
        ("utf-8", "Siân".as_bytes(), "Siân", UTF_8),
        ("UNICODE-UTF8", "Siân".as_bytes(), "Siân", UTF_8),
        ("ISO-8859-1", b"M\xfcller", "Müller", WINDOWS_1252),
        ("CP1252", b"\x80", "€", WINDOWS_1252),
        ("GB 18030-2000", b"\xd6\xd0", "中", GB18030),
        ("BIG-5", b"\xa4\xa4", "中", BIG5),
        ("KS X 1001", b"\xc7\xd1", "한", EUC_KR),
        ("ISO IR87", b"\x1b$BF|\x1b(B", "日", ISO_2022_JP),
        ("ASCII~ISO IR87", b"plain", "plain", UTF_8), // a further charset that is not used
        ("shift_jis", b"\x93\xfa", "日", SHIFT_JIS),
    ] {
        let expected = text.replace("Müller", if bytes.contains(&0xdc) { "MÜller" } else { "Müller" });
        let decoded = decode_declared(bytes, msh18).unwrap_or_else(|error| panic!("{msh18}: {error}"));
        assert_eq!((decoded.text.as_ref(), decoded.encoding.name()), (expected.as_str(), encoding.name()), "{msh18}");
        assert!(!decoded.replaced && !decoded.mislabelled, "{msh18}");
        assert_eq!(decoded.is_identical(), decoded.text.as_bytes() == bytes, "{msh18}");
    }
}

#[test]
fn a_charset_that_is_not_supported_is_refused() {
    let wide = sample("49");
    for (msh18, bytes, expected) in [
        ("KLINGON/9", &b"x"[..], CharsetError::UnknownMsh18),
        ("8859/10", b"x", CharsetError::UnknownMsh18),
        ("8859/", b"x", CharsetError::UnknownMsh18),
        ("ISO IR14", b"x", CharsetError::UnknownMsh18),
        ("ISO IR159", b"x", CharsetError::UnknownMsh18),
        ("CNS 11643-1992", b"x", CharsetError::UnknownMsh18),
        ("x-user-defined", b"x", CharsetError::UnknownMsh18),
        ("replacement", b"x", CharsetError::UnknownMsh18),
        ("ASCII~ISO IR87", b"\x1b$BF|\x1b(B", CharsetError::CodeExtension),
        ("UNICODE", b"\xff\xfeM\0", CharsetError::Wide),
        ("", b"\xfe\xff\0M", CharsetError::Wide),
        ("", b"M\0S\0H\0", CharsetError::Wide),
        ("", b"\0M\0S\0H", CharsetError::Wide),
        ("", &wide, CharsetError::Wide),
    ] {
        assert_eq!(decode_declared(bytes, msh18).map(|d| d.text), Err(expected), "{msh18}");
    }
}

#[test]
fn undecodable_bytes_are_refused_with_their_position_or_replaced() {
    for (msh18, bytes, position, replaced) in [
        ("UNICODE UTF-8", &b"Si\xe2n"[..], 2, "Si\u{fffd}n"),
        ("UNICODE UTF-8", b"Sian\xe2\x82", 4, "Sian\u{fffd}"),
        ("UNICODE UTF-8", b"\xff", 0, "\u{fffd}"),
        ("8859/7", b"a\xaeb", 1, "a\u{fffd}b"),
        ("BIG-5", b"ab\xa4", 2, "ab\u{fffd}"),
    ] {
        match decode_declared(bytes, msh18) {
            Err(CharsetError::Undecodable { position: found, .. }) => assert_eq!(found, position, "{msh18}"),
            other => panic!("{msh18}: {other:?}"),
        }
        let labels = [Cow::from(msh18)];
        let declared = Declared { http: None, msh18: &labels, source: WINDOWS_1252 };
        let decoded = decode(bytes, declared, Undecodable::Replace).expect("replacing always succeeds");
        assert_eq!((decoded.text.as_ref(), decoded.replaced), (replaced, true), "{msh18}");
    }
}

#[test]
fn a_bad_byte_is_found_far_into_a_message() {
    let mut bytes = "ﬁ".repeat(10_000).into_bytes();
    bytes.push(0xff);
    let at = bytes.len() - 1;
    bytes.extend_from_slice(b" and more");
    match decode_declared(&bytes, "UNICODE UTF-8") {
        Err(CharsetError::Undecodable { position, .. }) => assert_eq!(position, at),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sender_is_told_segment_and_field_of_a_bad_byte() {
    let bytes = b"MSH|^~\\&|A||||||||||||||||UNICODE UTF-8\rNTE|1|x\rNTE|2|L|Si\xe2n\r";
    let header = Header::scan(bytes).expect("a header");
    let error = decode_declared(bytes, "UNICODE UTF-8").expect_err("0xE2 is not followed by its letter");
    let told = error.to_ack_error(&header, bytes);
    let expected = ErrorLocation { ordinal: 2, ..ErrorLocation::field("NTE", 3) };
    assert_eq!((told.code, told.location), (102, Some(expected)));
}

#[test]
fn utf_8_under_another_label_is_read_as_utf_8_with_a_warning() {
    let bytes = sample("51");
    let decoded = decode_declared(&bytes, "8859/1").expect("accepted");
    assert!(decoded.mislabelled && decoded.is_identical());
    assert!(decoded.text.contains("ÅNGSTRÖMLY^LOÏS"));
    let latin = sample("47");
    let decoded = decode_declared(&latin, "8859/1").expect("accepted");
    assert!(!decoded.mislabelled && !decoded.is_identical());
    assert!(decoded.text.contains("MÜLLERSEN^JOSÉ"));
    // UNICODE means UTF-16; a header that can be read says otherwise.
    let decoded = decode_declared("MSH|Siân".as_bytes(), "UNICODE").expect("accepted");
    assert_eq!((decoded.encoding, decoded.mislabelled), (UTF_8, true));
}

#[test]
fn the_content_type_overrides_msh_18() {
    let labels = [Cow::from("8859/1")];
    let declared = |http| Declared { http: Some(http), msh18: &labels, source: WINDOWS_1252 };
    let decoded = decode("Siân".as_bytes(), declared("utf-8"), Undecodable::Refuse).expect("UTF-8");
    assert_eq!((decoded.text.as_ref(), decoded.mislabelled), ("Siân", false));
    let refused = decode(b"x", declared("klingon"), Undecodable::Refuse);
    assert_eq!(refused.map(|d| d.text), Err(CharsetError::UnknownHttp));
}

#[test]
fn replies_go_back_in_the_senders_charset_or_say_otherwise() {
    let reply = "MSH|^~\\&|A|B|C|D|20260316||RRI^I12|1|P|2.4||||||8859/1\rNTE|1||Müller\r";
    assert!(encode_reply(reply, WINDOWS_1252).windows(3).any(|part| part == b"M\xfcl"));
    let welsh = reply.replace("Müller", "Ŵyn");
    let encoded = encode_reply(&welsh, WINDOWS_1252);
    let text = std::str::from_utf8(&encoded).expect("UTF-8");
    assert!(text.starts_with("MSH|^~\\&|A|B|C|D|20260316||RRI^I12|1|P|2.4||||||UNICODE UTF-8\rNTE|1||Ŵyn"), "{text}");
    let short = encode_reply("MSH|^~\\&|A\rNTE|Ŵ\r", WINDOWS_1252);
    assert_eq!(std::str::from_utf8(&short), Ok("MSH|^~\\&|A|||||||||||||||UNICODE UTF-8\rNTE|Ŵ\r"));
    assert_eq!(encode_or_question_mark("Ŵyn Müller", WINDOWS_1252).as_ref(), b"?yn M\xfcller");
}

proptest! {
    #[test]
    fn nothing_is_lost_in_any_charset(bytes in any::<Vec<u8>>(), msh18 in "|8859/[1-9]|UNICODE UTF-8|BIG-5|KS X 1001|GB 18030-2000") {
        if let Ok(decoded) = decode_declared(&bytes, &msh18) {
            let marked = decoded.replaced || decoded.text.contains(char::REPLACEMENT_CHARACTER);
            prop_assert!(!marked || decoded.text.as_bytes() == bytes);
            if decoded.encoding.is_single_byte() {
                prop_assert_eq!(decoded.text.chars().count(), bytes.len());
            }
            if decoded.is_identical() {
                prop_assert_eq!(decoded.text.as_bytes(), bytes.as_slice());
            }
        }
    }

    #[test]
    fn the_position_of_a_bad_byte_is_within_the_message(bytes in any::<Vec<u8>>(), msh18 in "UNICODE UTF-8|BIG-5|8859/[678]|ISO IR87") {
        if let Err(CharsetError::Undecodable { position, .. }) = decode_declared(&bytes, &msh18) {
            prop_assert!(position < bytes.len());
        }
    }
}

#[test]
fn utf16_is_known_by_its_mark_or_by_its_first_letter() {
    for (bytes, expected) in [
        (&b"\xff\xfeM\0"[..], Some(UTF_16LE)),
        (b"\xfe\xff\0M", Some(UTF_16BE)),
        (b"M\0S\0H\0", Some(UTF_16LE)),
        (b"\0F\0H\0S", Some(UTF_16BE)),
        (b"\xff\xfe\0\0M\0\0\0", None), // UTF-32
        (b"\0\0\xfe\xff", None),
        (b"MSH|", None),
        (b"", None),
    ] {
        assert_eq!(utf16(bytes), expected, "{bytes:?}");
    }
    let wide = sample("49");
    let (text, broken) = from_utf16(&wide, UTF_16LE);
    assert!(text.starts_with("\u{feff}MSH|") && text.contains("ЗАПАС") && broken.is_none());
    assert_eq!(from_utf16(b"M\0\0\xd8S\0", UTF_16LE), ("M\u{fffd}S".to_owned(), Some(2)));
}
