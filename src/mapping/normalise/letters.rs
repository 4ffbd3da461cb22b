//! Letters in a message: segments that carry a document become handles, checked before anything is sent.

use super::super::dialect::InboundMapping;
use super::super::inbound::{LetterSource, LetterSpec};
use super::super::letter::{Declared, inspect_base64, inspect_bytes, letter};
use super::super::plan::{Letter, LetterContent};
use super::super::problem::{Location, Problem};
use super::super::selector::{Found, Selector};
use super::{
    DATA_TYPE_ERROR, LETTERS_MAX, Normaliser, REQUIRED_FIELD_MISSING, TABLE_VALUE_NOT_FOUND, in_segment, with_crlf,
};
use crate::hl7::Segment;

impl<'m, 'a> Normaliser<'m, 'a> {
    pub(super) fn letters(&mut self, mapping: &'m InboundMapping, documents: &mut Vec<(u32, String)>) -> Vec<Letter> {
        let mut letters = Vec::new();
        for spec in &mapping.letters {
            let segments: Vec<&Segment<'a>> = spec.each.segments(self.message);
            let mut rest = segments.as_slice();
            while let Some(first) = rest.first() {
                let parts = match spec.content {
                    LetterSource::Data { .. } => {
                        rest.iter().take_while(|next| same_document(first, next)).count().max(1)
                    }
                    LetterSource::Text(_) => rest.len(),
                    LetterSource::Refuse(_) => 1,
                };
                let (document, following) = rest.split_at(parts);
                rest = following;
                letters.extend(self.letter(spec, document, documents));
                if letters.len() > LETTERS_MAX {
                    let location = spec.each.nominal_location(None);
                    let text = format!("Value too long: more than {LETTERS_MAX} documents in one message");
                    self.problems.push(Problem::new(location, 104, text));
                    return letters;
                }
            }
        }
        letters
    }

    fn letter(
        &mut self,
        spec: &LetterSpec,
        parts: &[&Segment<'a>],
        documents: &mut Vec<(u32, String)>,
    ) -> Option<Letter> {
        let first = *parts.first()?;
        for (selector, accepted) in &spec.finished {
            for segment in parts {
                let found = selector.first(self.message, Some(segment));
                let value = found.as_ref().map_or("", |found| found.raw);
                if !accepted.iter().any(|known| known == value) {
                    let location = found.map_or_else(
                        || in_segment(selector.nominal_location(Some(segment.name())), segment.ordinal()),
                        |found| found.place.location(),
                    );
                    let text = format!(
                        "Table value not acceptable: a letter must be finished ({})",
                        accepted
                            .iter()
                            .map(|known| if known.is_empty() { "empty" } else { known })
                            .collect::<Vec<_>>()
                            .join(", ")
                    );
                    self.problems.push(Problem::new(location, TABLE_VALUE_NOT_FOUND, text));
                    return None;
                }
            }
        }
        let text_of = |selectors: &[Selector]| {
            selectors
                .iter()
                .find_map(|selector| selector.first(self.message, Some(first)))
                .map(|found| self.text(found.raw).into_owned())
        };
        let name = text_of(&spec.name).unwrap_or_default();
        let description = text_of(&spec.description);
        let types: Vec<String> = spec
            .types
            .iter()
            .filter_map(|selector| selector.first(self.message, Some(first)))
            .map(|found| self.text(found.raw).into_owned())
            .collect();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        let declared = Declared { name: &name, description: description.as_deref(), types: &types };
        match &spec.content {
            LetterSource::Data { data, encoding } => {
                self.data_letter(data, encoding.as_ref(), parts, declared, documents)
            }
            LetterSource::Text(selector) => {
                let lines: Vec<String> = parts
                    .iter()
                    .flat_map(|segment| selector.all(self.message, Some(segment)))
                    .map(|found| self.text(found.raw).into_owned())
                    .collect();
                let text = with_crlf(&lines.join("\n"));
                let declared = Declared { types: &["txt"], ..declared };
                let place = in_segment(selector.nominal_location(Some(first.name())), first.ordinal());
                self.text_letter(text, declared, place, documents)
            }
            LetterSource::Refuse(text) => {
                let place = in_segment(Location::field(first.name(), 2), first.ordinal());
                self.problems.push(Problem::new(
                    place,
                    TABLE_VALUE_NOT_FOUND,
                    format!("Table value not acceptable: {text}"),
                ));
                None
            }
        }
    }

    fn data_letter(
        &mut self,
        data: &Selector,
        encoding: Option<&Selector>,
        parts: &[&Segment<'a>],
        declared: Declared<'_>,
        documents: &mut Vec<(u32, String)>,
    ) -> Option<Letter> {
        let first = *parts.first()?;
        let missing = in_segment(data.nominal_location(Some(first.name())), first.ordinal());
        let pieces: Vec<Found<'a>> = parts.iter().flat_map(|segment| data.all(self.message, Some(segment))).collect();
        let Some(start) = pieces.first() else {
            self.problems.push(Problem::new(missing, REQUIRED_FIELD_MISSING, "Required field missing, document data"));
            return None;
        };
        let location = start.place.location();
        let repetitions: usize = parts.iter().map(|segment| repetitions(data, segment)).sum();
        if repetitions != pieces.len() {
            let text =
                "Data type error: a repetition of the document's field carries no data; the document would be cut";
            self.problems.push(Problem::new(location, DATA_TYPE_ERROR, text));
            return None;
        }
        let stated = encoding.and_then(|selector| selector.first(self.message, Some(first)));
        let encoding_text = stated.as_ref().map_or("Base64", |found| found.raw).to_ascii_lowercase();
        let result = match encoding_text.as_str() {
            "base64" => inspect_base64(pieces.iter().map(|piece| piece.raw), self.message.delimiters().escape)
                .and_then(|inspected| {
                    let base64 = pieces.iter().map(|piece| (piece.offset as u64, piece.raw.len() as u64)).collect();
                    letter(inspected, declared, LetterContent::Message { base64 })
                }),
            "a" => {
                let text = with_crlf(&pieces.iter().map(|piece| self.text(piece.raw)).collect::<String>());
                return self.text_letter(text, declared, location, documents);
            }
            _ => {
                let place = stated.map_or(location, |found| found.place.location());
                let text = "Table value not found: the encoding of a document is Base64 or A (table 0299)";
                self.problems.push(Problem::new(place, TABLE_VALUE_NOT_FOUND, text));
                return None;
            }
        };
        result.map_err(|problem| self.problems.push(Problem::new(location, problem.code, problem.text))).ok()
    }

    fn text_letter(
        &mut self,
        text: String,
        declared: Declared<'_>,
        location: Location,
        documents: &mut Vec<(u32, String)>,
    ) -> Option<Letter> {
        let number = u32::try_from(documents.len() + 1).unwrap_or(u32::MAX);
        let made = inspect_bytes(text.as_bytes())
            .and_then(|inspected| letter(inspected, declared, LetterContent::Document { number }));
        match made {
            Ok(letter) => {
                documents.push((number, text));
                Some(letter)
            }
            Err(problem) => {
                self.problems.push(Problem::new(location, problem.code, problem.text));
                None
            }
        }
    }

    pub(super) fn generated_letter(
        &mut self,
        file_name: &str,
        title: &str,
        text: String,
        documents: &mut Vec<(u32, String)>,
    ) -> Option<Letter> {
        let declared = Declared { name: file_name, description: Some(title), types: &["txt"] };
        self.text_letter(text, declared, Location::Message, documents)
    }
}

/// Parts of one document share OBX-4 and follow each other (`hl7/reference.md`, OBX with a document).
fn same_document(first: &Segment<'_>, next: &Segment<'_>) -> bool {
    const SUB_ID: u16 = 4;
    if first.index() == next.index() {
        return true;
    }
    let sub_id =
        |segment: &Segment<'_>| segment.field(SUB_ID).map(|field| field.raw().to_owned()).filter(|id| !id.is_empty());
    sub_id(first).is_some() && sub_id(first) == sub_id(next)
}

/// How many repetitions the field of `selector` has in `segment`.
fn repetitions(selector: &Selector, segment: &Segment<'_>) -> usize {
    let field = selector.field.as_ref().and_then(|part| segment.field(part.number));
    field.map_or(0, |field| field.repetitions().filter(|repetition| !repetition.raw().is_empty()).count())
}
