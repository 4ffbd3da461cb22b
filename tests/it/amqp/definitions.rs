//! The broker as `deploy/rabbitmq` makes it, with a gateway that may make nothing itself.

use std::path::Path;
use std::time::Duration;

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig};
use futures_util::StreamExt as _;
use lapin::options::BasicAckOptions;
use serde_json::{Value, json};

use super::input::hl7;
use super::until;
use crate::support::rabbitmq::RabbitMq;
use crate::support::referrals::sample;
use crate::support::serve::Serve;

const SOON: Duration = Duration::from_secs(60);
/// As in `docs/broker.md`: it may write to its exchanges, read its inputs, and make nothing.
const LEAST: [&str; 3] = ["^$", r"^ers\.(events|rejected)$", r"^ers\.in\.[^.]+$"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_only_checks_works_with_the_definitions_and_the_least_permissions() {
    let node = tokio::task::block_in_place(RabbitMq::start_new);
    for file in ["definitions.json", "compose-user.json"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/rabbitmq").join(file);
        node.control(&["import_definitions", file.to_str().expect("a path of text")]);
    }
    let queues = || node.control(&["list_queues", "name", "type", "policy"]);
    // The import goes on after the tool has ended.
    until("the queues are there", SOON, || {
        queues().lines().filter(|line| line.contains("\tquorum\ters-")).count() == 6
    })
    .await;
    node.control(&["add_user", "restricted", "for-this-test"]);
    node.control(&[&["set_permissions", "restricted"], &LEAST[..]].concat());

    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    gateway.settings["broker"] = json!({
        "urls": [node.url().replace("guest:guest", "restricted:for-this-test")],
        "topology": "check",
        "partitions": {},
        "inputs": [{"queue": "ers.in.northmoor", "source": "northmoor"}],
    });
    gateway.start_and_wait().await;
    let client = node.client().await;
    client.send("ers.in.northmoor", hl7(), &sample("01-")).await;
    client.send("ers.in.northmoor", hl7(), b"not HL7").await;
    let refused = client.take("ers.in.northmoor.rejected", SOON).await;
    assert_eq!(refused.unwrap_or_else(|| panic!("{}", gateway.log_end())).data, b"not HL7");
    let mut queues = Vec::new();
    for number in 1..=4 {
        queues.push(client.consume(&format!("ers.events.by-thread.{number}")).await);
    }
    let mut heard = Vec::new();
    let told = async {
        let mut deliveries = futures_util::stream::select_all(queues);
        while let Some(delivery) = deliveries.next().await {
            let delivery = delivery.expect("a delivery");
            let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
            // A queue gives the next only after this one: what was refused may stand before what was created.
            delivery.ack(BasicAckOptions::default()).await.expect("the node is up");
            heard.push(event["type"].as_str().expect("a name").to_owned());
            if heard.iter().any(|name| name == "ReferralCreated") {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(SOON, told).await;
    assert!(in_time.is_ok(), "{heard:?}\n{}", gateway.log_end());
    assert!(gateway.log().contains(&format!("\"node\":\"127.0.0.1:{}\"", node.port)), "the log names the node");
    assert!(!gateway.log().contains("for-this-test"), "and no password");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
