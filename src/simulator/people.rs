//! Patients and clinicians as far as e-RS has an opinion on them.

use std::collections::HashMap;

/// What e-RS holds against someone; `None` in [`Person::standing`] is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The patient's record is restricted.
    Restricted,
    /// The patient has no registered practice.
    NoPractice,
    /// The patient has no password for booking online: there is nothing to write to them.
    NoAccessCode,
    NotActive,
    NotReferringClinician,
    NotReferringClinicianAtOrganisation,
    NotInOrganisation,
    NotProviderClinician,
}

impl Standing {
    pub fn code(self) -> &'static str {
        match self {
            Self::Restricted => "PATIENT_ERROR",
            Self::NoPractice => "NO_REG_GP_PRACTICE",
            Self::NoAccessCode => "NO_ACCESS_CODE",
            Self::NotActive => "REFERENCED_USER_IS_NOT_ACTIVE",
            Self::NotReferringClinician => "REFERENCED_USER_IS_NOT_RC",
            Self::NotReferringClinicianAtOrganisation => "REFERENCED_USER_IS_NOT_RC_AT_ORG",
            Self::NotInOrganisation => "REFERENCED_USER_NOT_IN_ORG",
            Self::NotProviderClinician => "REFERENCED_USER_IS_NOT_SPC",
        }
    }
}

/// By NHS number or SDS user id.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub standing: Option<Standing>,
}

/// A register of people: the known ones, and whether unknown ones are let through.
pub struct Register {
    known: HashMap<String, Option<Standing>>,
    anyone: bool,
}

impl Register {
    pub fn new(people: &[Person], anyone: bool) -> Self {
        let known = people.iter().map(|person| (person.id.clone(), person.standing)).collect();
        Self { known, anyone }
    }

    /// The code of the refusal, if e-RS would refuse to deal with this person.
    pub fn refusal(&self, id: &str) -> Option<&'static str> {
        match self.known.get(id) {
            Some(Some(Standing::NoAccessCode)) => None,
            Some(standing) => standing.map(Standing::code),
            None => (!self.anyone).then_some("REFERENCE_NOT_FOUND"),
        }
    }

    /// Whether a letter with an access code can be made for this patient.
    pub fn has_access_code(&self, id: &str) -> bool {
        self.known.get(id) != Some(&Some(Standing::NoAccessCode))
    }
}

/// Ten digits, the last of which is the modulus 11 check digit of the others.
pub fn is_nhs_number(text: &str) -> bool {
    if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let sum: u32 = text.bytes().zip((2..=10).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    let check = match 11 - sum % 11 {
        11 => 0,
        other => other,
    };
    check == u32::from(text.as_bytes()[9] - b'0')
}

/// Twelve digits, leading zeros included.
pub fn is_sds_user_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_of_an_nhs_number_is_checked() {
        for (number, good) in [
            ("9994120034", true),
            ("9912003888", true),
            ("9999000010", true), // remainder 0, so the check digit is 0
            ("9994120035", false),
            ("999412003", false),
            ("99941200345", false),
            ("999412 034", false),
        ] {
            assert_eq!(is_nhs_number(number), good, "{number}");
        }
    }
}
