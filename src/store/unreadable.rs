//! Values of rows that cannot be read: changed on disk, moved, or sealed with a key that is gone.
//!
//! Enters: a JSON column as it was opened, or why it was not. Leaves: its value, or one that says why there is none. Guarantees:
//! what cannot be read harms its own referral alone: its command is not carried out, its event is published without its content,
//! and nothing of another referral waits for either.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{ClaimedCommand, Result, StoreError};

/// The member of a value that stands for one that cannot be read. What is learnt later may stand beside it.
const MEMBER: &str = "unreadable";

/// Of a JSON column: what it holds, or a value that says why it cannot be read. A store that is locked or away is neither.
pub(super) fn read_json(opened: Result<Cow<'_, str>>) -> Result<Value> {
    let why = match opened {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(value) => return Ok(value),
            Err(_) => "it is no JSON".to_owned(),
        },
        Err(StoreError::Damaged(why)) => why,
        Err(error) => return Err(error),
    };
    Ok(stand_in(&why))
}

/// What `opened` is, if it can be read.
pub(super) fn if_whole<T>(opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn stand_in(why: &str) -> Value {
    json!({ MEMBER: why })
}

/// Why a value cannot be read, if it stands for one that cannot.
pub fn why_unreadable(value: &Value) -> Option<&str> {
    value.get(MEMBER)?.as_str()
}

impl ClaimedCommand {
    /// What of it cannot be read, and why.
    pub fn unreadable(&self) -> Option<(&'static str, &str)> {
        let parts =
            [("command", &self.body), ("progress", &self.plan), ("knowledge of its referral", &self.thread.known)];
        parts.into_iter().find_map(|(part, value)| Some((part, why_unreadable(value)?)))
    }
}
