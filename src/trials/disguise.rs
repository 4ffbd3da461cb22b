//! Values that name nobody, in the place of those that might: the same value becomes the same everywhere.
//!
//! Enters: texts of a message, of its command, of calls. Leaves: texts of the same shape. Guarantees: letters become other letters
//! and digits other digits, so that lengths and forms stay; an NHS number becomes a test number (999…); a date of birth another
//! date; what is kept is kept because somebody named it a code, never because it was not recognised.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::command::NhsNumber;

/// Longer than any word: a document.
const DOCUMENT_CHARS_MIN: usize = 200;
const FILLING: &[u8] = b"Nobody is meant. ";
const PDF: &[u8] = b"%PDF-";

#[derive(Default)]
pub struct Disguise {
    /// By upper case, so that a name is the same however it is written.
    words: HashMap<String, String>,
    /// Dates of birth and death, as eight digits.
    dates: HashMap<String, String>,
    /// Codes that stay as they are where they are a whole value.
    codes: BTreeSet<String>,
    /// Values that stay because of where they stood in the message.
    kept: BTreeSet<String>,
    /// Behind the last test number that was given.
    next_test_number: u64,
}

impl Disguise {
    /// `codes`: whole values that are no one's, in upper case.
    pub fn new(codes: BTreeSet<String>) -> Self {
        Self { codes, ..Self::default() }
    }

    /// This value is a code where it stands, and wherever else it is the whole of a value.
    pub fn keep(&mut self, value: &str) {
        self.kept.insert(value.trim().to_owned());
    }

    pub fn keeps(&self, value: &str) -> bool {
        let value = value.trim();
        self.kept.contains(value) || self.codes.contains(&value.to_uppercase())
    }

    /// A value of a place where codes stand as well: a code or a date stays, anything else does not.
    pub fn value(&mut self, text: &str) -> String {
        if self.keeps(text) || is_small_number(text) {
            return text.to_owned();
        }
        let is_somebodys =
            self.words.contains_key(&text.trim().to_uppercase()) || NhsNumber::parse(text.trim()).is_ok();
        if is_somebodys {
            return self.secret(text);
        }
        match date_digits(text) {
            Some(digits) if !self.dates.contains_key(&digits) => text.to_owned(),
            _ => self.secret(text),
        }
    }

    /// A value that is somebody's, whatever it looks like.
    pub fn secret(&mut self, text: &str) -> String {
        if let Some(digits) = date_digits(text) {
            if let Some(other) = self.dates.get(&digits).cloned() {
                return with_digits(text, &other);
            }
        } else if text.len() >= DOCUMENT_CHARS_MIN
            && let Some(document) = document(text)
        {
            return document;
        }
        self.each_word(text, |disguise, word| disguise.word(word))
    }

    /// A date of birth or of death: another, in every form that it is written in.
    pub fn date(&mut self, text: &str) -> String {
        let Some(digits) = date_digits(text) else { return self.secret(text) };
        let number = self.dates.len() + 1;
        let other = self.dates.entry(digits.clone()).or_insert_with(|| {
            let other =
                |number: usize| format!("{:04}{:02}{:02}", 1950 + number % 50, 1 + number % 12, 1 + number % 28);
            let first = other(number);
            if first == digits { other(number + 13) } else { first }
        });
        let other = other.clone();
        with_digits(text, &other)
    }

    /// Only what is known to be somebody's, and long numbers: of texts that e-RS writes.
    pub fn known_words(&mut self, text: &str) -> String {
        self.each_word(text, |disguise, word| {
            let is_long = word.len() >= 5 && word.chars().any(|letter| letter.is_ascii_digit());
            match disguise.words.get(&word.to_uppercase()).cloned() {
                Some(known) => in_case_of(word, &known),
                None if is_long => disguise.word(word),
                None => word.to_owned(),
            }
        })
    }

    /// Escapes of HL7 (`\T\`) stay, and whatever is neither letter nor digit.
    fn each_word(&mut self, text: &str, mut change: impl FnMut(&mut Self, &str) -> String) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(escape) = escape(rest) {
                out.push_str(escape);
                rest = &rest[escape.len()..];
                continue;
            }
            let end = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
            if end == 0 {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            } else {
                out.push_str(&change(self, &rest[..end]));
                rest = &rest[end..];
            }
        }
        out
    }

    /// The next one from 999 000 0000 on whose check digit holds.
    fn test_number(&mut self) -> String {
        loop {
            let nine = 999_000_000 + self.next_test_number;
            self.next_test_number += 1;
            if let Some(number) =
                (0..10).map(|check| format!("{nine}{check}")).find(|text| NhsNumber::parse(text).is_ok())
            {
                return number;
            }
        }
    }

    fn word(&mut self, word: &str) -> String {
        let key = word.to_uppercase();
        if let Some(known) = self.words.get(&key) {
            return in_case_of(word, known);
        }
        let number = self.words.len() + 1;
        let other = match NhsNumber::parse(word) {
            Ok(_) => self.test_number(),
            Err(_) => shaped(&key, number),
        };
        self.words.insert(key, other.clone());
        in_case_of(word, &other)
    }
}

/// What a line that is no segment says, by its shape alone.
pub(super) fn shape_of(line: &str) -> String {
    let shape = |letter: char| match letter {
        letter if letter.is_numeric() => '9',
        letter if letter.is_alphabetic() => 'X',
        letter => letter,
    };
    line.chars().map(shape).collect()
}

/// The number counts from the end, the rest is X and 9: no two words of some length are the same.
fn shaped(word: &str, number: usize) -> String {
    // A name in another script: no letter of it stays.
    if !word.chars().any(|letter| letter.is_ascii_alphanumeric()) {
        return shape_of(word);
    }
    for number in number.. {
        let mut left = number;
        let mut letters: Vec<char> = word
            .chars()
            .rev()
            .map(|letter| match letter {
                letter if letter.is_ascii_digit() => {
                    let digit = if left == 0 { 9 } else { left % 10 };
                    left /= 10;
                    char::from(b'0' + digit as u8)
                }
                letter if letter.is_ascii_alphabetic() => {
                    let place = if left == 0 { 23 } else { left % 26 };
                    left /= 26;
                    char::from(b'A' + place as u8)
                }
                // What its character set must be able to write stays in the case.
                letter => letter,
            })
            .collect();
        letters.reverse();
        let other: String = letters.into_iter().collect();
        if other != word || !word.chars().any(|letter| letter.is_ascii_alphanumeric()) {
            return other;
        }
    }
    String::new()
}

fn in_case_of(word: &str, other: &str) -> String {
    let lower = |(letter, was): (char, char)| if was.is_lowercase() { letter.to_ascii_lowercase() } else { letter };
    let was = word.chars().chain(std::iter::repeat('X'));
    other.chars().zip(was).map(lower).collect()
}

fn escape(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('\\')?;
    let end = inside.find('\\').filter(|end| *end <= 10)?;
    Some(&text[..end + 2])
}

/// Set ids, counts, versions.
fn is_small_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `19570314` of `19570314…` and of `1957-03-14…`.
fn date_digits(text: &str) -> Option<String> {
    let text = text.trim();
    let digits: String = match text.as_bytes() {
        [_, _, _, _, b'-', _, _, b'-', _, _, ..] => text.get(..10)?.replace('-', ""),
        bytes if bytes.len() >= 8 && bytes.iter().take(8).all(u8::is_ascii_digit) => text.get(..8)?.to_owned(),
        _ => return None,
    };
    let has_form = text.bytes().all(|byte| byte.is_ascii_digit() || b"-+:.TZ".contains(&byte));
    let number = |range| digits.get(range).and_then(|part: &str| part.parse::<u32>().ok());
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let is_date = (1850..=2150).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    // Of digits alone only as many as a date or a time has.
    let fits = text.bytes().any(|byte| !byte.is_ascii_digit()) || matches!(text.len(), 8 | 10 | 12 | 14);
    (has_form && is_date && fits).then_some(digits)
}

fn with_digits(text: &str, digits: &str) -> String {
    let start = text.len() - text.trim_start().len();
    let rest = &text[start..];
    match rest.as_bytes().get(4) {
        Some(b'-') => format!("{}{}-{}-{}{}", &text[..start], &digits[..4], &digits[4..6], &digits[6..8], &rest[10..]),
        _ => format!("{}{digits}{}", &text[..start], &rest[8..]),
    }
}

/// Of base64: as many bytes that say nothing, with what a PDF begins with.
fn document(text: &str) -> Option<String> {
    let packed: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let bytes = STANDARD.decode(&packed).ok()?;
    let begin = if bytes.starts_with(PDF) { bytes.get(..8).unwrap_or(PDF) } else { &[] };
    let filled: Vec<u8> = begin.iter().chain(FILLING.iter().cycle()).take(bytes.len()).copied().collect();
    Some(STANDARD.encode(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_becomes_the_same_of_the_same_shape() {
        let mut disguise = Disguise::new(["ROUTINE".to_owned()].into());
        let name = disguise.secret("Testerton");
        assert_eq!(name.len(), 9);
        assert_ne!(name, "Testerton");
        assert_eq!(
            disguise.secret("TESTERTON, Adeline"),
            format!("{}, {}", name.to_uppercase(), disguise.secret("Adeline"))
        );
        assert_ne!(disguise.secret("Adeline"), disguise.secret("Matilda"));
        let postcode = disguise.secret("ZZ99 1ZZ");
        let shape: String = postcode
            .chars()
            .map(|c| {
                if c.is_ascii_digit() {
                    '9'
                } else if c == ' ' {
                    ' '
                } else {
                    'A'
                }
            })
            .collect();
        assert_eq!(shape, "AA99 9AA");
        assert_eq!(disguise.value("routine"), "routine");
        assert_eq!(disguise.value("20260316093015"), "20260316093015", "when something happened stays");
        assert_eq!(disguise.secret(r"a \T\ b").split(' ').nth(1), Some(r"\T\"));
        assert_eq!(disguise.known_words("of testerton, 12 days").split(' ').next_back(), Some("days"));
        assert!(!disguise.known_words("of testerton").contains("testerton"));
    }

    #[test]
    fn an_nhs_number_becomes_a_test_number_whose_check_digit_holds() {
        let mut disguise = Disguise::default();
        let (first, second) = (disguise.secret("9434765919"), disguise.secret("4010232137"));
        for number in [&first, &second] {
            assert!(NhsNumber::parse(number).expect("valid").is_test(), "{number}");
        }
        assert_ne!(first, second);
        assert_eq!(disguise.secret("9434765919"), first);
    }

    #[test]
    fn a_date_of_birth_is_another_in_every_form() {
        let mut disguise = Disguise::default();
        let other = disguise.date("19570314");
        assert_ne!(other, "19570314");
        let dashed = format!("{}-{}-{}", &other[..4], &other[4..6], &other[6..8]);
        assert_eq!(disguise.value("1957-03-14"), dashed);
        assert_eq!(disguise.secret("19570314103000"), format!("{other}103000"));
    }

    #[test]
    fn a_document_is_as_long_and_says_nothing() {
        let mut disguise = Disguise::default();
        let letter = STANDARD.encode([b"%PDF-1.7 about Adeline ".as_slice(), &[b'x'; 300]].concat());
        let other = STANDARD.decode(disguise.secret(&letter)).expect("base64");
        assert_eq!(other.len(), 323);
        assert!(other.starts_with(b"%PDF-1.7Nobody is meant."), "{:?}", &other[..30]);
    }
}
