//! Who may use the HTTP API: every address with every role, and what each sees of what.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::referrals::create;
use crate::support::serve::Serve;
use crate::support::waiting::client;

const SOON: Duration = Duration::from_secs(30);
const NOBODY: &str = "";
/// Each is the name of a token, and the token itself after a word that logs must not have.
const CALLERS: [&str; 8] = [NOBODY, "monitor", "northmoor", "eastvale", "viewer", "reader", "operator", "auditor"];

/// Which of [`CALLERS`] an address opens for.
fn opens_for(method: &str, path: &str) -> &'static [&'static str] {
    let senders: &[&str] = &["northmoor", "eastvale"];
    let all_but_monitors: &[&str] = &["northmoor", "eastvale", "viewer", "reader", "operator", "auditor"];
    let people: &[&str] = &["viewer", "reader", "operator", "auditor"];
    match (method, path) {
        ("get", "/health/live" | "/health/ready" | "/openapi.json" | "/asyncapi.json") => &CALLERS,
        ("get", "/v1/sign-in" | "/v1/sign-in/start" | "/v1/sign-in/callback") => &CALLERS,
        ("get", "/metrics") => &["monitor", "viewer", "reader", "operator", "auditor"],
        ("post", "/v1/hl7v2" | "/v1/fhir" | "/v1/hl7v2/{source}" | "/v1/fhir/{source}" | "/v1/commands/{name}") => {
            senders
        }
        ("post", "/v1/sign-in/exchange") => senders,
        ("get", "/v1/commands/{id}" | "/v1/commands/{id}/documents/{step}" | "/v1/messages/{id}") => all_but_monitors,
        (
            "get",
            "/v1/messages"
            | "/v1/dispatches"
            | "/v1/dispatches/{id}"
            | "/v1/holds"
            | "/v1/instances"
            | "/v1/problems"
            | "/v1/replays"
            | "/v1/replays/{id}"
            | "/v1/reports/{day}"
            | "/v1/sources"
            | "/v1/sources/{name}/mode"
            | "/v1/connections/{name}/mode"
            | "/v1/destinations/{name}/mode",
        ) => people,
        ("put", "/v1/sources/{name}/mode" | "/v1/connections/{name}/mode" | "/v1/destinations/{name}/mode") => {
            &["operator", "auditor"]
        }
        (
            "get",
            "/v1/events"
            | "/v1/messages/{id}/difference"
            | "/v1/messages/{id}/explanation"
            | "/v1/messages/{id}/bundle",
        )
        | ("post", "/v1/messages/search" | "/v1/trials" | "/v1/sources/{name}/comparison") => &["reader", "auditor"],
        ("get", "/v1/audit" | "/v1/legal-holds") => &["auditor"],
        ("post", "/v1/messages/{id}/edit" | "/v1/legal-holds" | "/v1/legal-holds/{id}/lift" | "/v1/subject/export") => {
            &["auditor"]
        }
        ("get", "/v1/sign-in/sessions" | "/v1/waiting") => people,
        (
            "post",
            "/v1/commands/{id}/replay"
            | "/v1/commands/{id}/discard"
            | "/v1/commands/{id}/release"
            | "/v1/commands/{id}/decide"
            | "/v1/commands/{id}/pass"
            | "/v1/messages/{id}/replay"
            | "/v1/dispatches/{id}/replay"
            | "/v1/replays"
            | "/v1/replays/{id}/pause"
            | "/v1/replays/{id}/resume"
            | "/v1/replays/{id}/cancel"
            | "/v1/dispatches/{id}/discard"
            | "/v1/waiting/{id}/assign",
        ) => &["operator", "auditor"],
        _ => panic!("who may use {method} {path}? Say so here"),
    }
}

/// Addresses for a person who has signed in: no token opens them.
fn is_for_people(path: &str) -> bool {
    path.starts_with("/v1/sign-in/session") && path != "/v1/sign-in/sessions"
        || ["/v1/waiting/mine", "/v1/waiting/confirm"].contains(&path)
}

fn ers() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

fn token_of(caller: &str) -> String {
    format!("secret-of-{caller}")
}

fn tokens() -> Value {
    let digest = |name: &str| format!("{:x}", Sha256::digest(token_of(name).as_bytes()));
    json!([
        {"name": "monitor", "sha256": digest("monitor"), "role": "monitor"},
        {"name": "northmoor", "sha256": digest("northmoor"), "role": "sender", "sources": ["northmoor"]},
        {"name": "eastvale", "sha256": digest("eastvale"), "role": "sender", "sources": ["eastvale"]},
        {"name": "viewer", "sha256": digest("viewer"), "role": "viewer"},
        {"name": "reader", "sha256": digest("reader"), "role": "viewer", "content": true},
        {"name": "operator", "sha256": digest("operator"), "role": "operator"},
        {"name": "auditor", "sha256": digest("auditor"), "role": "operator", "content": true},
        {"name": "yesterday", "sha256": digest("yesterday"), "role": "operator", "expires": "2026-01-01"},
    ])
}

pub async fn guarded(ers: &SimulatorHandle) -> Serve {
    let mut gateway = Serve::new(ers);
    gateway.settings["tokens"] = tokens();
    gateway.start_and_wait().await;
    gateway
}

pub async fn ask(gateway: &Serve, method: Method, path: &str, caller: &str, body: Option<&Value>) -> Response {
    let mut request = client().request(method, gateway.url(path)).timeout(SOON);
    if caller != NOBODY {
        request = request.bearer_auth(token_of(caller));
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    request.send().await.expect("an answer")
}

pub async fn told(response: Response) -> Value {
    response.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_opens_for_those_who_may_use_it_and_for_nobody_else() {
    let ers = ers();
    let mut gateway = guarded(&ers).await;
    let described = told(ask(&gateway, Method::GET, "/openapi.json", NOBODY, None).await).await;
    let mut asked = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let address = path
                .replace("{id}", "0199f2c4-0000-7000-8000-000000000000")
                .replace("{name}", "CreateReferral")
                .replace("{step}", "letter")
                .replace("{day}", "2026-03-16")
                .replace("{source}", "northmoor");
            for caller in CALLERS {
                let named: Method = method.to_ascii_uppercase().parse().expect("a method");
                let answer = ask(&gateway, named, &address, caller, None).await;
                let status = answer.status().as_u16();
                if is_for_people(path) {
                    assert_eq!(status, 401, "{method} {path} by {caller}");
                    asked.insert((method.clone(), path.clone()));
                    continue;
                }
                let opens = opens_for(method, path).contains(&caller);
                let scoped = path.contains("{source}") && caller == "eastvale";
                match (opens, caller) {
                    (true, _) if scoped => assert_eq!(status, 403, "{method} {path} by {caller}: another's source"),
                    (true, _) => assert!(![401, 403].contains(&status), "{method} {path} by {caller}: {status}"),
                    (false, NOBODY) => {
                        assert_eq!(status, 401, "{method} {path} by nobody");
                        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
                    }
                    (false, _) => assert_eq!(status, 403, "{method} {path} by {caller}"),
                }
                asked.insert((method.clone(), path.clone()));
            }
            if is_for_people(path) {
                continue;
            }
            let wrong = client().get(gateway.url(&address)).bearer_auth("secret-of-nobody").send().await;
            if method == "get" && !opens_for(method, path).contains(&NOBODY) {
                assert_eq!(wrong.expect("an answer").status(), 401, "{path} with a token that nobody has");
            }
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
    assert_eq!(ask(&gateway, Method::GET, "/v1/messages", "yesterday", None).await.status(), 401, "it has expired");
    let basic = client().get(gateway.url("/v1/messages")).basic_auth("operator", Some(token_of("operator"))).send();
    assert_eq!(basic.await.expect("an answer").status(), 401);
    let listed = ask(&gateway, Method::GET, "/v1/messages", "viewer", None).await;
    assert_eq!(listed.headers()["cache-control"], "no-store");
    assert_eq!(listed.headers()["x-content-type-options"], "nosniff");
    let at = gateway.url("");
    let list = || crate::cli::gateway(&["messages", "list", "--json", "--api", &at]);
    let shown = list().env("ERS_GATEWAY_TOKEN", token_of("viewer")).output().expect("the program runs");
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    let refused = list().output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("A token is needed here"));
    assert!(!gateway.log().contains("secret-of"), "no token is logged");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

/// A referral of a source's, completed. The id of its command.
pub async fn referred(gateway: &Serve, source: &str, local_id: &str) -> String {
    let path = "/v1/commands/CreateReferral";
    let answer = ask(gateway, Method::POST, path, source, Some(&create(local_id, "9994122770"))).await;
    assert_eq!(answer.status(), 202, "its only source needs not be named");
    let answer = told(answer).await;
    let id = answer["commands"][0]["id"].as_str().expect("an id").to_owned();
    let began = Instant::now();
    loop {
        let command = told(ask(gateway, Method::GET, &format!("/v1/commands/{id}"), source, None).await).await;
        if command["state"] == "completed" {
            assert!(command["result"]["ubrn"].is_string(), "a sender hears what became of its own: {command}");
            return id;
        }
        assert!(began.elapsed() < SOON, "{command}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_sees_its_own_and_content_is_a_right_of_its_own() {
    let ers = ers();
    let mut gateway = guarded(&ers).await;
    let command = referred(&gateway, "northmoor", "NM-1").await;
    let path = format!("/v1/commands/{command}");
    let message = told(ask(&gateway, Method::GET, &path, "northmoor", None).await).await["message"].clone();
    let message = format!("/v1/messages/{}", message.as_str().expect("an id"));
    for path in [&path, &message] {
        assert_eq!(ask(&gateway, Method::GET, path, "eastvale", None).await.status(), 404, "another's is not there");
        for (caller, sees) in [("viewer", false), ("operator", false), ("reader", true), ("northmoor", true)] {
            let answer = ask(&gateway, Method::GET, path, caller, None).await;
            assert_eq!(answer.status(), 200, "{path} by {caller}");
            let command = told(answer).await;
            let command = if path == &message { &command["commands"][0] } else { &command };
            assert_eq!(command["state"], "completed");
            assert_eq!(command["result"]["ubrn"].is_string(), sees, "{path} by {caller}: {command}");
        }
    }
    let as_another = "/v1/commands/CreateReferral?source=eastvale";
    let refused = ask(&gateway, Method::POST, as_another, "northmoor", Some(&create("EV-1", "9994120034"))).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(ers.created(), 1);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_revoked_without_a_restart_and_acts_are_signed_with_its_name() {
    let ers = ers();
    let mut gateway = guarded(&ers).await;
    // A slot that nobody has.
    let body = json!({
        "ubrn": "000000070001", "service": "20013", "slot": "1", "start": "2040-05-01T09:00:00Z",
        "end": "2040-05-01T09:30:00Z",
    });
    let sent = ask(&gateway, Method::POST, "/v1/commands/BookAppointment", "northmoor", Some(&body)).await;
    let sent = told(sent).await;
    let id = sent["commands"][0]["id"].as_str().expect("an id").to_owned();
    let began = Instant::now();
    while told(ask(&gateway, Method::GET, &format!("/v1/commands/{id}"), "viewer", None).await).await["state"]
        != "failed"
    {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let act = json!({"by": "Grace", "why": "no such service"});
    let discarded = ask(&gateway, Method::POST, &format!("/v1/commands/{id}/discard"), "operator", Some(&act)).await;
    assert_eq!(discarded.status(), 200);
    let command = told(ask(&gateway, Method::GET, &format!("/v1/commands/{id}"), "viewer", None).await).await;
    let last = command["transitions"].as_array().and_then(|all| all.last()).expect("a transition");
    assert_eq!(last["by"], "Grace (token operator)", "{last}");

    let log = told(ask(&gateway, Method::GET, "/v1/audit", "auditor", None).await).await;
    let entries = log["entries"].as_array().expect("a list").clone();
    let act = entries.iter().find(|entry| entry["act"] == "discard").unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&act["by"], &act["why"]), (&json!("Grace (token operator)"), &json!("no such service")));
    let log = told(ask(&gateway, Method::GET, "/v1/audit", "auditor", None).await).await;
    let looks = log["entries"].as_array().expect("a list").iter().filter(|entry| entry["by"] == "auditor").count();
    assert_eq!(looks, 1, "a program that looks at content is named by its token, once: {log}");

    gateway.settings["tokens"].as_array_mut().expect("a list").retain(|token| token["name"] != "operator");
    std::fs::write(gateway.folder.path().join("gateway.yaml"), gateway.settings.to_string()).expect("written");
    gateway.signal("HUP");
    let began = Instant::now();
    while ask(&gateway, Method::GET, "/v1/messages", "operator", None).await.status() != 401 {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&gateway, Method::GET, "/v1/messages", "viewer", None).await.status(), 200, "the others stay");
    // Settings that cannot be read leave what is in use.
    std::fs::write(gateway.folder.path().join("gateway.yaml"), "tokens: [").expect("written");
    gateway.signal("HUP");
    let began = Instant::now();
    while !gateway.log().contains("tokens and people stay as they were") {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&gateway, Method::GET, "/v1/messages", "viewer", None).await.status(), 200);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

/// How many requests with this metric's labels.
async fn tried(gateway: &Serve, outcome: &str) -> f64 {
    let metrics = ask(gateway, Method::GET, "/metrics", "monitor", None).await.text().await.expect("text");
    let name = format!("gateway_http_tries_total{{outcome=\"{outcome}\",tried=\"token\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0.0, |count| count.parse().expect("a number"))
}

/// A whole hospital may stand behind one address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_wrong_tokens_is_held_back_and_who_shows_a_right_one_from_there_is_not() {
    let ers = ers();
    let mut gateway = guarded(&ers).await;
    let mut refused = 0;
    let held_back = loop {
        let answer = client().get(gateway.url("/v1/messages")).bearer_auth(format!("guess-{refused}")).send().await;
        let answer = answer.expect("an answer");
        if answer.status() != 401 {
            break answer;
        }
        refused += 1;
        assert!(refused < 1_000, "nobody is held back");
    };
    assert!(refused >= 200, "who made a mistake hears why: {refused}");
    assert_eq!(held_back.status(), 429);
    let wait: u64 = held_back.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(held_back.headers()["content-type"], "application/problem+json");
    assert_eq!(told(held_back).await["type"], "urn:ers-gateway:problem:too-many-tries");
    // From the same address, all the while.
    for guess in 0..50 {
        let wrong = client().post(gateway.url("/v1/hl7v2")).bearer_auth(format!("more-{guess}")).send();
        assert!([401, 429].contains(&wrong.await.expect("an answer").status().as_u16()));
        assert_eq!(ask(&gateway, Method::GET, "/v1/messages", "viewer", None).await.status(), 200);
    }
    referred(&gateway, "northmoor", "NM-1").await;
    assert_eq!(ask(&gateway, Method::GET, "/v1/audit", "viewer", None).await.status(), 403, "its role is told");
    assert_eq!(ask(&gateway, Method::GET, "/health/live", NOBODY, None).await.status(), 200);
    let (answered, limited) = (tried(&gateway, "answered").await, tried(&gateway, "held_back").await);
    assert!(
        answered >= 200.0 && limited >= 20.0 && answered + limited == f64::from(refused) + 51.0,
        "{answered} {limited}"
    );
    let log = gateway.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("a request without a token that opens this") as f64, answered, "the others fill no log");
    assert!((1..=50).contains(&lines("an address is held back")), "{}", lines("an address is held back"));
    assert!(!log.contains("guess-") && !log.contains("more-"), "no token is logged");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
