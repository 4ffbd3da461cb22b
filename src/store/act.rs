//! Acts: who did something, from where, to what, and why; and how they stand in the audit log.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::GATEWAY;

/// Who did something, when, from where and why.
#[derive(Clone, Debug)]
pub struct Act {
    pub by: String,
    pub kind: ActorKind,
    /// `command line on HOST`, `http 10.0.0.5`; empty for the gateway itself.
    pub place: String,
    /// As it was typed: it may name a patient, so it stands beside the chain and can be removed.
    pub why: String,
    pub at: Timestamp,
}

impl Act {
    /// By the name that a person gave.
    pub fn of_person(by: impl Into<String>, place: impl Into<String>, why: impl Into<String>, at: Timestamp) -> Self {
        Self { by: by.into(), kind: ActorKind::Person, place: place.into(), why: why.into(), at }
    }

    /// What nobody asked for.
    pub fn of_gateway(why: impl Into<String>, at: Timestamp) -> Self {
        Self { by: GATEWAY.into(), kind: ActorKind::Gateway, place: String::new(), why: why.into(), at }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// By the name that was given; nobody has proved it.
    Person,
    /// Signed in at the console with an account of the gateway's.
    Account,
    /// Asked over HTTP and named nobody: by the source whose listener it is, or `unnamed`.
    Program,
    Gateway,
}

impl ActorKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Account => "account",
            Self::Program => "program",
            Self::Gateway => "gateway",
        }
    }
}

/// A row to be: what was done, to what. Neither ever holds anything of a patient.
#[derive(Clone, Debug)]
pub struct Noted {
    /// `view`, `replay`, `purge`; one word or two.
    pub act: &'static str,
    /// Kind and identifier: `message 0199…`.
    pub subject: String,
    pub by: Act,
}

/// A row of the audit log. What is `None` was not kept by the version that wrote it, or was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    pub number: u64,
    pub at: Timestamp,
    pub by: String,
    pub kind: Option<String>,
    #[serde(rename = "from")]
    pub place: Option<String>,
    pub act: String,
    pub subject: String,
    /// `None` once it was removed by its age.
    pub why: Option<String>,
    /// Goes with the text, so that nobody can guess a short text from its digest.
    pub why_salt: Option<String>,
    /// Hex SHA-256 over salt and text; `None` in rows of versions that chained the text itself.
    pub why_digest: Option<String>,
    /// Hex SHA-256 over the previous entry's hash and this entry.
    pub hash: String,
}

/// How far the log went at some time: kept elsewhere, it proves later that nothing before it was changed or cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    pub number: u64,
    /// Hex.
    pub hash: String,
}

impl AuditHead {
    /// Of a log without entries.
    pub fn start() -> Self {
        Self { number: 0, hash: "0".repeat(64) }
    }
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.hash, self.number)
    }
}

impl FromStr for AuditHead {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a head is HASH@NUMBER: 64 hexadecimal digits, an entry's number";
        let (hash, number) = text.split_once('@').ok_or(FORM)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        match number.parse() {
            Ok(number) if is_hash => Ok(Self { number, hash: hash.to_ascii_lowercase() }),
            _ => Err(FORM),
        }
    }
}
