//! JSON as a tree that borrows from the message: a string without escapes is a range of its bytes.
//!
//! Enters: the text of one message. Leaves: a [`Json`]. Guarantees: depth, number of values and members are limited
//! while it is read; a member that stands twice is refused, because readers disagree on which one counts; no error
//! shows a value.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// FHIR nests a few elements in a few more; extensions of extensions reach twelve or so.
pub const DEPTH_MAX: usize = 48;
/// A tree takes some 40 bytes for each; a bundle of the largest kind in use has some ten thousand.
pub const VALUES_MAX: usize = 250_000;
/// No element of FHIR R4 has half as many.
const MEMBERS_MAX: usize = 128;

#[derive(Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    /// Borrowed where the message has no escape in it.
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    pub why: Why,
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    NotJson,
    TooDeep,
    TooManyValues,
    TooManyMembers,
    MemberTwice,
}

impl JsonError {
    pub fn is_not_json(&self) -> bool {
        self.why == Why::NotJson
    }

    pub fn is_a_limit(&self) -> bool {
        matches!(self.why, Why::TooDeep | Why::TooManyValues | Why::TooManyMembers)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::NotJson => f.write_str("not JSON")?,
            Why::TooDeep => write!(f, "nested more than {DEPTH_MAX} deep")?,
            Why::TooManyValues => write!(f, "more than {VALUES_MAX} values")?,
            Why::TooManyMembers => write!(f, "more than {MEMBERS_MAX} members in one object")?,
            Why::MemberTwice => f.write_str("a member of an object stands twice")?,
        }
        write!(f, " at line {} column {}", self.line, self.column)
    }
}

impl<'a> Json<'a> {
    /// A byte order mark before it is passed over.
    pub fn read(text: &'a str) -> Result<Self, JsonError> {
        let budget = Budget { left: Cell::new(VALUES_MAX), fault: Cell::new(Why::NotJson) };
        let mut deserializer = serde_json::Deserializer::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
        let read = Seed { budget: &budget, depth: 0 }.deserialize(&mut deserializer);
        let at = |error: serde_json::Error| JsonError {
            why: budget.fault.get(),
            line: error.line(),
            column: error.column(),
        };
        let json = read.map_err(at)?;
        deserializer.end().map_err(at)?;
        Ok(json)
    }

    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of the member of that name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::text).filter(|text| !text.is_empty())
    }

    /// What an element repeats: the entries of an array, or the one value itself.
    pub fn entries(&self) -> &[Json<'a>] {
        match self {
            Self::Array(entries) => entries,
            one => std::slice::from_ref(one),
        }
    }
}

struct Budget {
    left: Cell<usize>,
    fault: Cell<Why>,
}

impl Budget {
    fn refuse<E: Error>(&self, why: Why) -> E {
        self.fault.set(why);
        E::custom("a limit")
    }
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let left = self.budget.left.get().checked_sub(1).ok_or_else(|| self.budget.refuse(Why::TooManyValues))?;
        self.budget.left.set(left);
        if self.depth > DEPTH_MAX {
            return Err(self.budget.refuse(Why::TooDeep));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        let mut read = Vec::new();
        while let Some(entry) = entries.next_element_seed(Seed { depth: self.depth + 1, ..self })? {
            read.push(entry);
        }
        Ok(Json::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut read: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(name) = members.next_key_seed(Name)? {
            if read.len() >= MEMBERS_MAX {
                return Err(self.budget.refuse(Why::TooManyMembers));
            }
            if read.iter().any(|(known, _)| *known == name) {
                return Err(self.budget.refuse(Why::MemberTwice));
            }
            read.push((name, members.next_value_seed(Seed { depth: self.depth + 1, ..self })?));
        }
        Ok(Json::Object(read))
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_string_without_escapes_is_a_range_of_the_message() {
        let text = r#"{"a": "JVBERi0=", "b": "JVBE\/Ri0="}"#;
        let json = Json::read(text).expect("JSON");
        let borrowed = |name| matches!(json.get(name), Some(Json::Text(Cow::Borrowed(_))));
        assert!(borrowed("a") && !borrowed("b"));
        assert_eq!(json.text_of("b"), Some("JVBE/Ri0="));
    }

    #[test]
    fn every_limit_says_which_it_is() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|number| format!("\"m{number}\": 1")).collect();
            format!("{{{}}}", members.join(","))
        };
        for (text, expected) in [
            (deep(DEPTH_MAX), None),
            (deep(DEPTH_MAX + 3), Some(Why::TooDeep)),
            (deep(100_000), Some(Why::TooDeep)),
            (format!("[{}1]", "1,".repeat(VALUES_MAX)), Some(Why::TooManyValues)),
            (members(MEMBERS_MAX), None),
            (members(MEMBERS_MAX + 1), Some(Why::TooManyMembers)),
            (r#"{"a": 1, "a": 2}"#.into(), Some(Why::MemberTwice)),
            (r#"{"a": 1, "\u0061": 2}"#.into(), Some(Why::MemberTwice)),
            ("{} {}".into(), Some(Why::NotJson)),
            ("".into(), Some(Why::NotJson)),
            ("\u{feff}{}".into(), None),
        ] {
            let shown: String = text.chars().take(40).collect();
            assert_eq!(Json::read(&text).err().map(|error| error.why), expected, "{shown}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_as_serde_json_does(text in "[\\[\\]{}\",:0-9a-c \\\\tfn.-]{0,60}") {
            let ours = Json::read(&text);
            let theirs: Result<serde_json::Value, _> = serde_json::from_str(&text);
            match ours {
                Ok(_) => prop_assert!(theirs.is_ok(), "{text}"),
                Err(JsonError { why: Why::MemberTwice, .. }) => {}
                Err(_) => prop_assert!(theirs.is_err(), "{text}"),
            }
        }
    }
}
