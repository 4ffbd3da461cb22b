//! The bytes of a message as they came, and as they are read.
//!
//! Only UTF-16 is read as other bytes than came: as UTF-8, in which its header can be found. What came is kept.

use bytes::Bytes;
use encoding_rs::Encoding;

use crate::config::UndecodableText;
use crate::hl7::charset::{from_utf16, utf16};
use crate::hl7::{AckError, CharsetError, Header};

#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub raw: Bytes,
    /// The same bytes, or UTF-8 of them.
    pub text: Bytes,
    /// Of UTF-16: its encoding, and where bytes are that are no text.
    utf16: Option<(&'static Encoding, Option<usize>)>,
}

impl Wire {
    pub(super) fn of(raw: Bytes) -> Self {
        match utf16(&raw) {
            None => Self { text: raw.clone(), raw, utf16: None },
            Some(encoding) => {
                let (text, broken) = from_utf16(&raw, encoding);
                Self { raw, text: text.into(), utf16: Some((encoding, broken)) }
            }
        }
    }

    /// What is read as it is kept.
    pub(super) fn as_it_is(text: Bytes) -> Self {
        Self { raw: text.clone(), text, utf16: None }
    }

    /// What is said about the charset outside of the message, which here wins over MSH-18.
    pub(super) fn http_charset<'a>(&self, given: Option<&'a str>) -> Option<&'a str> {
        if self.utf16.is_some() { Some("utf-8") } else { given }
    }

    /// By what name of a charset the kept bytes become text again, where that is not the charset of `text`.
    pub(super) fn stored_name(&self) -> Option<&'static str> {
        self.utf16.map(|(encoding, _)| encoding.name())
    }

    /// Bytes that are no text, unless the source has them replaced.
    pub(super) fn undecodable(&self, header: &Header<'_>, setting: UndecodableText) -> Option<AckError> {
        let (encoding, position) = self.utf16?;
        let position = position.filter(|_| setting == UndecodableText::Refuse)?;
        Some(CharsetError::Undecodable { encoding, position }.to_ack_error(header, &[]))
    }
}
