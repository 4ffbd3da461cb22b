//! Lists for people: columns as wide as what is in them.

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

/// A value as it stands in a list.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The rows below their headings, columns two spaces apart, nothing after the last.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        cells.chain([headings[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + 2));
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_for_letters_of_any_size() {
        let rows = vec![vec!["FFÎON".to_owned(), "1".to_owned()], vec!["Zoë".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), "name   n\nFFÎON  1\nZoë    22\n");
    }
}
