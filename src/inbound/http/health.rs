//! `/health/live`, `/health/ready` and `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use parking_lot::Mutex;
use prometheus::TextEncoder;
use serde_json::json;

use super::Shared;
use super::problem::ProblemDocument;

/// What has to be up before the gateway takes messages. Not the broker and not e-RS: without them
/// messages are still taken and kept, and a load balancer must not turn senders away.
#[derive(Default)]
pub struct Readiness {
    /// `None` is ready; otherwise why not, in words for the person on call.
    checks: Mutex<BTreeMap<&'static str, Option<String>>>,
}

impl Readiness {
    /// A part that starts unready. Names are unique; asking again for one gives the same part.
    pub fn check(self: &Arc<Self>, name: &'static str) -> Check {
        self.checks.lock().entry(name).or_insert_with(|| Some("starting".into()));
        Check { name, readiness: self.clone() }
    }

    /// What is not ready, with the reason.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        self.checks.lock().iter().filter_map(|(name, why)| Some((*name, why.clone()?))).collect()
    }
}

/// One part's say in [`Readiness`].
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    readiness: Arc<Readiness>,
}

impl Check {
    pub fn ready(&self) {
        self.readiness.checks.lock().insert(self.name, None);
    }

    pub fn not_ready(&self, why: impl Into<String>) {
        self.readiness.checks.lock().insert(self.name, Some(why.into()));
    }
}

/// The process answers: restarting it would not help.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

pub async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    if shared.environment.shutdown().is_cancelled() {
        return HttpResponse::ServiceUnavailable().json(json!({"status": "stopping", "missing": []}));
    }
    let missing = shared.deps.readiness.missing();
    if missing.is_empty() {
        return HttpResponse::Ok().json(json!({"status": "ready"}));
    }
    let missing: Vec<_> = missing.iter().map(|(name, why)| json!({"check": name, "why": why})).collect();
    HttpResponse::ServiceUnavailable().json(json!({"status": "not ready", "missing": missing}))
}

pub async fn metrics(shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let text = TextEncoder::new().encode_to_string(&shared.deps.metrics.gather()).map_err(|error| {
        tracing::error!(%error, "metrics cannot be encoded");
        ProblemDocument::unavailable()
    })?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, prometheus::TEXT_FORMAT)).body(text))
}
