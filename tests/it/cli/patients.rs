//! A patient's records, from the command line: held against purges, and exported.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::serve::{Served, settings};
use super::{gateway, run, text};

/// Of the message that is sent.
const NHS_NUMBER: &str = "9994124145";
/// Of nobody who is there.
const NOBODY: &str = "9994121405";

/// With something on its standard input.
fn run_with(input: &str, arguments: &[&str]) -> Output {
    let mut process = gateway(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    process.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    process.wait_with_output().expect("it ends")
}

fn code(output: &Output) -> Option<i32> {
    eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status.code()
}

fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"))
}

/// A stopped gateway's store with a referral that somebody gave up, and a refused message of nobody.
fn filled(folder: &Path) -> (String, String) {
    let file = settings(folder);
    let mut served = Served::start(&file);
    for (name, answered) in [("04-refi12-v24-eastvale-2ww", 0), ("56-edge-bad-nhs-number", 1)] {
        let message = format!("{}/tests/data/hl7/{name}.hl7", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(code(&run(&["send", &message, "--to", &served.mllp])), Some(answered));
    }
    served.signal("-TERM");
    assert_eq!(served.process.wait().expect("ended").code(), Some(0));
    let store = text(&folder.join("store.db")).to_owned();
    let listed = json(&["messages", "list", "--verdict", "accepted", "--json", "--store", &store]);
    let message = listed["messages"][0]["id"].as_str().expect("it is there").to_owned();
    let shown = json(&["messages", "show", &message, "--json", "--store", &store]);
    let command = shown["commands"][0]["id"].as_str().expect("it has one").to_owned();
    let place = ["--store", &store, "--by", "Grace", "--why", "a test"];
    // The e-RS that is not there may still have it in hand, as far as the store knows, until its lease ends.
    let began = Instant::now();
    while run(&[&["messages", "discard", &command], &place[..]].concat()).status.code() != Some(0) {
        assert!(began.elapsed() < Duration::from_secs(20), "{shown:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
    (store, message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_a_patient_is_exported_and_never_purged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, message) = filled(folder.path());
    let place = ["--store", &*store, "--by", "Grace", "--why", "claim 4711"];
    let with = |input: &str, arguments: &[&str]| run_with(input, &[arguments, &place[..]].concat());
    let add = ["store", "hold", "add", "--patient"];
    assert_eq!(code(&with("4711\n", &add)), Some(2), "it is no NHS number");
    let other_key = folder.path().join("other.key");
    assert_eq!(code(&with(NHS_NUMBER, &[&add[..], &["--key-file", text(&other_key)]].concat())), Some(3));
    assert!(!other_key.exists(), "no key is made");
    let held = with(&format!("{NHS_NUMBER}\n"), &add);
    assert_eq!(code(&held), Some(0));
    assert!(String::from_utf8_lossy(&held.stdout).contains("on a patient: 1 messages so far"), "{held:?}");
    let holds = json(&["store", "hold", "list", "--json", "--store", &store]);
    let hold = holds["holds"][0]["id"].as_str().expect("one hold").to_owned();
    let shown = run(&["messages", "show", &message, "--store", &store]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("under a legal hold"), "{shown:?}");
    let purge = || {
        let now = jiff::Timestamp::now().to_string();
        let purged = with("", &["store", "purge", "--before", &now, "--unconfirmed-events"]);
        String::from_utf8_lossy(&purged.stdout).into_owned()
    };
    assert!(purge().starts_with("1 messages"), "the refused one, which is of nobody");
    assert!(purge().starts_with("0 messages"));

    let export = folder.path().join("export.json");
    let to = ["subject", "export", "--to", text(&export)];
    assert_eq!(code(&with(NOBODY, &to)), Some(4));
    assert!(!export.exists());
    let number = folder.path().join("number.txt");
    std::fs::write(&number, "999 412 4145\n").expect("written");
    let exported = with("", &[&to[..], &["--nhs-number-file", text(&number)]].concat());
    assert_eq!(code(&exported), Some(0));
    assert_eq!(code(&with(NHS_NUMBER, &to)), Some(1), "it is there already");
    assert_eq!(std::fs::metadata(&export).expect("the export").permissions().mode() & 0o777, 0o600);
    let report: Value = serde_json::from_slice(&std::fs::read(&export).expect("the export")).expect("JSON");
    assert_eq!(report["messages"].as_array().expect("messages").len(), 1);
    let told = &report["messages"][0];
    assert_eq!((&told["id"], &told["othersMentioned"]), (&Value::from(message), &Value::from(0)));
    let content = told["content"].as_str().expect("text");
    assert!(content.starts_with("MSH|") && content.contains("\nPID|") && content.contains(NHS_NUMBER), "{content}");
    assert_eq!(told["commands"][0]["name"], "CreateReferral");
    assert_eq!(told["commands"][0]["body"]["patient"]["nhsNumber"], NHS_NUMBER);
    let transitions = told["commands"][0]["transitions"].as_array().expect("transitions");
    assert_eq!(transitions.last().expect("a last one")["to"], "discarded");

    assert_eq!(code(&with("", &["store", "hold", "remove", &hold])), Some(0));
    assert_eq!(code(&with("", &["store", "hold", "remove", &hold])), Some(4));
    assert!(purge().starts_with("1 messages"));
    assert_eq!(code(&run(&["store", "verify", "--store", &store])), Some(0));
    let log = run(&["audit", "export", "--store", &store]);
    let log = String::from_utf8(log.stdout).expect("text");
    for act in ["put legal hold", "lift legal hold", "export patient", "purge"] {
        assert!(log.contains(&format!("\"act\":\"{act}\"")), "{act} is not in\n{log}");
    }
    assert!(!log.contains(NHS_NUMBER) && !log.contains(NOBODY), "{log}");
}
