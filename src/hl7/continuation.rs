//! Continuation: one message in several pieces (`reference.md` section 8).
//!
//! A piece ends with DSC, whose pointer the next one repeats in MSH-14; ADD, right behind its MSH, carries the rest of the
//! segment that was cut. Enters: the bytes of pieces. Leaves: what a piece says of itself, and the message that all of
//! them make. Guarantees: every byte of the pieces but their headers, DSC and ADD is in the message, in order.

use memchr::memrchr2;

use super::Header;

const CONTINUATION_POINTER: usize = 14;

/// What a message says of being a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// MSH-14: the pointer of the piece before.
    pub follows: Option<&'a [u8]>,
    /// DSC-1: the pointer under which the rest comes. DSC-2 `I` asks for an answer in pieces, and is none.
    pub goes_on: Option<&'a [u8]>,
}

impl<'a> Piece<'a> {
    pub const NONE: Self = Self { follows: None, goes_on: None };

    pub fn of(header: &Header<'a>, bytes: &'a [u8]) -> Self {
        let present = |field: &'a [u8]| Some(field.trim_ascii()).filter(|field| !field.is_empty());
        let (_, last) = split_last(bytes);
        let mut fields = last.split(|byte| header.field(1).first() == Some(byte));
        let is_pointer = fields.next() == Some(b"DSC");
        let (pointer, style) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let is_fragment = is_pointer && matches!(style.trim_ascii(), b"" | b"F");
        Self { follows: present(header.field(CONTINUATION_POINTER)), goes_on: present(pointer).filter(|_| is_fragment) }
    }

    pub fn is_whole(&self) -> bool {
        self.follows.is_none() && self.goes_on.is_none()
    }
}

/// The message that pieces make, in their order. Its header is that of the last, which is answered for all of them.
pub fn join(pieces: &[&[u8]]) -> Vec<u8> {
    let Some(last) = pieces.last() else { return Vec::new() };
    let mut joined = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    push_header(&mut joined, last);
    for (number, piece) in pieces.iter().enumerate() {
        let (body, pointer) = split_last(piece);
        let is_pointer = number + 1 < pieces.len() && pointer.starts_with(b"DSC");
        let whole = if is_pointer { body } else { piece.trim_ascii_end() };
        let (_, rest) = split_first(whole);
        let mut rest = rest;
        if number > 0 && rest.starts_with(b"ADD") {
            let (addition, further) = split_first(rest);
            // Behind `ADD|`: it goes on where the segment was cut.
            joined.extend_from_slice(addition.get(4..).unwrap_or_default());
            rest = further;
        }
        if !rest.is_empty() {
            joined.push(b'\r');
            joined.extend_from_slice(rest);
        }
    }
    joined.push(b'\r');
    joined
}

/// The header without its continuation pointer.
fn push_header(into: &mut Vec<u8>, piece: &[u8]) {
    let (header, _) = split_first(piece.strip_prefix(b"\xef\xbb\xbf").unwrap_or(piece).trim_ascii_start());
    let separator = header.get(3).copied().unwrap_or(b'|');
    // The separator is MSH-1, so a field has the number of its part and one.
    for (part, field) in header.split(|byte| *byte == separator).enumerate() {
        if part > 0 {
            into.push(separator);
        }
        if part + 1 != CONTINUATION_POINTER {
            into.extend_from_slice(field);
        }
    }
}

/// The first segment, and what is behind it.
fn split_first(bytes: &[u8]) -> (&[u8], &[u8]) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let (first, rest) = bytes.split_at(end);
    let begin = rest.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
    (first, &rest[begin..])
}

/// What is before the last segment, and that.
fn split_last(bytes: &[u8]) -> (&[u8], &[u8]) {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let end = bytes.iter().rposition(|byte| !is_end(byte)).map_or(0, |at| at + 1);
    let begin = memrchr2(b'\r', b'\n', &bytes[..end]).map_or(0, |at| at + 1);
    let before = &bytes[..begin];
    let trimmed = before.iter().rposition(|byte| !is_end(byte)).map_or(0, |at| at + 1);
    (&before[..trimmed], &bytes[begin..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hl7::samples::sample;

    fn piece(bytes: &[u8]) -> (Option<&str>, Option<&str>) {
        let piece = Piece::of(&Header::scan(bytes).expect("a header"), bytes);
        let text = |bytes| std::str::from_utf8(bytes).expect("ASCII");
        (piece.follows.map(text), piece.goes_on.map(text))
    }

    #[test]
    fn a_message_says_whether_it_is_a_piece() {
        let header = "MSH|^~\\&|A|B|C|D|2026||REF^I12|1|P|2.4";
        for (rest, expected) in [
            ("\rPID|1\r", (None, None)),
            ("\rPID|1\rDSC|X1|F\r", (None, Some("X1"))),
            ("\rPID|1\nDSC|X1\r\n", (None, Some("X1"))), // v2.3 has no DSC-2
            ("\rPID|1\rDSC|X1|I\r", (None, None)),
            ("\rDSC|X1|F\rPID|1\r", (None, None)), // not the last
            ("\rPID|1\rDSC||F\r", (None, None)),
            ("||X1\rADD|2\r", (Some("X1"), None)),
            ("||X1\rADD|2\rDSC|X2|F", (Some("X1"), Some("X2"))),
        ] {
            let message = format!("{header}{rest}");
            assert_eq!(piece(message.as_bytes()), expected, "{rest:?}");
        }
        assert_eq!(piece(&sample("68")), (None, Some("E68-CONT-1")));
        assert_eq!(piece(&sample("69")), (Some("E68-CONT-1"), None));
    }

    #[test]
    fn pieces_make_the_message_that_was_cut() {
        let joined = join(&[&sample("68"), &sample("69")]);
        let text = String::from_utf8(joined).expect("ASCII");
        assert!(text.contains("\rNTE|1|L|First half of a long note, second half.\rZRX|REFER|"), "{text}");
        assert!(text.starts_with("MSH|^~\\&|EASTVALE|RYY00|") && text.contains("|E68B|P|2.4|||AL|AL\rRF1|"), "{text}");
        assert!(!text.contains("DSC|") && !text.contains("ADD|") && !text.contains("E68-CONT-1"), "{text}");

        let header = |id, pointer| format!("MSH|^~\\&|A|B|C|D|2026||REF^I12|{id}|P|2.4||{pointer}");
        let pieces = [
            format!("{}\rPID|1\rNTE|1||ab\rDSC|X1|F\r", header(1, "")),
            format!("{}\nADD|cd\nDSC|X2|F\n", header(2, "X1")), // a segment in three parts, ended otherwise
            format!("{}\rADD|ef|z\rNTE|2||next", header(3, "X2")),
        ];
        let joined = join(&pieces.iter().map(String::as_bytes).collect::<Vec<_>>());
        let expected = format!("{}\rPID|1\rNTE|1||abcdef|z\rNTE|2||next\r", header(3, ""));
        assert_eq!(String::from_utf8(joined).expect("ASCII"), expected);

        // Cut between two segments: there is nothing to add.
        let pieces = [format!("{}\rPID|1\rDSC|X1|F\r", header(1, "")), format!("{}\rNTE|1||x\r", header(2, "X1"))];
        let joined = join(&pieces.iter().map(String::as_bytes).collect::<Vec<_>>());
        assert_eq!(String::from_utf8(joined).expect("ASCII"), format!("{}\rPID|1\rNTE|1||x\r", header(2, "")));
    }

    proptest! {
        #[test]
        fn a_message_cut_anywhere_is_whole_again(cut in 0usize..60, segments in prop::collection::vec("[A-Z]{3}\\|[a-z|]{0,9}[a-z]", 1..6)) {
            let body: String = segments.join("\r").replace("ADD|", "ADX|").replace("DSC|", "DSX|");
            let cut = cut % (body.len() + 1);
            let header = |id, pointer| format!("MSH|^~\\&|A|B|C|D|2026||REF^I12|{id}|P|2.4||{pointer}");
            let (first, rest) = body.split_at(cut);
            let one = format!("{}\r{first}\rDSC|X|F\r", header(1, ""));
            let two = format!("{}\rADD|{rest}\r", header(2, "X"));
            // A cut beside the end of a segment leaves it to ADD whether the segment goes on.
            prop_assume!(!first.is_empty() && !first.ends_with('\r') && !rest.starts_with('\r'));
            let joined = join(&[one.as_bytes(), two.as_bytes()]);
            prop_assert_eq!(String::from_utf8(joined).expect("ASCII"), format!("{}\r{body}\r", header(2, "")));
        }

        #[test]
        fn no_bytes_make_it_panic(one in prop::collection::vec(any::<u8>(), 0..60), two in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = join(&[&one, &two]);
            if let Ok(header) = Header::scan(&one) {
                let _ = Piece::of(&header, &one);
            }
        }
    }
}
