//! MSH as it stands in the bytes, before anything is known about charset or delimiters.
//!
//! Enters: the bytes of a message. Leaves: [`Header`], by which the message can be answered even if nothing
//! else of it can be read. Guarantees: fields are found by position, whatever MSH-2 says; MSH-10 is given
//! byte for byte.

use std::borrow::Cow;

use jiff::tz::Offset;
use memchr::{memchr_iter, memchr2};
use thiserror::Error;

use super::acknowledgement::{AckError, ErrorLocation};
use super::charset::{is_wide, provisional};
use super::{DelimiterError, Delimiters, Dtm, Version};

/// Fields that are kept: MSH-1 to MSH-21.
const FIELDS: usize = 21;
/// MSH-10 may be longer than the standard allows, up to here.
const CONTROL_ID_BYTES_MAX: usize = 256;

/// There is no MSH to answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    #[error("not HL7 v2: there is no MSH segment at the start")]
    NoHeader,
    #[error("UTF-32 is not supported, and UTF-16 is read as UTF-8; send UTF-8 with MSH-18 UNICODE UTF-8")]
    Wide,
}

/// The header of one message.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// Field `n` is at `n - 1`; what was not sent is empty.
    fields: [&'a [u8]; FIELDS],
    delimiters: Result<Delimiters, DelimiterError>,
}

impl<'a> Header<'a> {
    /// Finds the header at the start of a message; a byte order mark and blank lines may come before it.
    pub fn scan(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let bytes = bytes.trim_ascii_start();
        if is_wide(bytes) {
            return Err(Unreadable::Wide);
        }
        let segment = &bytes[..memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len())];
        Self::of_segment(segment, b"MSH").ok_or(Unreadable::NoHeader)
    }

    /// The header segment of a message, a batch or a file: they share the first twelve fields but for 9 to 12.
    pub(super) fn of_segment(segment: &'a [u8], name: &[u8; 3]) -> Option<Self> {
        let rest = segment.strip_prefix(name)?;
        let mut fields: [&[u8]; FIELDS] = [b""; FIELDS];
        let Some(&separator) = rest.first() else {
            return Some(Self { fields, delimiters: Err(DelimiterError::Field) });
        };
        fields[0] = &rest[..1];
        let ends = memchr_iter(separator, rest).skip(1).chain([rest.len()]);
        let mut start = 1;
        for (field, end) in fields[1..].iter_mut().zip(ends) {
            *field = &rest[start..end];
            start = end + 1;
        }
        Some(Self { delimiters: Delimiters::new(separator, fields[1]), fields })
    }

    /// A header of a batch or file as one that an acknowledgement can answer: its control id is in field 11, and
    /// processing id, version and charset are those of its first message.
    pub(super) fn as_message_header(&self, first_message: Option<&Header<'a>>) -> Self {
        let mut fields = [b"".as_slice(); FIELDS];
        fields[..7].copy_from_slice(&self.fields[..7]);
        fields[9] = self.field(11);
        if let Some(message) = first_message {
            for number in [11, 12, 18] {
                fields[number - 1] = message.field(number);
            }
        }
        Self { fields, delimiters: self.delimiters }
    }

    /// As declared, or why they cannot be used.
    pub fn delimiters(&self) -> Result<Delimiters, DelimiterError> {
        self.delimiters
    }

    /// MSH-1 to MSH-21 as sent; empty if absent or out of range.
    pub fn field(&self, number: usize) -> &'a [u8] {
        number.checked_sub(1).and_then(|at| self.fields.get(at)).copied().unwrap_or_default()
    }

    /// A component of the first repetition, as sent.
    pub fn component(&self, field: usize, number: usize) -> &'a [u8] {
        let delimiters = self.delimiters.unwrap_or(Delimiters::STANDARD);
        let first = self.field(field).split(|byte| *byte == delimiters.repetition).next().unwrap_or_default();
        let component = number.checked_sub(1).and_then(|at| first.split(|b| *b == delimiters.component).nth(at));
        component.unwrap_or_default()
    }

    fn text(&self, field: usize, component: usize) -> Cow<'a, str> {
        provisional(self.component(field, component))
    }

    /// MSH-3.1
    pub fn sending_application(&self) -> Cow<'a, str> {
        self.text(3, 1)
    }

    /// MSH-4.1
    pub fn sending_facility(&self) -> Cow<'a, str> {
        self.text(4, 1)
    }

    /// The offset that MSH-7 carries: the default for times of the message that have none.
    pub fn offset(&self) -> Option<Offset> {
        Dtm::parse(&self.text(7, 1)).ok().and_then(|time| time.offset())
    }

    /// MSH-9.1
    pub fn message_type(&self) -> Cow<'a, str> {
        self.text(9, 1)
    }

    /// MSH-9.2
    pub fn trigger(&self) -> Cow<'a, str> {
        self.text(9, 2)
    }

    /// MSH-10, to be echoed byte for byte.
    pub fn control_id(&self) -> &'a [u8] {
        self.field(10)
    }

    /// MSH-10 as text that differs where the bytes differ, by which the message is known from then on. None if
    /// it is empty, or longer than any control id.
    pub fn known_control_id(&self) -> Option<String> {
        let id = self.control_id();
        (1..=CONTROL_ID_BYTES_MAX).contains(&id.len()).then(|| provisional(id).into_owned())
    }

    /// MSH-11.1
    pub fn processing_id(&self) -> Cow<'a, str> {
        self.text(11, 1)
    }

    /// MSH-12.1, if it is a supported version.
    pub fn version(&self) -> Option<Version> {
        Version::parse(&self.text(12, 1))
    }

    /// The version in whose shape the message is answered.
    pub fn answer_version(&self) -> Version {
        Version::nearest(&self.text(12, 1))
    }

    /// MSH-18, all repetitions; none if it is empty.
    pub fn charsets(&self) -> Vec<Cow<'a, str>> {
        let raw = self.field(18);
        let repetition = self.delimiters.unwrap_or(Delimiters::STANDARD).repetition;
        if raw.is_empty() { Vec::new() } else { raw.split(|byte| *byte == repetition).map(provisional).collect() }
    }

    /// What MSH alone says against the message: delimiters, MSH-9, MSH-10, MSH-11, MSH-12, in this order
    /// (`reference.md` section 9, steps 3 and 4). With bad delimiters nothing else is looked at.
    pub fn problems(&self, processing_ids: &[String]) -> Vec<AckError> {
        if let Err(error) = self.delimiters {
            return vec![problem(error.field(), 102, &error.to_string())];
        }
        let mut problems = Vec::new();
        if self.message_type().trim().is_empty() {
            problems.push(problem(9, 200, "MSH-9 must say the message type"));
        }
        if self.control_id().trim_ascii().is_empty() {
            problems.push(problem(10, 101, "MSH-10 must hold a control id"));
        } else if self.control_id().len() > CONTROL_ID_BYTES_MAX {
            problems.push(problem(10, 102, "MSH-10 must not be longer than 256 bytes"));
        }
        if !processing_ids.iter().any(|accepted| *accepted == self.processing_id()) {
            let accepted = processing_ids.join(", ");
            problems.push(problem(11, 202, &format!("MSH-11 must be one of: {accepted}")));
        }
        if self.version().is_none() {
            problems.push(problem(12, 203, "MSH-12 must be a version from 2.3 to 2.8"));
        }
        problems
    }
}

fn problem(field: u16, code: u16, text: &str) -> AckError {
    AckError { location: Some(ErrorLocation::field("MSH", field)), code, text: text.to_owned() }
}

#[cfg(test)]
mod tests;
