//! What is wrong with a mapping file: file, line, column, what, and a hint what to do.

use std::fmt;

use serde::Serialize;

/// One mistake in one file. Lines and columns count from 1; 0 means the whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// `mappings/ers/CreateReferral.yaml:14:9: unknown key `heders` (did you mean `headers`?)`
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mappings/{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.text)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// Every mistake found while a set is loaded, so that all are reported at once.
#[derive(Debug, Default)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    pub fn report(&mut self, file: &str, at: Place, text: impl Into<String>) {
        self.add(file, at, text.into(), None);
    }

    pub fn report_with_hint(&mut self, file: &str, at: Place, text: impl Into<String>, hint: Option<String>) {
        self.add(file, at, text.into(), hint);
    }

    fn add(&mut self, file: &str, at: Place, text: String, hint: Option<String>) {
        let found = Diagnostic { file: file.to_owned(), line: at.line, column: at.column, text, hint };
        // What several dialects inherit is looked at with each of them, and told once.
        if !self.found.contains(&found) {
            self.found.push(found);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn into_vec(mut self) -> Vec<Diagnostic> {
        self.found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        self.found
    }
}

/// A position in a YAML file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// `did you mean …?`, when one of `known` is close to `word`.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 4))
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Levenshtein distance; both words are short names from mapping files.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_nearest_word_only_when_it_is_near() {
        let known = ["headers", "body", "save"];
        assert_eq!(did_you_mean("heders", known).as_deref(), Some("did you mean `headers`?"));
        assert_eq!(did_you_mean("zebra", known), None);
    }
}
