//! Commands that the pages tell people to type: the program has them, with these options.

use std::collections::BTreeMap;
use std::path::Path;

use super::run;

/// Said without the program's name, in the middle of a sentence; other words may begin so as well.
const SUBCOMMANDS: [&str; 6] = ["messages", "dispatches", "indoubt", "hold", "store", "events"];

/// A command line, and whether it begins with the program's name.
type Command<'p> = (&'p str, bool);

/// Command lines of a page: code between backticks, and lines of blocks, from the program's name on.
fn commands(page: &str) -> Vec<Command<'_>> {
    let mut found = Vec::new();
    for (number, block) in page.split("```").enumerate() {
        let pieces: Vec<&str> = match number % 2 {
            1 => block.lines().collect(),
            _ => block.split('`').skip(1).step_by(2).collect(),
        };
        for piece in pieces {
            let first = piece.split_whitespace().next().unwrap_or_default();
            match piece.rfind("ers-gateway ") {
                Some(at) if !is_program(&piece[..at]) => {}
                // Also behind a pipe, `docker exec NAME` and the like.
                Some(at) => found.push((&piece[at + "ers-gateway ".len()..], true)),
                _ if SUBCOMMANDS.contains(&first) => found.push((piece, false)),
                _ => {}
            }
        }
    }
    found
}

/// Not the value of an option (`-n ers-gateway`), nor the end of a longer name.
fn is_program(before: &str) -> bool {
    let last = before.split_whitespace().next_back().unwrap_or_default();
    before.is_empty() || before.ends_with(' ') && (last == "--" || !last.starts_with('-'))
}

/// Plain words at the beginning of a command line, and its options, up to where another program begins.
fn parts(command: &str) -> (Vec<&str>, Vec<&str>) {
    let words = command.split_whitespace().take_while(|word| !matches!(*word, "|" | ">" | "#" | "&&"));
    let words: Vec<&str> = words.collect();
    let is_name = |word: &&&str| word.bytes().all(|b| b.is_ascii_lowercase());
    let names = words.iter().take(3).take_while(is_name).copied().collect();
    let options = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    (names, options.map(|word| word.trim_end_matches([',', '.'])).collect())
}

/// What `--help` lists under `Commands:`.
fn subcommands(help: &str) -> impl Iterator<Item = &str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter_map(|line| line.split_whitespace().next())
}

#[test]
fn every_command_that_a_page_names_is_there_with_its_options() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut helps = BTreeMap::new();
    let mut help = |path: &[&str]| -> String {
        let asked = helps.entry(path.join(" ")).or_insert_with(|| run(&[path, &["--help"]].concat()).stdout);
        String::from_utf8_lossy(asked).into_owned()
    };
    let mut wrong = Vec::new();
    for name in ["runbooks.md", "operations.md"] {
        let page = std::fs::read_to_string(docs.join(name)).expect("a page of this project");
        let commands = commands(&page);
        assert!(commands.len() > 10, "{name} names {} commands", commands.len());
        for (command, is_whole) in commands {
            let (words, options) = parts(command);
            let mut path = Vec::new();
            let mut told = help(&path);
            let mut is_there = true;
            for word in words {
                if !subcommands(&told).any(|subcommand| subcommand == word) {
                    // An argument, where no subcommand can stand.
                    is_there = subcommands(&told).count() == 0;
                    break;
                }
                path.push(word);
                told = help(&path);
            }
            if !is_there {
                wrong.extend(is_whole.then(|| format!("{name}: {command:?}")));
                continue;
            }
            let lacks = |option: &&&str| !told.split([' ', '\n', ',', '=']).any(|word| word == **option);
            wrong.extend(options.iter().filter(lacks).map(|option| format!("{name}: {option} of {command:?}")));
        }
    }
    assert_eq!(wrong, [] as [String; 0], "the program has no such command or option");
}

#[test]
fn commands_are_found_between_backticks_and_in_blocks() {
    let page = "Type `ers-gateway health`, then `hold list` in `gateway.yaml`.\n```sh\njq x | xargs ers-gateway messages replay --why 'a' | wc -l\nkubectl -n ers-gateway get pods\n```\n";
    let found: Vec<_> = commands(page).into_iter().map(|(command, _)| parts(command)).collect();
    let expected: [(Vec<&str>, Vec<&str>); 3] =
        [(vec!["health"], vec![]), (vec!["hold", "list"], vec![]), (vec!["messages", "replay"], vec!["--why"])];
    assert_eq!(found, expected);
}
