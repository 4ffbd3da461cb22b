//! `${NAME}` and `${file:PATH}` in any text of the settings, so that secrets need not stand in the file.
//!
//! Enters: the located tree. Leaves: the same tree with every reference replaced. Guarantees: a missing
//! variable or file is a problem with its place; `$${` stands for a plain `${`; nothing is expanded twice.

use std::path::Path;

use super::located::{Node, Place, Value};

/// A key file or password is small; anything larger is a mistaken path.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A reference that cannot be resolved, at its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub place: (u32, u32),
    pub key: String,
    pub text: String,
}

/// What references are looked up in.
#[derive(Clone, Copy)]
pub enum Surroundings<'a> {
    /// This machine, with the variables given (tests pass their own).
    Here(&'a dyn Fn(&str) -> Option<String>),
    /// Another machine: every reference is taken to be good.
    Elsewhere,
}

impl Surroundings<'_> {
    pub fn variable(&self, name: &str) -> Option<String> {
        match self {
            Self::Here(variable) => variable(name),
            Self::Elsewhere => None,
        }
    }
}

/// What stands for a value that only another machine knows.
const ELSEWHERE: &str = "known-elsewhere";

/// Relative paths start from `folder`.
pub fn resolve(node: &mut Node, surroundings: Surroundings<'_>, folder: &Path) -> Vec<Unresolved> {
    let mut unresolved = Vec::new();
    let lookup = |reference: &str| match (surroundings, reference.strip_prefix("file:")) {
        (Surroundings::Elsewhere, _) => Ok(ELSEWHERE.to_owned()),
        (Surroundings::Here(_), Some(path)) => read(&folder.join(path)),
        (Surroundings::Here(variable), None) => variable(reference)
            .ok_or_else(|| format!("the environment has no variable {reference}; set it, or write ${{file:PATH}}")),
    };
    walk(node, "", &lookup, &mut unresolved);
    unresolved
}

type Lookup<'a> = &'a dyn Fn(&str) -> Result<String, String>;

fn walk(node: &mut Node, path: &str, lookup: Lookup<'_>, unresolved: &mut Vec<Unresolved>) {
    let place = node.place;
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match expand(text, lookup) {
            Ok(expanded) => *text = expanded,
            Err(problem) => {
                let Place { line, column } = place;
                unresolved.push(Unresolved { place: (line, column), key: path.to_owned(), text: problem });
            }
        },
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &format!("{path}[{index}]"), lookup, unresolved);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                walk(&mut entry.node, &path, lookup, unresolved);
            }
        }
        _ => {}
    }
}

fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.push_str(&rest[..at - 1]);
            expanded.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        expanded.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err("${ has no closing }; write $${ for a plain ${".to_owned());
        };
        expanded.push_str(&lookup(&rest[at + 2..at + end])?);
        rest = &rest[at + end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    let content = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(content.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::located::parse;

    /// The text of `key` after its references were replaced, or the problem.
    fn resolved(text: &str, folder: &Path) -> Result<String, String> {
        let variable = |name: &str| (name == "RABBIT").then(|| "s3cret${X}".to_owned());
        let mut tree = parse(&format!("key: \"{text}\"")).expect("valid YAML");
        let problem = resolve(&mut tree, Surroundings::Here(&variable), folder).pop();
        let Value::Map(entries) = tree.value else { panic!("not a map") };
        match (problem, &entries[0].node.value) {
            (Some(problem), _) => Err(problem.text),
            (None, Value::Text(text)) => Ok(text.clone()),
            (None, other) => panic!("not text: {other:?}"),
        }
    }

    #[test]
    fn references_are_replaced_once_and_escapes_are_kept() {
        for (text, expected) in [
            ("amqp://gateway:${RABBIT}@broker", Ok("amqp://gateway:s3cret${X}@broker")),
            ("no reference", Ok("no reference")),
            ("$${RABBIT}", Ok("${RABBIT}")),
            ("${RABBIT}${RABBIT}", Ok("s3cret${X}s3cret${X}")),
            ("${", Err("${ has no closing }; write $${ for a plain ${")),
            ("${OTHER}", Err("the environment has no variable OTHER; set it, or write ${file:PATH}")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(resolved(text, Path::new("/nonexistent")), expected, "{text}");
        }
    }

    #[test]
    fn a_file_is_read_without_its_last_line_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("secret"), "pa ss\r\n").expect("written");
        assert_eq!(resolved("${file:secret}", folder.path()), Ok("pa ss".to_owned()));
        assert!(resolved("${file:missing}", folder.path()).is_err());
    }

    #[test]
    fn an_unresolved_reference_has_its_place_and_key() {
        let mut tree = parse("broker:\n  urls: [\"amqp://${NOBODY}\"]\n").expect("valid YAML");
        let unresolved = resolve(&mut tree, Surroundings::Here(&|_| None), Path::new("."));
        assert_eq!(unresolved[0].key, "broker.urls[0]");
        assert_eq!(unresolved[0].place, (2, 10));
    }
}
