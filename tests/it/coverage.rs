//! `docs/coverage.md`: every operation of e-RS, what calls it, and where that is tested. Made here from the catalogue,
//! the plans and the test files: `ERS_GATEWAY_WRITE_COVERAGE=1 cargo test --test it coverage`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use ers_gateway::mapping::{Effect, MappingSet};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// A039 is assigned in no source.
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=44;
const UNASSIGNED: u32 = 39;
/// Made by the client itself as others ask for tokens, not by plans.
const OF_SESSIONS: [(&str, &str); 3] = [
    ("A001", "Create professional session"),
    ("A002", "Select role for professional session"),
    ("A003", "Delete professional session"),
];

/// Files of tests that name the operation, as a reader finds them.
fn tests_of(call: &str, files: &[(String, String)]) -> String {
    let named: BTreeSet<&str> =
        files.iter().filter(|(_, text)| text.contains(call)).map(|(name, _)| name.as_str()).collect();
    named.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Rust files below folders called `tests`, and those of this binary, with their text; the commands for the published
/// samples as one.
fn test_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (folder, all) in [("src", false), ("tests/it", true)] {
        walk(&Path::new(ROOT).join(folder), all, &mut found);
    }
    let commands = std::fs::read_dir(Path::new(ROOT).join("tests/data/commands")).expect("a folder of this project");
    let calls = commands.flatten().map(|entry| std::fs::read_to_string(entry.path()).expect("text")).collect();
    found.push(("data/commands".into(), calls));
    found.sort();
    found
}

fn walk(folder: &Path, all: bool, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder of this project").flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, all || path.file_name().is_some_and(|name| name == "tests"), found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && (all || path.file_name().is_some_and(|name| name == "tests.rs"))
            && !path.ends_with("coverage.rs")
        {
            let name = path.strip_prefix(ROOT).expect("below the root").with_extension("");
            let name = name.display().to_string().replace("src/", "").replace("tests/it/", "it/");
            found.push((name, std::fs::read_to_string(&path).expect("text")));
        }
    }
}

fn page(set: &MappingSet) -> String {
    let files = test_files();
    let mut page = String::from(
        "# Coverage of the e-RS API\n\n\
         Made from `mappings/ers/` and the tests by `ERS_GATEWAY_WRITE_COVERAGE=1 cargo test --test it coverage`; `./test` fails\n\
         when it is not true any more. Commands are files of the same name under `mappings/ers/` and `schemas/commands/`.\n\n\
         | Operation | | Effect | Called by | Tests that name it |\n|---|---|---|---|---|\n",
    );
    let mut missing = Vec::new();
    for number in NUMBERS.filter(|number| *number != UNASSIGNED) {
        let call = format!("A{number:03}");
        if let Some((_, name)) = OF_SESSIONS.iter().find(|(number, _)| *number == call) {
            let tests = tests_of(&call, &files);
            writeln!(page, "| {call} | {name} | harmless | `access: professional_session` | {tests} |")
                .expect("text takes text");
            continue;
        }
        let Some(operation) = set.operation(&call) else {
            missing.push(call);
            continue;
        };
        let effect = match operation.effect {
            Effect::Read => "read",
            Effect::Guarded => "guarded",
            Effect::Unguarded => "unguarded",
            Effect::Harmless => "harmless",
        };
        let commands: BTreeSet<&str> = set
            .plans()
            .filter(|plan| plan.calls().any(|(_, called)| called == call))
            .map(|plan| plan.command.as_str())
            .collect();
        let commands = commands.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let commands = if commands.is_empty() { "–".to_owned() } else { commands };
        let tests = tests_of(&call, &files);
        writeln!(page, "| {call} | {} | {effect} | {commands} | {tests} |", operation.name).expect("text takes text");
    }
    writeln!(page, "\nNot called yet: {}.", missing.join(", ")).expect("text takes text");
    page
}

#[test]
fn the_page_says_what_is_covered() {
    let set = MappingSet::built_in().expect("the shipped mappings are whole");
    let (page, path) = (page(&set), Path::new(ROOT).join("docs/coverage.md"));
    if std::env::var("ERS_GATEWAY_WRITE_COVERAGE").is_ok() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/coverage.md is out of date: ERS_GATEWAY_WRITE_COVERAGE=1 cargo test --test it coverage"
    );
    for plan in set.plans() {
        for (_, call) in plan.calls() {
            assert!(page.contains(&format!("| {call} |")), "{call} of {} is in the page", plan.command);
        }
    }
}
