//! Which NHS numbers a text mentions, whatever its format: so that everything about a patient can be found and held.
//!
//! Enters: bytes of a message or an answer. Leaves: numbers whose check digit holds. Guarantees: none is missed that stands as
//! ten digits, or as 3-3-4 with a space or hyphen between, up to [`MENTIONED_MAX`] different ones; one in eleven other
//! numbers of ten digits is taken for one as well, which costs a row and finds nobody.

use std::collections::BTreeSet;

use super::NhsNumber;

/// Different ones in a text; a worklist of e-RS has fewer.
pub const MENTIONED_MAX: usize = 10_000;

/// Digits without another beside them.
#[derive(Clone, Copy, Default)]
struct Run {
    digits: usize,
    /// From behind the run before, with one space or hyphen between.
    is_joined: bool,
}

/// In the bytes of a text of any encoding that has ASCII digits; those of UTF-16 have a NUL beside them.
pub fn nhs_numbers_in(text: &[u8]) -> BTreeSet<NhsNumber> {
    let mut found = BTreeSet::new();
    let mut reader = Reader::default();
    for byte in text.iter().copied().filter(|byte| *byte != 0).chain([b'\n']) {
        if let Some(number) = reader.next(byte) {
            found.insert(number);
            if found.len() == MENTIONED_MAX {
                break;
            }
        }
    }
    found
}

#[derive(Default)]
struct Reader {
    /// The last digits, as many as a number has, those of several runs.
    digits: [u8; 10],
    current: Run,
    before: [Run; 2],
    /// Bytes since the last run; more than one leads nowhere.
    gap: usize,
    was_separator: bool,
}

impl Reader {
    fn next(&mut self, byte: u8) -> Option<NhsNumber> {
        if byte.is_ascii_digit() {
            if self.current.digits == 0 {
                self.current.is_joined = self.gap == 1 && self.was_separator;
            }
            self.digits.rotate_left(1);
            self.digits[9] = byte;
            self.current.digits += 1;
            return None;
        }
        if self.current.digits == 0 {
            self.gap += 1;
            return None;
        }
        let [first, second] = self.before;
        let last = self.current;
        let is_in_parts = (first.digits, second.digits, last.digits) == (3, 3, 4) && second.is_joined && last.is_joined;
        self.before = [second, last];
        (self.current, self.gap) = (Run::default(), 1);
        self.was_separator = matches!(byte, b' ' | b'-');
        if last.digits != 10 && !is_in_parts {
            return None;
        }
        NhsNumber::parse(std::str::from_utf8(&self.digits).ok()?).ok()
    }
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
