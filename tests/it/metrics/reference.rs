//! What a gateway registers, and the page about it.

use std::fmt::Write as _;
use std::path::Path;

use ers_gateway::metrics::Described;

use crate::support::world::World;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const HEAD: &str = "\
# Metrics

Every metric of the gateway: `GET /metrics` on any HTTP listener, Prometheus text. How to read them:
[observability](observability.md); what wakes people up: [runbooks](runbooks.md).

Made from what a running gateway registers by `ERS_GATEWAY_WRITE_METRICS=1 cargo test --test it metrics`; `./test` fails when it is not
true any more, and when a rule, a dashboard or a page names a metric or a label that is not here. A metric without a series yet is
not in the answer of `/metrics`: most begin with the first thing that they count. Those of the broker are there with `broker`
in the settings only.

Prometheus adds `job` and `instance`; a label `instance` of the gateway's own becomes `exported_instance`. A histogram has
`_bucket` (with `le`), `_sum` and `_count`.

";

/// With a broker, so that everything is registered; nothing listens there.
pub async fn registered() -> Vec<Described> {
    let broker = serde_json::json!({"urls": ["amqp://127.0.0.1:1/%2f"]});
    let world =
        World::with(|config| config.broker = serde_json::from_value(broker).expect("settings of a broker")).await;
    let registered = world.gateway.metrics.described();
    world.stop().await;
    registered
}

/// By the end of the name, as Prometheus has it.
fn unit(name: &str) -> &'static str {
    let base = name.strip_suffix("_total").unwrap_or(name);
    match base.rsplit('_').next() {
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        _ => "",
    }
}

fn table(page: &mut String, metrics: &[&Described]) {
    page.push_str("| Metric | Type | Labels | Unit | Says |\n|---|---|---|---|---|\n");
    for metric in metrics {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let help = metric.help.trim_end_matches('.');
        writeln!(page, "| `{}` | {} | {labels} | {} | {help} |", metric.name, metric.kind, unit(&metric.name))
            .expect("text takes text");
    }
}

fn page(metrics: &[Described]) -> String {
    let (own, process): (Vec<_>, Vec<_>) = metrics.iter().partition(|metric| metric.name.starts_with("gateway_"));
    let mut page = HEAD.to_owned();
    page.push_str("## The gateway\n\n");
    table(&mut page, &own);
    page.push_str("\n## Its process\n\n");
    table(&mut page, &process);
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_has_every_metric_that_the_code_registers() {
    let metrics = registered().await;
    let (page, path) = (page(&metrics), Path::new(ROOT).join("docs/metrics.md"));
    if std::env::var("ERS_GATEWAY_WRITE_METRICS").is_ok() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/metrics.md is out of date: ERS_GATEWAY_WRITE_METRICS=1 cargo test --test it metrics"
    );
    // A metric that is declared is one that is registered: the names in the sources are those of the page.
    let mut missing = Vec::new();
    declared(&Path::new(ROOT).join("src"), &mut missing);
    missing.retain(|name| !metrics.iter().any(|metric| metric.name == *name));
    assert_eq!(missing, [] as [String; 0], "declared in src, and not registered by a gateway with a broker");
}

/// Names of metrics that stand in quotes by themselves.
fn declared(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of this project").flatten() {
        let path = entry.path();
        if path.is_dir() {
            declared(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            let is_name = |quoted: &&str| {
                quoted.starts_with("gateway_") && quoted.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            found.extend(text.split('"').filter(is_name).map(str::to_owned));
        }
    }
}
