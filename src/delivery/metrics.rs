//! What delivery counts. Labels are bounded: A-numbers of the catalogue, codes of the outcome table.

use prometheus::{GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};

use crate::mapping::{CommandPlan, MappingSet};
use crate::metrics::Registry;

/// From a cached read on the same machine to the slowest booking (185 s).
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0, 180.0];

#[derive(Clone)]
pub struct DeliveryMetrics {
    /// `gateway_calls_total{call,outcome}`
    pub(super) calls: IntCounterVec,
    /// `gateway_call_duration_seconds{call}`: from the first byte sent to the last byte of the answer.
    pub(super) call_durations: HistogramVec,
    /// `gateway_pacing_wait_seconds`
    pub(super) pacing_wait: Histogram,
    /// `gateway_pacing_forfeited_total`: departures that the instances' quota reserved and nobody used in time.
    pub(super) pacing_forfeited: IntCounter,
    /// `gateway_breaker_open{group}`: breakers that are not closed.
    pub(super) breaker_open: IntGaugeVec,
    /// `gateway_commands_settled_total{command,outcome}`: runs of commands by the state that they ended in.
    pub(super) settled: IntCounterVec,
    /// `gateway_doubts_total{call,outcome}`: writes in doubt by what reading e-RS back came to: `done`, `not_done`, or
    /// `person`, who has to decide.
    pub(super) doubts: IntCounterVec,
    /// `gateway_backlog_clears_in_seconds{class}`
    pub(super) clears_in: GaugeVec,
    /// `gateway_delivery_store_unavailable_total`: times that delivery had to wait for its store.
    pub(super) store_unavailable: IntCounter,
}

impl DeliveryMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metrics = Self {
            calls: IntCounterVec::new(
                Opts::new(
                    "gateway_calls_total",
                    "e-RS calls by A-number and outcome: ok, a code of e-RS, unanswered, not_connected, not_sent, letter_unreadable",
                ),
                &["call", "outcome"],
            )?,
            call_durations: HistogramVec::new(
                seconds(
                    "gateway_call_duration_seconds",
                    "e-RS calls, from the first byte sent to the last byte of the answer",
                ),
                &["call"],
            )?,
            pacing_wait: Histogram::with_opts(seconds(
                "gateway_pacing_wait_seconds",
                "Time that calls waited for their place in the quota of e-RS",
            ))?,
            pacing_forfeited: IntCounter::new(
                "gateway_pacing_forfeited_total",
                "Departures that were reserved in the quota that instances share and not used in time: many mean a slow store",
            )?,
            breaker_open: IntGaugeVec::new(
                Opts::new(
                    "gateway_breaker_open",
                    "Connections whose calls of this group of operations are given a rest; 0 if none",
                ),
                &["group"],
            )?,
            settled: IntCounterVec::new(
                Opts::new("gateway_commands_settled_total", "Runs of commands by the state that they ended in"),
                &["command", "outcome"],
            )?,
            doubts: IntCounterVec::new(
                Opts::new(
                    "gateway_doubts_total",
                    "Writes in doubt by what reading e-RS back came to: done, not_done, person (somebody has to decide)",
                ),
                &["call", "outcome"],
            )?,
            clears_in: GaugeVec::new(
                Opts::new(
                    "gateway_backlog_clears_in_seconds",
                    "Time until what can be sent of a class is sent; 0 if nothing waits, NaN while its calls are given a rest",
                ),
                &["class"],
            )?,
            store_unavailable: IntCounter::new(
                "gateway_delivery_store_unavailable_total",
                "Times that delivery could not read or write the store",
            )?,
        };
        registry.register(Box::new(metrics.calls.clone()))?;
        registry.register(Box::new(metrics.call_durations.clone()))?;
        registry.register(Box::new(metrics.pacing_wait.clone()))?;
        registry.register(Box::new(metrics.pacing_forfeited.clone()))?;
        registry.register(Box::new(metrics.breaker_open.clone()))?;
        registry.register(Box::new(metrics.settled.clone()))?;
        registry.register(Box::new(metrics.doubts.clone()))?;
        registry.register(Box::new(metrics.clears_in.clone()))?;
        registry.register(Box::new(metrics.store_unavailable.clone()))?;
        Ok(metrics)
    }

    /// A series for each write that may be in doubt, from the start: an alert sees a rise from 0, and none in a series that
    /// begins at 1.
    pub(super) fn expect_doubts(&self, set: &MappingSet) {
        for (_, call) in set.plans().flat_map(CommandPlan::calls) {
            if set.operation(call).is_some_and(|operation| operation.effect.leaves_doubt()) {
                self.doubts.with_label_values(&[call, "person"]);
            }
        }
    }
}
