//! Messages of our own: their MSH, and the charset that they are written in.
//!
//! Enters: who sends what to whom, and lines below MSH. Leaves: bytes. Guarantees: MSH-18 is the name of table 0211 for what
//! the bytes are; a character that the charset lacks is an error and never becomes another.

use encoding_rs::Encoding;
use jiff::Zoned;

use super::{Delimiters, Version, escape, timestamp};

/// A charset to write, by its WHATWG label: those that table 0211 has a name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCharset {
    encoding: &'static Encoding,
    /// Table 0211.
    name: &'static str,
    /// What the label promises of single bytes. `iso-8859-1` is read as windows-1252, but has less.
    range: Range,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Ascii,
    /// Without 0x80 to 0x9F.
    Iso8859,
    Any,
}

/// Label, table 0211, range.
const CHARSETS: [(&str, &str, Range); 15] = [
    ("utf-8", "UNICODE UTF-8", Range::Any),
    ("us-ascii", "ASCII", Range::Ascii),
    ("iso-8859-1", "8859/1", Range::Iso8859),
    ("iso-8859-2", "8859/2", Range::Iso8859),
    ("iso-8859-3", "8859/3", Range::Iso8859),
    ("iso-8859-4", "8859/4", Range::Iso8859),
    ("iso-8859-5", "8859/5", Range::Iso8859),
    ("iso-8859-6", "8859/6", Range::Iso8859),
    ("iso-8859-7", "8859/7", Range::Iso8859),
    ("iso-8859-8", "8859/8", Range::Iso8859),
    ("iso-8859-9", "8859/9", Range::Iso8859),
    ("iso-8859-15", "8859/15", Range::Iso8859),
    ("gb18030", "GB 18030-2000", Range::Any),
    ("big5", "BIG-5", Range::Any),
    ("euc-kr", "KS X 1001", Range::Any),
];

impl OwnCharset {
    pub const UTF_8: Self = Self { encoding: encoding_rs::UTF_8, name: "UNICODE UTF-8", range: Range::Any };

    pub fn labelled(label: &str) -> Option<Self> {
        let (known, name, range) = CHARSETS.into_iter().find(|(known, ..)| label.eq_ignore_ascii_case(known))?;
        Some(Self { encoding: Encoding::for_label(known.as_bytes())?, name, range })
    }

    pub fn labels() -> impl Iterator<Item = &'static str> {
        CHARSETS.into_iter().map(|(label, ..)| label)
    }

    /// In table 0211.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// `None` if the charset lacks a character of it.
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        let (bytes, _, unmappable) = self.encoding.encode(text);
        let fits = |byte: &u8| match self.range {
            Range::Ascii => byte.is_ascii(),
            Range::Iso8859 => !(0x80..=0x9f).contains(byte),
            Range::Any => true,
        };
        (!unmappable && bytes.iter().all(fits)).then(|| bytes.into_owned())
    }
}

/// MSH of a message of our own.
#[derive(Clone, Debug)]
pub struct OwnHeader<'h> {
    /// MSH-3 to MSH-6: sending application and facility, receiving application and facility.
    pub parties: [&'h str; 4],
    /// MSH-7, written with its offset.
    pub at: &'h Zoned,
    /// MSH-9; the structure is left out up to v2.3.
    pub message_type: [&'h str; 3],
    pub control_id: &'h str,
    pub processing_id: &'h str,
    pub version: Version,
    /// MSH-15 and MSH-16.
    pub answers: [&'h str; 2],
    pub charset: OwnCharset,
}

impl OwnHeader<'_> {
    /// Without the CR.
    pub fn line(&self) -> String {
        let delimiters = Delimiters::STANDARD;
        let written = if self.version > Version::V2_3 { 3 } else { 2 };
        let message_type = self.message_type[..written].join("^");
        let escaped = |text: &str| escape(text, &delimiters).into_owned();
        let [sender, sender_facility, receiver, receiver_facility] = self.parties.map(escaped);
        let fields = [
            "MSH",
            r"^~\&",
            &sender,
            &sender_facility,
            &receiver,
            &receiver_facility,
            &timestamp::format(self.at),
            "",
            &message_type,
            &escaped(self.control_id),
            self.processing_id,
            self.version.as_str(),
            "",
            "",
            self.answers[0],
            self.answers[1],
            "",
            self.charset.name,
        ];
        fields.join("|")
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::hl7::charset::decode;
    use crate::hl7::{Declared, Undecodable};

    #[test]
    fn every_charset_is_read_by_the_name_that_it_is_written_with() {
        for label in OwnCharset::labels() {
            let charset = OwnCharset::labelled(label).unwrap_or_else(|| panic!("{label}"));
            let names = [Cow::Borrowed(charset.name())];
            let declared = Declared { http: None, msh18: &names, source: encoding_rs::KOI8_R };
            // A letter that makes the bytes differ from ASCII, where there is one.
            let written = ["é", "я", "ш", "א", "ب", "λ", "一", "x"].iter().find_map(|letter| {
                let bytes = charset.encode(letter)?;
                Some((*letter, bytes))
            });
            let (letter, bytes) = written.unwrap_or_else(|| panic!("{label} has none of them"));
            let read = decode(&bytes, declared, Undecodable::Refuse).unwrap_or_else(|error| panic!("{label}: {error}"));
            assert_eq!(read.text, letter, "{label}");
        }
        assert_eq!(OwnCharset::labelled("UTF-8"), Some(OwnCharset::UTF_8));
        assert_eq!(OwnCharset::labelled("windows-1252"), None, "table 0211 has no name for it");
    }

    #[test]
    fn what_a_charset_lacks_is_never_written_as_something_else() {
        for (label, text, bytes) in [
            ("utf-8", "Siân €", Some("Siân €".as_bytes())),
            ("iso-8859-1", "Siân", Some(&b"Si\xe2n"[..])),
            ("iso-8859-1", "€ 5", None),
            ("iso-8859-15", "€ 5", Some(b"\xa4 5")),
            ("us-ascii", "Siân", None),
            ("us-ascii", "Sian", Some(b"Sian")),
            ("iso-8859-1", "Dŵr", None),
        ] {
            let charset = OwnCharset::labelled(label).expect("known");
            assert_eq!(charset.encode(text).as_deref(), bytes, "{label}: {text}");
        }
    }

    #[test]
    fn a_header_says_who_sends_what_and_how_it_is_answered() {
        let at: Zoned = "2026-07-01T09:30:15+01:00[Europe/London]".parse().expect("a time");
        let header = OwnHeader {
            parties: ["ERS|GW", "", "PAS", "RXX00"],
            at: &at,
            message_type: ["REF", "I12", "REF_I12"],
            control_id: "E1",
            processing_id: "P",
            version: Version::V2_4,
            answers: ["AL", "NE"],
            charset: OwnCharset::UTF_8,
        };
        let expected =
            r"MSH|^~\&|ERS\F\GW||PAS|RXX00|20260701093015+0100||REF^I12^REF_I12|E1|P|2.4|||AL|NE||UNICODE UTF-8";
        assert_eq!(header.line(), expected);
        let old = OwnHeader { version: Version::V2_3, ..header };
        assert!(old.line().contains("|REF^I12|E1|P|2.3|"), "{}", old.line());
    }
}
