//! What intake counts. Labels are bounded: configured sources, transports, outcomes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

use super::Outcome;
use crate::metrics::Registry;
use crate::store::Transport;

#[derive(Clone)]
pub struct IntakeMetrics {
    messages: IntCounterVec,
    seconds: HistogramVec,
    unused: IntCounterVec,
    /// Names of FHIR elements that have a label of their own.
    elements: Arc<Mutex<HashSet<String>>>,
}

/// A sender decides what its elements are called; beyond so many they share one label.
const ELEMENTS_MAX: usize = 300;

impl IntakeMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let messages = IntCounterVec::new(
            Opts::new(
                "gateway_messages_total",
                "Messages by what intake decided: accepted, notice, duplicate, rejected",
            ),
            &["source", "transport", "verdict"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "gateway_intake_duration_seconds",
                "From the last byte of a message in to its answer ready; unavailable: the sender was told to try again",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]),
            &["transport", "outcome"],
        )?;
        let unused = IntCounterVec::new(
            Opts::new(
                "gateway_unused_fields_total",
                "Populated fields, or elements of FHIR, that no mapping uses or ignores by name; the first 300 elements have labels of their own",
            ),
            &["source", "field"],
        )?;
        registry.register(Box::new(messages.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(unused.clone()))?;
        // There from the start: an alert sees a rise from 0, and none in a series that begins at 1.
        for transport in [Transport::Mllp, Transport::Http, Transport::Amqp] {
            seconds.with_label_values(&[transport.name(), Outcome::Unavailable.name()]);
        }
        Ok(Self { messages, seconds, unused, elements: Arc::default() })
    }

    pub fn decided(&self, source: &str, transport: Transport, verdict: &str) {
        self.messages.with_label_values(&[source, transport.name(), verdict]).inc();
    }

    pub fn took(&self, transport: Transport, outcome: Outcome, duration: Duration) {
        self.seconds.with_label_values(&[transport.name(), outcome.name()]).observe(duration.as_secs_f64());
    }

    /// `field` is a segment and a number; a sender decides how many there are, so odd names share one label.
    pub fn unused(&self, source: &str, field: &str) {
        let (segment, _) = field.split_once('-').unwrap_or((field, ""));
        let standard = segment.len() == 3 && segment.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let label = if standard && !segment.starts_with('Z') { field } else { "local" };
        self.unused.with_label_values(&[source, label]).inc();
    }

    /// `Patient.telecom.value`
    pub fn unused_element(&self, source: &str, element: &str) {
        let mut elements = self.elements.lock();
        let known = elements.contains(element) || elements.len() < ELEMENTS_MAX && elements.insert(element.to_owned());
        drop(elements);
        self.unused.with_label_values(&[source, if known { element } else { "local" }]).inc();
    }
}
