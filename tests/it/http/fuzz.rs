//! schemathesis asks a whole gateway what `/openapi.json` allows and what it forbids: nothing ends in a 500, and every answer is one
//! that the description has.

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig};
use serde_json::Value;

use super::people::settle;
use crate::cli;
use crate::support::referrals::{Patients, attach, create};
use crate::support::sender::HttpSender;
use crate::support::serve::Serve;
use crate::support::waiting::get;

/// Requests for each operation, besides those that stand for each limit of its description.
const EXAMPLES: &str = "12";

async fn told(gateway: &Serve, path: &str) -> Value {
    get(gateway.url(path)).await.json().await.expect("JSON")
}

/// What it may name: identifiers that there are.
fn names(parameters: &[(&str, &Value)]) -> String {
    let lines = parameters.iter().map(|(name, value)| format!("\"{name}\" = {value}\n"));
    format!("[parameters]\n{}", lines.collect::<String>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_is_true_whatever_is_asked_and_nothing_ends_in_a_500() {
    let Some(tool) = std::env::var_os("ERS_GATEWAY_TEST_FUZZER") else {
        panic!("ERS_GATEWAY_TEST_FUZZER names no schemathesis: ./test installs one (tests/fuzz/install)")
    };
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    settle(&mut gateway, &ers);
    gateway.start_and_wait().await;
    let (patients, mut sender) = (Patients::new(), HttpSender::new());
    ers.inject(Fault::on("A011", Action::answer(403)));
    let referrals = gateway.url("/v1/commands/CreateReferral?source=eastvale");
    assert_eq!(sender.deliver(&referrals, "k-1", &create("R1", &patients.next())).await.0, 202);
    let letters = gateway.url("/v1/commands/AttachLetters?source=eastvale");
    assert_eq!(sender.deliver(&letters, "k-2", &attach("R9", "letter.txt", "aGVsbG8=")).await.0, 422);
    gateway.settle(std::time::Duration::from_secs(30)).await;
    let replays = gateway.url("/v1/replays");
    let begun = serde_json::json!({ "filter": {}, "by": "j.smith", "why": "again" });
    let replay = sender.deliver(&replays, "k-3", &begun).await.1;
    let failed = told(&gateway, "/v1/messages?state=failed").await;
    let refused = told(&gateway, "/v1/messages?verdict=rejected").await;
    let (failed, refused) = (&failed["messages"][0], &refused["messages"][0]);
    let shown = told(&gateway, &format!("/v1/messages/{}", failed["id"].as_str().expect("an id"))).await;
    let command = &shown["commands"][0]["id"];
    assert!(command.is_string() && refused["id"].is_string() && replay["id"].is_string(), "{shown:#} {replay:#}");

    let mut settings = names(&[("path.source", &"eastvale".into()), ("path.name", &"CreateReferral".into())]);
    for (path, id) in [
        ("/v1/commands/", command),
        ("/v1/messages/", &refused["id"]),
        ("/v1/replays/", &replay["id"]),
        ("/v1/waiting/", command),
    ] {
        settings.push_str(&format!(
            "[[operations]]\ninclude-path-regex = \"{path}.id\"\nparameters = {{ \"path.id\" = {id} }}\n"
        ));
    }
    let config = gateway.folder.path().join("schemathesis.toml");
    std::fs::write(&config, settings).expect("written");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let output = std::process::Command::new(tool)
        .current_dir(gateway.folder.path())
        .args(["--config-file", cli::text(&config), "run", &gateway.url("/openapi.json")])
        .args(["--checks", checks, "--max-examples", EXAMPLES, "--phases", "coverage,fuzzing"])
        .args(["--generation-deterministic", "--suppress-health-check", "all", "--request-timeout", "20"])
        .output()
        .expect("schemathesis runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let tested = text.lines().find_map(|line| line.trim().strip_prefix("Tested:")).unwrap_or_default().trim();
    let described: Value = told(&gateway, "/openapi.json").await;
    let paths = described["paths"].as_object().expect("paths").values();
    let operations: usize = paths.map(|path| path.as_object().map_or(0, serde_json::Map::len)).sum();
    assert!(output.status.success(), "{text}\n{}\n{}", String::from_utf8_lossy(&output.stderr), gateway.log_end());
    // Where it reads the description itself it asks nothing more.
    assert_eq!(tested, (operations - 1).to_string(), "every operation was asked\n{text}");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log_end());
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
