//! YAML as a tree that remembers where everything stood.
//!
//! Enters: the text of a settings file. Leaves: a [`Node`] tree with line and column of every key and
//! value. Guarantees: duplicate keys are refused; anchors and depth are bounded by the parser's budget.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub node: Node,
}

impl Value {
    /// What it is, in words for an error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Parses a whole document; an empty one is an empty map.
pub fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node { place: Place { line: 1, column: 1 }, value: Value::Map(Vec::new()) });
    }
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options).map(node)
}

fn node(spanned: Spanned<Value>) -> Node {
    Node { place: place(&spanned.referenced), value: spanned.value }
}

fn place(location: &serde_saphyr::Location) -> Place {
    Place {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                Value::deserialize(deserializer)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Unsigned(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(Value::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Spanned<Value>>()? {
                    list.push(node(item));
                }
                Ok(Value::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut map = Vec::new();
                while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Value>>()? {
                    map.push(Entry { key_place: place(&key.referenced), key: key.value, node: node(value) });
                }
                Ok(Value::Map(map))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_keeps_its_place() {
        let tree = parse("instance: a\nsources:\n  - name: northmoor\n    trust_untraced: no\n").expect("valid YAML");
        let Value::Map(top) = &tree.value else { panic!("not a map: {tree:?}") };
        assert_eq!(top[1].key_place, Place { line: 2, column: 1 });
        let Value::List(sources) = &top[1].node.value else { panic!("not a list") };
        let Value::Map(first) = &sources[0].value else { panic!("not a map") };
        assert_eq!(first[0].node.place, Place { line: 3, column: 11 });
        assert_eq!(first[1].key_place, Place { line: 4, column: 5 });
    }

    #[test]
    fn duplicate_keys_are_refused() {
        assert!(parse("instance: a\ninstance: b\n").is_err());
    }

    #[test]
    fn a_file_of_comments_is_an_empty_map() {
        assert!(matches!(parse("# nothing yet\n\n").expect("empty").value, Value::Map(entries) if entries.is_empty()));
    }
}
