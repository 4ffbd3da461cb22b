//! `docs/metrics.md`: every metric of a running gateway, made from its registry:
//! `ERS_GATEWAY_WRITE_METRICS=1 cargo test --test it metrics`. Rules, dashboards and pages name no other.

mod promql;
mod reference;
pub mod rules;
