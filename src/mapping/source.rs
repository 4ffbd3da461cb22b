//! What a mapping reads: an HL7 v2 message or a FHIR message, behind the same few questions.
//!
//! Enters: a selector. Leaves: values and where they stand, in the sender's terms. Everything above (normalising,
//! letters, explaining) is one piece of code for both.

use std::borrow::Cow;
use std::fmt;

use encoding_rs::Encoding;
use jiff::tz::TimeZone;

use super::fhir::{self, FhirDocument, FhirSelector, Node, Took};
use super::problem::{Location, Problem};
use super::selector::{FoundPlace, Hl7Found, Hl7Selector};
use crate::hl7::{Dtm, Message, Segment, Zones, is_null, unescape};

/// What a mapping file is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// MSH-9.1 and MSH-9.2 of each message that it takes.
    Hl7v2(Vec<(String, String)>),
    /// The type of a resource. `several`: more than one of them may be in a message.
    Fhir { kind: String, several: bool },
}

impl Origin {
    pub fn language(&self) -> Language {
        match self {
            Self::Hl7v2(_) => Language::Hl7v2,
            Self::Fhir { .. } => Language::Fhir,
        }
    }
}

/// `REF^I12, REF^I13`, `FHIR ServiceRequest`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hl7v2(types) => {
                let types: Vec<String> = types.iter().map(|(code, trigger)| format!("{code}^{trigger}")).collect();
                f.write_str(&types.join(", "))
            }
            Self::Fhir { kind, .. } => write!(f, "FHIR {kind}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Hl7v2,
    Fhir,
}

impl Language {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hl7v2 => "HL7 v2",
            Self::Fhir => "FHIR",
        }
    }

    /// Of a selector in a file that inherits its `from`: a segment has three capitals or digits, and inside `each` a
    /// field is a number.
    pub fn of_selector(text: &str) -> Self {
        let text = text.trim();
        let name = &text[..text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len())];
        let is_segment = name.len() == 3 && !name.bytes().any(|byte| byte.is_ascii_lowercase());
        let is_field = name.starts_with(|c: char| c.is_ascii_digit());
        if is_segment || is_field { Self::Hl7v2 } else { Self::Fhir }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Hl7v2(Hl7Selector),
    Fhir(FhirSelector),
}

/// One message, as it is mapped.
#[derive(Clone, Copy, Debug)]
pub enum Document<'d> {
    Hl7v2 { message: &'d Message<'d>, encoding: &'static Encoding },
    Fhir(&'d FhirDocument<'d>),
}

/// What `each` goes over: segments, or elements and resources.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'d> {
    Segment(&'d Segment<'d>),
    Node(Node<'d>),
}

/// A value in a message, and where it stands.
#[derive(Clone, Debug)]
pub struct Found<'d> {
    /// HL7 v2: still escaped.
    pub raw: Cow<'d, str>,
    place: Place<'d>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place<'d> {
    Field {
        place: FoundPlace<'d>,
        offset: usize,
    },
    Node(Node<'d>),
    /// `null` in an array of primitives.
    Null(Node<'d>),
}

impl Selector {
    pub fn parse(text: &str, language: Language) -> Result<Self, String> {
        let parsed = match language {
            Language::Hl7v2 => Hl7Selector::parse(text).map(Self::Hl7v2),
            Language::Fhir => FhirSelector::parse(text).map(Self::Fhir),
        };
        parsed.map_err(|why| format!("`{text}` is not a selector of {}: {why}", language.name()))
    }

    pub fn language(&self) -> Language {
        match self {
            Self::Hl7v2(_) => Language::Hl7v2,
            Self::Fhir(_) => Language::Fhir,
        }
    }

    /// Begins in the message, not at the entry at hand.
    pub fn is_absolute(&self) -> bool {
        match self {
            Self::Hl7v2(selector) => selector.segment.is_some(),
            Self::Fhir(selector) => selector.is_absolute(),
        }
    }

    pub fn as_hl7v2(&self) -> Option<&Hl7Selector> {
        match self {
            Self::Hl7v2(selector) => Some(selector),
            Self::Fhir(_) => None,
        }
    }

    pub fn as_fhir(&self) -> Option<&FhirSelector> {
        match self {
            Self::Fhir(selector) => Some(selector),
            Self::Hl7v2(_) => None,
        }
    }

    /// The first value that is there (an HL7 null counts), in message order.
    pub fn first<'d>(&self, document: &Document<'d>, within: Option<Entry<'d>>) -> Option<Found<'d>> {
        if let (Self::Hl7v2(selector), Document::Hl7v2 { message, .. }) = (self, document) {
            return selector.first(message, segment_of(within)).map(Found::in_field);
        }
        let mut found = None;
        self.visit(document, within, &mut |value| {
            found = Some(value);
            false
        });
        found
    }

    /// Every value that is there.
    pub fn all<'d>(&self, document: &Document<'d>, within: Option<Entry<'d>>) -> Vec<Found<'d>> {
        let mut found: Vec<Found<'d>> = Vec::new();
        self.visit(document, within, &mut |value| {
            found.push(value);
            true
        });
        found
    }

    /// `take` says whether it wants more.
    fn visit<'d>(&self, document: &Document<'d>, within: Option<Entry<'d>>, take: &mut dyn FnMut(Found<'d>) -> bool) {
        match (self, document) {
            (Self::Hl7v2(selector), Document::Hl7v2 { message, .. }) => {
                for found in selector.all(message, segment_of(within)) {
                    if !take(Found::in_field(found)) {
                        return;
                    }
                }
            }
            (Self::Fhir(selector), Document::Fhir(document)) => {
                let mut visitor = |node: Node<'d>| match value(node) {
                    Some(found) if take(found.clone()) => Took::More,
                    Some(_) => Took::Enough,
                    None => Took::No,
                };
                selector.visit(document, node_of(within), &mut visitor, &mut |_, _| {});
            }
            _ => {}
        }
    }

    /// Whether there is anything, be it no value of its own.
    pub fn is_there(&self, document: &Document<'_>) -> bool {
        match (self, document) {
            (Self::Fhir(selector), Document::Fhir(document)) => {
                let mut is_there = false;
                let mut visitor = |_: Node<'_>| {
                    is_there = true;
                    Took::Enough
                };
                selector.visit(document, None, &mut visitor, &mut |_, _| {});
                is_there
            }
            _ => self.first(document, None).is_some(),
        }
    }

    /// The segments, or the elements and resources, that it selects; each once.
    pub fn entries<'d>(&self, document: &Document<'d>) -> Vec<Entry<'d>> {
        match (self, document) {
            (Self::Hl7v2(selector), Document::Hl7v2 { message, .. }) => {
                selector.segments(message).into_iter().map(Entry::Segment).collect()
            }
            (Self::Fhir(selector), Document::Fhir(document)) => {
                let mut seen = std::collections::HashSet::new();
                let mut nodes: Vec<Node<'d>> = Vec::new();
                let mut visitor = |node: Node<'d>| {
                    if seen.insert(std::ptr::from_ref(node.json)) {
                        nodes.push(node);
                    }
                    if nodes.len() < ENTRIES_MAX {
                        return Took::More;
                    }
                    document.exhaust();
                    Took::Enough
                };
                selector.visit(document, None, &mut visitor, &mut |_, _| {});
                nodes.into_iter().map(Entry::Node).collect()
            }
            _ => Vec::new(),
        }
    }

    /// References on its way that lead out of the message, as problems at their places.
    pub fn astray<'d>(&self, document: &Document<'d>, within: Option<Entry<'d>>) -> Vec<Problem> {
        let (Self::Fhir(selector), Document::Fhir(document)) = (self, document) else { return Vec::new() };
        let mut problems: Vec<Problem> = Vec::new();
        selector.visit(document, node_of(within), &mut |_| Took::More, &mut |node, why| {
            if problems.len() < ASTRAY_MAX {
                let place = document.place(node);
                let place = if node.json.text().is_some() { place } else { format!("{place}.reference") };
                problems.push(why.problem(place));
            }
        });
        problems
    }

    /// Where the value would stand if it were there.
    pub fn nominal_location<'d>(&self, document: &Document<'d>, within: Option<Entry<'d>>) -> Location {
        match (self, document) {
            (Self::Hl7v2(selector), _) => match within {
                Some(Entry::Segment(segment)) => {
                    let location = selector.nominal_location(Some(segment.name()));
                    if selector.segment.is_none() { in_segment(location, segment.ordinal()) } else { location }
                }
                _ => selector.nominal_location(None),
            },
            (Self::Fhir(selector), Document::Fhir(document)) => {
                Location::fhir(&selector.nominal(document, node_of(within)))
            }
            (Self::Fhir(_), Document::Hl7v2 { .. }) => Location::Message,
        }
    }
}

/// More entries of one kind than any command has room for; such a message is refused.
const ENTRIES_MAX: usize = 500;

/// References led astray by one selector that are told.
const ASTRAY_MAX: usize = 20;

/// As it was written.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hl7v2(selector) => selector.fmt(f),
            Self::Fhir(selector) => selector.fmt(f),
        }
    }
}

fn segment_of<'d>(within: Option<Entry<'d>>) -> Option<&'d Segment<'d>> {
    match within {
        Some(Entry::Segment(segment)) => Some(segment),
        _ => None,
    }
}

fn node_of(within: Option<Entry<'_>>) -> Option<Node<'_>> {
    match within {
        Some(Entry::Node(node)) => Some(node),
        _ => None,
    }
}

/// A primitive with something in it, or null.
fn value(node: Node<'_>) -> Option<Found<'_>> {
    use fhir::Json;
    let raw = match node.json {
        Json::Null => return Some(Found { raw: Cow::Borrowed(""), place: Place::Null(node) }),
        Json::Text(text) if text.is_empty() => return None,
        Json::Text(text) => Cow::Borrowed(text.as_ref()),
        Json::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Json::Number(number) => Cow::Owned(number.to_string()),
        Json::Array(_) | Json::Object(_) => return None,
    };
    Some(Found { raw, place: Place::Node(node) })
}

impl<'d> Document<'d> {
    /// Where a time without an offset is: the offset of MSH-7, then the time zone of the source.
    pub fn zones(&self, named: &str) -> Zones {
        let header = match self {
            Self::Hl7v2 { message, .. } => {
                let sent = message.segment("MSH").and_then(|header| header.field(7)).map_or("", |field| field.raw());
                let sent = sent.split(['^', '~']).next().unwrap_or_default();
                Dtm::parse(sent).ok().and_then(|time| time.offset())
            }
            Self::Fhir(_) => None,
        };
        Zones { header, source: TimeZone::get(named).unwrap_or(TimeZone::UTC) }
    }

    /// Where the entry itself stands.
    pub fn location_of(&self, entry: Entry<'d>) -> Location {
        match (entry, self) {
            (Entry::Segment(segment), _) => in_segment(Location::segment(segment.name()), segment.ordinal()),
            (Entry::Node(node), Self::Fhir(document)) => document.location(node),
            (Entry::Node(_), Self::Hl7v2 { .. }) => Location::Message,
        }
    }
}

impl<'d> Found<'d> {
    fn in_field(found: Hl7Found<'d>) -> Self {
        let Hl7Found { raw, offset, place } = found;
        Self { raw: Cow::Borrowed(raw), place: Place::Field { place, offset } }
    }

    /// Without the escapes of HL7 v2.
    pub fn text(&self, document: &Document<'d>) -> Cow<'_, str> {
        match document {
            Document::Hl7v2 { message, encoding } => unescape(&self.raw, message.delimiters(), encoding),
            Document::Fhir(_) => Cow::Borrowed(&self.raw),
        }
    }

    pub fn is_null(&self) -> bool {
        match self.place {
            Place::Field { .. } => is_null(&self.raw),
            Place::Node(_) => false,
            Place::Null(_) => true,
        }
    }

    /// Byte offset of `raw` in the message's text; `None` if it does not stand there as it is.
    pub fn offset(&self, document: &Document<'d>) -> Option<usize> {
        match (self.place, document) {
            (Place::Field { offset, .. }, _) => Some(offset),
            (Place::Node(node), Document::Fhir(document)) => document.offset(node),
            _ => None,
        }
    }

    pub fn location(&self, document: &Document<'d>) -> Location {
        match (self.place, document) {
            (Place::Field { place, .. }, _) => place.location(),
            (Place::Node(node) | Place::Null(node), Document::Fhir(document)) => document.location(node),
            _ => Location::Message,
        }
    }

    pub fn stands_where(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

fn in_segment(location: Location, number: u16) -> Location {
    match location {
        Location::Hl7 { segment, field, repetition, component, subcomponent, .. } => {
            Location::Hl7 { segment, ordinal: number, field, repetition, component, subcomponent }
        }
        other => other,
    }
}
