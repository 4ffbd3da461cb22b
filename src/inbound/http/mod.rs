//! HTTP: HL7 over HTTP, FHIR, canonical commands, the event feed, metrics and health.
//!
//! Enters: requests on one listener. Leaves: inbound messages for intake, its answers, and views of the
//! store. Guarantees: a 2xx answer to a `POST` of content follows intake's proof of storage; head, body,
//! time and number of connections are limited; errors are `application/problem+json` (RFC 9457),
//! `text/plain` where HL7 over HTTP asks for it, an OperationOutcome where FHIR does, and never carry patient data.
//!
//! actix types stay in this module (it is on another generation of `http` than the client side).

mod acts;
mod answer_body;
mod audit;
mod awaited;
pub mod bundles;
pub mod callers;
mod commands;
pub mod cookies;
mod dispatches;
mod documents;
mod edits;
mod events;
mod explanations;
mod fhir;
mod health;
mod hl7v2;
mod holds;
mod instances;
mod legal_holds;
pub mod looks;
mod messages;
pub mod modes;
mod openapi;
mod operation_outcome;
mod prefer;
pub mod problem;
mod problems;
mod replays;
mod reports;
pub mod request;
mod routes;
mod settle;
pub mod sign_in;
mod subject_access;
mod trials;
pub mod tries;
pub mod views;
mod waiting;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpServer as ActixServer, web};
use tokio::sync::watch;

use crate::command::{CommandSchemas, Estimate};
use crate::config::{EnvironmentName, HttpListener};
use crate::console::{self, Door};
use crate::delivery::Asker;
use crate::environment::Environment;
use crate::events::Feed;
use crate::intake::Receive;
use crate::keys::Keys;
use crate::modes::Modes;
use crate::sign_in::Desk;
use crate::store::{
    AuditStore, CommandView, DispatchStore, FetchedStore, InstanceStore, OperatorStore, PatientStore, SearchStore,
    Signals, Store,
};
use crate::tls::{self, TlsError};
use crate::trials::Trials;
use crate::waiting::Waiting;

use callers::Caller;
pub use callers::Known;
pub use health::{Check, Readiness};
pub use looks::{ACTING_PERSON, ACTING_REASON, place_of};
pub use subject_access::Exports;
pub use tries::Tries;

/// Open connections of one listener; above that the kernel's backlog holds them.
const CONNECTIONS_MAX: usize = 1_000;
/// From the first byte of a request to the end of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A kept-alive connection without a request is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Requests in hand get this long to finish when the gateway stops.
const DRAIN_SECONDS: u64 = 15;

/// Who says when queued commands will be sent.
pub trait Estimates: Send + Sync {
    fn estimate(&self, command: &CommandView) -> Estimate;
}

/// The rooms behind the listener.
#[derive(Clone)]
pub struct HttpDeps {
    /// Name of this gateway.
    pub instance: String,
    pub intake: Arc<dyn Receive>,
    pub search: Arc<dyn SearchStore>,
    pub fetched: Arc<dyn FetchedStore>,
    pub operator: Arc<dyn OperatorStore>,
    pub audit: Arc<dyn AuditStore>,
    pub patients: Arc<dyn PatientStore>,
    pub instances: Arc<dyn InstanceStore>,
    pub dispatches: Arc<dyn DispatchStore>,
    pub estimates: Arc<dyn Estimates>,
    /// Who switches modes; `None` where nothing can be switched.
    pub modes: Option<Arc<Modes>>,
    /// Who asks e-RS for what belongs to no command; `None` where nothing is carried out.
    pub asker: Option<Asker>,
    /// Who reads stored messages once more.
    pub trials: Option<Arc<Trials>>,
    pub feed: Feed,
    pub signals: Signals,
    /// All of the store, for what needs several rooms of it.
    pub store: Arc<dyn Store>,
    /// A bulk replay names it.
    pub place: EnvironmentName,
    /// PDS is asked before a referral is made.
    pub are_patients_checked: bool,
    pub commands: Arc<CommandSchemas>,
    /// What referrals and patients are known by in the store.
    pub keys: Keys,
    pub metrics: crate::metrics::Registry,
    pub readiness: Arc<Readiness>,
    pub console: Arc<Door>,
    pub tries: Arc<Tries>,
    pub exports: Exports,
    /// Of now: they change while the gateway runs.
    pub known: watch::Receiver<Arc<Known>>,
    pub sign_in: Option<SignInDeps>,
}

/// Where people sign in, and what waits for them.
#[derive(Clone)]
pub struct SignInDeps {
    pub desk: Arc<Desk>,
    pub waiting: Arc<Waiting>,
}

/// What every request can reach.
pub struct Shared {
    pub listener: HttpListener,
    pub deps: HttpDeps,
    pub environment: Environment,
    looks: looks::Looks,
}

impl Shared {
    fn summary(&self, command: &CommandView, caller: &Caller) -> serde_json::Value {
        let shown = views::command_summary(command, Some(self.deps.estimates.estimate(command)));
        without_content(shown, command, caller)
    }
}

/// What a read or a plan came to is about a patient: not for every caller.
fn without_content(mut shown: serde_json::Value, command: &CommandView, caller: &Caller) -> serde_json::Value {
    if !caller.sees_content_of(&command.source)
        && let Some(members) = shown.as_object_mut()
    {
        members.remove("result");
    }
    shown
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot listen on {address}: {source}; is the port taken, or the address not of this machine?")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

pub struct HttpServer;

impl HttpServer {
    /// Listens, serves until the environment shuts down, then lets requests in hand finish.
    pub fn start(listener: HttpListener, deps: HttpDeps, environment: &Environment) -> Result<HttpHandle, HttpError> {
        let address = listener.listen;
        let listen = |source| HttpError::Listen { address, source };
        let tls = listener.tls.as_ref().map(tls::server_config).transpose()?;
        let socket = TcpListener::bind(address).map_err(listen)?;
        let local = socket.local_addr().map_err(listen)?;
        let shared =
            web::Data::new(Shared { listener, deps, environment: environment.clone(), looks: looks::Looks::default() });

        let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        let app = move || {
            // What is told of messages is in no cache but the caller's own.
            let headers =
                DefaultHeaders::new().add((X_CONTENT_TYPE_OPTIONS, "nosniff")).add((CACHE_CONTROL, "no-store"));
            let has_console = shared.listener.console;
            App::new()
                .app_data(shared.clone())
                .wrap(headers)
                .configure(|app| {
                    if has_console {
                        console::configure(app)
                    }
                })
                .configure(routes::configure)
        };
        let server = ActixServer::new(app)
            .workers(workers)
            .max_connections(CONNECTIONS_MAX.div_ceil(workers))
            .client_request_timeout(HEAD_TIMEOUT)
            .keep_alive(IDLE_TIMEOUT)
            .shutdown_timeout(DRAIN_SECONDS)
            .disable_signals();
        let server = match tls {
            Some(config) => server.listen_rustls_0_23(socket, config),
            None => server.listen(socket),
        }
        .map_err(listen)?
        .run();

        let handle = server.handle();
        let shutdown = environment.shutdown().clone();
        environment.spawn(async move {
            shutdown.cancelled().await;
            handle.stop(true).await;
        });
        environment.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(listener = %local, %error, "the HTTP listener ended");
            }
        });
        tracing::info!(listener = %local, "HTTP listener is up");
        Ok(HttpHandle { address: local })
    }
}

/// A running listener.
#[derive(Clone, Copy, Debug)]
pub struct HttpHandle {
    address: SocketAddr,
}

impl HttpHandle {
    /// Where it listens; with port 0 in the settings, the port that the machine chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
