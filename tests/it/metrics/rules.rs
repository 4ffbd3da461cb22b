//! Rules, dashboards and pages name metrics and labels that exist; each alert has a runbook and a unit test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ers_gateway::metrics::Described;
use serde_json::Value;

use super::promql::named;
use super::reference::{ROOT, registered};

/// Every target has them.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

pub fn in_project(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(&in_project(path))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} is missing in {value}"))
}

/// The rules of a file, whatever their group.
fn rules(path: &str) -> Vec<Value> {
    let file = yaml(path);
    let rules: Vec<Value> = list(&file["groups"]).flat_map(|group| list(&group["rules"]).cloned()).collect();
    assert!(!rules.is_empty(), "{path} has no rule");
    rules
}

pub fn alerts() -> Vec<Value> {
    rules("deploy/prometheus/alerts.yaml")
}

/// Each dashboard with its file's name.
pub fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(in_project("deploy/grafana/dashboards")).expect("a folder of this project");
    let mut dashboards: Vec<(String, Value)> = files
        .flatten()
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            let value = serde_json::from_str(&text(&file.path())).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, value)
        })
        .collect();
    dashboards.sort_by(|one, other| one.0.cmp(&other.0));
    dashboards
}

/// Panels that show something, those inside of rows as well.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut panels = Vec::new();
    for panel in list(&dashboard["panels"]) {
        match panel["type"].as_str() {
            Some("row") => panels.extend(list(&panel["panels"])),
            _ => panels.push(panel),
        }
    }
    panels
}

pub fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    list(&panel["targets"]).map(|target| word(target, "expr"))
}

/// Series that Prometheus can have, with their labels.
struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    fn of(metrics: &[Described]) -> Self {
        let mut known = BTreeMap::new();
        let targets = OF_TARGETS.map(str::to_owned);
        for metric in metrics {
            let own = metric.labels.iter().map(|label| match OF_TARGETS.contains(&label.as_str()) {
                true => format!("exported_{label}"),
                false => label.clone(),
            });
            let labels: BTreeSet<String> = own.chain(targets.clone()).collect();
            if metric.kind == "histogram" {
                let buckets = labels.iter().cloned().chain(["le".to_owned()]).collect();
                known.insert(format!("{}_bucket", metric.name), buckets);
                known.insert(format!("{}_sum", metric.name), labels.clone());
                known.insert(format!("{}_count", metric.name), labels);
            } else {
                known.insert(metric.name.clone(), labels);
            }
        }
        known.insert("up".into(), targets.clone().into());
        let of_alerts = ["alertname", "alertstate", "severity"].map(str::to_owned);
        known.insert("ALERTS".into(), targets.into_iter().chain(of_alerts).collect());
        Self(known)
    }

    /// What the expression names and nothing has.
    fn missing(&self, expression: &str) -> Vec<String> {
        let named = named(expression);
        let mut missing = Vec::new();
        let mut all: BTreeSet<&str> = OF_TARGETS.into();
        for (series, labels) in &named.series {
            let Some(has) = self.0.get(series) else {
                missing.push(series.clone());
                continue;
            };
            all.extend(has.iter().map(String::as_str));
            missing.extend(
                labels.iter().filter(|label| !has.contains(*label)).map(|label| format!("{series}{{{label}}}")),
            );
        }
        missing.extend(named.grouped.into_iter().filter(|label| !all.contains(label.as_str())));
        missing
    }

    /// What a recording rule makes: the labels that it groups by, less those of buckets.
    fn record(&mut self, rule: &Value) {
        let labels = named(word(rule, "expr")).grouped.into_iter().filter(|label| label != "le").collect();
        self.0.insert(word(rule, "record").to_owned(), labels);
    }
}

async fn known() -> Known {
    let mut known = Known::of(&registered().await);
    for rule in rules("deploy/prometheus/recording.yaml") {
        let (name, expression) = (word(&rule, "record"), word(&rule, "expr"));
        assert_eq!(known.missing(expression), [] as [String; 0], "{name}");
        assert!(name.starts_with("job"), "{name} says by which labels it is: gateways of one store are one job");
        known.record(&rule);
    }
    known
}

/// What GitHub and its like make of a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    heading.trim().to_lowercase().chars().filter_map(kept).collect()
}

fn anchors(page: &str) -> Vec<String> {
    page.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_name_what_exists_and_have_a_runbook() {
    let known = known().await;
    let mut names = Vec::new();
    for alert in alerts() {
        let (name, expression) = (word(&alert, "alert"), word(&alert, "expr"));
        assert_eq!(known.missing(expression), [] as [String; 0], "{name}");
        let severity = word(&alert["labels"], "severity");
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");

        let summary = word(&alert["annotations"], "summary");
        let labels = named(expression);
        for label in summary.split("$labels.").skip(1) {
            let label: String = label.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let has = |series: &String| known.0.get(series).is_some_and(|has| has.contains(&label));
            let is_there = labels.grouped.contains(&label) || labels.series.iter().any(|(series, _)| has(series));
            assert!(is_there, "{name}: no label {label} is left of {expression}");
        }

        let runbook = word(&alert["annotations"], "runbook_url");
        let (page, fragment) = runbook.split_once('#').unwrap_or_else(|| panic!("{name}: {runbook} names no section"));
        let file = page.rsplit_once("/docs/").map(|(_, file)| file).unwrap_or_else(|| panic!("{name}: {runbook}"));
        let page = text(&in_project("docs").join(file));
        assert!(anchors(&page).contains(&fragment.to_owned()), "{name}: docs/{file} has no section #{fragment}");
        assert_eq!(fragment, anchor(name), "{name}: a section of its own");
        names.push(name.to_owned());
    }
    // A runbook of an alert that is gone misleads at night.
    let page = text(&in_project("docs/runbooks.md"));
    let section = page.split("\n## ").find(|section| section.starts_with("Alerts")).expect("the page has alerts");
    let told: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(told, names, "docs/runbooks.md has the alerts of alerts.yaml, in their order");
    for heading in ["What it means", "See more", "Do", "It is over"] {
        for alert in section.split("\n### ").skip(1) {
            assert!(alert.contains(&format!("*{heading}*")), "{heading} is missing in {:?}", alert.lines().next());
        }
    }
}

#[test]
fn each_alert_is_shown_to_fire_and_to_be_silent() {
    let tests = yaml("deploy/prometheus/alerts.test.yaml");
    let checked: Vec<&Value> = list(&tests["tests"]).flat_map(|test| list(&test["alert_rule_test"])).collect();
    for alert in alerts() {
        let name = word(&alert, "alert");
        let fires = |wanted: bool| {
            let is_such = |test: &&&Value| {
                word(test, "alertname") == name && list(&test["exp_alerts"]).next().is_some() == wanted
            };
            checked.iter().filter(is_such).count()
        };
        assert!(
            fires(true) > 0 && fires(false) > 0,
            "{name} fires {} times, is silent {} times",
            fires(true),
            fires(false)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboards_show_what_exists_and_say_what_it_is() {
    let known = known().await;
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(uids.insert(word(&dashboard, "uid").to_owned()), "{file}: its uid is another's");
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = word(panel, "title");
            assert!(ids.insert(panel["id"].as_u64()), "{file}, {title}: its id is another's");
            assert!(word(panel, "description").len() > 20, "{file}, {title} says what it is");
            assert!(!word(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{file}, {title} has a unit");
            assert!(expressions(panel).count() > 0, "{file}, {title} shows nothing");
            for expression in expressions(panel) {
                assert_eq!(known.missing(expression), [] as [String; 0], "{file}, {title}: {expression}");
            }
        }
        for variable in list(&dashboard["templating"]["list"]).filter(|variable| variable["type"] == "query") {
            let query = variable["definition"].as_str().expect("a query");
            let values = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (series, label) =
                values.and_then(|values| values.rsplit_once(", ")).expect("label_values(series, label)");
            assert_eq!(known.missing(&format!("sum by ({label}) ({series})")), [] as [String; 0], "{file}: {query}");
        }
    }
    let names: Vec<String> = dashboards().into_iter().map(|(file, _)| file).collect();
    assert_eq!(names, ["ers-calls.json", "overview.json", "queue.json", "source.json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_name_metrics_that_exist() {
    let known = known().await;
    let pages = std::fs::read_dir(in_project("docs")).expect("a folder of this project").flatten();
    let pages =
        pages.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut missing = Vec::new();
    for path in pages.chain([in_project("README.md")]) {
        let page = text(&path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        let words = page.split(|c| !is_part(c)).filter(|word| word.starts_with("gateway_"));
        // A histogram is called by its name.
        let is_known = |word: &str| known.0.contains_key(word) || known.0.contains_key(&format!("{word}_bucket"));
        missing.extend(words.filter(|word| !is_known(word)).map(|word| format!("{name}: {word}")));
        let spans = page.split('`').skip(1).step_by(2);
        for span in spans.filter(|span| span.starts_with("gateway_") && span.contains('{') && !span.contains('\n')) {
            missing.extend(known.missing(span).into_iter().map(|label| format!("{name}: {label} of {span}")));
        }
    }
    assert_eq!(missing, [] as [String; 0], "named in a page, and not there");
}
