//! People who use the console, where there is no other way to know them. Only digests of passwords stand in the settings.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use serde::{Deserialize, Deserializer, Serialize, de};

/// One account, made by `ers-gateway people make`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Signs in with it; stands in the audit log.
    pub name: String,
    pub password: PasswordDigest,
    pub role: PersonRole,
    /// Sees what messages say, and what e-RS answered.
    #[serde(default)]
    pub content: bool,
}

/// Somebody who uses the console, however they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub role: PersonRole,
    pub content: bool,
}

impl Person {
    pub fn account(&self) -> Account {
        Account { name: self.name.clone(), role: self.role, content: self.content }
    }
}

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonRole {
    /// Sees what came and what became of it.
    Viewer,
    /// The same, and acts: replay, discard, release, pass, decide.
    Operator,
    /// The same, and sees the audit log.
    Administrator,
}

impl PersonRole {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Administrator];

    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

/// An argon2id digest in its PHC form, salt and costs included.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordDigest(String);

impl PasswordDigest {
    /// `None` if it is no argon2id digest.
    pub fn parse(text: &str) -> Option<Self> {
        let digest = PasswordHash::new(text).ok()?;
        let is_whole = digest.salt.is_some() && digest.hash.is_some();
        (digest.algorithm.as_str() == "argon2id" && is_whole).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whoever has it may guess at leisure.
impl fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordDigest(…)")
    }
}

impl<'de> Deserialize<'de> for PasswordDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("must be an argon2id digest, from `ers-gateway people make`"))
    }
}
