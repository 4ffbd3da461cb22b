//! Which alerts fire, told by a real Prometheus that asks real gateways: one well, and one in each fault.
//!
//! The rules are those of `deploy/prometheus`, made quicker: waits and ages are a ninetieth (waits three seconds at least, so that
//! one scrape that comes late is no alarm; ages of an hour stay), ranges a thirtieth, so that they hold a few scrapes. With their
//! times as they are they are tested in `alerts.test.yaml`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::metrics::rules::{dashboards, expressions, panels, yaml};
use crate::support::proxy::{Proxy, Wire};
use crate::support::rabbitmq::RabbitMq;
use crate::support::referrals::{Patients, attach, create, northmoor};
use crate::support::sender::{HttpSender, MllpSender, field};
use crate::support::serve::{Serve, free_port};
use crate::support::waiting::client;

const PROGRAM: &str = "/usr/bin/prometheus";
const SOON: Duration = Duration::from_secs(60);
const WAITS_BY: u64 = 90;
const WAIT_MIN_MS: u64 = 3_000;
const RANGES_BY: u64 = 30;
/// So many failures in a row open a breaker.
const FAILURES: usize = 5;
/// Ages in seconds that are made shorter.
const AGES: std::ops::Range<u64> = 100..3_600;

/// Starts Prometheus and ends it with the pipe, however the test ends.
const KEEPER: &str = r#"
"$@" </dev/null &
server=$!
read -r word
kill -KILL "$server"
wait "$server" 2>/dev/null
"#;

struct Prometheus {
    keeper: Child,
    url: String,
    folder: TempDir,
}

impl Prometheus {
    /// Over gateways, each a job of its own.
    async fn start(jobs: &[(&str, SocketAddr)]) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "Prometheus is not installed ({PROGRAM} is missing). This test needs the real one: \
             install it with `apt-get install prometheus`, or run ./test, which does."
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        for name in ["recording.yaml", "alerts.yaml"] {
            let mut rules = yaml(&format!("deploy/prometheus/{name}"));
            quicken(&mut rules);
            // JSON is YAML.
            std::fs::write(file(name), rules.to_string()).expect("a file");
        }
        let scrapes: Vec<Value> = jobs
            .iter()
            .map(|(job, address)| json!({"job_name": job, "static_configs": [{"targets": [address.to_string()]}]}))
            .collect();
        let settings = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "500ms"},
            "rule_files": ["recording.yaml", "alerts.yaml"],
            "scrape_configs": scrapes,
        });
        std::fs::write(file("prometheus.yaml"), settings.to_string()).expect("a file");
        let address = free_port();
        let log = std::fs::File::create(file("log")).expect("a file");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", PROGRAM])
            .arg(format!("--config.file={}", file("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", file("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sh is there");
        let prometheus = Self { keeper, url: format!("http://{address}/api/v1/query"), folder };
        let started = Instant::now();
        while prometheus.ask("vector(1)").await.is_none() {
            let log = std::fs::read_to_string(prometheus.folder.path().join("log")).unwrap_or_default();
            assert!(started.elapsed() < SOON, "Prometheus does not start:\n{log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        prometheus
    }

    async fn ask(&self, expression: &str) -> Option<Value> {
        let asked = client().get(&self.url).query(&[("query", expression)]).send().await.ok()?;
        asked.json().await.ok()
    }

    /// Labels of what an expression gives.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.ask(expression).await.expect("Prometheus answers");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        results.into_iter().map(|mut result| result["metric"].take()).collect()
    }

    /// Job and name of alerts.
    async fn alerts(&self, expression: &str) -> BTreeSet<(String, String)> {
        let alerts = self.query(expression).await;
        let word = |alert: &Value, label: &str| alert[label].as_str().unwrap_or_default().to_owned();
        alerts.iter().map(|alert| (word(alert, "job"), word(alert, "alertname"))).collect()
    }

    async fn until(&self, what: &str, mut reached: impl AsyncFnMut(&Self) -> bool) {
        let began = Instant::now();
        while !reached(self).await {
            let state = self.query("ALERTS").await;
            assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}; alerts are {state:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until_firing(&self, expected: &[(&str, &str)]) {
        let expected: BTreeSet<_> =
            expected.iter().map(|(job, name)| ((*job).to_owned(), (*name).to_owned())).collect();
        self.until(&format!("firing are exactly {expected:?}"), async |prometheus: &Self| {
            prometheus.alerts(r#"ALERTS{alertstate="firing"}"#).await == expected
        })
        .await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().expect("the keeper ends");
    }
}

/// Milliseconds of a duration of Prometheus.
fn milliseconds(duration: &str) -> u64 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => panic!("{other} of {duration} is no unit that the rules use"),
    };
    number.parse::<u64>().expect("a number") * unit
}

fn quicken(rules: &mut Value) {
    for rule in
        rules["groups"].as_array_mut().into_iter().flatten().flat_map(|group| group["rules"].as_array_mut()).flatten()
    {
        if let Some(wait) = rule.get("for").and_then(Value::as_str) {
            rule["for"] = format!("{}ms", (milliseconds(wait) / WAITS_BY).max(WAIT_MIN_MS)).into();
        }
        let expression = rule["expr"].as_str().expect("a rule has an expression");
        let mut quick = String::new();
        for (number, piece) in expression.split('[').enumerate() {
            match piece.split_once(']') {
                Some((range, rest)) if number > 0 => {
                    quick += &format!("[{}ms]{}", milliseconds(range) / RANGES_BY, ages(rest));
                }
                _ => quick += &ages(piece),
            }
        }
        rule["expr"] = quick.into();
    }
}

/// What is compared with hundreds is seconds.
fn ages(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.trim_end().parse::<u64>() {
        Ok(seconds) if AGES.contains(&seconds) => (seconds / WAITS_BY).to_string(),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn rules_are_made_quicker_and_nothing_else() {
    let mut rules = json!({"groups": [{"rules": [
        {"expr": "max by (job) (age{class!~\"a|b\"}) > 300 and on (job) x >= 3", "for": "15m"},
        {"expr": "up == 0", "for": "1m"},
        {"expr": "sum(rate(a[2m])) > 0.2 * sum(rate(b[30m]))\n  > 3600\n"},
    ]}]});
    quicken(&mut rules);
    assert_eq!(
        rules["groups"][0]["rules"],
        json!([
            {"expr": "max by (job) (age{class!~\"a|b\"}) > 3 and on (job) x >= 3", "for": "10000ms"},
            {"expr": "up == 0", "for": "3000ms"},
            {"expr": "sum(rate(a[4000ms])) > 0.2 * sum(rate(b[60000ms]))\n  > 3600\n"},
        ])
    );
}

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
        ("ers-gateway-well", well.http),
        ("ers-gateway-cut-off", cut_off.http),
        ("ers-gateway-people", people.http),
        ("ers-gateway-stopped", stopped.http),
        ("ers-gateway-full", full.http),
        ("ers-gateway-resting", resting.http),
    ];
    for gateway in [&mut well, &mut cut_off, &mut people, &mut stopped, &mut full, &mut resting] {
        gateway.ready().await;
    }
    // Somebody takes the events.
    let consumer = node.client().await;
    consumer.declare("alerts.events").await;
    consumer.bind("alerts.events", exchange, "#").await;

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
    let refusal = Action::Answer {
        status: 422,
        code: Some("INVALID_VALUE".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    refusing.inject(Fault::on("A011", refusal).times(1));
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
