//! What comes later about the same referral and makes an earlier command pointless, or wrong.

/// How a command that waited was overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overtaken {
    Cancelled,
    Superseded,
}

/// Several of these in a row each add something.
const ADDING: [&str; 4] = ["AttachLetters", "RemoveLetters", "GeneratePatientLetter", "CreateAdviceRequest"];

impl Overtaken {
    /// By a later command of the same referral.
    pub fn by(earlier: &str, later: &str) -> Option<Self> {
        if later.starts_with("Cancel") && !earlier.starts_with("Cancel") {
            return Some(Self::Cancelled);
        }
        (earlier == later && !ADDING.contains(&earlier)).then_some(Self::Superseded)
    }

    pub fn code(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED_MEANWHILE",
            Self::Superseded => "SUPERSEDED_MEANWHILE",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Cancelled => {
                "a cancellation for the same referral came while it waited: decide which of the two is meant"
            }
            Self::Superseded => {
                "the same was said anew for this referral while it waited: decide which of the two is meant"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_and_the_same_said_anew_overtake() {
        for (earlier, later, how) in [
            ("CreateReferral", "CancelReferral", Some(Overtaken::Cancelled)),
            ("BookAppointment", "CancelAppointment", Some(Overtaken::Cancelled)),
            ("CreateReferral", "CreateReferral", Some(Overtaken::Superseded)),
            ("AcceptReferral", "AcceptReferral", Some(Overtaken::Superseded)),
            ("CreateReferral", "AttachLetters", None),
            ("AttachLetters", "AttachLetters", None),
        ] {
            assert_eq!(Overtaken::by(earlier, later), how, "{earlier}, then {later}");
        }
    }
}
