//! What is measured about MLLP. The label `listener` is the configured address.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::hl7::framing::Discarded;
use crate::metrics::Registry;

/// Registered once a process; listeners share it.
#[derive(Clone, Debug)]
pub struct MllpMetrics {
    accepted: IntCounterVec,
    refused: IntCounterVec,
    open: IntGaugeVec,
    frames: IntCounterVec,
    answers: IntCounterVec,
    discarded_bytes: IntCounterVec,
    framing_errors: IntCounterVec,
}

impl MllpMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let open = Opts::new("gateway_mllp_connections_open", "MLLP connections open now");
        let open = IntGaugeVec::new(open, &["listener"])?;
        registry.register(Box::new(open.clone()))?;
        Ok(Self {
            accepted: counter("gateway_mllp_connections_total", "MLLP connections accepted", &["listener"])?,
            refused: counter(
                "gateway_mllp_connections_refused_total",
                "MLLP connections closed at once: too many, or no TLS handshake",
                &["listener", "reason"],
            )?,
            open,
            frames: counter("gateway_mllp_frames_total", "Complete MLLP frames received", &["listener"])?,
            answers: counter("gateway_mllp_answers_total", "MLLP frames written as answers", &["listener"])?,
            discarded_bytes: counter(
                "gateway_mllp_discarded_bytes_total",
                "Bytes received outside of MLLP frames",
                &["listener"],
            )?,
            framing_errors: counter(
                "gateway_mllp_framing_errors_total",
                "MLLP frames that never became a message: too_large, cut_short or too_slow",
                &["listener", "reason"],
            )?,
        })
    }

    pub(super) fn listener(&self, name: &str) -> ListenerMetrics {
        let framing_error = |reason| self.framing_errors.with_label_values(&[name, reason]);
        ListenerMetrics {
            accepted: self.accepted.with_label_values(&[name]),
            refused_too_many: self.refused.with_label_values(&[name, "too_many"]),
            refused_handshake: self.refused.with_label_values(&[name, "handshake"]),
            open: self.open.with_label_values(&[name]),
            frames: self.frames.with_label_values(&[name]),
            answers: self.answers.with_label_values(&[name]),
            discarded_bytes: self.discarded_bytes.with_label_values(&[name]),
            too_large: framing_error("too_large"),
            cut_short: framing_error("cut_short"),
            too_slow: framing_error("too_slow"),
        }
    }
}

/// Those of one listener.
#[derive(Clone, Debug)]
pub(super) struct ListenerMetrics {
    pub accepted: IntCounter,
    pub refused_too_many: IntCounter,
    pub refused_handshake: IntCounter,
    pub open: IntGauge,
    pub frames: IntCounter,
    pub answers: IntCounter,
    pub discarded_bytes: IntCounter,
    pub too_large: IntCounter,
    pub cut_short: IntCounter,
    pub too_slow: IntCounter,
}

impl ListenerMetrics {
    /// Counts what a decoder threw away since `before`.
    pub fn discarded(&self, before: Discarded, after: Discarded) {
        self.discarded_bytes.inc_by(after.bytes - before.bytes);
        self.cut_short.inc_by(after.frames - before.frames);
    }
}
