//! The inside of a field: repetitions, components, subcomponents, found on demand and never stored.
//!
//! Every part is a slice of the message's text, still escaped, with its byte offset. Numbers count from 1
//! and stay at 65,535 past it.

use memchr::memchr;

use super::Delimiters;

/// One part of a field as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part<'a> {
    raw: &'a str,
    offset: usize,
    number: u16,
}

/// Cuts text at one delimiter; without one, the text is a single part.
#[derive(Clone, Debug)]
struct Parts<'a> {
    rest: Option<&'a str>,
    offset: usize,
    number: u16,
    delimiter: Option<u8>,
}

impl<'a> Parts<'a> {
    fn of(raw: &'a str, offset: usize, delimiter: Option<u8>) -> Self {
        Self { rest: Some(raw), offset, number: 0, delimiter }
    }

    /// The part with this number, counted from 1.
    fn numbered(mut self, number: u16) -> Option<Part<'a>> {
        self.nth(usize::from(number.checked_sub(1)?))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let rest = self.rest?;
        let end = self.delimiter.and_then(|delimiter| memchr(delimiter, rest.as_bytes()));
        let raw = &rest[..end.unwrap_or(rest.len())];
        self.number = self.number.saturating_add(1);
        let part = Part { raw, offset: self.offset, number: self.number };
        self.rest = end.map(|end| &rest[end + 1..]);
        self.offset += raw.len() + 1;
        Some(part)
    }
}

/// A field, with all its repetitions. MSH-1 and MSH-2 (and those of FHS and BHS) are never split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    raw: &'a str,
    offset: usize,
    splits: Option<Delimiters>,
}

impl<'a> Field<'a> {
    /// `splits` is `None` for the fields that define the delimiters.
    pub(super) fn new(raw: &'a str, offset: usize, splits: Option<Delimiters>) -> Self {
        Self { raw, offset, splits }
    }

    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Byte offset of `raw` in the text of the message.
    pub fn offset(&self) -> usize {
        self.offset
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// At least one; that of an empty field is empty.
    pub fn repetitions(&self) -> impl Iterator<Item = Repetition<'a>> + use<'a> {
        let splits = self.splits;
        Parts::of(self.raw, self.offset, splits.map(|d| d.repetition)).map(move |part| Repetition { part, splits })
    }
}

/// One value of a field that may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition<'a> {
    part: Part<'a>,
    splits: Option<Delimiters>,
}

impl<'a> Repetition<'a> {
    pub fn raw(&self) -> &'a str {
        self.part.raw
    }

    pub fn offset(&self) -> usize {
        self.part.offset
    }

    pub fn number(&self) -> u16 {
        self.part.number
    }

    pub fn component(&self, number: u16) -> Option<Component<'a>> {
        let splits = self.splits;
        self.parts().numbered(number).map(|part| Component { part, splits })
    }

    /// At least one.
    pub fn components(&self) -> impl Iterator<Item = Component<'a>> + use<'a> {
        let splits = self.splits;
        self.parts().map(move |part| Component { part, splits })
    }

    fn parts(&self) -> Parts<'a> {
        Parts::of(self.part.raw, self.part.offset, self.splits.map(|d| d.component))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component<'a> {
    part: Part<'a>,
    splits: Option<Delimiters>,
}

impl<'a> Component<'a> {
    pub fn raw(&self) -> &'a str {
        self.part.raw
    }

    pub fn offset(&self) -> usize {
        self.part.offset
    }

    pub fn number(&self) -> u16 {
        self.part.number
    }

    pub fn subcomponent(&self, number: u16) -> Option<Subcomponent<'a>> {
        self.parts().numbered(number).map(Subcomponent)
    }

    /// At least one.
    pub fn subcomponents(&self) -> impl Iterator<Item = Subcomponent<'a>> + use<'a> {
        self.parts().map(Subcomponent)
    }

    fn parts(&self) -> Parts<'a> {
        Parts::of(self.part.raw, self.part.offset, self.splits.map(|d| d.subcomponent))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subcomponent<'a>(Part<'a>);

impl<'a> Subcomponent<'a> {
    pub fn raw(&self) -> &'a str {
        self.0.raw
    }

    pub fn offset(&self) -> usize {
        self.0.offset
    }

    pub fn number(&self) -> u16 {
        self.0.number
    }
}
