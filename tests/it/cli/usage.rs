//! Exit codes and problems, without a gateway.

use super::{run, text};

#[test]
fn the_shipped_example_is_a_settings_file_to_start_from() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("gateway.yaml");
    let example = run(&["check", "--example"]);
    // The example names a mapping folder beside it; the built-in set serves here.
    let without_folder = String::from_utf8_lossy(&example.stdout).replace("\nmappings: mappings\n", "\n");
    std::fs::write(&file, without_folder).expect("written");
    let checked = run(&["check", "--config", text(&file), "--for-another-machine"]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    // On this machine its variables are missing: each is a problem with its line.
    let here = run(&["check", "--config", text(&file)]);
    assert_eq!(here.status.code(), Some(1));
    let problems = String::from_utf8_lossy(&here.stderr).into_owned();
    assert!(problems.contains("the environment has no variable ERS_CLIENT_SECRET"), "{problems}");
}

#[test]
fn the_built_in_demonstration_passes_its_check() {
    let checked = run(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn what_is_not_there_has_an_exit_code_of_its_own() {
    for (arguments, code) in [
        (vec!["serve", "--config", "/nonexistent/gateway.yaml"], 3),
        (vec!["send", "/nonexistent/message.hl7"], 3),
        (vec!["messages", "list", "--store", "/nonexistent/store.db"], 3),
        (vec!["messages", "list", "--api", "http://127.0.0.1:1"], 3),
        (vec!["store", "verify", "--store", "/nonexistent/store.db"], 3),
        (vec!["store", "purge", "--before", "2026-01-01", "--store", "/nonexistent/store.db"], 3),
        (vec!["store", "purge", "--before", "2999-01-01", "--store", "/nonexistent/store.db"], 2),
        (vec!["store", "copy", "--from", "sqlite:/nonexistent/store.db", "--to", "sqlite:/nonexistent/copy.db"], 3),
        (vec!["store", "copy", "--from", "sqlite:/nonexistent/store.db", "--to", "sqlite:/nonexistent/store.db"], 2),
        (vec!["nonsense"], 2),
        (vec!["messages", "list", "--state", "nonsense"], 2),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?} says why");
    }
}
