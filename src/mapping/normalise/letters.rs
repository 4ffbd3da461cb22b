//! Letters in a message: segments that carry a document become handles, checked before anything is sent.

use super::super::dialect::InboundMapping;
use super::super::inbound::{LetterSource, LetterSpec};
use super::super::letter::{Declared, LetterProblem, decode_base64, inspect_base64, inspect_bytes, letter};
use super::super::plan::{Letter, LetterContent};
use super::super::problem::{Location, Problem};
use super::super::source::{Document, Entry, Found, Selector};
use super::{
    DATA_TYPE_ERROR, Documents, LETTERS_MAX, Normaliser, REQUIRED_FIELD_MISSING, TABLE_VALUE_NOT_FOUND, with_crlf,
};
use crate::hl7::Segment;

/// A JSON string has no other escapes than its own.
const NO_ESCAPE: u8 = b'\\';

impl<'m, 'd> Normaliser<'m, 'd> {
    pub(super) fn letters(&mut self, mapping: &'m InboundMapping, documents: &mut Documents) -> Vec<Letter> {
        let mut letters = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for spec in &mapping.letters {
            // A document that several specifications come to is one letter, by the first of them.
            let mut is_new = |entry: &Entry<'d>| match entry {
                Entry::Segment(_) => true,
                Entry::Node(node) => seen.insert(std::ptr::from_ref(node.json)),
            };
            let entries: Vec<Entry<'d>> =
                spec.each.entries(&self.document).into_iter().filter(|entry| is_new(entry)).collect();
            let astray = spec.each.astray(&self.document, None);
            self.tell(astray);
            let mut rest = entries.as_slice();
            while let Some(first) = rest.first() {
                let parts = match spec.content {
                    LetterSource::Data { .. } => {
                        rest.iter().take_while(|next| same_document(*first, **next)).count().max(1)
                    }
                    LetterSource::Text(_) if matches!(self.document, Document::Hl7v2 { .. }) => rest.len(),
                    LetterSource::Text(_) | LetterSource::Refuse(_) => 1,
                };
                let (document, following) = rest.split_at(parts);
                rest = following;
                letters.extend(self.letter(spec, document, documents));
                if letters.len() > LETTERS_MAX {
                    let location = spec.each.nominal_location(&self.document, None);
                    let text = format!("Value too long: more than {LETTERS_MAX} documents in one message");
                    self.problems.push(Problem::new(location, 104, text));
                    return letters;
                }
            }
        }
        letters
    }

    fn letter(&mut self, spec: &LetterSpec, parts: &[Entry<'d>], documents: &mut Documents) -> Option<Letter> {
        let first = *parts.first()?;
        for (selector, accepted) in &spec.finished {
            for entry in parts {
                let found = selector.first(&self.document, Some(*entry));
                let value = found.as_ref().map_or("", |found| &found.raw);
                if !accepted.iter().any(|known| known == value) {
                    let location = found.map_or_else(
                        || selector.nominal_location(&self.document, Some(*entry)),
                        |found| found.location(&self.document),
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
                .find_map(|selector| selector.first(&self.document, Some(first)))
                .map(|found| found.text(&self.document).into_owned())
        };
        let name = text_of(&spec.name).unwrap_or_default();
        let description = text_of(&spec.description);
        let types: Vec<String> = spec
            .types
            .iter()
            .filter_map(|selector| selector.first(&self.document, Some(first)))
            .map(|found| media_type(&found.text(&self.document)).to_owned())
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
                    .flat_map(|entry| selector.all(&self.document, Some(*entry)))
                    .map(|found| found.text(&self.document).into_owned())
                    .collect();
                let text = with_crlf(&lines.join("\n"));
                let declared = Declared { types: &["txt"], ..declared };
                let place = selector.nominal_location(&self.document, Some(first));
                self.text_letter(text, declared, place, documents)
            }
            LetterSource::Refuse(text) => {
                let place = refused_at(self.document.location_of(first));
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
        data: &[Selector],
        encoding: Option<&Selector>,
        parts: &[Entry<'d>],
        declared: Declared<'_>,
        documents: &mut Documents,
    ) -> Option<Letter> {
        let first = *parts.first()?;
        let all = |selector: &Selector| -> Vec<Found<'d>> {
            parts.iter().flat_map(|entry| selector.all(&self.document, Some(*entry))).collect()
        };
        let found = data.iter().map(|selector| (selector, all(selector))).find(|(_, pieces)| !pieces.is_empty());
        let Some((selector, pieces)) = found else {
            let astray: Vec<Problem> =
                data.iter().flat_map(|selector| selector.astray(&self.document, Some(first))).collect();
            if astray.is_empty() {
                let missing = data.first()?.nominal_location(&self.document, Some(first));
                self.problems.push(Problem::new(
                    missing,
                    REQUIRED_FIELD_MISSING,
                    "Required field missing, document data",
                ));
            }
            self.tell(astray);
            return None;
        };
        let location = pieces.first()?.location(&self.document);
        let repetitions: usize = parts.iter().map(|entry| repetitions(selector, *entry)).sum();
        if matches!(self.document, Document::Hl7v2 { .. }) && repetitions != pieces.len() {
            let text =
                "Data type error: a repetition of the document's field carries no data; the document would be cut";
            self.problems.push(Problem::new(location, DATA_TYPE_ERROR, text));
            return None;
        }
        let stated = encoding.and_then(|selector| selector.first(&self.document, Some(first)));
        let encoding_text = stated.as_ref().map_or("Base64", |found| &found.raw).to_ascii_lowercase();
        let result = match encoding_text.as_str() {
            "base64" => self.base64_letter(&pieces, declared, documents),
            "a" => {
                let text =
                    with_crlf(&pieces.iter().map(|piece| piece.text(&self.document).into_owned()).collect::<String>());
                return self.text_letter(text, declared, location, documents);
            }
            _ => {
                let place = stated.map_or(location, |found| found.location(&self.document));
                let text = "Table value not found: the encoding of a document is Base64 or A (table 0299)";
                self.problems.push(Problem::new(place, TABLE_VALUE_NOT_FOUND, text));
                return None;
            }
        };
        result.map_err(|problem| self.problems.push(Problem::new(location, problem.code, problem.text))).ok()
    }

    /// The ranges of the message where the base64 stands; what does not stand there as it is (a JSON string with
    /// escapes) is decoded and kept.
    fn base64_letter(
        &self,
        pieces: &[Found<'d>],
        declared: Declared<'_>,
        documents: &mut Documents,
    ) -> Result<Letter, LetterProblem> {
        let escape = match self.document {
            Document::Hl7v2 { message, .. } => message.delimiters().escape,
            Document::Fhir(_) => NO_ESCAPE,
        };
        let inspected = inspect_base64(pieces.iter().map(|piece| piece.raw.as_ref()), escape)?;
        let range = |piece: &Found<'d>| Some((piece.offset(&self.document)? as u64, piece.raw.len() as u64));
        if let Some(base64) = pieces.iter().map(range).collect::<Option<Vec<_>>>() {
            return letter(inspected, declared, LetterContent::Message { base64 });
        }
        let number = next_number(documents);
        let made = letter(inspected, declared, LetterContent::Document { number })?;
        let bytes = decode_base64(&pieces.iter().map(|piece| piece.raw.as_ref()).collect::<String>())?;
        documents.push((number, bytes.into()));
        Ok(made)
    }

    fn text_letter(
        &mut self,
        text: String,
        declared: Declared<'_>,
        location: Location,
        documents: &mut Documents,
    ) -> Option<Letter> {
        let number = next_number(documents);
        let made = inspect_bytes(text.as_bytes())
            .and_then(|inspected| letter(inspected, declared, LetterContent::Document { number }));
        match made {
            Ok(letter) => {
                documents.push((number, text.into()));
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
        documents: &mut Documents,
    ) -> Option<Letter> {
        let declared = Declared { name: file_name, description: Some(title), types: &["txt"] };
        self.text_letter(text, declared, Location::Message, documents)
    }
}

fn next_number(documents: &Documents) -> u32 {
    u32::try_from(documents.len() + 1).unwrap_or(u32::MAX)
}

/// `text/plain; charset=utf-8` is text/plain.
fn media_type(stated: &str) -> &str {
    stated.split(';').next().unwrap_or_default().trim()
}

/// A segment is refused at OBX-2, which says what it carries.
fn refused_at(location: Location) -> Location {
    match location {
        Location::Hl7 { segment, ordinal, .. } => {
            Location::Hl7 { segment, ordinal, field: Some(2), repetition: None, component: None, subcomponent: None }
        }
        other => other,
    }
}

/// Parts of one document share OBX-4 and follow each other (`hl7/reference.md`, OBX with a document).
fn same_document(first: Entry<'_>, next: Entry<'_>) -> bool {
    const SUB_ID: u16 = 4;
    let (Entry::Segment(first), Entry::Segment(next)) = (first, next) else { return false };
    if first.index() == next.index() {
        return true;
    }
    let sub_id =
        |segment: &Segment<'_>| segment.field(SUB_ID).map(|field| field.raw().to_owned()).filter(|id| !id.is_empty());
    sub_id(first).is_some() && sub_id(first) == sub_id(next)
}

/// How many repetitions the field of `selector` has in a segment.
fn repetitions(selector: &Selector, entry: Entry<'_>) -> usize {
    let (Some(selector), Entry::Segment(segment)) = (selector.as_hl7v2(), entry) else { return 0 };
    let field = selector.field.as_ref().and_then(|part| segment.field(part.number));
    field.map_or(0, |field| field.repetitions().filter(|repetition| !repetition.raw().is_empty()).count())
}
