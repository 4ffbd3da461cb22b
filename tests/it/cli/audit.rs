//! Who did what, from the command line: noted while the gateway runs and when it is stopped, exported, and proved.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use rusqlite::Connection;
use serde_json::Value;

use super::serve::{Served, settings};
use super::{run, text};

fn stopped(served: &mut Served) {
    served.signal("-TERM");
    assert_eq!(served.process.wait().expect("ended").code(), Some(0), "an orderly stop");
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_what_is_exported_and_nothing_of_it_can_be_changed_unseen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = settings(folder.path());
    let mut served = Served::start(&file);
    let message = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7/56-edge-bad-nhs-number.hl7");
    assert_eq!(run(&["send", message, "--to", &served.mllp]).status.code(), Some(1), "it is refused");
    let api = served.api.clone();
    let with = |arguments: &[&str]| run(&[arguments, &["--api", &api, "--by", "Zoë"]].concat());
    let found = with(&["messages", "list", "--control-id", "E56", "--json"]);
    let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let id = found["messages"][0]["id"].as_str().expect("it is there").to_owned();
    assert!(with(&["messages", "show", &id, "--why", "the ward telephoned"]).status.success());
    served.signal("-HUP");
    served.hear("were read again");
    let verified = with(&["audit", "verify", "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    let early: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    let early = early["head"].as_str().expect("a head").to_owned();
    let listed = said(&with(&["audit", "list", "--person", "Zoë", "--act", "view"]));
    assert!(listed.contains("the ward telephoned") && listed.contains(&id), "{listed}");
    stopped(&mut served);

    // Other settings, the same mappings. Where the log ends is told to the gateway's own log.
    let lines = std::fs::read_to_string(&file).expect("settings");
    std::fs::write(&file, format!("{lines}stop_notice: 0s\n")).expect("written");
    let mut served = Served::start(&file);
    stopped(&mut served);
    let store = folder.path().join("store.db");
    let place = ["--store", text(&store), "--by", "a.jones"];
    assert!(run(&[&["messages", "show", &id], &place[..]].concat()).status.success());

    let export = folder.path().join("audit.jsonl");
    let exported = || run(&[&["audit", "export", "--to", text(&export)], &place[..]].concat());
    let first = exported();
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    assert_eq!(exported().status.code(), Some(1), "an export is not overwritten");
    let mode = std::fs::metadata(&export).expect("the export").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let written = std::fs::read_to_string(&export).expect("text");
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (last, entries) = lines.split_last().expect("a last line");
    let acts: Vec<(String, String, String)> = entries
        .iter()
        .map(|entry| {
            let member = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let subject = member("subject");
            let kind = if subject.starts_with("message 0") {
                "message"
            } else {
                subject.split(' ').next().unwrap_or_default()
            };
            (member("by"), member("act"), kind.to_owned())
        })
        .collect();
    let acts: Vec<(&str, &str, &str)> = acts.iter().map(|(by, act, kind)| (&**by, &**act, &**kind)).collect();
    let own = "gateway-1";
    assert_eq!(
        acts,
        [
            (own, "change mappings", "mapping"),
            (own, "change settings", "settings"),
            ("Zoë", "search", "messages"),
            ("Zoë", "view", "message"),
            (own, "change mappings", "mapping"),
            ("Zoë", "view", "audit"),
            (own, "change settings", "settings"),
            ("a.jones", "view", "message"),
            ("a.jones", "export", "audit"),
        ],
        "{written}"
    );
    let settings_changed = entries[6]["subject"].as_str().expect("text");
    let first = entries[1]["subject"].as_str().expect("text").strip_prefix("settings none to ").expect("the first");
    assert!(settings_changed.starts_with(&format!("settings {first} to ")), "{settings_changed}");
    assert!(entries[7]["from"].as_str().is_some_and(|from| from.starts_with("command line on ")), "{}", entries[7]);
    // The message's text, which has a patient, is nowhere in it.
    for part in ["999", "PID", "EASTVALE"] {
        assert!(entries.iter().all(|entry| !entry["subject"].to_string().contains(part)), "{part}");
    }

    let head = last["head"].as_str().expect("a head").to_owned();
    assert_eq!(last["exported"], entries.len());
    let verify = |head: &[&str]| run(&[&["audit", "verify"], head, &place[..]].concat());
    for known in [&early, &head] {
        assert_eq!(verify(&["--head", known]).status.code(), Some(0), "{known}");
    }
    let refused = said(&verify(&["--head", &head.replacen(char::is_alphanumeric, "_", 1)]));
    assert!(refused.contains("HASH@NUMBER"), "{refused}");
    let tamper = |sql: &str| Connection::open(&store).expect("the file").execute_batch(sql).expect("changed");
    tamper("DELETE FROM audit WHERE number >= 9");
    let cut = verify(&[]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(said(&cut).contains("9 entries were written, the last one there is 8"), "{}", said(&cut));
    // With the count beside it, only what was kept elsewhere shows it.
    tamper("UPDATE meta SET value = 8 WHERE name = 'audit_entries'");
    assert_eq!(verify(&[]).status.code(), Some(0));
    assert_eq!(verify(&["--head", &early]).status.code(), Some(0), "what was before it is as it was");
    assert!(said(&verify(&["--head", &head])).contains("entry 9"));
    tamper("UPDATE audit SET by = 'nobody' WHERE number = 4");
    let changed = verify(&[]);
    assert_eq!(changed.status.code(), Some(1));
    assert!(said(&changed).contains("entry 4"), "{}", said(&changed));
    assert_eq!(run(&[&["audit", "list"], &place[..]].concat()).status.code(), Some(1), "nor is it shown as if it were");
}
