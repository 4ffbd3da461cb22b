//! An MLLP client: one connection, one message at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::environment::Environment;
use crate::hl7::framing::{Decoder, Encoder, FramingError};
use crate::tls::{ClientTls, TlsError, client_config};

/// An answer with a letter in it may be large.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const READ_BYTES: usize = 8 * 1024;

#[derive(Debug, Error)]
pub enum MllpClientError {
    /// Nothing was sent.
    #[error("cannot connect to {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("{address} did not take the connection within {limit:?}")]
    NoConnection { address: String, limit: Duration },
    #[error("{0} is not the name of a server")]
    ServerName(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The message may have arrived: it may be sent again only with the same control id.
    #[error("no answer within {limit:?}")]
    NoAnswer { limit: Duration },
    #[error("the connection was closed before the answer came")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    #[error(transparent)]
    Framing(FramingError),
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

pub struct MllpClient {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    buffer: BytesMut,
    environment: Environment,
    limit: Duration,
}

impl MllpClient {
    /// Connects to `host:port`. `limit` is for the connection, and for each answer.
    pub async fn connect(
        address: &str,
        tls: Option<&ClientTls>,
        limit: Duration,
        environment: Environment,
    ) -> Result<Self, MllpClientError> {
        let connecting = async {
            let unreachable = |source| MllpClientError::Unreachable { address: address.to_owned(), source };
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            let Some(tls) = tls else {
                return Ok::<Box<dyn Stream>, MllpClientError>(Box::new(stream));
            };
            let name = ServerName::try_from(tls.server_name.clone())
                .map_err(|_| MllpClientError::ServerName(tls.server_name.clone()))?;
            let connector = TlsConnector::from(Arc::new(client_config(tls)?));
            Ok(Box::new(connector.connect(name, stream).await.map_err(unreachable)?))
        };
        let no_connection = || MllpClientError::NoConnection { address: address.to_owned(), limit };
        let stream = environment.within(limit, connecting).await.ok_or_else(no_connection)??;
        Ok(Self { stream, decoder: Decoder::new(ANSWER_BYTES_MAX), buffer: BytesMut::new(), environment, limit })
    }

    /// False when the other side has closed the connection meanwhile, as some do after each answer.
    pub fn is_open(&mut self) -> bool {
        let Self { stream, buffer, .. } = self;
        buffer.reserve(READ_BYTES);
        match stream.read_buf(buffer).now_or_never() {
            None => true,
            Some(read) => read.is_ok_and(|bytes| bytes > 0),
        }
    }

    /// Sends one message and waits for the next frame.
    pub async fn send(&mut self, message: &[u8]) -> Result<Bytes, MllpClientError> {
        self.write(message).await?;
        self.answer().await
    }

    /// Sends one message; its answer, if it gets one, comes from [`Self::answer`].
    pub async fn write(&mut self, message: &[u8]) -> Result<(), MllpClientError> {
        let mut frame = BytesMut::new();
        Encoder.encode(message, &mut frame).map_err(MllpClientError::Framing)?;
        self.write_raw(&frame).await
    }

    /// Bytes as they are, with whatever framing they have.
    pub async fn write_raw(&mut self, bytes: &[u8]) -> Result<(), MllpClientError> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let written = self.environment.within(self.limit, writing).await;
        written.ok_or(MllpClientError::NoAnswer { limit: self.limit })?.map_err(MllpClientError::Broken)
    }

    /// The next frame.
    pub async fn answer(&mut self) -> Result<Bytes, MllpClientError> {
        let Self { stream, decoder, buffer, environment, limit } = self;
        let reading = async {
            loop {
                if let Some(answer) = decoder.decode(buffer).map_err(MllpClientError::Framing)? {
                    return Ok(answer);
                }
                buffer.reserve(READ_BYTES);
                match stream.read_buf(buffer).await {
                    Ok(0) => return Err(MllpClientError::Closed),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(MllpClientError::Closed),
                    Err(error) => return Err(MllpClientError::Broken(error)),
                }
            }
        };
        environment.within(*limit, reading).await.ok_or(MllpClientError::NoAnswer { limit: *limit })?
    }

    /// Sends no more, but still reads.
    pub async fn finish(&mut self) -> Result<(), MllpClientError> {
        self.stream.shutdown().await.map_err(MllpClientError::Broken)
    }
}
