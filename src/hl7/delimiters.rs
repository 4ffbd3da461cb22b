//! The characters that hold a message together: MSH-1 and MSH-2.

use thiserror::Error;

/// Field, component, repetition, escape and subcomponent delimiter. Always ASCII punctuation and distinct,
/// so that cutting text at them never cuts a letter in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delimiters {
    pub field: u8,
    pub component: u8,
    pub repetition: u8,
    pub escape: u8,
    pub subcomponent: u8,
}

/// Why MSH-1 and MSH-2 cannot be used. Answered with AR and code 102 at MSH-1 or MSH-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DelimiterError {
    #[error("MSH-1 must be a punctuation character")]
    Field,
    #[error("MSH-2 must hold four or five characters: component, repetition, escape, subcomponent")]
    Length,
    #[error("MSH-2 must consist of punctuation characters")]
    Character,
    #[error("the characters of MSH-1 and MSH-2 must differ from each other")]
    Duplicate,
}

impl DelimiterError {
    /// The field of the header at fault: 1 or 2.
    pub fn field(self) -> u16 {
        match self {
            Self::Field => 1,
            Self::Length | Self::Character | Self::Duplicate => 2,
        }
    }
}

impl Delimiters {
    /// `|^~\&`
    pub const STANDARD: Self =
        Self { field: b'|', component: b'^', repetition: b'~', escape: b'\\', subcomponent: b'&' };

    /// From MSH-1 and the whole of MSH-2. A fifth character, the truncation character of v2.7, is checked
    /// and otherwise ignored.
    pub fn new(field: u8, encoding_characters: &[u8]) -> Result<Self, DelimiterError> {
        if !field.is_ascii_punctuation() {
            return Err(DelimiterError::Field);
        }
        let &[component, repetition, escape, subcomponent, ref truncation @ ..] = encoding_characters else {
            return Err(DelimiterError::Length);
        };
        if truncation.len() > 1 {
            return Err(DelimiterError::Length);
        }
        if !encoding_characters.iter().all(u8::is_ascii_punctuation) {
            return Err(DelimiterError::Character);
        }
        let all = [field, component, repetition, escape, subcomponent];
        let repeats = |(at, byte): (usize, &u8)| all[..at].contains(byte);
        if all.iter().enumerate().any(repeats) || truncation.iter().any(|byte| all.contains(byte)) {
            return Err(DelimiterError::Duplicate);
        }
        Ok(Self { field, component, repetition, escape, subcomponent })
    }

    /// MSH-2 as a sender writes it.
    pub fn encoding_characters(&self) -> [u8; 4] {
        [self.component, self.repetition, self.escape, self.subcomponent]
    }
}

impl Default for Delimiters {
    fn default() -> Self {
        Self::STANDARD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_distinct_punctuation() {
        for (field, encoding, expected) in [
            (b'|', r"^~\&", Ok(r"|^~\&")),
            (b'|', r"^~\&#", Ok(r"|^~\&")), // v2.7
            (b'$', "%*?#", Ok("$%*?#")),
            (b'|', r"^^\^", Err(DelimiterError::Duplicate)),
            (b'|', r"^~\|", Err(DelimiterError::Duplicate)),
            (b'|', r"^~\&&", Err(DelimiterError::Duplicate)),
            (b'|', r"^~\", Err(DelimiterError::Length)),
            (b'|', "", Err(DelimiterError::Length)),
            (b'|', r"^~\&#!", Err(DelimiterError::Length)),
            (b'|', r"^~\é", Err(DelimiterError::Character)),
            (b'|', r"^~\A", Err(DelimiterError::Character)),
            (b'|', "^~\\ ", Err(DelimiterError::Character)),
            (b'A', r"^~\&", Err(DelimiterError::Field)),
            (b'\r', r"^~\&", Err(DelimiterError::Field)),
        ] {
            let found = Delimiters::new(field, encoding.as_bytes()).map(|d| {
                let mut all = vec![d.field];
                all.extend(d.encoding_characters());
                String::from_utf8(all).expect("delimiters are ASCII")
            });
            assert_eq!(found, expected.map(str::to_owned), "{} {encoding}", char::from(field));
        }
    }
}
