//! `docs/promises.md`: every test that it names is there.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PROMISES: usize = 10;

/// Names between backticks that have a file and a function: `it/crash::killed_at_any_instant`.
fn named(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split('`').skip(1).step_by(2).filter_map(|name| {
        let (file, function) = name.split_once("::")?;
        let is_plain =
            |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/".contains(c));
        (is_plain(file) && is_plain(function)).then_some((file, function))
    })
}

fn file(name: &str) -> PathBuf {
    let folder = if name.starts_with("it/") { "tests" } else { "src" };
    Path::new(ROOT).join(folder).join(name).with_extension("rs")
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/promises.md")).expect("a page of this project");
    let mut missing = Vec::new();
    for (name, function) in named(&page) {
        let text = std::fs::read_to_string(file(name)).unwrap_or_default();
        if !text.contains(&format!("fn {function}(")) {
            missing.push(format!("{name}::{function}"));
        }
    }
    assert_eq!(missing, [] as [String; 0], "tests that docs/promises.md names");
    for number in 1..=PROMISES {
        let title = format!("## {number}. ");
        let section = page.split("\n## ").map(|section| format!("## {section}")).find(|text| text.starts_with(&title));
        let section = section.unwrap_or_else(|| panic!("promise {number} has no section"));
        assert!(named(&section).count() > 0, "promise {number} is shown by some test");
    }
}
