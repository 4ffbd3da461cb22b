//! YAML with places: a tree whose every node knows its line and column.
//!
//! Enters: the text of one mapping file. Leaves: a [`Node`]. Guarantees: duplicate keys are errors; depth
//! and size are limited by the parser; `no` stays a string.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::diagnostic::{Diagnostics, Place, did_you_mean};

#[derive(Clone, Debug)]
pub struct Node {
    pub at: Place,
    pub yaml: Yaml,
}

#[derive(Clone, Debug)]
pub enum Yaml {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub struct Key {
    pub at: Place,
    pub name: String,
}

/// Parses one file; a syntax error is reported and gives `None`.
pub fn parse(file: &str, text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    match serde_saphyr::from_str_with_options::<Node>(text, serde_saphyr::options! { strict_booleans: true }) {
        Ok(node) => Some(node),
        Err(error) => {
            let at = error
                .location()
                .map(|location| Place { line: line(location.line()), column: line(location.column()) })
                .unwrap_or_default();
            let message = error.to_string();
            let first = message.lines().next().unwrap_or("not valid YAML").to_owned();
            diagnostics.report(file, at, first);
            None
        }
    }
}

fn line(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Node {
    pub fn as_text(&self) -> Option<&str> {
        match &self.yaml {
            Yaml::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.yaml {
            Yaml::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn get(&self, name: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// What a reader would call it.
    pub fn kind(&self) -> &'static str {
        match self.yaml {
            Yaml::Null => "nothing",
            Yaml::Bool(_) => "true or false",
            Yaml::Integer(_) | Yaml::Float(_) => "a number",
            Yaml::Text(_) => "text",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a mapping",
        }
    }

    /// The same tree as JSON, places forgotten.
    pub fn to_json(&self) -> Value {
        match &self.yaml {
            Yaml::Null => Value::Null,
            Yaml::Bool(flag) => Value::Bool(*flag),
            Yaml::Integer(number) => Value::from(*number),
            Yaml::Float(number) => Value::from(*number),
            Yaml::Text(text) => Value::from(text.as_str()),
            Yaml::List(items) => items.iter().map(Node::to_json).collect(),
            Yaml::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect())
            }
        }
    }
}

/// Reads the keys of one mapping: each known key once, every unknown one reported with a hint.
pub struct Keys<'a> {
    file: &'a str,
    entries: &'a [(Key, Node)],
    known: &'a [&'a str],
}

impl<'a> Keys<'a> {
    /// `None` (and a report) if `node` is not a mapping.
    pub fn of(file: &'a str, node: &'a Node, known: &'a [&'a str], diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.as_map() else {
            diagnostics.report(file, node.at, format!("expected a mapping here, found {}", node.kind()));
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.name.as_str()) {
                let hint = did_you_mean(&key.name, known.iter().copied())
                    .or_else(|| Some(format!("known keys: {}", known.join(", "))));
                diagnostics.report_with_hint(file, key.at, format!("unknown key `{}`", key.name), hint);
            }
        }
        Some(Self { file, entries, known })
    }

    pub fn get(&self, name: &str) -> Option<&'a Node> {
        debug_assert!(self.known.contains(&name), "{name} is not declared as a known key");
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    pub fn text(&self, name: &str, diagnostics: &mut Diagnostics) -> Option<String> {
        let node = self.get(name)?;
        match &node.yaml {
            Yaml::Text(text) => Some(text.clone()),
            Yaml::Integer(number) => Some(number.to_string()),
            _ => {
                diagnostics.report(self.file, node.at, format!("`{name}` must be text, found {}", node.kind()));
                None
            }
        }
    }

    pub fn flag(&self, name: &str, diagnostics: &mut Diagnostics) -> bool {
        match self.get(name) {
            None => false,
            Some(Node { yaml: Yaml::Bool(flag), .. }) => *flag,
            Some(node) => {
                diagnostics.report(
                    self.file,
                    node.at,
                    format!("`{name}` must be true or false, found {}", node.kind()),
                );
                false
            }
        }
    }

    /// One text, or a list of texts, each with its place.
    pub fn texts(&self, name: &str, diagnostics: &mut Diagnostics) -> Vec<(String, Place)> {
        self.get(name).map(|node| texts(self.file, node, diagnostics)).unwrap_or_default()
    }
}

/// One text, or a list of texts, each with its place.
pub fn texts(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Vec<(String, Place)> {
    let one = |node: &Node, diagnostics: &mut Diagnostics| match &node.yaml {
        Yaml::Text(text) => Some((text.clone(), node.at)),
        Yaml::Integer(number) => Some((number.to_string(), node.at)),
        Yaml::Float(number) => Some((number.to_string(), node.at)),
        Yaml::Null => Some((String::new(), node.at)),
        _ => {
            diagnostics.report(file, node.at, format!("expected text here, found {}", node.kind()));
            None
        }
    };
    match &node.yaml {
        Yaml::List(items) => items.iter().filter_map(|item| one(item, diagnostics)).collect(),
        _ => one(node, diagnostics).into_iter().collect(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Yaml>::deserialize(deserializer)?;
        Ok(Self { at: Place { line: line(referenced.line()), column: line(referenced.column()) }, yaml: value })
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YamlVisitor;

        impl<'de> Visitor<'de> for YamlVisitor {
            type Value = Yaml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }

            fn visit_unit<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Null)
            }

            fn visit_none<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
                Yaml::deserialize(deserializer)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Yaml, E> {
                Ok(Yaml::Bool(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Yaml, E> {
                Ok(Yaml::Integer(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Yaml, E> {
                i64::try_from(number).map(Yaml::Integer).map_err(|_| E::custom("number too large"))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Yaml, E> {
                Ok(Yaml::Float(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Yaml, E> {
                Ok(Yaml::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Yaml, E> {
                Ok(Yaml::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Yaml::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
                let mut map: Vec<(Key, Node)> = Vec::new();
                while let Some(key) = entries.next_key::<Spanned<String>>()? {
                    let at = Place { line: line(key.referenced.line()), column: line(key.referenced.column()) };
                    let node = entries.next_value()?;
                    map.push((Key { at, name: key.value }, node));
                }
                Ok(Yaml::Map(map))
            }
        }

        deserializer.deserialize_any(YamlVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_places() {
        let mut diagnostics = Diagnostics::default();
        let node = parse("x.yaml", "a: 1\nb:\n  - no\n  - {c: 2.5}\n", &mut diagnostics).expect("valid YAML");
        assert_eq!(node.to_json(), serde_json::json!({"a": 1, "b": ["no", {"c": 2.5}]}));
        let list = node.get("b").expect("b is there");
        let Yaml::List(items) = &list.yaml else { panic!("b is a list") };
        assert_eq!(items[0].at, Place { line: 3, column: 5 });
    }

    #[test]
    fn broken_yaml_is_reported_with_its_place() {
        for text in ["a: [1, 2", "a: 1\na: 2\n", "a: {b"] {
            let mut diagnostics = Diagnostics::default();
            assert!(parse("x.yaml", text, &mut diagnostics).is_none(), "{text:?} was accepted");
            assert_eq!(diagnostics.into_vec().len(), 1, "{text:?}");
        }
    }
}
