//! Commands that the pages tell people to type: the program has them, with these options.

use std::collections::BTreeMap;
use std::path::Path;

use super::run;

/// Said without the program's name, in the middle of a sentence.
const SUBCOMMANDS: [&str; 6] = ["messages", "dispatches", "indoubt", "hold", "store", "events"];

/// Command lines of a page: code between backticks, and lines of blocks, from the program's name on.
fn commands(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (number, block) in page.split("```").enumerate() {
        let pieces: Vec<&str> = match number % 2 {
            1 => block.lines().collect(),
            _ => block.split('`').skip(1).step_by(2).collect(),
        };
        for piece in pieces {
            let first = piece.split_whitespace().next().unwrap_or_default();
            match piece.rfind("ers-gateway ") {
                // The namespace, or the end of a longer name.
                Some(at) if piece[..at].ends_with("-n ") || at > 0 && !piece[..at].ends_with(' ') => {}
                // Also behind a pipe, `docker exec NAME` and the like.
                Some(at) => found.push(&piece[at + "ers-gateway ".len()..]),
                _ if SUBCOMMANDS.contains(&first) => found.push(piece),
                _ => {}
            }
        }
    }
    found
}

/// Subcommands and options of a command line, up to where another program begins.
fn parts(command: &str) -> (Vec<&str>, Vec<&str>) {
    let words = command.split_whitespace().take_while(|word| !matches!(*word, "|" | ">" | "#" | "&&"));
    let words: Vec<&str> = words.collect();
    let is_name = |word: &&&str| word.bytes().all(|b| b.is_ascii_lowercase());
    let names = words.iter().take(3).take_while(is_name).copied().collect();
    let options = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    (names, options.map(|word| word.trim_end_matches([',', '.'])).collect())
}

#[test]
fn every_command_that_a_page_names_is_there_with_its_options() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let (mut helps, mut wrong) = (BTreeMap::new(), Vec::new());
    for name in ["runbooks.md", "operations.md"] {
        let page = std::fs::read_to_string(docs.join(name)).expect("a page of this project");
        let commands = commands(&page);
        assert!(commands.len() > 10, "{name} names {} commands", commands.len());
        for command in commands {
            let (names, options) = parts(command);
            if names.is_empty() {
                continue;
            }
            let help = helps.entry(names.join(" ")).or_insert_with(|| {
                let answer = run(&[&names[..], &["--help"]].concat());
                answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
            });
            match help {
                None => wrong.push(format!("{name}: {names:?} of {command:?}")),
                Some(help) => {
                    let lacks = |option: &&&str| !help.split([' ', '\n', ',', '=']).any(|word| word == **option);
                    wrong.extend(options.iter().filter(lacks).map(|option| format!("{name}: {option} of {command:?}")));
                }
            }
        }
    }
    assert_eq!(wrong, [] as [String; 0], "the program has no such command or option");
}

#[test]
fn commands_are_found_between_backticks_and_in_blocks() {
    let page = "Type `ers-gateway health`, then `hold list` in `gateway.yaml`.\n```sh\njq x | xargs ers-gateway messages replay --why 'a' | wc -l\nkubectl -n ers-gateway get pods\n```\n";
    let found: Vec<_> = commands(page).into_iter().map(parts).collect();
    let expected: [(Vec<&str>, Vec<&str>); 3] =
        [(vec!["health"], vec![]), (vec!["hold", "list"], vec![]), (vec!["messages", "replay"], vec!["--why"])];
    assert_eq!(found, expected);
}
