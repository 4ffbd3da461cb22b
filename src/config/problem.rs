//! What is wrong with a settings file: where, which key, what to do.

use std::fmt;
use std::path::PathBuf;

/// One problem, placed as closely as possible. Never carries the value of a setting: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigProblem {
    pub file: PathBuf,
    /// From 1; 0 when the problem has no place (a missing file, the file as a whole).
    pub line: u32,
    pub column: u32,
    /// `sources[2].connection`
    pub key: String,
    pub text: String,
    /// `did you mean …`
    pub hint: Option<String>,
}

/// `gateway.yaml:14:9: sources[2].connection: there is no connection of that name (did you mean "ers"?)`
impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Every problem of a settings file, in the order of the file.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigError(pub Vec<ConfigProblem>);

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}

/// The known name nearest to `name`, if it is near enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lowered = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lowered, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, known).map(|candidate| format!("did you mean \"{candidate}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["connection", "charset", "mode"];
        for (typed, meant) in [
            ("conection", Some("connection")),
            ("Charset", Some("charset")),
            ("chartset", Some("charset")),
            ("mdoe", Some("mode")),
            ("letterbox", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
