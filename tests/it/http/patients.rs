//! Legal holds, and everything of a patient for a subject access request, over HTTP: as the command line does both.

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig};
use reqwest::Method;
use serde_json::{Value, json};

use super::access::{ask, guarded, referred, told};
use crate::cli;
use crate::support::referrals::create;
use crate::support::serve::Serve;

/// Of the referral that [`referred`] makes.
const NHS_NUMBER: &str = "9994122770";
const ANOTHER: &str = "9994120034";
/// Of nobody here.
const NOBODYS: &str = "9994121405";

async fn audited(gateway: &Serve) -> Vec<(String, String, String)> {
    let log = told(ask(gateway, Method::GET, "/v1/audit?limit=1000", "auditor", None).await).await;
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    assert!(!log.to_string().contains(NHS_NUMBER) && !log.to_string().contains(NOBODYS), "{log}");
    let entries = log["entries"].as_array().expect("a list").iter();
    entries.map(|entry| (text(entry, "act"), text(entry, "by"), text(entry, "why"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legal_hold_is_put_listed_and_lifted_over_http() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = guarded(&ers).await;
    let command = referred(&gateway, "northmoor", "NM-1").await;
    let command = told(ask(&gateway, Method::GET, &format!("/v1/commands/{command}"), "viewer", None).await).await;
    let message = command["message"].as_str().expect("an id").to_owned();
    let put = async |body: Value| ask(&gateway, Method::POST, "/v1/legal-holds", "auditor", Some(&body)).await;
    let is_held = async || {
        told(ask(&gateway, Method::GET, &format!("/v1/messages/{message}"), "viewer", None).await).await["legalHold"]
            .as_bool()
            .expect("it says so")
    };
    let held = put(json!({"nhsNumber": "999 412 2770", "by": "Grace", "why": "claim 4711"})).await;
    assert_eq!(held.status(), 201);
    let of_patient = told(held).await;
    assert_eq!((&of_patient["messages"], &of_patient["message"]), (&json!(1), &Value::Null), "{of_patient}");
    assert!(is_held().await);
    let held = put(json!({"message": message, "by": "Grace", "why": "claim 4712"})).await;
    assert_eq!(held.status(), 201);
    let of_message = told(held).await;
    assert_eq!(of_message["message"], message.as_str());
    let nobodys = told(put(json!({"nhsNumber": NOBODYS, "by": "Grace", "why": "claim 4713"})).await).await;
    assert_eq!(nobodys["messages"], 0, "is it the right number? {nobodys}");

    let listed = told(ask(&gateway, Method::GET, "/v1/legal-holds", "auditor", None).await).await;
    let listed = listed["holds"].as_array().expect("a list").clone();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert_eq!((&listed[0]["id"], &listed[0]["on"]), (&of_patient["id"], &json!("a patient")));
    assert_eq!(listed[1]["by"], "Grace (token auditor)");

    let lift = async |hold: &Value| {
        let path = format!("/v1/legal-holds/{}/lift", hold["id"].as_str().expect("an id"));
        ask(&gateway, Method::POST, &path, "auditor", Some(&json!({"by": "Ada", "why": "it is settled"})))
            .await
            .status()
    };
    assert_eq!(lift(&of_patient).await, 204);
    assert!(is_held().await, "by the other one");
    assert_eq!(lift(&of_message).await, 204);
    assert!(!is_held().await);
    assert_eq!(lift(&of_message).await, 404);

    for body in [
        json!({"nhsNumber": "9994122771", "by": "Grace", "why": "claim"}),
        json!({"nhsNumber": NHS_NUMBER, "message": message, "by": "Grace", "why": "claim"}),
        json!({"by": "Grace", "why": "claim"}),
        json!({"nhsNumber": NHS_NUMBER, "by": "Grace", "why": " "}),
        json!({"nhsNumber": NHS_NUMBER, "by": "Grace"}),
        json!({"message": "4711", "by": "Grace", "why": "claim"}),
    ] {
        let answer = put(body.clone()).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert!(!answer.text().await.expect("text").contains("99941227"), "what was sent is not repeated");
    }
    let unknown = json!({"message": "0199f2c4-0000-7000-8000-000000000000", "by": "Grace", "why": "claim"});
    assert_eq!(put(unknown).await.status(), 404);
    let acts = audited(&gateway).await;
    let of = |act: &str| {
        acts.iter().filter(|(done, ..)| done == act).map(|(_, by, why)| (&**by, &**why)).collect::<Vec<_>>()
    };
    let grace = "Grace (token auditor)";
    assert_eq!(of("put legal hold"), [(grace, "claim 4711"), (grace, "claim 4712"), (grace, "claim 4713")]);
    assert_eq!(of("lift legal hold"), [("Ada (token auditor)", "it is settled"); 2]);
    assert!(!gateway.log().contains(NHS_NUMBER) && !gateway.log().contains("999 412"), "no number is logged");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_a_patient_is_handed_out_over_http_as_the_command_line_writes_it() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = guarded(&ers).await;
    referred(&gateway, "northmoor", "NM-1").await;
    let other = create("EV-1", ANOTHER);
    let sent = ask(&gateway, Method::POST, "/v1/commands/CreateReferral", "eastvale", Some(&other)).await;
    assert_eq!(sent.status(), 202);
    gateway.settle(std::time::Duration::from_secs(30)).await;
    let export = async |number: &str| {
        let body = json!({"nhsNumber": number, "by": "Grace", "why": "request 4711"});
        ask(&gateway, Method::POST, "/v1/subject/export", "auditor", Some(&body)).await
    };
    let unknown = export(NOBODYS).await;
    assert_eq!(unknown.status(), 404);
    assert!(!unknown.text().await.expect("text").contains(NOBODYS));
    assert_eq!(export("9994122771").await.status(), 400);
    let exported = export(NHS_NUMBER).await;
    assert_eq!(exported.status(), 200);
    assert_eq!(exported.headers()["content-type"], "application/json");
    let over_http = told(exported).await;
    assert_eq!(over_http["about"]["nhsNumber"], NHS_NUMBER);
    let messages = over_http["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 1, "the other patient's is not among them");
    assert_eq!(messages[0]["commands"][0]["body"]["patient"]["nhsNumber"], NHS_NUMBER);
    assert!(messages[0]["content"].as_str().expect("text").contains(NHS_NUMBER));
    assert!(!over_http["events"].as_array().expect("events").is_empty());
    assert!(!over_http.to_string().contains(ANOTHER));
    // One after the other: each lets the next one in.
    assert_eq!(told(export(NHS_NUMBER).await).await["messages"], over_http["messages"]);

    let acts = audited(&gateway).await;
    let of = acts.iter().filter(|(act, ..)| act == "export patient").collect::<Vec<_>>();
    assert_eq!(of.len(), 3, "also the one that found nothing: {acts:?}");
    assert_eq!((of[0].1.as_str(), of[0].2.as_str()), ("Grace (token auditor)", "request 4711"));
    assert!(!gateway.log().contains(NHS_NUMBER) && !gateway.log().contains(NOBODYS), "no number is logged");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());

    let (config, file) = (gateway.folder.path().join("gateway.yaml"), gateway.folder.path().join("export.json"));
    let number = gateway.folder.path().join("number.txt");
    std::fs::write(&number, NHS_NUMBER).expect("written");
    let arguments = ["subject", "export", "--why", "request 4711", "--config", cli::text(&config)];
    let files = ["--to", cli::text(&file), "--nhs-number-file", cli::text(&number)];
    let written = cli::gateway(&[&arguments[..], &files[..]].concat()).output().expect("the program runs");
    assert_eq!(written.status.code(), Some(0), "{}", String::from_utf8_lossy(&written.stderr));
    let by_cli: Value = serde_json::from_slice(&std::fs::read(&file).expect("the export")).expect("JSON");
    for part in ["messages", "events", "sentToHospitalSystems", "documents"] {
        assert_eq!(over_http[part], by_cli[part], "{part}");
    }
    ers.stop().await;
}
