//! When a queued command will be sent, as far as that can be known.

use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    At {
        /// When its first call leaves.
        at: Timestamp,
        /// From counts alone: it came after the last look at the queue, or stands too far back to be looked at by itself.
        coarse: bool,
    },
    Unknown(Unforeseen),
}

/// Why nobody can say when it will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unforeseen {
    SourcePaused,
    SourceUnknown,
    /// It will be planned and not sent.
    Shadow,
    /// Operations that it needs are given a rest.
    BreakerOpen,
    HeldBack,
    /// The queue was not looked at for a while.
    NotCounted,
}

impl Estimate {
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::At { at, .. } => Some(at),
            Self::Unknown(_) => None,
        }
    }

    /// How good it is, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::At { coarse: false, .. } => "as the queue stands; what comes later and is more urgent goes first",
            Self::At { coarse: true, .. } => "coarse: from how many stand before it, not from what each of them is",
            Self::Unknown(Unforeseen::SourcePaused) => {
                "cannot be estimated: its source, or a service that it is for, is paused"
            }
            Self::Unknown(Unforeseen::SourceUnknown) => {
                "cannot be estimated: its source or connection is not configured"
            }
            Self::Unknown(Unforeseen::Shadow) => "will not be sent: it came, or its source is, in shadow mode",
            Self::Unknown(Unforeseen::BreakerOpen) => {
                "cannot be estimated: e-RS keeps failing the calls that it needs, which are left alone for a while"
            }
            Self::Unknown(Unforeseen::HeldBack) => {
                "cannot be estimated: nobody can say when the command goes on that holds it"
            }
            Self::Unknown(Unforeseen::NotCounted) => "cannot be estimated: the queue could not be looked at lately",
        }
    }
}
