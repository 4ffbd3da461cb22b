//! Selectors: where in an HL7 v2 message a value is. Declared in mappings, never computed.
//!
//! `PID-3[4.1=NHS,5=NH].1`: of segment PID, field 3, the repetition whose component 4 (subcomponent 1) is
//! NHS and whose component 5 is NH; of that, component 1. `PRD[1=RT]-7.1`: of the PRD segments whose
//! field 1 is RT. `NTE-3(*)`: every repetition. Inside `each`, the segment is left out: `7[2=ERSSVC].1`.
//!
//! A path takes everything below it: `NTE-3` is the whole repetition with its components, `PID-5.1.1` one
//! subcomponent. In a predicate a missing component or subcomponent means the first.
//! Operators: those of `predicate`.

use std::fmt;

use super::predicate::{Comparison, bracketed};
use super::problem::Location;
use crate::hl7::{Message, Repetition, Segment};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hl7Selector {
    written: String,
    pub segment: Option<SegmentPart>,
    /// `None` selects whole segments (for `each`).
    pub field: Option<FieldPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPart {
    pub name: String,
    ordinal: Option<u16>,
    predicates: Vec<Predicate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPart {
    pub number: u16,
    repetition: Which,
    predicates: Vec<Predicate>,
    component: Option<u16>,
    subcomponent: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// The first that satisfies the predicates.
    First,
    Nth(u16),
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Predicate {
    /// In a segment: field, component, subcomponent. In a field: component, subcomponent.
    path: [u16; 3],
    comparison: Comparison,
}

/// A value in a message, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hl7Found<'a> {
    /// Still escaped.
    pub raw: &'a str,
    /// Byte offset of `raw` in the message's text.
    pub offset: usize,
    pub place: FoundPlace<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundPlace<'a> {
    pub segment: &'a str,
    pub segment_index: usize,
    pub ordinal: u16,
    pub field: u16,
    pub repetition: u16,
    pub component: Option<u16>,
    pub subcomponent: Option<u16>,
}

impl FoundPlace<'_> {
    pub fn location(&self) -> Location {
        Location::Hl7 {
            segment: self.segment.to_owned(),
            ordinal: self.ordinal,
            field: Some(self.field),
            repetition: Some(self.repetition),
            component: self.component,
            subcomponent: self.subcomponent,
        }
    }
}

impl Hl7Selector {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let written = text.trim();
        let (segment, field) = Parser { rest: written }.selector()?;
        Ok(Self { written: written.to_owned(), segment, field })
    }

    /// The first value that is there (an HL7 null counts), in message order.
    pub fn first<'a>(&self, message: &Message<'a>, within: Option<&Segment<'a>>) -> Option<Hl7Found<'a>> {
        let mut found = None;
        self.visit(message, within, &mut |value| {
            found = Some(value);
            false
        });
        found
    }

    /// Every value that is there.
    pub fn all<'a>(&self, message: &Message<'a>, within: Option<&Segment<'a>>) -> Vec<Hl7Found<'a>> {
        let mut found = Vec::new();
        self.visit(message, within, &mut |value| {
            found.push(value);
            true
        });
        found
    }

    /// The segments that the segment part selects.
    pub fn segments<'a, 'm>(&self, message: &'m Message<'a>) -> Vec<&'m Segment<'a>> {
        match &self.segment {
            Some(part) => message.segments_named(&part.name).filter(|segment| part.takes(segment)).collect(),
            None => Vec::new(),
        }
    }

    /// Where the value would stand if it were there.
    pub fn nominal_location(&self, within: Option<&str>) -> Location {
        let segment = self.segment.as_ref().map(|part| part.name.as_str()).or(within).unwrap_or_default().to_owned();
        Location::Hl7 {
            segment,
            ordinal: self.segment.as_ref().and_then(|part| part.ordinal).unwrap_or(1),
            field: self.field.as_ref().map(|field| field.number),
            repetition: None,
            component: self.field.as_ref().and_then(|field| field.component),
            subcomponent: self.field.as_ref().and_then(|field| field.subcomponent),
        }
    }

    /// Numbers of the fields that it looks at, predicates of its segment included.
    pub fn fields_read(&self) -> impl Iterator<Item = u16> + '_ {
        let predicates = self.segment.iter().flat_map(|part| part.predicates.iter().map(|predicate| predicate.path[0]));
        predicates.chain(self.field.as_ref().map(|field| field.number))
    }

    fn visit<'a>(
        &self,
        message: &Message<'a>,
        within: Option<&Segment<'a>>,
        take: &mut dyn FnMut(Hl7Found<'a>) -> bool,
    ) {
        let Some(field) = &self.field else { return };
        match (&self.segment, within) {
            (Some(part), _) => {
                for segment in message.segments_named(&part.name).filter(|segment| part.takes(segment)) {
                    if !field.visit(segment, take) {
                        return;
                    }
                }
            }
            (None, Some(segment)) => {
                field.visit(segment, take);
            }
            (None, None) => {}
        }
    }
}

impl SegmentPart {
    fn takes(&self, segment: &Segment<'_>) -> bool {
        self.ordinal.is_none_or(|ordinal| ordinal == segment.ordinal())
            && self.predicates.iter().all(|predicate| {
                let [field, component, subcomponent] = predicate.path;
                let value = segment
                    .field(field)
                    .and_then(|field| field.repetitions().next())
                    .map_or("", |repetition| leaf(&repetition, component, subcomponent));
                predicate.holds(value)
            })
    }
}

impl FieldPart {
    /// False when `take` wants no more.
    fn visit<'a>(&self, segment: &Segment<'a>, take: &mut dyn FnMut(Hl7Found<'a>) -> bool) -> bool {
        let Some(field) = segment.field(self.number) else { return true };
        for repetition in field.repetitions() {
            if let Which::Nth(number) = self.repetition
                && repetition.number() != number
            {
                continue;
            }
            if !self
                .predicates
                .iter()
                .all(|predicate| predicate.holds(leaf(&repetition, predicate.path[0], predicate.path[1])))
            {
                continue;
            }
            if let Some((raw, offset)) = self.value(&repetition) {
                let place = FoundPlace {
                    segment: segment.name(),
                    segment_index: segment.index(),
                    ordinal: segment.ordinal(),
                    field: self.number,
                    repetition: repetition.number(),
                    component: self.component,
                    subcomponent: self.subcomponent,
                };
                if !take(Hl7Found { raw, offset, place }) {
                    return false;
                }
            }
            if self.repetition == Which::First {
                break;
            }
        }
        true
    }

    fn value<'a>(&self, repetition: &Repetition<'a>) -> Option<(&'a str, usize)> {
        let (raw, offset) = match (self.component, self.subcomponent) {
            (None, _) => (repetition.raw(), repetition.offset()),
            (Some(component), None) => {
                let component = repetition.component(component)?;
                (component.raw(), component.offset())
            }
            (Some(component), Some(subcomponent)) => {
                let subcomponent = repetition.component(component)?.subcomponent(subcomponent)?;
                (subcomponent.raw(), subcomponent.offset())
            }
        };
        (!raw.is_empty()).then_some((raw, offset))
    }
}

impl Predicate {
    fn holds(&self, value: &str) -> bool {
        self.comparison.holds(Some(value).filter(|value| !value.is_empty()).as_slice())
    }
}

fn leaf<'a>(repetition: &Repetition<'a>, component: u16, subcomponent: u16) -> &'a str {
    repetition
        .component(component)
        .and_then(|component| component.subcomponent(subcomponent))
        .map_or("", |subcomponent| subcomponent.raw())
}

/// As it was written.
impl fmt::Display for Hl7Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<(Option<SegmentPart>, Option<FieldPart>), &'static str> {
        let segment = if self.rest.starts_with(|c: char| c.is_ascii_digit()) { None } else { Some(self.segment()?) };
        let field = match &segment {
            Some(_) if self.rest.is_empty() => None,
            Some(_) => {
                self.rest = self.rest.strip_prefix('-').ok_or("after the segment comes `-` and a field number")?;
                Some(self.field()?)
            }
            None => Some(self.field()?),
        };
        if self.rest.is_empty() { Ok((segment, field)) } else { Err("there is something after its end") }
    }

    fn segment(&mut self) -> Result<SegmentPart, &'static str> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.len() != 3 {
            return Err("a segment's name has three letters or digits");
        }
        self.rest = rest;
        let ordinal = match self.repetition()? {
            Which::First => None,
            Which::Nth(number) => Some(number),
            Which::All => return Err("segments are counted `(1)`, `(2)`; all are taken without a number"),
        };
        Ok(SegmentPart { name: name.to_owned(), ordinal, predicates: self.predicates(3)? })
    }

    fn field(&mut self) -> Result<FieldPart, &'static str> {
        let number = self.number()?;
        let repetition = self.repetition()?;
        let predicates = self.predicates(2)?;
        let component = self.dotted()?;
        let subcomponent = if component.is_some() { self.dotted()? } else { None };
        Ok(FieldPart { number, repetition, predicates, component, subcomponent })
    }

    fn repetition(&mut self) -> Result<Which, &'static str> {
        let Some(rest) = self.rest.strip_prefix('(') else { return Ok(Which::First) };
        let end = rest.find(')').ok_or("`(` is not closed")?;
        let inside = &rest[..end];
        self.rest = &rest[end + 1..];
        if inside == "*" {
            return Ok(Which::All);
        }
        inside
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .map(Which::Nth)
            .ok_or("between `(` and `)` stands a number from 1, or `*`")
    }

    fn predicates(&mut self, depth: usize) -> Result<Vec<Predicate>, &'static str> {
        let Some((inside, rest)) = bracketed(self.rest)? else { return Ok(Vec::new()) };
        self.rest = rest;
        inside.split(',').map(|text| predicate(text.trim(), depth)).collect()
    }

    fn dotted(&mut self) -> Result<Option<u16>, &'static str> {
        match self.rest.strip_prefix('.') {
            Some(rest) => {
                self.rest = rest;
                self.number().map(Some)
            }
            None => Ok(None),
        }
    }

    fn number(&mut self) -> Result<u16, &'static str> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok().filter(|number| *number > 0).ok_or("expected a number from 1")
    }
}

fn predicate(text: &str, depth: usize) -> Result<Predicate, &'static str> {
    const FORM: &str = "a predicate is `path=value` (`!=`, `^=`, `!^=`, `$=`)";
    let (path_text, comparison) = Comparison::split(text).ok_or(FORM)?;
    let mut path = [1u16; 3];
    let parts: Vec<&str> = path_text.split('.').collect();
    if parts.len() > depth {
        return Err("a predicate's path is too deep");
    }
    for (slot, part) in path.iter_mut().zip(&parts) {
        *slot = part.trim().parse().ok().filter(|n| *n > 0).ok_or("a predicate's path is made of numbers from 1")?;
    }
    Ok(Predicate { path, comparison })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "MSH|^~\\&|A|B|C|D|20260316||REF^I12|1|P|2.4\r\
        PRD|RP|X||||| 555^SDS~G99^GMP\r\
        PRD|RT|||||20^LOCAL~11002^ERS^ERSSVC\r\
        PID|1||H1^^^RXX00^MR~9994120034^^^NHS&2.16&ISO^NH||FAM&VON^GIVEN||\"\"\r\
        NTE|1||one~two^with\r";

    fn message() -> Message<'static> {
        Message::parse(TEXT).expect("a valid message")
    }

    #[test]
    fn selectors_find_what_they_say() {
        let message = message();
        for (selector, expected) in [
            ("PID-3[4.1=NHS,5=NH].1", vec!["9994120034"]),
            ("PID-3[5=MR].1", vec!["H1"]),
            ("PID-3.1", vec!["H1"]),
            ("PID-3(2).1", vec!["9994120034"]),
            ("PID-3(*).1", vec!["H1", "9994120034"]),
            ("PID-3(*)[5!=NH].1", vec!["H1"]),
            ("PID-3[4^=RXX].1", vec!["H1"]),
            ("PID-5.1", vec!["FAM&VON"]),
            ("PID-5.1.1", vec!["FAM"]),
            ("PID-7", vec!["\"\""]),
            ("PRD[1=RT]-6[3=ERSSVC].1", vec!["11002"]),
            ("PRD(2)-6.2", vec!["LOCAL"]),
            ("PRD[1=RP|CP]-7.1", vec![" 555"]),
            ("PRD[1!^=R]-7.1", vec![]),
            ("PID-3(*)[5!^=N].1", vec!["H1"]),
            ("PID-3(*)[5$=H].1", vec!["9994120034"]),
            ("NTE-3", vec!["one"]),
            ("NTE-3(*)", vec!["one", "two^with"]),
            ("NTE[2=]-1", vec!["1"]),
            ("ZZZ-1", vec![]),
            ("PID-99", vec![]),
            ("MSH-9.2", vec!["I12"]),
        ] {
            let parsed = Hl7Selector::parse(selector).expect(selector);
            let found: Vec<&str> = parsed.all(&message, None).iter().map(|found| found.raw).collect();
            assert_eq!(found, expected, "{selector}");
        }
    }

    #[test]
    fn offsets_point_into_the_text() {
        let message = message();
        for selector in ["PID-3(*).1", "PID-5.1.1", "NTE-3(*)", "MSH-9.2"] {
            for found in Hl7Selector::parse(selector).expect(selector).all(&message, None) {
                assert_eq!(&TEXT[found.offset..found.offset + found.raw.len()], found.raw, "{selector}");
            }
        }
    }

    #[test]
    fn what_is_not_a_selector_says_why() {
        for text in [
            "",
            "PI-3",
            "PID3",
            "PID-",
            "PID-0",
            "PID-3[",
            "PID-3[4]",
            "PID-3[1.2.3=x]",
            "PID-3.1.2.3",
            "PID-3zzz",
            "PID(*)-1",
        ] {
            assert!(Hl7Selector::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            if let Ok(selector) = Hl7Selector::parse(&text) {
                let _ = selector.all(&message(), None);
            }
        }
    }
}
