//! A hospital merges two patients' records while something waits for one of them: a person looks first.

use ers_gateway::simulator::{Action, Fault};
use serde_json::{Value, json};

use crate::support::referrals::create;
use crate::support::sender::{MllpSender, field};
use crate::support::waiting::{client, get};
use crate::support::world::World;

const SURVIVOR: &str = "9994121405";
const MERGED: &str = "9994120034";
const OTHER: &str = "9994122770";

fn merge(control_id: &str, trigger: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EASTVALE|RYY00|ERSGW|RXX00|20260316093015||ADT^{trigger}|{control_id}|P|2.4\r\
         EVN|{trigger}|20260316\r\
         PID|1||{SURVIVOR}^^^NHS^NH~H100201^^^RXX00^MR||FAUXLEY^BERTRAM^^^MR||19811102|M\r\
         MRG|{MERGED}^^^NHS^NH~H999^^^RXX00^MR\r"
    )
    .into_bytes()
}

async fn refer(world: &World, local_id: &str, patient: &str) -> String {
    let url = format!("http://{}/v1/commands/CreateReferral?source=northmoor", world.http);
    let request = client().post(url).header("content-type", "application/json");
    let answer = request.body(create(local_id, patient).to_string()).send().await.expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    answer["commands"][0]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn command(world: &World, id: &str) -> Value {
    get(format!("http://{}/v1/commands/{id}", world.http)).await.json().await.expect("JSON")
}

/// Waits until e-RS has told each of them to come again later.
async fn until_waiting(world: &World, ids: &[&str]) {
    for id in ids {
        for turn in 0.. {
            if command(world, id).await["state"] == "waiting" {
                break;
            }
            assert!(turn < 500, "{}", command(world, id).await);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_either_of_two_merged_patients_is_held_for_a_person() {
    for trigger in ["A40", "A34"] {
        let world = World::start().await;
        let busy = Action::Answer { status: 429, code: None, diagnostics: None, retry_after: Some(3), body: None };
        world.simulator.inject(Fault::on("A011", busy).times(3));
        let (merged, survivor, other) =
            (refer(&world, "R1", MERGED).await, refer(&world, "R2", SURVIVOR).await, refer(&world, "R3", OTHER).await);
        until_waiting(&world, &[&merged, &survivor, &other]).await;
        let answer = MllpSender::new(world.mllp).deliver(&merge("M-1", trigger)).await;
        assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", String::from_utf8_lossy(&answer));
        world.settle().await;
        for id in [&merged, &survivor] {
            let held = command(&world, id).await;
            assert_eq!((&held["state"], &held["why"]["code"]), (&json!("failed"), &json!("PATIENT_MERGED")), "{held}");
            assert!(!held["why"]["text"].to_string().contains("999"), "{held}");
        }
        assert_eq!(command(&world, &other).await["state"], "completed");
        assert_eq!(world.simulator.created(), 1);
        // A person looked.
        let url = format!("http://{}/v1/commands/{survivor}/replay", world.http);
        let body = json!({"by": "j.doe", "why": "it is his"}).to_string();
        let answer = client().post(url).header("content-type", "application/json").body(body).send().await;
        assert!(answer.expect("an answer").status().is_success());
        world.settle().await;
        assert_eq!(command(&world, &survivor).await["state"], "completed");
        world.stop().await;
    }
}
