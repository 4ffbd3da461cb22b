//! Whose a command is.

use serde_json::Value;

use crate::command::author;
use crate::config::Source;

/// Whose a command is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The message names nobody, and nobody was made responsible.
    Nobodys,
    /// An NHS user's.
    Theirs(String),
    /// Somebody's whom the source's settings do not know.
    Unknown(String),
}

impl Whose {
    /// `followed`: whose the command is that it follows. `responsible`: whose it was made where its message names nobody.
    pub fn of(
        source: Option<&Source>,
        (name, body): (&str, &Value),
        followed: Option<&str>,
        responsible: Option<&str>,
    ) -> Self {
        match (followed.or_else(|| author(name, body)), responsible) {
            (Some(author), _) => match source.and_then(|source| source.user(author)) {
                Some(user) => Self::Theirs(user),
                None => Self::Unknown(author.to_owned()),
            },
            (None, Some(user)) => Self::Theirs(user.to_owned()),
            (None, None) => Self::Nobodys,
        }
    }

    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Theirs(user) => Some(user),
            Self::Nobodys | Self::Unknown(_) => None,
        }
    }
}
