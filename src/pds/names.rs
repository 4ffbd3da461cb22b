//! Names as two systems write them: folded, cut, in parts.

use unicode_normalization::UnicodeNormalization as _;

/// PDS cuts names here.
const CHARS_MAX: usize = 35;

/// How two family names stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    /// The parts of a double name contain the other name.
    Part,
    Different,
}

pub(super) fn family(one: &str, other: &str) -> Likeness {
    let (folded, folded_other) = (fold(one), fold(other));
    if folded.is_empty() || folded_other.is_empty() {
        return Likeness::Different;
    }
    if cut(&folded) == cut(&folded_other) {
        return Likeness::Same;
    }
    let (parts, parts_other) = (parts(one), parts(other));
    let (few, many) = if parts.len() < parts_other.len() { (parts, parts_other) } else { (parts_other, parts) };
    if many.len() > few.len() && few.iter().all(|part| many.contains(part)) {
        Likeness::Part
    } else {
        Likeness::Different
    }
}

/// The first word, or its initial where one side has only that.
pub(super) fn given(one: &str, other: &str) -> bool {
    let first = |text: &str| text.split_whitespace().next().map(fold).unwrap_or_default();
    let (one, other) = (first(one), first(other));
    if one.chars().count() == 1 || other.chars().count() == 1 {
        return one.chars().next() == other.chars().next();
    }
    !one.is_empty() && one == other
}

fn parts(name: &str) -> Vec<String> {
    name.split(|c: char| c == '-' || c.is_whitespace()).map(fold).filter(|part| !part.is_empty()).collect()
}

fn cut(folded: &str) -> String {
    folded.chars().take(CHARS_MAX).collect()
}

/// Upper case, without marks, apostrophes, hyphens, dots and spaces.
fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for character in name.nfkd().filter(|c| !unicode_normalization::char::is_combining_mark(*c)) {
        match character {
            'ß' | 'ẞ' => folded.push_str("SS"),
            'æ' | 'Æ' => folded.push_str("AE"),
            'œ' | 'Œ' => folded.push_str("OE"),
            'þ' | 'Þ' => folded.push_str("TH"),
            'ø' | 'Ø' => folded.push('O'),
            'ł' | 'Ł' => folded.push('L'),
            'đ' | 'Đ' | 'ð' | 'Ð' => folded.push('D'),
            other if other.is_alphanumeric() => folded.extend(other.to_uppercase()),
            _ => {}
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_names_agree_however_they_are_written() {
        for (one, other, likeness) in [
            ("O'Neill", "ONEILL", Likeness::Same),
            ("Müller", "MULLER", Likeness::Same),
            ("Großmann", "GROSSMANN", Likeness::Same),
            ("Łukasiewicz", "Lukasiewicz", Likeness::Same),
            ("De La Cruz", "DELACRUZ", Likeness::Same),
            ("St. John", "ST JOHN", Likeness::Same),
            ("Featherstonehaugh-Cholmondeley-Marjoribanks", "Featherstonehaugh Cholmondeley Marjori", Likeness::Same),
            ("Smith-Jones", "Jones", Likeness::Part),
            ("Jones", "Smith Jones", Likeness::Part),
            ("Smith", "Smyth", Likeness::Different),
            ("Smithson", "Smith", Likeness::Different),
            ("", "Smith", Likeness::Different),
            ("-", "'", Likeness::Different),
        ] {
            assert_eq!(family(one, other), likeness, "{one} {other}");
            assert_eq!(family(other, one), likeness, "{other} {one}");
        }
    }

    #[test]
    fn given_names_agree_by_first_word_or_initial() {
        for (one, other, agrees) in [
            ("John Paul", "JOHN", true),
            ("J", "John", true),
            ("J.", "Jane", true),
            ("K", "John", false),
            ("Rob", "Robert", false),
            ("Siân", "SIAN", true),
            ("", "Jane", false),
        ] {
            assert_eq!(given(one, other), agrees, "{one} {other}");
        }
    }
}
