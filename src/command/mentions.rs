//! Which NHS numbers a text mentions, whatever its format: so that everything about a patient can be found and held.
//!
//! Enters: bytes of a message or an answer. Leaves: numbers whose check digit holds. Guarantees: none is missed that stands as
//! ten digits, or as 3-3-4 with a space or hyphen between, up to [`MENTIONED_MAX`] different ones; one in eleven other
//! numbers of ten digits is taken for one as well, which costs a row and finds nobody.

use std::collections::BTreeSet;

use super::NhsNumber;

/// Different ones in a text; a worklist of e-RS has fewer.
pub const MENTIONED_MAX: usize = 10_000;

/// Digits without another beside them: where they stand.
#[derive(Clone, Copy, Default)]
struct Run {
    start: usize,
    end: usize,
}

impl Run {
    fn len(self) -> usize {
        self.end - self.start
    }

    /// With one space or hyphen between, and nothing else.
    fn joins(self, next: Self, text: &[u8]) -> bool {
        next.start == self.end + 1 && matches!(text[self.end], b' ' | b'-')
    }
}

/// In the bytes of a text of any encoding that has ASCII digits; those of UTF-16 have a NUL beside them.
pub fn nhs_numbers_in(text: &[u8]) -> BTreeSet<NhsNumber> {
    if memchr::memchr(0, text).is_some() {
        let narrow: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
        return in_narrow(&narrow);
    }
    in_narrow(text)
}

fn in_narrow(text: &[u8]) -> BTreeSet<NhsNumber> {
    let mut found = BTreeSet::new();
    // The two runs before the last.
    let (mut first, mut second) = (Run::default(), Run::default());
    // No run of interest is shorter than this, so that one byte in as many is looked at.
    const SHORTEST: usize = 3;
    let mut at = SHORTEST - 1;
    while let Some(byte) = text.get(at) {
        if !byte.is_ascii_digit() {
            at += SHORTEST;
            continue;
        }
        let start = text[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |before| before + 1);
        let end = text[at..].iter().position(|byte| !byte.is_ascii_digit()).map_or(text.len(), |length| at + length);
        let last = Run { start, end };
        let is_in_parts = (first.len(), second.len(), last.len()) == (3, 3, 4)
            && first.joins(second, text)
            && second.joins(last, text);
        let number = match last.len() {
            10 => NhsNumber::of_bytes(&text[start..end]),
            4 if is_in_parts => NhsNumber::of_bytes(&text[first.start..end]),
            _ => None,
        };
        found.extend(number);
        if found.len() == MENTIONED_MAX {
            break;
        }
        (first, second, at) = (second, last, end + SHORTEST);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &[u8]) -> Vec<String> {
        nhs_numbers_in(text).iter().map(|number| number.as_str().to_owned()).collect()
    }

    #[test]
    fn a_number_is_found_however_it_stands() {
        for (text, numbers) in [
            ("PID|1||9994120034^^^NHS^NH||Smith", &["9994120034"][..]),
            (r#"{"nhsNumber":"9994120034"}"#, &["9994120034"]),
            ("9994120034", &["9994120034"]),
            ("999 412 0034, and 999-412-1405.", &["9994120034", "9994121405"]),
            ("555 9994120034", &["9994120034"]),
            ("999 412 0034 9994121405", &["9994120034", "9994121405"]),
            ("9994120034\n9994120034", &["9994120034"]),
            ("9994120035", &[]),    // a wrong check digit
            ("99941200341", &[]),   // eleven digits
            ("0009994120034", &[]), // thirteen
            ("999  412 0034", &[]), // two spaces
            ("999 412 00341", &[]), // 3-3-5
            ("999.412.0034", &[]),  // as nobody writes it
            ("999 412-0034", &["9994120034"]),
            ("", &[]),
        ] {
            assert_eq!(found(text.as_bytes()), numbers, "{text}");
            let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(found(&wide), numbers, "{text} in UTF-16");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_around_it_a_number_is_found(before in "[^0-9]{0,20}|.*[^0-9 \\x00-]", after in "([^0-9\\x00].*)?") {
            let text = format!("{before}9994120034{after}");
            prop_assert!(found(text.as_bytes()).contains(&"9994120034".to_owned()), "{text}");
        }
    }
}
