//! Which mapping set is in use, and whether the last reading of its files went well.

use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::metrics::Registry;

pub struct MappingMetrics {
    current: IntGaugeVec,
    reloads: IntCounterVec,
    last_failed: IntGauge,
    digest: Mutex<Option<String>>,
}

impl MappingMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            current: IntGaugeVec::new(
                Opts::new("gateway_mapping_set_info", "Always 1; the digest of the mapping set in use"),
                &["digest"],
            )?,
            reloads: IntCounterVec::new(
                Opts::new("gateway_mapping_reloads_total", "Readings of the mapping files by outcome"),
                &["outcome"],
            )?,
            last_failed: IntGauge::new(
                "gateway_mapping_reload_failed",
                "1 while the mapping files on disk are broken and an earlier set is in use",
            )?,
            digest: Mutex::new(None),
        };
        registry.register(Box::new(metrics.current.clone()))?;
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.last_failed.clone()))?;
        Ok(metrics)
    }

    pub fn loaded(&self, digest: &str) {
        let mut current = self.digest.lock();
        if let Some(earlier) = current.replace(digest.to_owned()) {
            // A digest that is no longer in use is no series either; it may never have been set.
            let _ = self.current.remove_label_values(&[&earlier]);
        }
        self.current.with_label_values(&[digest]).set(1);
        self.reloads.with_label_values(&["loaded"]).inc();
        self.last_failed.set(0);
    }

    pub fn refused(&self) {
        self.reloads.with_label_values(&["refused"]).inc();
        self.last_failed.set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_set_shows_until_a_good_one_is_loaded() {
        let registry = Registry::new();
        let metrics = MappingMetrics::register(&registry).expect("new names");
        metrics.loaded("a1");
        metrics.refused();
        assert_eq!(metrics.last_failed.get(), 1);
        metrics.loaded("b2");
        assert_eq!(metrics.last_failed.get(), 0);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        assert!(text.contains(r#"gateway_mapping_set_info{digest="b2"} 1"#), "{text}");
        assert!(!text.contains("a1"), "{text}");
    }
}
