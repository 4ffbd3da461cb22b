//! What a person decides at the command line, beside a gateway that runs, and over the store of one that was stopped.

use std::time::Duration;

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use serde_json::{Value, json};

use super::run;
use crate::support::referrals::create;
use crate::support::sender::HttpSender;
use crate::support::serve::Serve;

const SOON: Duration = Duration::from_secs(60);
/// Its slots stay ahead for long.
const SERVICE: &str = "20013";

fn ers() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

fn advice() -> Value {
    json!({
        "localId": "NM-A1", "patient": {"nhsNumber": "9994120034"}, "priority": "ROUTINE", "specialty": "CARDIOLOGY",
        "service": "11014", "conversion": "NOT_AUTHORISED_TO_CONVERT", "request": "What would you do?",
        "referrer": {"sdsUserId": "555012345678"},
    })
}

/// What a command of the program prints as JSON.
fn json_of(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The id of the command that the gateway made of it.
async fn sent(gateway: &Serve, name: &str, key: &str, body: &Value) -> String {
    let url = gateway.url(&format!("/v1/commands/{name}?source=northmoor"));
    let (status, answer) = HttpSender::new().deliver(&url, key, body).await;
    assert_eq!(status, 202, "{answer}");
    answer["commands"][0]["id"].as_str().expect("an id").to_owned()
}

async fn until(gateway: &Serve, command: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let url = gateway.url(&format!("/v1/commands/{command}"));
    for _ in 0..600 {
        let told: Value = crate::support::waiting::get(&url).await.json().await.expect("JSON");
        if holds(&told) {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{command} does not get there\n{}", gateway.log_end());
}

/// No list of e-RS shows a referrer's requests for advice, so a person is asked at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubt_is_listed_and_decided_at_the_command_line() {
    let ers = ers();
    ers.inject(Fault::on("A044", Action::lost_answer()).times(1));
    let before = ers.advice_requests().len();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let command = sent(&gateway, "CreateAdviceRequest", "k-1", &advice()).await;
    let asks = |told: &Value| told["state"] == "in_doubt" && told["lookAt"].is_null();
    until(&gateway, &command, |told| asks(told) && told["transitions"].as_array().is_some_and(|all| all.len() >= 4))
        .await;

    let api = gateway.url("");
    let list = json_of(&["indoubt", "list", "--json", "--api", &api]);
    assert_eq!(list["commands"][0]["id"], command.as_str(), "{list}");
    let table = run(&["indoubt", "list", "--api", &api]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("your decision"));
    let made = ers.advice_requests().pop().expect("what was not answered");
    let decide = |more: &[&str], place: &[&str]| {
        run(&[&["indoubt", "decide", &command, "--why", "seen in e-RS", "--by", "Grace"], more, place].concat())
    };
    assert_eq!(decide(&[], &["--api", &api]).status.code(), Some(2), "done or not: one has to be said");
    assert_eq!(decide(&["--not-done", "--ubrn", &made], &["--api", &api]).status.code(), Some(2));

    let decided = decide(&["--done", "--ubrn", &made], &["--api", &api]);
    assert_eq!(decided.status.code(), Some(0), "{}", String::from_utf8_lossy(&decided.stderr));
    until(&gateway, &command, |told| told["state"] == "completed").await;
    assert_eq!(ers.advice_requests().len(), before + 1, "nothing was sent twice");
    let twice = decide(&["--not-done"], &["--api", &api]);
    assert_eq!(twice.status.code(), Some(1), "there is nothing to decide any more");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

/// The same while the gateway is stopped: the decision waits in its store for the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubt_is_decided_over_the_store_of_a_stopped_gateway() {
    let ers = ers();
    ers.inject(Fault::on("A044", Action::Reset { after_commit: false }).times(1));
    let before = ers.advice_requests().len();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let command = sent(&gateway, "CreateAdviceRequest", "k-1", &advice()).await;
    until(&gateway, &command, |told| told["state"] == "in_doubt").await;
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    let store = gateway.folder.path().join("gateway.db");
    let store = super::text(&store);
    let list = json_of(&["indoubt", "list", "--json", "--store", store]);
    assert_eq!(list["commands"][0]["id"], command.as_str(), "{list}");
    let why = "no request of that day in e-RS";
    let decided = run(&["indoubt", "decide", &command, "--not-done", "--why", why, "--by", "Grace", "--store", store]);
    assert_eq!(decided.status.code(), Some(0), "{}", String::from_utf8_lossy(&decided.stderr));
    assert_eq!(ers.advice_requests().len(), before);
    gateway.start_and_wait().await;
    until(&gateway, &command, |told| told["state"] == "completed").await;
    assert_eq!(ers.advice_requests().len(), before + 1);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_is_held_stands_first_and_passes_at_the_command_line() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let mut referral = create("NM-1", "9994122770");
    referral["shortlist"] = json!([{"service": SERVICE}]);
    sent(&gateway, "CreateReferral", "k-1", &referral).await;
    gateway.settle(SOON).await;
    // A slot that nobody has.
    let booking = json!({
        "localId": "NM-1", "service": SERVICE, "slot": "1", "start": "2040-05-01T09:00:00Z",
        "end": "2040-05-01T09:30:00Z",
    });
    let failing = sent(&gateway, "BookAppointment", "k-2", &booking).await;
    until(&gateway, &failing, |told| told["state"] == "failed").await;
    let cancel = json!({"localId": "NM-1", "reason": "RAISED_IN_ERROR"});
    let cancel = sent(&gateway, "CancelReferral", "k-3", &cancel).await;

    let api = gateway.url("");
    let holds = json_of(&["hold", "list", "--json", "--api", &api]);
    assert_eq!((&holds["holds"][0]["holder"]["id"], &holds["holds"][0]["cancellations"]), (&json!(failing), &json!(1)));
    let table = String::from_utf8_lossy(&run(&["hold", "list", "--api", &api]).stdout).into_owned();
    assert!(table.contains("BookAppointment") && table.contains(&failing), "{table}");
    let act = ["--why", "the patient died", "--by", "Grace", "--api", &api];
    let passed = run(&[&["messages", "pass", &cancel], &act[..]].concat());
    assert_eq!(passed.status.code(), Some(0), "{}", String::from_utf8_lossy(&passed.stderr));
    until(&gateway, &cancel, |told| told["state"] == "completed").await;
    assert_eq!(json_of(&["hold", "list", "--json", "--api", &api])["holds"], json!([]));
    assert_eq!(run(&[&["messages", "pass", &cancel], &act[..]].concat()).status.code(), Some(1), "nothing holds it");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
