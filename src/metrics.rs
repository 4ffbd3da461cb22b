//! The registry of a gateway, which also knows what it will show once something happens.
//!
//! `gather` leaves out a vector of metrics that has no series yet; a reference of the metrics cannot.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};

/// Cheap to clone: all clones are one registry.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    registry: prometheus::Registry,
    described: Arc<Mutex<BTreeMap<String, Described>>>,
}

/// One metric, as its code declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn register(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        let described = described(collector.as_ref());
        self.registry.register(collector)?;
        self.described.lock().extend(described.into_iter().map(|metric| (metric.name.clone(), metric)));
        Ok(())
    }

    /// The series that there are now.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Every metric that was registered, by name, whether it has series or not.
    pub fn described(&self) -> Vec<Described> {
        self.described.lock().values().cloned().collect()
    }
}

fn described(collector: &dyn Collector) -> Vec<Described> {
    // A family without series still knows its type.
    let families = collector.collect();
    let kind = |name: &str| families.iter().find(|family| family.name() == name).map(|family| family.get_field_type());
    let describe = |description: &&prometheus::core::Desc| Described {
        name: description.fq_name.clone(),
        kind: kind(&description.fq_name).map_or("untyped", name_of),
        labels: description.variable_labels.clone(),
        help: description.help.clone(),
    };
    collector.desc().iter().map(describe).collect()
}

fn name_of(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
        MetricType::HISTOGRAM => "histogram",
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts};

    use super::*;

    #[test]
    fn a_vector_without_series_is_described_and_not_gathered() {
        let registry = Registry::new();
        let calls = IntCounterVec::new(Opts::new("calls_total", "Calls"), &["call", "outcome"]).expect("a name");
        registry.register(Box::new(calls)).expect("it is free");
        assert!(registry.gather().is_empty());
        let labels = vec!["call".to_owned(), "outcome".to_owned()];
        let expected = Described { name: "calls_total".into(), kind: "counter", labels, help: "Calls".into() };
        assert_eq!(registry.described(), [expected]);
    }
}
