//! Values that name nobody, in the place of those that might: the same value becomes the same everywhere.
//!
//! Enters: texts of a message, of its command, of calls. Leaves: texts of the same shape. Guarantees: letters become other letters
//! and digits other digits, so that lengths and forms stay; an NHS number becomes a test number (999…); a date another date,
//! whoever it is of, but for the times of what happened around the message; what is kept is kept because somebody named it a code,
//! never because it was not recognised.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::command::NhsNumber;

/// Between a message and what happened around it.
const YEARS_AROUND: i16 = 2;
/// Longer than any word: a document.
const DOCUMENT_CHARS_MIN: usize = 200;
const FILLING: &[u8] = b"Nobody is meant. ";
const PDF: &[u8] = b"%PDF-";

#[derive(Default)]
pub struct Disguise {
    /// By upper case, so that a name is the same however it is written.
    words: HashMap<String, String>,
    /// Dates that are not shown, as eight digits.
    dates: HashMap<String, String>,
    /// Codes that stay as they are where they are a whole value.
    codes: BTreeSet<String>,
    /// Values that stay because of where they stood in the message.
    kept: BTreeSet<String>,
    /// Behind the last test number that was given.
    next_test_number: u64,
    /// The year of the message.
    year: i16,
}

impl Disguise {
    /// `codes`: whole values that are no one's, in upper case. `year`: of the message.
    pub fn new(codes: BTreeSet<String>, year: i16) -> Self {
        Self { codes, year, ..Self::default() }
    }

    /// This value is a code where it stands, and wherever else it is the whole of a value.
    pub fn keep(&mut self, value: &str) {
        self.kept.insert(value.trim().to_owned());
    }

    pub fn keeps(&self, value: &str) -> bool {
        let value = value.trim();
        self.kept.contains(value) || self.codes.contains(&value.to_uppercase())
    }

    /// A value of a place where codes stand as well: a code stays, and when something happened, to the minute; anything else
    /// does not. A day alone may be somebody's birthday, whether or not that was said elsewhere.
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
            Some(digits) if self.is_of_event(&digits, has_time(text.trim())) => text.to_owned(),
            Some(_) => self.date(text),
            None => self.secret(text),
        }
    }

    /// It has a time, is of the years around the message, and nobody's.
    fn is_of_event(&self, digits: &str, has_time: bool) -> bool {
        let year: Option<i16> = digits.get(..4).and_then(|year| year.parse().ok());
        let is_around = year.is_some_and(|year| (year - self.year).abs() <= YEARS_AROUND);
        has_time && is_around && !self.dates.contains_key(digits)
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
        let other = self.other_date(digits);
        with_digits(text, &other)
    }

    /// The same for the same, as eight digits.
    fn other_date(&mut self, digits: String) -> String {
        let number = self.dates.len() + 1;
        let other = |number: usize| format!("{:04}{:02}{:02}", 1950 + number % 50, 1 + number % 12, 1 + number % 28);
        let first = other(number);
        let other = if first == digits { other(number + 13) } else { first };
        self.dates.entry(digits).or_insert(other).clone()
    }

    /// Only what is known to be somebody's, dates as people write them, and long numbers: of texts that e-RS writes.
    pub fn sentence(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let (mut rest, mut begin) = (text, 0);
        while begin < rest.len() {
            let is_within = rest[..begin].ends_with(|letter: char| letter.is_alphanumeric());
            match written_date(&rest[begin..]).filter(|_| !is_within) {
                Some(written) => {
                    let there = &rest[begin..begin + written.chars];
                    let behind = &rest[begin + written.chars..];
                    out.push_str(&self.known_words(&rest[..begin]));
                    match self.is_of_event(&written.digits, behind.starts_with('T')) {
                        true => out.push_str(there),
                        false => out.push_str(&written.as_there(there, &self.other_date(written.digits.clone()))),
                    }
                    (rest, begin) = (behind, 0);
                }
                None => begin += rest[begin..].chars().next().map_or(1, char::len_utf8),
            }
        }
        out + &self.known_words(rest)
    }

    /// Only what is known to be somebody's, and long numbers: of what is an address or a name of a standard.
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

/// A date as people write it: `14/03/1957`, `14.3.1957`, `1957-03-14`, `14 March 1957`, `14-Mar-1957`.
struct WrittenDate {
    digits: String,
    /// All are ASCII.
    chars: usize,
    /// Where year, month and day stand in it, in this order.
    parts: [Range<usize>; 3],
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// At the beginning of a text.
fn written_date(text: &str) -> Option<WrittenDate> {
    let mut at = 0;
    let mut part = |is_part: fn(&u8) -> bool| {
        let length = text.as_bytes().get(at..)?.iter().take_while(|byte| is_part(byte)).count();
        let found = at..at + length;
        at += length;
        (length > 0).then_some(found)
    };
    let is_between = |byte: &u8| b"-/. ".contains(byte);
    let first = part(u8::is_ascii_digit)?;
    let between = part(is_between)?;
    let month = part(u8::is_ascii_alphanumeric)?;
    let between_again = part(is_between)?;
    let last = part(u8::is_ascii_digit)?;
    if between.len() > 1 || between_again.len() > 1 {
        return None;
    }
    let (year, day) = if first.len() == 4 { (first, last) } else { (last, first) };
    let named = &text[month.clone()];
    let number = |range: &Range<usize>| text[range.clone()].parse::<u32>().ok();
    let month_number = match named.parse::<u32>() {
        Ok(number) => number,
        Err(_) => {
            let is_named = |name: &&str| name.eq_ignore_ascii_case(named) || name[..3].eq_ignore_ascii_case(named);
            u32::try_from(MONTHS.iter().position(is_named)?).ok()? + 1
        }
    };
    let (year_number, day_number) = (number(&year)?, number(&day)?);
    let is_date = year.len() == 4
        && (1850..=2150).contains(&year_number)
        && (1..=12).contains(&month_number)
        && (1..=31).contains(&day_number);
    let digits = format!("{year_number:04}{month_number:02}{day_number:02}");
    is_date.then_some(WrittenDate { digits, chars: at, parts: [year, month, day] })
}

impl WrittenDate {
    /// Another date in the same form.
    fn as_there(&self, there: &str, other: &str) -> String {
        let [year, month, day] = &self.parts;
        let named = &there[month.clone()];
        let month_number: usize = other[4..6].parse().unwrap_or(1);
        let month_text = match named.bytes().all(|byte| byte.is_ascii_digit()) {
            true => other[4..6].to_owned(),
            false if named.len() == 3 => MONTHS[(month_number - 1) % 12][..3].to_owned(),
            false => MONTHS[(month_number - 1) % 12].to_owned(),
        };
        let mut parts = [(year, other[..4].to_owned()), (month, month_text), (day, other[6..8].to_owned())];
        parts.sort_by_key(|(range, _)| range.start);
        let [(first, one), (second, two), (third, three)] = parts;
        format!("{one}{}{two}{}{three}", &there[first.end..second.start], &there[second.end..third.start])
    }
}

/// Of a date: `19570314103000`, `1957-03-14T10:30`.
fn has_time(date: &str) -> bool {
    date.contains('T') || date.bytes().take_while(u8::is_ascii_digit).count() >= 12
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
        let mut disguise = Disguise::new(["ROUTINE".to_owned()].into(), 2026);
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
    fn what_has_the_form_of_a_date_is_another_whoever_it_is_of() {
        let mut disguise = Disguise::new(BTreeSet::new(), 2026);
        for (text, stays) in [
            ("20260316093015", true),
            ("2026-03-16T09:30:00Z", true),
            ("202412310800+0000", true),
            ("20260316", false),
            ("2026-03-16", false),
            ("19570314", false),
            ("1957-03-14", false),
            ("195703141030", false),
            ("1957-03-14T10:30:00", false),
            ("20190101083000", false),
        ] {
            let other = disguise.value(text);
            assert_eq!(other == text, stays, "{text} became {other}");
            assert_eq!(date_digits(&other).is_some(), date_digits(text).is_some(), "{text} became {other}");
        }
        let other = disguise.value("19570314");
        assert_eq!(disguise.value("1957-03-14").replace('-', ""), other, "the same day is the same everywhere");
        assert_eq!(disguise.secret("19570314"), other);
    }

    #[test]
    fn dates_in_sentences_are_others_in_the_form_that_they_have() {
        let mut disguise = Disguise::new(BTreeSet::new(), 2026);
        let other = disguise.date("19570314");
        let (year, month, day) = (&other[..4], &other[4..6], &other[6..]);
        let name = MONTHS[month.parse::<usize>().expect("a number") - 1];
        for (text, expected) in [
            ("born 14/03/1957.", format!("born {day}/{month}/{year}.")),
            ("born 14.3.1957, male", format!("born {day}.{month}.{year}, male")),
            ("is 1957-03-14 in PDS", format!("is {year}-{month}-{day} in PDS")),
            ("14 March 1957", format!("{day} {name} {year}")),
            ("(14-mar-1957)", format!("({day}-{}-{year})", &name[..3])),
            ("1957/03/14 and 14/03/1957", format!("{year}/{month}/{day} and {day}/{month}/{year}")),
            ("slots until 2026-03-16T09:30:00Z", "slots until 2026-03-16T09:30:00Z".to_owned()),
            ("take 2.0.1 of 12 days, 32/13/1957", "take 2.0.1 of 12 days, 32/13/1957".to_owned()),
            ("é 14/03/1957 é", format!("é {day}/{month}/{year} é")),
        ] {
            assert_eq!(disguise.sentence(text), expected);
        }
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
