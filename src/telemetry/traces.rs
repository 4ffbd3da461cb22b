//! Traces: one for each message, from its receipt to the broker's confirmation, for whoever collects them (OpenTelemetry
//! protocol over HTTP).
//!
//! Enters: what the rooms have done, with when it began and ended. Leaves: spans, in batches, beside the work. Guarantees: the
//! trace of a message has the message's own identifier, and each span that of the command, attempt or event which it tells of, so
//! that nothing need be handed on from room to room, through the store, or between instances; nobody ever waits for a
//! collector, and what one does not take in time is dropped and counted; names, codes and counts of the house, never a word of a
//! message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use prometheus::{IntCounterVec, Opts};
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::command::MessageId;
use crate::config;
use crate::environment::Environment;
use crate::metrics::Registry;

/// Spans that wait for their batch.
const QUEUED_MAX: usize = 8_192;
const BATCH_MAX: usize = 512;
/// A batch is sent when it is full, or this old.
const GATHER: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
const SCOPE: &str = "ers-gateway";

#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("traces cannot be sent to {endpoint}: {text}")]
    Exporter { endpoint: String, text: String },
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Takes spans. Cheap to clone; without settings it takes nothing.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sender>>);

struct Sender {
    queue: mpsc::Sender<SpanData>,
    scope: InstrumentationScope,
    /// Messages whose chance is not above it are traced.
    below: u64,
    spans: IntCounterVec,
}

/// What something did for a message. `id` names what it tells of: itself for the message's own span.
pub struct Span {
    pub id: Uuid,
    pub parent: Option<Uuid>,
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    pub from: Timestamp,
    pub to: Timestamp,
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it did not succeed: a code.
    pub failed: Option<String>,
}

impl Traces {
    /// Begins to send, if the settings say where to.
    pub fn start(
        settings: Option<&config::Traces>,
        instance: &str,
        environment: &Environment,
        registry: &Registry,
    ) -> Result<Self, TracesError> {
        let help = "Spans of traces, by what became of them";
        let spans = IntCounterVec::new(Opts::new("gateway_trace_spans_total", help), &["outcome"])?;
        for outcome in ["sent", "dropped", "refused"] {
            spans.with_label_values(&[outcome]);
        }
        registry.register(Box::new(spans.clone()))?;
        let Some(settings) = settings else { return Ok(Self::default()) };
        let headers: HashMap<String, String> =
            settings.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(&settings.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(TIMEOUT)
            .with_headers(headers)
            .build();
        let mut exporter = exporter
            .map_err(|error| TracesError::Exporter { endpoint: settings.endpoint.clone(), text: error.to_string() })?;
        exporter.set_resource(
            &Resource::builder_empty()
                .with_attributes([
                    KeyValue::new("service.name", SCOPE),
                    KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                    KeyValue::new("service.instance.id", instance.to_owned()),
                ])
                .build(),
        );
        let (queue, queued) = mpsc::channel(QUEUED_MAX);
        let shutdown = environment.shutdown().clone();
        environment.spawn(send_all(exporter, queued, spans.clone(), shutdown));
        let sender = Sender {
            queue,
            scope: InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build(),
            below: share_of(settings.share),
            spans,
        };
        Ok(Self(Some(Arc::new(sender))))
    }

    /// Whether spans of this message are sent: asked before one is made.
    pub fn has(&self, message: MessageId) -> bool {
        self.0.as_ref().is_some_and(|sender| chance_of(message.0) <= sender.below)
    }

    /// Never waits. What finds no room is dropped and counted.
    pub fn tell(&self, message: MessageId, span: Span) {
        let Some(sender) = self.0.as_ref().filter(|_| self.has(message)) else { return };
        if sender.queue.try_send(span.data(message, sender.scope.clone())).is_err() {
            sender.spans.with_label_values(&["dropped"]).inc();
        }
    }
}

/// Spread evenly (the finalizer of SplitMix64): identifiers that were made together differ in few bits.
fn chance_of(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    let mixed = high ^ low.rotate_left(32);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn share_of(share: f64) -> u64 {
    // A float as large as the largest integer becomes that integer.
    (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

/// The half of a UUID that has its variant, and so is never zero.
fn span_id(of: Uuid) -> SpanId {
    SpanId::from_bytes(of.as_u64_pair().1.to_be_bytes())
}

impl Span {
    fn data(self, message: MessageId, scope: InstrumentationScope) -> SpanData {
        let trace = TraceId::from_bytes(message.0.into_bytes());
        SpanData {
            span_context: SpanContext::new(trace, span_id(self.id), TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: self.parent.map_or(SpanId::INVALID, span_id),
            parent_span_is_remote: false,
            span_kind: self.kind,
            name: self.name,
            start_time: SystemTime::from(self.from),
            end_time: SystemTime::from(self.to.max(self.from)),
            attributes: self.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.failed.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope,
        }
    }
}

/// Until nobody tells anything any more, or the gateway stops: then what is queued goes out.
async fn send_all(
    exporter: opentelemetry_otlp::SpanExporter,
    mut queued: mpsc::Receiver<SpanData>,
    spans: IntCounterVec,
    shutdown: tokio_util::sync::CancellationToken,
) {
    let mut was_taken = true;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            received = queued.recv_many(&mut batch, BATCH_MAX) => {
                if received == 0 {
                    return;
                }
            }
            () = shutdown.cancelled() => {
                queued.close();
                continue;
            }
        }
        let gathered = tokio::time::Instant::now() + GATHER;
        while batch.len() < BATCH_MAX && !shutdown.is_cancelled() {
            let room = BATCH_MAX - batch.len();
            match tokio::time::timeout_at(gathered, queued.recv_many(&mut batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let count = batch.len() as u64;
        let sent = exporter.export(batch).await;
        let outcome = if sent.is_ok() { "sent" } else { "refused" };
        spans.with_label_values(&[outcome]).inc_by(count);
        match sent {
            // Once, not for each batch.
            Err(error) if was_taken => tracing::warn!(%error, "traces are not taken: they are dropped until they are"),
            Ok(()) if !was_taken => tracing::info!("traces are taken again"),
            _ => {}
        }
        was_taken = outcome == "sent";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_messages_is_the_same_share_everywhere() {
        let ids: Vec<Uuid> = (0..4_000).map(|_| Uuid::now_v7()).collect();
        for (share, least, most) in [(0.0, 0, 1), (0.25, 850, 1_150), (1.0, 4_000, 4_000)] {
            let below = share_of(share);
            let traced = ids.iter().filter(|id| chance_of(**id) <= below).count();
            assert!((least..=most).contains(&traced), "{share}: {traced}");
        }
    }

    #[test]
    fn a_span_is_named_by_what_it_tells_of() {
        let (message, command) = (MessageId(Uuid::now_v7()), Uuid::now_v7());
        let at = Timestamp::UNIX_EPOCH;
        let span = Span {
            id: command,
            parent: Some(message.0),
            name: "CreateReferral".into(),
            kind: SpanKind::Internal,
            from: at + Duration::from_secs(2),
            to: at,
            attributes: vec![("ers.state", "failed".into())],
            failed: Some("EXPIRED".into()),
        };
        let data = span.data(message, InstrumentationScope::default());
        assert_eq!(data.span_context.trace_id().to_bytes(), message.0.into_bytes());
        assert_eq!(data.parent_span_id, span_id(message.0));
        assert!(data.span_context.is_valid() && data.end_time >= data.start_time, "a clock that went back");
        assert_eq!(data.status, Status::error("EXPIRED"));
    }

    #[tokio::test]
    async fn without_settings_nothing_is_taken() {
        let traces = Traces::start(None, "one", &Environment::system(), &Registry::default()).expect("nothing to do");
        assert!(!traces.has(MessageId(Uuid::now_v7())));
    }
}
