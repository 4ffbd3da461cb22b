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
    /// The message is an acknowledgement itself: never answered.
    None,
}

impl AnswersWanted {
    /// `message` is the whole message, since an answer with its own type is known by its MSA segment.
    pub fn of(header: &Header<'_>, message: &[u8]) -> Self {
        let (commit, application) = (header.field(15).trim_ascii(), header.field(16).trim_ascii());
        let original = commit.is_empty() && application.is_empty();
        if header.message_type() == "ACK" || (original && is_reply(message)) {
            Self::None
        } else if original {
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

/// MSA follows MSH, but for SFT and UAC.
fn is_reply(message: &[u8]) -> bool {
    message
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .filter(|line| !line.trim_ascii().is_empty())
        .skip(1)
        .map(|line| line.get(..3).unwrap_or(line))
        .find(|name| !matches!(*name, b"SFT" | b"UAC"))
        == Some(b"MSA")
}
