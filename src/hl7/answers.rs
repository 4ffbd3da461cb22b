//! Which answers a sender wants: original or enhanced mode, MSH-15 and MSH-16 (table 0155).

use super::Header;

/// When an acknowledgement of one kind is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// AL, and what table 0155 does not know: one answer too many hurts less than one too few.
    Always,
    /// NE, and empty in enhanced mode.
    Never,
    /// ER
    Error,
    /// SU
    Success,
}

impl Condition {
    fn parse(raw: &[u8]) -> Self {
        match raw.trim_ascii() {
            b"NE" | b"" => Self::Never,
            b"ER" => Self::Error,
            b"SU" => Self::Success,
            _ => Self::Always,
        }
    }

    pub fn holds(self, success: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Error => !success,
            Self::Success => success,
        }
    }
}

/// What an acknowledgement speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// CA, CE, CR: is the message in safe storage?
    Commit,
    /// AA, AE, AR: what came of it?
    Application,
}

/// What the sender of a message wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswersWanted {
    /// MSH-15 and MSH-16 are empty: one application answer.
    Original,
    Enhanced {
        commit: Condition,
        application: Condition,
    },
    /// The message is an acknowledgement itself (ACK, or MCF of old): never answered, or two systems would thank
    /// each other for ever.
    None,
}

impl AnswersWanted {
    /// A reply with a type of its own (an RRI that carries an MSA) is a message like any other: its sender waits
    /// for an answer, and an ACK ends the exchange.
    pub fn of(header: &Header<'_>) -> Self {
        let (commit, application) = (header.field(15).trim_ascii(), header.field(16).trim_ascii());
        if matches!(header.message_type().as_ref(), "ACK" | "MCF") {
            Self::None
        } else if commit.is_empty() && application.is_empty() {
            Self::Original
        } else {
            Self::Enhanced { commit: Condition::parse(commit), application: Condition::parse(application) }
        }
    }

    /// The answer to give as soon as the verdict is stored. A message refused on arrival gets one answer, of
    /// the first kind that wants to hear of errors; an accepted one gets its commit answer here and its
    /// application answer later.
    pub fn on_arrival(self, accepted: bool) -> Option<Phase> {
        match self {
            Self::Original => Some(Phase::Application),
            Self::None => None,
            Self::Enhanced { commit, .. } if commit.holds(accepted) => Some(Phase::Commit),
            Self::Enhanced { application, .. } if !accepted && application.holds(false) => Some(Phase::Application),
            Self::Enhanced { .. } => None,
        }
    }

    /// Whether an application answer follows once the outcome of an accepted message is known.
    pub fn after_outcome(self, success: bool) -> bool {
        match self {
            Self::Original | Self::None => false,
            Self::Enhanced { application, .. } => application.holds(success),
        }
    }

    /// Whether any outcome of an accepted message makes an application answer follow.
    pub fn may_follow(self) -> bool {
        self.after_outcome(true) || self.after_outcome(false)
    }
}

#[cfg(test)]
mod tests;
