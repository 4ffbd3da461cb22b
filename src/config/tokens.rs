//! Tokens of programs that use the HTTP API: whose they are, and what they open. Only digests stand in the settings.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de};

/// One token, made by `ers-gateway tokens make`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is: stands in logs and in the audit log.
    pub name: String,
    pub sha256: TokenDigest,
    pub role: Role,
    /// Of a sender: as whom it may send, and of whose messages it may ask.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Of others than senders: what was read for patients as well, documents and events.
    #[serde(default)]
    pub content: bool,
    /// The last day (UTC) on which it opens anything.
    #[serde(default)]
    pub expires: Option<Date>,
}

/// What a program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Metrics only.
    Monitor,
    /// Sends as its sources, and sees what became of what they sent.
    Sender,
    /// Sees what came and what became of it, without content.
    Viewer,
    /// The same, and acts: replay, discard, release, pass, decide.
    Operator,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Monitor, Self::Sender, Self::Viewer, Self::Operator];

    pub fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Sender => "sender",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// Who may use an HTTP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpAccess {
    /// Who shows a token; health and the description of the API are for everybody.
    Tokens,
    /// Whoever reaches the address may do everything.
    Open,
}

/// SHA-256 of a token, as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl TokenDigest {
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest opens nothing, but need not be everywhere either.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("must be 64 hexadecimal digits, from `ers-gateway tokens make`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = TokenDigest([0xa5; 32]);
        assert_eq!(TokenDigest::parse(&digest.to_string()), Some(digest));
        assert_eq!(TokenDigest::parse(&"A5".repeat(32)), Some(digest));
        for wrong in ["", "a5", &"g5".repeat(32), &"é".repeat(32), &"a5".repeat(33)] {
            assert_eq!(TokenDigest::parse(wrong), None, "{wrong}");
        }
    }
}
