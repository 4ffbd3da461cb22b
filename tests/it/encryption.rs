//! Encryption at rest on gateways that run: keys that change, stores from before, keys that are not the right ones.

use std::path::PathBuf;
use std::time::Duration;

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use serde_json::{Value, json};

use crate::cli::{run, text};
use crate::support::sender::MllpSender;
use crate::support::serve::Serve;
use crate::support::waiting::{client, until};

const SOON: Duration = Duration::from_secs(30);
/// A new data key is used once every instance knows it.
const RENEWED_WITHIN: Duration = Duration::from_secs(90);
const MARK: &str = "ZqxMarkedNote";

fn simulator() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

fn message(control_id: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316093015||REF^I12|{control_id}|P|2.3||||||UNICODE UTF-8\r\
         NTE|1|P|{MARK}\r"
    )
    .into_bytes()
}

/// Refused, and kept with all that it says.
async fn send(gateway: &Serve, control_id: &str) {
    let answer = MllpSender::new(gateway.mllp).deliver_once(&message(control_id)).await;
    assert!(!String::from_utf8_lossy(&answer).contains("MSA|AA|"), "it is to be refused");
}

/// Whether the gateway finds the message by what it says.
async fn says(gateway: &Serve, control_id: &str) -> bool {
    let search = json!({"containing": MARK, "controlId": control_id});
    let answer = client().post(gateway.url("/v1/messages/search")).json(&search).send().await.expect("an answer");
    let found: Value = answer.json().await.expect("JSON");
    assert_eq!(found["looked"], 1, "{found}");
    found["messages"][0]["controlId"] == control_id
}

fn config(gateway: &Serve) -> PathBuf {
    gateway.folder.path().join("gateway.yaml")
}

fn keys(gateway: &Serve, arguments: &[&str]) -> (Option<i32>, String) {
    let config = config(gateway);
    let done = run(&[&["keys"], arguments, &["--config", text(&config)]].concat());
    (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

fn status(gateway: &Serve) -> Value {
    let (code, told) = keys(gateway, &["status"]);
    assert_eq!(code, Some(0), "{told}");
    serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"))
}

fn stands_in(files: &[PathBuf]) -> bool {
    let bytes: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect();
    memchr::memmem::find(&bytes, MARK.as_bytes()).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_changed_under_a_gateway_that_runs() {
    let ers = simulator();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    send(&gateway, "BEFORE").await;
    until("all of it is sealed", RENEWED_WITHIN, || status(&gateway)["renewing"] == false).await;
    let (key, old) = (gateway.key_file(), gateway.folder.path().join("gateway.key.old"));
    let first = std::fs::read(&key).expect("made at the start");
    let (code, told) = keys(&gateway, &["rotate"]);
    assert_eq!(code, Some(0), "{told}");
    assert_ne!(std::fs::read(&key).expect("the new one"), first);
    assert_eq!(std::fs::read(&old).expect("kept"), first);
    let (code, told) = keys(&gateway, &["rotate", "--finish"]);
    assert_eq!(code, Some(1), "not all of it is sealed with the new data key yet: {told}");
    send(&gateway, "MEANWHILE").await;
    until("all of it is sealed anew", RENEWED_WITHIN, || {
        let status = status(&gateway);
        status["renewing"] == false && status["masters"] == 2
    })
    .await;
    let (code, told) = keys(&gateway, &["rotate", "--finish"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(
        (status(&gateway)["masters"].clone(), status(&gateway)["keys"].as_array().map(Vec::len)),
        (json!(1), Some(2)),
        "data keys stay: whatever names one still opens"
    );
    // The gateway takes the new key from its file, and goes on with it.
    until("it took the new key", SOON, || gateway.log().contains("the master key of the store was changed")).await;
    send(&gateway, "AFTER").await;
    for control_id in ["BEFORE", "MEANWHILE", "AFTER"] {
        assert!(says(&gateway, control_id).await, "{control_id}");
    }
    gateway.kill();
    gateway.start_and_wait().await;
    assert!(says(&gateway, "BEFORE").await);
    assert!(gateway.stop().await.success());
    let store = gateway.folder.path().join("gateway.db");
    let verified = run(&["store", "verify", "--store", text(&store), "--key-file", text(&key)]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let refused = run(&["store", "verify", "--store", text(&store), "--key-file", text(&old)]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another master key"));
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_clear_is_encrypted_while_the_gateway_runs() {
    let ers = simulator();
    let mut gateway = Serve::new(&ers);
    gateway.settings["store_encrypt"] = json!(false);
    gateway.start_and_wait().await;
    for number in 0..150 {
        send(&gateway, &format!("CLEAR-{number}")).await;
    }
    assert!(gateway.stop().await.success());
    let files = ["gateway.db", "gateway.db-wal"].map(|name| gateway.folder.path().join(name));
    assert!(stands_in(&files), "the test would see it");
    gateway.settings["store_encrypt"] = json!(true);
    gateway.start_and_wait().await;
    until("all of it is sealed", RENEWED_WITHIN, || status(&gateway)["renewing"] == false).await;
    assert!(says(&gateway, "CLEAR-7").await);
    gateway.kill();
    gateway.start_and_wait().await;
    assert!(says(&gateway, "CLEAR-149").await);
    assert!(gateway.stop().await.success());
    // What free pages may still have of it, a copy has not.
    let backup = gateway.folder.path().join("backup.db");
    ers_gateway::store::back_up_file(&gateway.folder.path().join("gateway.db"), &backup).expect("backed up");
    assert!(!stands_in(&[backup]));
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_another_key_does_not_start_and_says_what_to_do() {
    let ers = simulator();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    send(&gateway, "KEPT").await;
    assert!(gateway.stop().await.success());
    let key = gateway.key_file();
    let right = std::fs::read_to_string(&key).expect("a key file");
    std::fs::remove_file(&key).expect("removed");
    gateway.start();
    assert!(!gateway.ended().await.success(), "one was made anew, which opens nothing");
    assert!(gateway.log().contains("restore the key file"), "{}", gateway.log_end());
    // The right one, given in the settings.
    gateway.settings["key"] = json!(right.trim());
    gateway.start_and_wait().await;
    assert!(says(&gateway, "KEPT").await);
    assert!(gateway.stop().await.success());
    ers.stop().await;
}
