//! Stored messages read once more: other mappings tried on all messages of a problem, and a message made a case that names nobody.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::MllpSender;
use crate::support::serve::Serve;
use crate::support::waiting::{client, get};

const SOON: Duration = Duration::from_secs(30);
const TABLE: &str = "codes/northmoor/priority.csv";

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ers-gateway"))
        .args(args)
        .env("USER", "grace")
        .output()
        .expect("the program starts")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// With mappings of its own on disk.
async fn on_disk(folder: &Path) -> (SimulatorHandle, Serve, std::path::PathBuf) {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    let files = mappings(folder);
    gateway.settings["mappings"] = files.to_str().expect("a path in Unicode").into();
    gateway.start_and_wait().await;
    (ers, gateway, files)
}

/// The mappings of this project, to be changed.
pub fn mappings(folder: &Path) -> std::path::PathBuf {
    let copied = Command::new("cp").args(["-r", concat!(env!("CARGO_MANIFEST_DIR"), "/mappings")]).arg(folder).status();
    assert!(copied.expect("cp is there").success());
    folder.join("mappings")
}

fn add_row(files: &Path, row: &str) {
    let table = files.join(TABLE);
    let text = std::fs::read_to_string(&table).expect("it is there");
    std::fs::write(&table, format!("{}\n{row}\n", text.trim_end())).expect("written");
}

fn with_priority(control_id: &str, local_id: &str, patient: &str, priority: &str) -> Vec<u8> {
    let message = String::from_utf8(northmoor(control_id, local_id, patient, None)).expect("ASCII");
    message.replace("RF1|P|3|", &format!("RF1|P|{priority}|")).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_table_is_tried_on_all_messages_of_a_problem_before_it_is_loaded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ers, mut gateway, files) = on_disk(folder.path()).await;
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    for number in 1..=4 {
        let (id, local_id) = (format!("C{number}"), format!("NM-{number}"));
        sender.deliver(&with_priority(&id, &local_id, &patients.next(), "4")).await;
    }
    sender.deliver(&with_priority("C5", "NM-5", &patients.next(), "7")).await;
    let refusal = Action::Answer {
        status: 422,
        code: Some("INVALID_VALUE".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    ers.inject(Fault::on("A011", refusal).times(1));
    sender.deliver(&northmoor("C6", "NM-6", &patients.next(), None)).await;
    gateway.settle(SOON).await;
    let tries = async |of: &str, status: StatusCode| -> Value {
        let asked = json!({"filter": {"of": of, "source": "northmoor"}});
        let answer = client().post(gateway.url("/v1/trials")).json(&asked).send().await.expect("an answer");
        assert_eq!(answer.status(), status);
        answer.json().await.expect("JSON")
    };
    let found = tries("rejected", StatusCode::OK).await;
    assert_eq!(
        (&found["isCurrent"], &found["messages"], &found["refused"]),
        (&json!(true), &json!(5), &json!(5)),
        "{found}"
    );

    add_row(&files, "4,URGENT,");
    let found = tries("rejected", StatusCode::OK).await;
    assert_eq!((&found["isCurrent"], &found["taken"]), (&json!(false), &json!({"CreateReferral": 4})), "{found}");
    let change = &found["changes"][0];
    assert_eq!((&change["member"], &change["wasRefused"]), (&json!("/priority"), &json!(true)), "{found}");
    assert_eq!((&change["is"], &change["messages"]), (&json!("URGENT"), &json!(4)), "{found}");
    assert_eq!(found["refused"], 1);
    assert!(found["problems"].to_string().contains("priority code `7` has no row in"), "{found}");

    // What failed has a command, so every member is compared.
    let table = files.join(TABLE);
    let text = std::fs::read_to_string(&table).expect("it is there");
    std::fs::write(&table, text.replace("3,ROUTINE", "3,URGENT")).expect("written");
    let found = tries("failed", StatusCode::OK).await;
    let changes = found["changes"].as_array().expect("a list");
    assert_eq!(changes.len(), 1, "{found}");
    assert_eq!(
        (&changes[0]["member"], &changes[0]["was"], &changes[0]["is"]),
        (&json!("/priority"), &json!("ROUTINE"), &json!("URGENT"))
    );

    // The same from the command line, with the files of a folder that the gateway does not know.
    let other = tempfile::tempdir().expect("a temporary folder");
    let elsewhere = mappings(other.path());
    add_row(&elsewhere, "4,ROUTINE,");
    add_row(&elsewhere, "7,URGENT,");
    let api = gateway.url("");
    let preview = |folder: &Path| {
        program(&["replay", "preview", "--rejected", "--api", &api, "--mappings", folder.to_str().expect("Unicode")])
    };
    let shown = preview(&elsewhere);
    let text = told(&shown);
    assert!(shown.status.success(), "{text}");
    assert!(text.contains("of 5 messages 5 would be taken (5 CreateReferral), 0 refused"), "{text}");
    assert!(text.contains("/priority: refused → ROUTINE in 4 messages"), "{text}");
    assert!(text.contains("/priority: refused → URGENT in 1 message"), "{text}");
    add_row(&elsewhere, "7,ROUTINE,");
    let text = told(&preview(&elsewhere));
    assert!(text.contains(TABLE) && text.contains("two rows"), "a mistake is told with its place: {text}");

    let messages: Value = get(gateway.url("/v1/messages?verdict=rejected")).await.json().await.expect("JSON");
    assert_eq!(messages["messages"].as_array().expect("a list").len(), 5, "trying takes nothing in");
    assert_eq!(ers.created(), 0);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

/// A referral whose every personal value is marked.
const MARKED: &str = "MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316093015||REF^I12|MARKCTRL77|P|2.3\r\
    RF1|P|3|110^TRAUMA AND ORTHOPAEDICS|AM|O|MARKLOCAL8|20260316\r\
    PRD|RP|MARKDOCTOR^OLIVIA^^^DR|1 MARKSURGERY STREET^^MARKTOWN|^^^Z99001||555012345678^SDS~G9912345^GMP\r\
    PRD|RT|KNEE CLINIC A|||^^^RXX01|20001^ERS\r\
    PID|1|NHSNUMBER|MARKHOSP100||MARKFAMILY^MARKGIVEN^MARKMIDDLE^^MRS||19570314|F|||77 MARKLANE CLOSE^^MARKFORD^^ZZ99 1QQ||07700900123~markmail@example.org\r\
    DG1|1|READ|N245.|MARKDIAGNOSIS of the left knee|20260301\r\
    NTE|1||Call MARKSISTER on 07700900456, born 14/03/1957, Zoë MARKFRIEND knows\r\
    PV1|1|O||19611231\r";
const MARKS: [&str; 18] = [
    "MARK",
    "OLIVIA",
    "555012345678",
    "19570314",
    "19611231",
    "20260301",
    "1957-03-14",
    "14/03/1957",
    "07700900123",
    "07700900456",
    "ZZ99 1QQ",
    "ZZ991QQ",
    "left knee",
    "N245",
    "SISTER",
    "example.org",
    "77 ",
    "G9912345",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_names_nobody_and_reproduces_its_case() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    let (good, bad) = (patients.next(), patients.next());
    let marked = MARKED.replace("NHSNUMBER", &good);
    sender.deliver(marked.as_bytes()).await;
    let refused =
        MARKED.replace("NHSNUMBER", &bad).replace("RF1|P|3|", "RF1|P|Q8|").replace("MARKCTRL77", "MARKCTRL78");
    sender.deliver(refused.as_bytes()).await;
    gateway.settle(SOON).await;
    let made = ers.creations()[0].ubrn.to_string();
    let list: Value = get(gateway.url("/v1/messages")).await.json().await.expect("JSON");
    let list = list["messages"].as_array().expect("a list").clone();
    assert_eq!(list.len(), 2);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for message in &list {
        let id = message["id"].as_str().expect("an id");
        let (out, api) = (folder.path().join(id), gateway.url(""));
        let shown = program(&[
            "messages",
            "bundle",
            id,
            "-o",
            out.to_str().expect("Unicode"),
            "--api",
            &api,
            "--why",
            "for the supplier",
        ]);
        assert!(
            shown.status.success(),
            "{}{}",
            told(&shown),
            std::fs::read_to_string(out.join("README.txt")).unwrap_or_default()
        );
        let read =
            |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let test = "mappings/inbound/northmoor/tests/case.yaml";
        for name in ["message.hl7", "command.json", "calls.json", "README.txt", test] {
            let text = read(name).to_uppercase();
            for mark in MARKS.iter().copied().chain([good.as_str(), bad.as_str(), made.as_str()]) {
                assert!(!text.contains(&mark.to_uppercase()), "{mark:?} is in {name}:\n{}", read(name));
            }
        }
        let is_refused = message["verdict"] == "rejected";
        let text = read("message.hl7");
        for kept in ["NMPAS", "REF^I12", "20001^ERS", "20260316093015", "^SDS"] {
            assert!(text.contains(kept), "{kept} is a code: {text}");
        }
        let number = text.split("PID|1|").nth(1).and_then(|rest| rest.split('|').next()).expect("PID-2");
        assert!(number.starts_with("999") && number.len() == 10 && number != good && number != bad, "{number}");
        if !is_refused {
            let (command, calls) = (read("command.json"), read("calls.json"));
            for (name, text) in [("command.json", command), ("calls.json", calls)] {
                assert!(text.contains(number), "the same value by the same: {number} in {name}:\n{text}");
            }
        }
        let files = out.join("mappings");
        let tested = program(&["map", "test", "northmoor", "--mappings", files.to_str().expect("Unicode")]);
        assert!(tested.status.success() && told(&tested).contains("ok      northmoor/case"), "{}", told(&tested));
        // And it is a test: with another verdict it fails.
        let path = out.join(test);
        let text = read(test);
        let (from, to) =
            if is_refused { ("\"ack\": \"AR\"", "\"ack\": \"AA\"") } else { ("\"ack\": \"AA\"", "\"ack\": \"AE\"") };
        std::fs::write(
            &path,
            text.replace(from, to)
                .replace("\"ack\": \"AE\",\n    \"errors\": [\n", "\"ack\": \"AA\",\n    \"errors\": [\n"),
        )
        .expect("written");
        let tested = program(&["map", "test", "northmoor", "--mappings", files.to_str().expect("Unicode")]);
        assert!(!tested.status.success(), "{}", told(&tested));
    }
    let good_id =
        list.iter().find(|message| message["verdict"] == "accepted").expect("one")["id"].as_str().expect("an id");
    let explained = program(&["messages", "explain", good_id, "--field", "PID-2", "--api", &gateway.url("")]);
    let text = told(&explained);
    assert!(
        explained.status.success() && text.contains("/patient/nhsNumber") && text.contains("A011 /parameter"),
        "{text}"
    );
    assert!(!text.contains("/priority"), "{text}");
    // As one file, which other programs read.
    let id = list[0]["id"].as_str().expect("an id");
    let answer = get(gateway.url(&format!("/v1/messages/{id}/bundle"))).await;
    assert_eq!(answer.headers()["content-type"], "application/zip");
    let path = folder.path().join("case.zip");
    std::fs::write(&path, answer.bytes().await.expect("bytes")).expect("written");
    let read = Command::new("python3").args(["-c", "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(z.read('README.txt').decode())"]).arg(&path).output();
    let read = read.expect("python3 is there");
    assert!(read.status.success() && told(&read).contains("the values of nobody"), "{}", told(&read));
    let log: Value = get(gateway.url("/v1/audit?limit=1000")).await.json().await.expect("JSON");
    let is_noted =
        |entry: &&Value| entry["subject"] == format!("bundle of message {id}") && entry["why"] == "for the supplier";
    assert_eq!(log["entries"].as_array().expect("a list").iter().filter(is_noted).count(), 1, "{log}");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
