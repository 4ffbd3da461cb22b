//! Identifiers that must not be swapped: each has a type of its own, checked once where it enters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// One inbound unit exactly as received.
    MessageId
);
id!(
    /// One canonical intent made from a message.
    CommandId
);
id!(
    /// Everything about one referral; the unit of order.
    ThreadId
);
id!(
    /// One execution of one e-RS call.
    AttemptId
);
id!(
    /// One published fact; stable through every repetition.
    EventId
);
id!(
    /// One message to a hospital system.
    DispatchId
);

/// A unique booking reference number: exactly 12 ASCII digits, leading zeros kept
/// (`hl7/reference.md` 4.3: no check digit is described). No `Display`: it identifies a referral.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ubrn(String);

impl Ubrn {
    /// Accepts the printed 4-4-4 form with spaces.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != ' ').collect();
        (digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(Self(digits))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ubrn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ubrn(…)")
    }
}

impl TryFrom<String> for Ubrn {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a UBRN is exactly 12 digits")
    }
}

impl From<Ubrn> for String {
    fn from(ubrn: Ubrn) -> Self {
        ubrn.0
    }
}

/// An NHS number whose modulus 11 check digit holds (`hl7/reference.md` 4.1). Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NhsNumber(String);

impl NhsNumber {
    /// Strips spaces and hyphens; refuses anything else that is not a digit, another length, or a wrong check digit.
    pub fn parse(text: &str) -> Result<Self, NhsNumberError> {
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if digits.len() != 10 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NhsNumberError::Shape);
        }
        let sum: u32 =
            digits.bytes().take(9).zip((2..=10).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
        let check = match 11 - sum % 11 {
            11 => 0,
            10 => return Err(NhsNumberError::CheckDigit),
            check => check,
        };
        let last = u32::from(digits.as_bytes()[9] - b'0');
        if check == last { Ok(Self(digits)) } else { Err(NhsNumberError::CheckDigit) }
    }

    /// The number that these bytes are, if they are one.
    pub(super) fn of_bytes(text: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(text).ok()?).ok()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 999 000 0000 to 999 999 9999: never a real patient.
    pub fn is_test(&self) -> bool {
        self.0.starts_with("999")
    }
}

impl fmt::Debug for NhsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NhsNumber(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NhsNumberError {
    #[error("NHS number must be 10 digits")]
    Shape,
    #[error("NHS number check digit")]
    CheckDigit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nhs_numbers_are_checked_by_modulus_11() {
        for (raw, expected) in [
            ("9994120034", Ok("9994120034")),
            ("999 412 0034", Ok("9994120034")),
            ("999-412-0034", Ok("9994120034")),
            ("9994137841", Err(NhsNumberError::CheckDigit)),
            ("999413784", Err(NhsNumberError::Shape)),
            ("99941378400", Err(NhsNumberError::Shape)),
            ("９994137840", Err(NhsNumberError::Shape)), // a full-width digit
            ("", Err(NhsNumberError::Shape)),
        ] {
            assert_eq!(NhsNumber::parse(raw).as_ref().map(NhsNumber::as_str).map_err(|e| *e), expected, "{raw}");
        }
    }

    #[test]
    fn a_ubrn_is_twelve_digits() {
        for (raw, expected) in [
            ("000000070000", Some("000000070000")),
            ("0000 0007 0000", Some("000000070000")),
            ("70000", None),
            ("00000007000x", None),
        ] {
            assert_eq!(Ubrn::parse(raw).as_ref().map(Ubrn::as_str), expected, "{raw}");
        }
    }
}
