//! A Prometheus of Debian's, on a loopback port of its own, with the rules of `deploy/prometheus` made quicker: waits and ages are a
//! ninetieth (waits three seconds at least, so that one scrape that comes late is no alarm; ages of an hour stay), ranges a
//! thirtieth, so that they hold a few scrapes. With their times as they are they are tested in `alerts.test.yaml`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::serve::free_port;
use super::waiting::client;
use crate::metrics::rules::yaml;

const PROGRAM: &str = "/usr/bin/prometheus";
const SOON: Duration = Duration::from_secs(60);
const WAITS_BY: u64 = 90;
const WAIT_MIN_MS: u64 = 3_000;
const RANGES_BY: u64 = 30;
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

pub struct Prometheus {
    keeper: Child,
    url: String,
    folder: TempDir,
}

impl Prometheus {
    /// Over gateways, by their jobs.
    pub async fn start(jobs: &[(&str, &[SocketAddr])]) -> Self {
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
            .map(|(job, addresses)| json!({"job_name": job, "static_configs": [{"targets": addresses}]}))
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
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.ask(expression).await.expect("Prometheus answers");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        results.into_iter().map(|mut result| result["metric"].take()).collect()
    }

    /// Job and name of alerts.
    pub async fn alerts(&self, expression: &str) -> BTreeSet<(String, String)> {
        let alerts = self.query(expression).await;
        let word = |alert: &Value, label: &str| alert[label].as_str().unwrap_or_default().to_owned();
        alerts.iter().map(|alert| (word(alert, "job"), word(alert, "alertname"))).collect()
    }

    pub async fn until(&self, what: &str, mut reached: impl AsyncFnMut(&Self) -> bool) {
        let began = Instant::now();
        while !reached(self).await {
            let state = self.query("ALERTS").await;
            assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}; alerts are {state:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn until_firing(&self, expected: &[(&str, &str)]) {
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
