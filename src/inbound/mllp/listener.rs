//! A listening socket: accepts, shakes hands, hands over.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::MllpMetrics;
use super::connection::Connection;
use super::metrics::ListenerMetrics;
use crate::config::MllpListener;
use crate::environment::Environment;
use crate::intake::{Peer, Receive};
use crate::tls::{TlsError, server_config};

/// A client that does not finish its TLS handshake in this time is let go.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Error)]
pub enum MllpError {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// One listener, bound but not yet serving.
pub struct MllpServer {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    shared: Shared,
}

/// What every connection of a listener needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub settings: Arc<MllpListener>,
    pub intake: Arc<dyn Receive>,
    pub environment: Environment,
    pub metrics: ListenerMetrics,
}

impl MllpServer {
    /// Reads the certificates and takes the address, so that what is wrong with them is known at the start.
    pub async fn bind(
        settings: MllpListener,
        intake: Arc<dyn Receive>,
        environment: Environment,
        metrics: &MllpMetrics,
    ) -> Result<Self, MllpError> {
        let tls = settings.tls.as_ref().map(server_config).transpose()?;
        let failed = |source| MllpError::Bind { address: settings.listen, source };
        let socket = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self {
            socket,
            address,
            tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))),
            places: Arc::new(Semaphore::new(settings.connections_max)),
            shared: Shared {
                metrics: metrics.listener(&settings.listen.to_string()),
                settings: Arc::new(settings),
                intake,
                environment,
            },
        })
    }

    /// With the port that the system chose, if port 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until shutdown; `Environment::drain` waits for those it accepted.
    pub async fn serve(self) {
        let environment = &self.shared.environment;
        info!(listener.address = %self.address, listener.tls = self.tls.is_some(), "MLLP listener is up");
        loop {
            let accepted = tokio::select! {
                biased;
                () = environment.shutdown().cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    warn!(listener.address = %self.address, %error, "cannot accept an MLLP connection");
                    environment.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        info!(listener.address = %self.address, "MLLP listener is down");
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.shared.metrics.refused_too_many.inc();
            debug!(listener.address = %self.address, %peer, "MLLP connection refused: connections_max is reached");
            return;
        };
        self.shared.metrics.accepted.inc();
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        self.shared.environment.spawn(async move {
            // An answer must not wait for more to send. If it cannot be set, it is only slower.
            let _ = stream.set_nodelay(true);
            match tls {
                None => converse(stream, Peer { address: peer.ip(), certificate: None }, shared, place).await,
                Some(acceptor) => match shared.environment.within(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                    Some(Ok(stream)) => {
                        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                        let certificate = shown.map(|certificate| Sha256::digest(certificate).into());
                        converse(stream, Peer { address: peer.ip(), certificate }, shared, place).await;
                    }
                    refused => {
                        shared.metrics.refused_handshake.inc();
                        let reason = match refused {
                            Some(Err(error)) => error.to_string(),
                            _ => format!("not done within {HANDSHAKE_MAX:?}"),
                        };
                        warn!(%peer, reason, "MLLP connection refused: TLS handshake");
                    }
                },
            }
        });
    }
}

async fn converse<S>(stream: S, peer: Peer, shared: Shared, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let open = shared.metrics.open.clone();
    open.inc();
    let closed = Connection::new(stream, peer, shared).run().await;
    open.dec();
    drop(place);
    if closed.is_usual() {
        debug!(peer = %peer.address, reason = %closed, "MLLP connection closed");
    } else {
        warn!(peer = %peer.address, reason = %closed, "MLLP connection closed");
    }
}
