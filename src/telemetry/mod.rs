//! Logs, metrics, traces and what is never in them.
//!
//! Enters: what the rooms tell (`tracing` events, metrics registered beside the code that moves them).
//! Leaves: JSON or text lines on stderr, and one Prometheus registry. Guarantees: nothing here looks into a
//! message; the rules for everyone are in `docs/observability.md`.

mod backlog;
mod build;
mod logs;
mod mappings;
mod traces;

pub use backlog::{Backlog, Standing};
pub use build::registry;
pub use logs::{LogError, start_logs};
pub use mappings::MappingMetrics;
pub use traces::{Span, SpanKind, Traces, TracesError};
