//! The structure of one message: segments and fields.
//!
//! Enters: decoded text of one message. Leaves: [`Message`], whose segments know their name, their ordinal
//! and where each field is. Guarantees: the whole text is accounted for (a line that is no segment is an
//! error, never skipped), time is linear in the text, memory is 4 bytes a field and under 100 a segment, and
//! all three have limits.

use std::collections::HashMap;

use memchr::{memchr_iter, memchr2};
use thiserror::Error;

use super::{AckError, DelimiterError, Delimiters, ErrorLocation, Field};

/// Bytes of text in one message; the largest frame that any source may ask for is half of it.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Segments in one message, and so the largest ordinal.
pub const SEGMENTS_MAX: usize = u16::MAX as usize;
/// Fields in one segment: ERR-2 and paths count them in 16 bits.
pub const SEGMENT_FIELDS_MAX: usize = u16::MAX as usize - 1;
/// Fields in one message: 4 MB of offsets.
pub const FIELDS_MAX: usize = 1_000_000;

/// Why text is not one HL7 v2 message. Names places, never values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StructureError {
    #[error("the message must start with an MSH segment")]
    NoHeader,
    #[error(transparent)]
    Delimiters(#[from] DelimiterError),
    #[error("line {line} does not start with a segment name of three letters and digits")]
    SegmentName { line: usize },
    #[error("line {line} starts a second message; send each in a frame of its own, or as a batch")]
    SecondHeader { line: usize },
    #[error("more than {SEGMENTS_MAX} segments")]
    TooManySegments,
    #[error("more than {SEGMENT_FIELDS_MAX} fields in {segment}, or {FIELDS_MAX} in the message")]
    TooManyFields { segment: String, ordinal: u16 },
    #[error("more than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
}

impl StructureError {
    /// As the sender is told. Up to the field at fault where there is one.
    pub fn to_ack_error(&self) -> AckError {
        let (location, code) = match self {
            Self::NoHeader => (Some(ErrorLocation::segment("MSH")), 100),
            Self::Delimiters(error) => (Some(ErrorLocation::field("MSH", error.field())), 102),
            Self::SecondHeader { .. } => (Some(ErrorLocation { ordinal: 2, ..ErrorLocation::segment("MSH") }), 100),
            Self::TooManyFields { segment, ordinal } => {
                (Some(ErrorLocation { ordinal: *ordinal, ..ErrorLocation::segment(segment.clone()) }), 102)
            }
            Self::SegmentName { .. } | Self::TooManySegments => (None, 100),
            Self::TooLong => (None, 102),
        };
        AckError { location, code, text: self.to_string() }
    }
}

/// One message over borrowed text.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    text: &'a str,
    delimiters: Delimiters,
    segments: Vec<Segment<'a>>,
}

impl<'a> Message<'a> {
    /// Segments may end in CR, LF or CR LF, also mixed; the last may have no end. Blank lines and a byte
    /// order mark are passed over.
    pub fn parse(text: &'a str) -> Result<Self, StructureError> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(StructureError::TooLong);
        }
        let mut lines = Lines::of(text);
        let header = lines.next().ok_or(StructureError::NoHeader)?;
        let delimiters = header_delimiters(header.raw)?;
        let mut parser = Parser { delimiters, separators: Vec::new(), fields: 0, ordinals: Ordinals::default() };
        let mut segments = vec![parser.segment(header, 0)?];
        for line in lines {
            if segments.len() == SEGMENTS_MAX {
                return Err(StructureError::TooManySegments);
            }
            segments.push(parser.segment(line, segments.len())?);
        }
        Ok(Self { text, delimiters, segments })
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    pub fn delimiters(&self) -> &Delimiters {
        &self.delimiters
    }

    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    pub fn segments_named(&self, name: &str) -> impl Iterator<Item = &Segment<'a>> {
        self.segments.iter().filter(move |segment| segment.name == name)
    }

    /// The first segment of that name.
    pub fn segment(&self, name: &str) -> Option<&Segment<'a>> {
        self.segments.iter().find(|segment| segment.name == name)
    }
}

/// One segment. Names keep the case they were sent in.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    name: &'a str,
    raw: &'a str,
    offset: usize,
    index: usize,
    ordinal: u16,
    delimiters: Delimiters,
    /// Where the field delimiters are, from the start of the segment.
    separators: Box<[u32]>,
}

impl<'a> Segment<'a> {
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// 1 for the first segment of that name in the message.
    pub fn ordinal(&self) -> u16 {
        self.ordinal
    }

    /// Place among all segments of the message, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The segment without its line end.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Byte offset of `raw` in the text of the message.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// `None` for field 0 and for fields that were not sent; those sent empty are there.
    pub fn field(&self, number: u16) -> Option<Field<'a>> {
        let number = usize::from(number);
        if !defines_delimiters(self.name) {
            return self.after_separator(number.checked_sub(1)?, Some(self.delimiters));
        }
        match number {
            0 => None,
            1 => {
                let at = *self.separators.first()? as usize;
                Some(Field::new(&self.raw[at..=at], self.offset + at, None))
            }
            2 => self.after_separator(0, None),
            _ => self.after_separator(number - 2, Some(self.delimiters)),
        }
    }

    /// The number of the last field sent.
    pub fn field_count(&self) -> u16 {
        let header = usize::from(defines_delimiters(self.name) && !self.separators.is_empty());
        u16::try_from(self.separators.len() + header).expect("SEGMENT_FIELDS_MAX leaves room for MSH-1")
    }

    fn after_separator(&self, index: usize, splits: Option<Delimiters>) -> Option<Field<'a>> {
        let start = *self.separators.get(index)? as usize + 1;
        let end = self.separators.get(index + 1).map_or(self.raw.len(), |end| *end as usize);
        Some(Field::new(&self.raw[start..end], self.offset + start, splits))
    }
}

/// Segments whose first two fields are the delimiters.
fn defines_delimiters(name: &str) -> bool {
    matches!(name, "MSH" | "FHS" | "BHS")
}

/// MSH-1 and MSH-2 of a header segment.
fn header_delimiters(segment: &str) -> Result<Delimiters, StructureError> {
    let bytes = segment.as_bytes();
    if !bytes.starts_with(b"MSH") {
        return Err(StructureError::NoHeader);
    }
    let Some((&field, rest)) = bytes[3..].split_first() else { return Err(DelimiterError::Field.into()) };
    let end = memchr::memchr(field, rest).unwrap_or(rest.len());
    Ok(Delimiters::new(field, &rest[..end])?)
}

/// A line that is not blank.
struct Line<'a> {
    raw: &'a str,
    offset: usize,
    /// From 1, blank lines counted; CR LF ends one line.
    number: usize,
}

struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        while self.at < self.text.len() {
            let offset = self.at;
            let rest = &self.text[offset..];
            let end = memchr2(b'\r', b'\n', rest.as_bytes()).unwrap_or(rest.len());
            let line_end = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            self.at = offset + end + line_end;
            self.number += 1;
            let raw = &rest[..end];
            if !raw.bytes().all(|byte| byte == b' ' || byte == b'\t') {
                return Some(Line { raw, offset, number: self.number });
            }
        }
        None
    }
}

/// How many segments of each name there were so far.
#[derive(Default)]
struct Ordinals(HashMap<[u8; 3], u16>);

impl Ordinals {
    fn next(&mut self, name: [u8; 3]) -> u16 {
        let count = self.0.entry(name).or_insert(0);
        *count += 1;
        *count
    }
}

struct Parser {
    delimiters: Delimiters,
    /// Reused, so that a segment costs one allocation of the right size.
    separators: Vec<u32>,
    /// So far, in all segments.
    fields: usize,
    ordinals: Ordinals,
}

impl Parser {
    fn segment<'a>(&mut self, line: Line<'a>, index: usize) -> Result<Segment<'a>, StructureError> {
        let Line { raw, offset, number } = line;
        let bytes = raw.as_bytes();
        let bad_name = StructureError::SegmentName { line: number };
        let Some(&[first, second, third]) = bytes.first_chunk::<3>() else { return Err(bad_name) };
        let named = first.is_ascii_alphabetic() && second.is_ascii_alphanumeric() && third.is_ascii_alphanumeric();
        if !named || bytes.get(3).is_some_and(|byte| *byte != self.delimiters.field) {
            return Err(bad_name);
        }
        let name = &raw[..3];
        if name == "MSH" && index > 0 {
            return Err(StructureError::SecondHeader { line: number });
        }
        let ordinal = self.ordinals.next([first, second, third]);
        self.separators.clear();
        for at in memchr_iter(self.delimiters.field, bytes) {
            if self.separators.len() == SEGMENT_FIELDS_MAX || self.fields == FIELDS_MAX {
                return Err(StructureError::TooManyFields { segment: name.to_owned(), ordinal });
            }
            self.fields += 1;
            self.separators.push(u32::try_from(at).expect("MESSAGE_BYTES_MAX fits"));
        }
        let separators = self.separators.as_slice().into();
        Ok(Segment { name, raw, offset, index, ordinal, delimiters: self.delimiters, separators })
    }
}

#[cfg(test)]
mod tests;
