//! Code tables: `codes/<dialect>/<table>.csv`, columns `local,ers` and an optional `comment`.
//!
//! A dialect's table replaces the default one of the same name: the same digit means different things in
//! different systems. An unknown code is an error that names table, value and file; never a guess.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostics, Place};

/// One table, as a sending system writes its codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeTable {
    file: String,
    /// Code in e-RS and where it is written, by the sender's code.
    rows: BTreeMap<String, (String, Place)>,
}

/// What stands in for a code that is too long or odd to be shown: it might be somebody's name.
const SHOWN_CODE_CHARS_MAX: usize = 20;

impl CodeTable {
    /// Keys are trimmed and upper-cased; two rows for one key are an error.
    pub fn parse(file: &str, text: &str, diagnostics: &mut Diagnostics) -> Self {
        let mut table = Self { file: file.to_owned(), rows: BTreeMap::new() };
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let columns = match reader.headers() {
            Ok(headers) => headers.clone(),
            Err(_) => csv::StringRecord::new(),
        };
        if columns.get(0) != Some("local") || columns.get(1) != Some("ers") {
            diagnostics.report(
                file,
                Place { line: 1, column: 1 },
                "the first line must be `local,ers` (and may add `,comment`)",
            );
            return table;
        }
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    diagnostics.report(file, Place::default(), format!("not CSV: {error}"));
                    continue;
                }
            };
            let at = Place {
                line: record.position().and_then(|p| u32::try_from(p.line()).ok()).unwrap_or_default(),
                column: 1,
            };
            let (Some(local), Some(ers)) = (record.get(0), record.get(1)) else {
                diagnostics.report(file, at, "a row needs `local` and `ers`");
                continue;
            };
            if table.rows.insert(local.to_uppercase(), (ers.to_owned(), at)).is_some() {
                diagnostics.report(file, at, format!("`{local}` has two rows"));
            }
        }
        table
    }

    pub fn get(&self, local: &str) -> Option<&str> {
        let local = local.trim();
        self.rows.get(local).or_else(|| self.rows.get(&local.to_uppercase())).map(|(ers, _)| ers.as_str())
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// The codes that it translates to, with their places.
    pub fn targets(&self) -> impl Iterator<Item = (&str, Place)> {
        self.rows.values().map(|(ers, at)| (ers.as_str(), *at))
    }

    /// What to tell the sender and the person who keeps the table.
    pub fn unknown(&self, name: &str, local: &str) -> String {
        let local = local.trim();
        let harmless = local.chars().count() <= SHOWN_CODE_CHARS_MAX
            && local.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
        let value = if harmless { format!("`{local}`") } else { "this value".to_owned() };
        format!("{name} code {value} has no row in mappings/{}", self.file)
    }

    /// The sender's codes and what they become, for documentation.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|(local, (ers, _))| (local.as_str(), ers.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> (CodeTable, usize) {
        let mut diagnostics = Diagnostics::default();
        let table = CodeTable::parse("codes/northmoor/priority.csv", text, &mut diagnostics);
        (table, diagnostics.into_vec().len())
    }

    #[test]
    fn codes_are_looked_up_without_regard_to_case_and_space() {
        let (table, problems) = table("local,ers,comment\nr,ROUTINE,\n2ww,TWO_WEEK_WAIT,urgent suspected cancer\n");
        assert_eq!(problems, 0);
        assert_eq!(table.get(" R "), Some("ROUTINE"));
        assert_eq!(table.get("2WW"), Some("TWO_WEEK_WAIT"));
        assert_eq!(table.get("4"), None);
    }

    #[test]
    fn an_unknown_code_names_table_value_and_file_but_no_name() {
        let (table, _) = table("local,ers\n");
        assert_eq!(
            table.unknown("priority", "4"),
            "priority code `4` has no row in mappings/codes/northmoor/priority.csv"
        );
        assert_eq!(
            table.unknown("priority", "Testerton Adeline"),
            "priority code this value has no row in mappings/codes/northmoor/priority.csv"
        );
    }

    #[test]
    fn broken_tables_are_reported() {
        for (text, expected) in [("a,b\n", 1), ("local,ers\n1\n", 1), ("local,ers\n1,A\n1,B\n", 1), ("", 1)] {
            assert_eq!(table(text).1, expected, "{text:?}");
        }
    }
}
