//! The sequence protocol (MSH-13, `hl7/reference.md` section 8), for sources that are set to it: messages are taken in the
//! order of their numbers, none left out.
//!
//! The number that comes next is changed after its message is on disk and before that is acknowledged. A crash in
//! between costs nothing: the sender, without its answer, sends the same message, which is then a resend.

use super::Intake;
use super::sources::KnownSource;
use crate::hl7::Header;
use crate::mapping::{Location, Problem};
use crate::store::StoreError;

const SEQUENCE_NUMBER: usize = 13;
const DATA_TYPE_ERROR: u16 = 102;
/// MSA-4 where no number is known.
const UNKNOWN: i64 = -1;

/// What a message's number says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    /// No protocol.
    Not,
    /// 0 opens the link: which number comes next?
    Opens {
        next: i64,
    },
    /// The one that was expected, or the first of all.
    InTurn {
        known: Option<u64>,
        number: u64,
    },
    /// Lower: taken before, if at all.
    Before {
        next: u64,
    },
    /// Higher: something is missing.
    Gap {
        next: u64,
    },
    NoNumber {
        next: i64,
    },
}

impl Numbered {
    /// MSA-4 of the answer.
    pub(super) fn expected(&self) -> Option<i64> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match self {
            Self::Not => None,
            Self::Opens { next } | Self::NoNumber { next } => Some(*next),
            Self::InTurn { number, .. } => Some(signed(number + 1)),
            Self::Before { next } | Self::Gap { next } => Some(signed(*next)),
        }
    }

    /// Why the message is not taken.
    pub(super) fn problem(&self) -> Option<Problem> {
        let text = match self {
            Self::Before { next } | Self::Gap { next } => {
                format!("Data type error: the sequence number that comes next is {next}")
            }
            Self::NoNumber { .. } => "Data type error: a sequence number has up to 18 digits".to_owned(),
            Self::Not | Self::Opens { .. } | Self::InTurn { .. } => return None,
        };
        Some(Problem::new(Location::field("MSH", 13), DATA_TYPE_ERROR, text))
    }
}

impl Intake {
    pub(super) async fn numbered(&self, source: &KnownSource, header: &Header<'_>) -> Result<Numbered, StoreError> {
        let field = header.field(SEQUENCE_NUMBER).trim_ascii();
        if !source.config.sequence_protocol || field.is_empty() {
            return Ok(Numbered::Not);
        }
        let known = self.store.expected_number(&source.config.name).await?;
        Ok(judge(field, known))
    }
}

fn judge(field: &[u8], known: Option<u64>) -> Numbered {
    const DIGITS_MAX: usize = 18;
    let digits = Some(field).filter(|field| field.len() <= DIGITS_MAX && field.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
    let next = known.and_then(|next| i64::try_from(next).ok()).unwrap_or(UNKNOWN);
    match (number, known) {
        (None, _) => Numbered::NoNumber { next },
        (Some(0), _) => Numbered::Opens { next },
        (Some(number), Some(next)) if number > next => Numbered::Gap { next },
        (Some(number), Some(next)) if number < next => Numbered::Before { next },
        (Some(number), known) => Numbered::InTurn { known, number },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_judged_by_what_comes_next() {
        for (field, known, expected, told) in [
            ("9", Some(3), Numbered::Gap { next: 3 }, 3),
            ("2", Some(3), Numbered::Before { next: 3 }, 3),
            ("3", Some(3), Numbered::InTurn { known: Some(3), number: 3 }, 4),
            ("7", None, Numbered::InTurn { known: None, number: 7 }, 8),
            ("0", None, Numbered::Opens { next: -1 }, -1),
            ("0", Some(3), Numbered::Opens { next: 3 }, 3),
            ("-1", Some(3), Numbered::NoNumber { next: 3 }, 3),
            ("1000000000000000000", Some(3), Numbered::NoNumber { next: 3 }, 3),
        ] {
            let found = judge(field.as_bytes(), known);
            assert_eq!((found.expected(), &found), (Some(told), &expected), "{field} of {known:?}");
        }
    }
}
