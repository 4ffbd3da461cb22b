//! From the located tree to typed settings, collecting problems instead of stopping at the first.
//!
//! Enters: a [`Node`] tree. Leaves: any `Deserialize` type, and every problem found on the way with its
//! place. Guarantees: unknown keys are problems; no problem repeats a setting's value.
//!
//! Two conventions make this possible. A value that does not fit is noted, left out, and the whole is read
//! again, so that one pass shows all misfits. And an enum that stands as a map is told apart by the key
//! that is the enum's serde name (`kind`, `access`): serde's own tagged enums lose every position.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::located::{Entry, Node, Place, Value};
use super::problem::did_you_mean;

/// A file with more misfits than this is not a settings file.
const PROBLEMS_MAX: usize = 200;

/// A problem with its key and place, before it is known in which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub key: String,
    pub place: Place,
    pub text: String,
    pub hint: Option<String>,
}

/// What reading a tree gave.
pub struct Read<T> {
    /// Complete when nothing had to be left out; unknown keys leave nothing out.
    pub value: Option<T>,
    pub misfits: Vec<Misfit>,
    pub unknown: Vec<UnknownKey>,
    /// Every key that the types met in this tree offer, indices left out: `sources[].charset`.
    pub offered: BTreeSet<String>,
}

/// A key that no type offers at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    pub key: String,
    pub place: Place,
    /// The keys that are offered beside it.
    pub siblings: &'static [&'static str],
}

impl UnknownKey {
    /// A slip of the finger, or a key that belongs somewhere else. `offered`: all keys there are.
    pub fn hint(&self, offered: &BTreeSet<String>) -> Option<String> {
        let name = last_part(&self.key);
        did_you_mean(name, self.siblings.iter().copied()).or_else(|| {
            let elsewhere = offered.iter().find(|path| last_part(path) == name)?;
            Some(if *elsewhere == without_indices(&self.key) {
                format!("{} of another kind have it", elsewhere.trim_end_matches(name).trim_end_matches("[]."))
            } else {
                format!("it belongs to {elsewhere}")
            })
        })
    }
}

pub fn read<T: de::DeserializeOwned>(tree: &Node) -> Read<T> {
    let notes = Notes::default();
    let mut value = None;
    for _ in 0..PROBLEMS_MAX {
        match T::deserialize(Reader { node: tree, path: String::new(), notes: &notes }) {
            Ok(read) => {
                value = Some(read);
                break;
            }
            Err(error) => {
                let (key, place) = error.at.unwrap_or_default();
                let follows_from_another =
                    error.missing.is_some_and(|field| notes.left_out.borrow().contains(&join(&key, field)));
                if !follows_from_another {
                    notes.misfits.borrow_mut().push(Misfit {
                        key: key.clone(),
                        place,
                        text: error.text,
                        hint: error.hint,
                    });
                }
                if key.is_empty() || !notes.left_out.borrow_mut().insert(key) {
                    break;
                }
            }
        }
    }
    Read {
        value,
        misfits: notes.misfits.into_inner(),
        unknown: notes.unknown.into_inner().into_values().collect(),
        offered: notes.offered.into_inner(),
    }
}

#[derive(Default)]
struct Notes {
    misfits: RefCell<Vec<Misfit>>,
    unknown: RefCell<BTreeMap<String, UnknownKey>>,
    left_out: RefCell<BTreeSet<String>>,
    offered: RefCell<BTreeSet<String>>,
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// `sources[2].charset` → `sources[].charset`
fn without_indices(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            match c {
                '[' => {
                    inside = true;
                    return true;
                }
                ']' => inside = false,
                _ => {}
            }
            !inside
        })
        .collect()
}

#[derive(Debug)]
pub struct ReadError {
    at: Option<(String, Place)>,
    text: String,
    hint: Option<String>,
    missing: Option<&'static str>,
}

impl ReadError {
    fn plain(text: String) -> Self {
        Self { at: None, text, hint: None, missing: None }
    }

    fn at(mut self, path: &str, place: Place) -> Self {
        self.at.get_or_insert_with(|| (path.to_owned(), place));
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::plain(message.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::plain(format!("must be {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::plain(format!("must be {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(variant, expected.iter().copied());
        Self { hint, ..Self::plain(format!("must be one of {}", expected.join(", "))) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::plain(format!("the key \"{field}\" is required")) }
    }
}

struct Reader<'a> {
    node: &'a Node,
    path: String,
    notes: &'a Notes,
}

impl Reader<'_> {
    fn place<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        result.map_err(|error| error.at(&self.path, self.node.place))
    }

    fn misplaced<T>(&self, expected: &str) -> Result<T, ReadError> {
        let quoted = expected == "text"
            && matches!(self.node.value, Value::Bool(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_));
        let mut error = ReadError::plain(format!("must be {expected}, not {}", self.node.value.kind()));
        error.hint = quoted.then(|| "put it in quotes".to_owned());
        Err(error.at(&self.path, self.node.place))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(items) => {
                visitor.visit_seq(Items { items: items.iter().enumerate(), path: &self.path, notes: self.notes })
            }
            Value::Map(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
                path: &self.path,
                notes: self.notes,
                fields: None,
                tag: None,
            }),
        };
        self.place(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Text(text) => self.place(visitor.visit_str(text)),
            _ => self.misplaced("text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::List(_) => self.deserialize_any(visitor),
            _ => self.misplaced("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Map(_) => self.deserialize_any(visitor),
            _ => self.misplaced("a map"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        Tagged { reader: self, tag: None }.deserialize_struct("", fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Text(text) => {
                let result = visitor.visit_enum(text.as_str().into_deserializer());
                self.place(result)
            }
            Value::Map(entries) => {
                let Some(entry) = entries.iter().find(|entry| entry.key == name) else {
                    let mut error = <ReadError as de::Error>::missing_field(name);
                    error.hint = Some(format!("one of {}", variants.join(", ")));
                    return Err(error.at(&self.path, self.node.place));
                };
                let Value::Text(variant) = &entry.node.value else {
                    let text = format!("must be one of {}", variants.join(", "));
                    return Err(ReadError::plain(text).at(&join(&self.path, name), entry.node.place));
                };
                visitor.visit_enum(Variant { tag: entry, variant, reader: self })
            }
            _ => self.misplaced("text"),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

/// A map read as a struct; `tag` is the key that told which struct it is, and no field of it.
struct Tagged<'a> {
    reader: Reader<'a>,
    tag: Option<&'a str>,
}

impl<'de> Deserializer<'de> for Tagged<'_> {
    type Error = ReadError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Self { reader, tag } = self;
        let Value::Map(entries) = &reader.node.value else { return reader.misplaced("a map") };
        {
            let mut offered = reader.notes.offered.borrow_mut();
            let here = without_indices(&reader.path);
            offered.extend(fields.iter().copied().chain(tag).map(|field| join(&here, field)));
        }
        let result = visitor.visit_map(Entries {
            entries: entries.iter(),
            value: None,
            path: &reader.path,
            notes: reader.notes,
            fields: Some(fields),
            tag,
        });
        reader.place(result)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Variant<'a> {
    tag: &'a Entry,
    variant: &'a str,
    reader: Reader<'a>,
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a> {
    type Error = ReadError;
    type Variant = Tagged<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Tagged<'a>), ReadError> {
        let value = seed
            .deserialize(self.variant.into_deserializer())
            .map_err(|error: ReadError| error.at(&self.reader.path, self.tag.node.place))?;
        Ok((value, Tagged { reader: self.reader, tag: Some(&self.tag.key) }))
    }
}

impl<'de> de::VariantAccess<'de> for Tagged<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_struct("", fields, visitor)
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    path: &'a str,
    notes: &'a Notes,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        for (index, node) in self.items.by_ref() {
            let path = format!("{}[{index}]", self.path);
            if !self.notes.left_out.borrow().contains(&path) {
                let reader = Reader { node, path: path.clone(), notes: self.notes };
                return seed.deserialize(reader).map(Some).map_err(|error| error.at(&path, node.place));
            }
        }
        Ok(None)
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<(&'a Node, String)>,
    path: &'a str,
    notes: &'a Notes,
    /// `None`: a free map, every key is welcome.
    fields: Option<&'static [&'static str]>,
    tag: Option<&'a str>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        for Entry { key, key_place, node } in self.entries.by_ref() {
            let path = join(self.path, key);
            if self.tag == Some(key) || self.notes.left_out.borrow().contains(&path) {
                continue;
            }
            if let Some(fields) = self.fields
                && !fields.contains(&key.as_str())
            {
                let unknown = UnknownKey { key: path.clone(), place: *key_place, siblings: fields };
                self.notes.unknown.borrow_mut().insert(path, unknown);
                continue;
            }
            self.value = Some((node, path));
            return seed.deserialize(key.as_str().into_deserializer()).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let (node, path) = self.value.take().expect("serde asks for a value only after its key");
        let reader = Reader { node, path: path.clone(), notes: self.notes };
        seed.deserialize(reader).map_err(|error| error.at(&path, node.place))
    }
}
