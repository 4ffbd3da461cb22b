//! Which alerts fire, told by a real Prometheus that asks real gateways: one well and one in each fault, and several on one store.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use serde_json::{Value, json};

use crate::metrics::rules::{dashboards, expressions, panels};
use crate::support::cluster::Cluster;
use crate::support::consumer::listen;
use crate::support::postgres::Postgres;
use crate::support::prometheus::Prometheus;
use crate::support::proxy::{Proxy, Wire};
use crate::support::rabbitmq::RabbitMq;
use crate::support::referrals::{Patients, attach, create, northmoor};
use crate::support::sender::{HttpSender, MllpSender, field};
use crate::support::serve::Serve;
use crate::support::waiting::client;

const SOON: Duration = Duration::from_secs(60);
/// So many failures in a row open a breaker.
const FAILURES: usize = 5;

async fn started(ers: &SimulatorHandle, change: impl FnOnce(&mut Serve)) -> Serve {
    let mut gateway = Serve::new(ers);
    change(&mut gateway);
    gateway.start();
    gateway
}

async fn referred(gateway: &Serve, patients: &Patients, control_id: &str) {
    let message = northmoor(control_id, control_id, &patients.next(), None);
    let answer = MllpSender::new(gateway.mllp).deliver(&message).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", String::from_utf8_lossy(&answer));
}

async fn commanded(gateway: &Serve, source: &str, name: &str, key: &str, body: &Value) {
    let url = gateway.url(&format!("/v1/commands/{name}?source={source}"));
    let (status, answer) = HttpSender::new().deliver(&url, key, body).await;
    assert_eq!(status, 202, "{answer}");
}

async fn get(gateway: &Serve, path: &str) -> Value {
    let answer = client().get(gateway.url(path)).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

/// A person's act on the one command in this state.
async fn act(gateway: &Serve, state: &str, act: &str) {
    let found = get(gateway, &format!("/v1/messages?state={state}")).await;
    let message = found["messages"][0]["id"].as_str().expect("a message with such a command");
    let shown = get(gateway, &format!("/v1/messages/{message}")).await;
    let command = shown["commands"][0]["id"].as_str().expect("a command");
    let asked = client().post(gateway.url(&format!("/v1/commands/{command}/{act}")));
    let answer = asked.json(&json!({"by": "tester", "why": "for a test"})).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{act}: {}", answer.status());
}

/// e-RS refuses one referral.
fn refusal() -> Fault {
    let code = Some("INVALID_VALUE".into());
    let answer = Action::Answer { status: 422, code, diagnostics: None, retry_after: None, body: None };
    Fault::on("A011", answer).times(1)
}

fn simulator() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_alert_fires_in_its_fault_and_in_no_other_and_ends_with_it() {
    let node = RabbitMq::shared();
    let exchange = "ers.alerts";
    let wire = Proxy::to(node.port).await;
    let patients = Patients::new();
    // Refresh tokens are single use: whoever calls has an e-RS of its own.
    let [ers, refusing, failing, ers_of_full] = [(); 4].map(|()| simulator());
    let broker = |port: u16| {
        let url = node.url().replace(&node.port.to_string(), &port.to_string());
        json!({"urls": [url], "exchange": exchange})
    };
    let mut well = started(&ers, |gateway| gateway.settings["broker"] = broker(node.port)).await;
    let mut cut_off = started(&ers, |gateway| gateway.settings["broker"] = broker(wire.port)).await;
    let mut people =
        started(&refusing, |gateway| gateway.connection("eastvale")["refresh_token"] = "of nobody".into()).await;
    let mut stopped = started(&ers, |_| {}).await;
    let mut full = started(&ers_of_full, |_| {}).await;
    let mut resting = started(&failing, |_| {}).await;
    let jobs = [
        ("ers-gateway-well", &[well.http][..]),
        ("ers-gateway-cut-off", &[cut_off.http][..]),
        ("ers-gateway-people", &[people.http][..]),
        ("ers-gateway-stopped", &[stopped.http][..]),
        ("ers-gateway-full", &[full.http][..]),
        ("ers-gateway-resting", &[resting.http][..]),
    ];
    for gateway in [&mut well, &mut cut_off, &mut people, &mut stopped, &mut full, &mut resting] {
        gateway.ready().await;
    }
    // Somebody takes the events.
    let consumer = node.client().await;
    listen(&consumer, exchange, "alerts.events").await;

    let prometheus = Prometheus::start(&jobs).await;
    referred(&well, &patients, "WELL-1").await;
    for number in 0..FAILURES {
        let key = format!("REST-{number}");
        commanded(&resting, "northmoor", "CreateReferral", &key, &create(&key, &patients.next())).await;
    }
    resting.settle(SOON).await;
    prometheus
        .until("all are asked, and their stores counted", async |prometheus: &Prometheus| {
            let both_up = r#"sum(gateway_broker_up{link="events"}) == 2"#;
            prometheus.query("sum(up) == 6 and on () sum(job:gateway_outbox_events:max >= bool 0) == 6").await.len()
                == 1
                && prometheus.query(both_up).await.len() == 1
        })
        .await;
    prometheus.until_firing(&[]).await;
    let all_well = Instant::now();

    // e-RS refuses one referral; nobody is signed in for another, a two-week-wait.
    refusing.inject(refusal());
    referred(&people, &patients, "REFUSED-1").await;
    let mut urgent = create("URGENT-1", &patients.next());
    urgent["priority"] = "TWO_WEEK_WAIT".into();
    commanded(&people, "eastvale", "CreateReferral", "URGENT-1", &urgent).await;
    people.settle(SOON).await;
    wire.set(Wire::Cut);
    assert!(stopped.stop().await.success(), "{}", stopped.log_end());
    full.limit_files(Some(4096));
    let disk = tokio::spawn({
        let (address, message) = (full.mllp, northmoor("FULL-1", "FULL-1", &patients.next(), None));
        async move {
            // As a hospital system does: again and again until it is taken.
            let mut sender = MllpSender::new(address);
            sender.deliver(&message).await
        }
    });
    prometheus
        .until("a failed command is seen", async |prometheus: &Prometheus| {
            prometheus.query(r#"ALERTS{alertname="CommandsFailed"}"#).await.len() == 1
        })
        .await;
    // e-RS answers 503. Last, so that the first rest of the breaker (10 s) is not over before all alerts fire: the next is twice as
    // long.
    failing.inject(Fault::on("A005", Action::answer(503)));
    for number in 0..FAILURES {
        let body = attach(&format!("REST-{number}"), "letter.txt", "TGV0dGVyLg==");
        commanded(&resting, "northmoor", "AttachLetters", &format!("LETTER-{number}"), &body).await;
    }
    let expected = [
        ("ers-gateway-cut-off", "BrokerDown"),
        ("ers-gateway-people", "CommandsFailed"),
        ("ers-gateway-people", "CommandsUnauthorised"),
        ("ers-gateway-people", "TwoWeekWaitStuck"),
        ("ers-gateway-stopped", "GatewayDown"),
        ("ers-gateway-full", "MessagesNotTaken"),
        ("ers-gateway-resting", "BreakerOpen"),
    ];
    prometheus.until_firing(&expected).await;

    // Each fault is mended.
    failing.clear_faults();
    wire.set(Wire::Open);
    full.limit_files(None);
    let answer = disk.await.expect("it is taken in the end");
    assert_eq!(field(&answer, b"MSA", 1), b"AA");
    stopped.start_and_wait().await;
    act(&people, "failed", "replay").await;
    act(&people, "unauthorised", "discard").await;
    prometheus.until_firing(&[]).await;
    resting.settle(SOON).await;

    // At no time another one.
    let history = format!(r#"ALERTS{{alertstate="firing"}}[{}s]"#, all_well.elapsed().as_secs());
    let ever = prometheus.alerts(&format!("count by (job, alertname) (count_over_time({history}))")).await;
    let expected: BTreeSet<_> = expected.iter().map(|(job, name)| ((*job).to_owned(), (*name).to_owned())).collect();
    assert_eq!(ever, expected);
    every_panel_can_be_asked(&prometheus).await;
    for ers in [ers, refusing, failing, ers_of_full] {
        ers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_share_a_store_are_one_and_the_one_that_stands_by_is_no_fault() {
    const JOB: &str = "ers-gateway";
    let node = RabbitMq::shared();
    let consumer = node.client().await;
    let mut cluster = Cluster::new(Postgres::shared(), 2).await;
    cluster.set_broker(node, "ers.shared-alerts", None);
    cluster.give_mappings();
    cluster.start().await;
    listen(&consumer, "ers.shared-alerts", "shared-alerts.events").await;
    let addresses: Vec<_> = cluster.gateways.iter().map(|gateway| gateway.http).collect();
    let prometheus = Prometheus::start(&[(JOB, &addresses)]).await;
    cluster.ers.inject(refusal());
    referred(&cluster.gateways[0], &Patients::new(), "SHARED-1").await;
    cluster.settle(SOON).await;

    // Each says that one command failed, and there is one; one of them publishes, and the other stands by.
    prometheus
        .until("both count one failed command, and one of them publishes", async |prometheus: &Prometheus| {
            let both = r#"sum(gateway_commands{state="failed"}) == 2 and on () sum(gateway_broker_up) == 1"#;
            prometheus.query(both).await.len() == 1
                && prometheus.query("count(gateway_broker_up) == 2").await.len() == 1
        })
        .await;
    let failed = [(JOB, "CommandsFailed")];
    prometheus.until_firing(&failed).await;
    let one = r#"sum by (job) (job_state_class:gateway_commands:max{state="failed"}) == 1"#;
    assert_eq!(prometheus.query(one).await.len(), 1, "one command, however many tell of it");

    let broken = cluster.gateways[1].folder.path().join("mappings/ers/outcomes.yaml");
    let whole = std::fs::read(&broken).expect("a file of mappings");
    std::fs::write(&broken, "rules: [").expect("it is ours");
    cluster.gateways[1].signal("HUP");
    prometheus.until_firing(&[failed[0], (JOB, "MappingReloadFailed")]).await;
    std::fs::write(&broken, whole).expect("it is ours");
    cluster.gateways[1].signal("HUP");
    act(&cluster.gateways[0], "failed", "discard").await;
    prometheus.until_firing(&[]).await;

    // One does not reach the database, then neither.
    cluster.wires[1].set(Wire::Cut);
    prometheus.until_firing(&[(JOB, "InstanceDown")]).await;
    cluster.wires[0].set(Wire::Cut);
    prometheus.until_firing(&[(JOB, "StoreUnavailable")]).await;
    for wire in &cluster.wires {
        wire.set(Wire::Open);
    }
    prometheus
        .until("both reach the database, and one of them publishes", async |prometheus: &Prometheus| {
            let back = "sum(gateway_store_available) == 2 and on () sum(gateway_broker_up) == 1";
            prometheus.query(back).await.len() == 1
        })
        .await;
    prometheus.until_firing(&[]).await;
    cluster.stop().await;
}

/// What dashboards ask, as Grafana would.
async fn every_panel_can_be_asked(prometheus: &Prometheus) {
    let (mut asked, mut answered) = (0, 0);
    for (_, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for expression in expressions(panel) {
                let mut expression = expression.replace("$__rate_interval", "30s").replace("$__range", "1m");
                for variable in ["$job", "$source", "$call", "$class"] {
                    expression = expression.replace(variable, ".*");
                }
                assert!(!expression.contains('$'), "a variable that this test does not know: {expression}");
                asked += 1;
                answered += usize::from(!prometheus.query(&expression).await.is_empty());
            }
        }
    }
    assert!(answered * 4 > asked * 3, "only {answered} of {asked} expressions of dashboards have an answer");
}
