//! Which line to add to which file, where a code of a sender has no row in its table.

use std::collections::BTreeSet;

use crate::mapping::MappingSet;

/// Nothing of a patient: the code stands in the cause's text only where it is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowToAdd {
    /// Below the mappings folder.
    pub file: String,
    pub line: usize,
    pub code: String,
    /// What the table translates to so far.
    pub targets: Vec<String>,
}

/// From the text of a cause, such as "priority code `4` has no row in mappings/codes/northmoor/priority.csv".
pub fn row_to_add(set: &MappingSet, text: &str) -> Option<RowToAdd> {
    let (before, file) = text.split_once("` has no row in mappings/")?;
    let (_, code) = before.rsplit_once("code `")?;
    let file = file.split(|c: char| c.is_whitespace() || c == ',' || c == ';').next()?.trim_end_matches('.');
    let table = set.files().get(file)?;
    let column = |line: &str| line.split(',').nth(1).map(|code| code.trim().to_owned());
    let rows = table.lines().skip(1).filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let targets: BTreeSet<String> = rows.filter_map(column).filter(|code| !code.is_empty()).collect();
    Some(RowToAdd {
        file: file.to_owned(),
        line: table.lines().count() + 1,
        code: code.to_owned(),
        targets: targets.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::MappingFiles;

    #[test]
    fn the_line_to_add_is_the_one_behind_the_last() {
        let mut files = MappingFiles::built_in();
        files.insert("codes/northmoor/priority.csv", "local,ers,comment\n1,ROUTINE,\n2,URGENT,\n3,URGENT,\n");
        let set = MappingSet::load(files).unwrap_or_else(|problems| panic!("{} problems", problems.len()));
        let text = "Table value not found: priority code `4` has no row in mappings/codes/northmoor/priority.csv";
        let row = row_to_add(&set, text).expect("the table is there");
        assert_eq!((row.file.as_str(), row.line, row.code.as_str()), ("codes/northmoor/priority.csv", 5, "4"));
        assert_eq!(row.targets, ["ROUTINE", "URGENT"]);
        assert_eq!(row_to_add(&set, "PID-3.1 is required"), None);
        assert_eq!(row_to_add(&set, "x code `4` has no row in mappings/codes/nobody/x.csv"), None);
    }
}
