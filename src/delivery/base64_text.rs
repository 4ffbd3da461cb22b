//! Base64 as messages carry it: in pieces, with white space and HL7 line breaks inside.
//!
//! Enters: pieces of text, cut anywhere. Leaves: the decoded bytes, piece by piece. Guarantees: how the
//! text is cut changes nothing; what is not base64 is an error; at most a few bytes are kept in between.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// As lenient as the check that admitted the letter: padding may be missing, trailing bits may be set.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Line breaks that HL7 writes as escapes (chapter 2, 2.7).
const LINE_BREAKS: [&[u8]; 4] = [b".br", b"X0D", b"X0A", b"X0D0A"];
const LINE_BREAK_BYTES_MAX: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not base64")]
pub(super) struct NotBase64;

pub(super) struct Base64Text {
    escape: u8,
    /// Inside an escape: what came after its first mark.
    escaped: Option<Vec<u8>>,
    /// Characters not yet decoded: fewer than 4 between pieces.
    characters: Vec<u8>,
    padded: bool,
}

impl Base64Text {
    pub(super) fn new(escape: u8) -> Self {
        Self { escape, escaped: None, characters: Vec::new(), padded: false }
    }

    /// Decodes what is whole and appends it to `decoded`.
    pub(super) fn push(&mut self, piece: &[u8], decoded: &mut Vec<u8>) -> Result<(), NotBase64> {
        self.characters.reserve(piece.len());
        for byte in piece {
            self.take(*byte)?;
        }
        let whole = self.characters.len() / 4 * 4;
        ENGINE.decode_vec(&self.characters[..whole], decoded).map_err(|_| NotBase64)?;
        self.characters.drain(..whole);
        Ok(())
    }

    /// Decodes what is left when the text has ended.
    pub(super) fn finish(&mut self, decoded: &mut Vec<u8>) -> Result<(), NotBase64> {
        if self.escaped.is_some() {
            return Err(NotBase64);
        }
        let rest = std::mem::take(&mut self.characters);
        ENGINE.decode_vec(&rest, decoded).map_err(|_| NotBase64)
    }

    fn take(&mut self, byte: u8) -> Result<(), NotBase64> {
        if let Some(inside) = &mut self.escaped {
            if byte == self.escape {
                let known = LINE_BREAKS.iter().any(|line_break| inside.eq_ignore_ascii_case(line_break));
                self.escaped = None;
                return if known { Ok(()) } else { Err(NotBase64) };
            }
            inside.push(byte);
            return if inside.len() <= LINE_BREAK_BYTES_MAX { Ok(()) } else { Err(NotBase64) };
        }
        match byte {
            escape if escape == self.escape => self.escaped = Some(Vec::new()),
            space if space.is_ascii_whitespace() => {}
            b'=' => {
                self.padded = true;
                self.characters.push(byte);
            }
            _ if self.padded => return Err(NotBase64),
            character => self.characters.push(character),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<u8>, NotBase64> {
        let mut text = Base64Text::new(b'\\');
        let mut decoded = Vec::new();
        for piece in pieces {
            text.push(piece, &mut decoded)?;
        }
        text.finish(&mut decoded)?;
        Ok(decoded)
    }

    #[test]
    fn line_breaks_are_skipped_and_other_things_are_errors() {
        for (text, decoded) in [
            ("SGVsbG8=", Some("Hello")),
            ("SGVsbG8", Some("Hello")),
            ("SGVs\r\n bG8=", Some("Hello")),
            (r"SGVs\.br\bG8=", Some("Hello")),
            (r"SGVs\.BR\bG8=", Some("Hello")),
            (r"SG\X0D\\X0A\VsbG8=\X0D0A\", Some("Hello")),
            ("", Some("")),
            (r"SGVs\T\bG8=", None),
            (r"SGVs\.br", None),
            (r"SGVs\.brbG8=\", None),
            ("SGVsbG8=SGVs", None),
            ("SGVs*G8=", None),
            ("SGVsbG8===", None),
            ("S", None),
            ("SGVsé", None),
        ] {
            let expected = decoded.map(|text| text.as_bytes().to_vec()).ok_or(NotBase64);
            assert_eq!(decode(&[text.as_bytes()]), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_and_wrapped_the_same_bytes_come_out(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            line in 1usize..80,
            wrap in prop_oneof![Just("\r\n"), Just(r"\.br\"), Just(r"\X0D\\X0A\"), Just(""), Just(" ")],
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let plain = STANDARD.encode(&bytes);
            let lines: Vec<&str> = plain.as_bytes().chunks(line)
                .map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
            let text = lines.join(wrap).into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&pieces), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic_or_keep_much(pieces in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(b'\\'), Just(b'='), Just(b'A'), any::<u8>()], 0..40), 0..8)) {
            let mut text = Base64Text::new(b'\\');
            let mut decoded = Vec::new();
            for piece in &pieces {
                if text.push(piece, &mut decoded).is_err() {
                    return Ok(());
                }
                prop_assert!(text.characters.len() < 4);
            }
            let _ = text.finish(&mut decoded);
        }
    }
}
