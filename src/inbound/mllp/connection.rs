//! One MLLP connection: frames in, answers out, in order.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::Instant;
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::listener::Shared;
use crate::command::MessageId;
use crate::hl7::framing::{Decoder, Encoder, FramingError};
use crate::intake::{Answer, Content, DEFERRED_REPLY_MAX, Inbound, Peer};
use crate::store::Transport;

/// Room for one read.
const READ_BYTES: usize = 8 * 1024;
/// A buffer that a larger frame was read into is not kept for the next.
const KEPT_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Deferred answers that one connection waits for; past it, no further frame is read.
const DEFERRED_MAX: usize = 256;

/// Why a connection was closed.
#[derive(Debug, Error)]
pub(super) enum Closed {
    #[error("the peer closed it")]
    ByPeer,
    #[error("the gateway shuts down")]
    Shutdown,
    #[error("no byte came within idle_timeout")]
    Idle,
    #[error("a frame was not complete within frame_timeout")]
    TooSlow,
    #[error("the peer did not take an answer within frame_timeout")]
    NotReading,
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Closed {
    pub fn is_usual(&self) -> bool {
        matches!(self, Self::ByPeer | Self::Shutdown | Self::Idle)
    }
}

/// An application answer that came later.
struct Late {
    bytes: Option<Bytes>,
    /// To be noted as acknowledged, unless a commit answer was that already.
    unacknowledged: Option<MessageId>,
}

pub(super) struct Connection<S> {
    reader: ReadHalf<S>,
    output: Output<S>,
    shared: Shared,
    peer: Peer,
    decoder: Decoder,
    buffer: BytesMut,
    late: FuturesUnordered<BoxFuture<'static, Late>>,
    last_byte: Instant,
    /// When the frame began that is not complete yet.
    frame_began: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection<S> {
    pub fn new(stream: S, peer: Peer, shared: Shared) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            output: Output { writer, shared: shared.clone() },
            decoder: Decoder::new(shared.settings.frame_bytes_max),
            buffer: BytesMut::new(),
            late: FuturesUnordered::new(),
            last_byte: shared.environment.instant(),
            frame_began: None,
            peer,
            shared,
        }
    }

    /// Serves the connection to its end.
    pub async fn run(mut self) -> Closed {
        let closed = match self.serve().await {
            Ok(()) => Closed::ByPeer,
            Err(closed) => closed,
        };
        match &closed {
            Closed::Framing(FramingError::TooLarge { .. }) => self.shared.metrics.too_large.inc(),
            Closed::TooSlow => self.shared.metrics.too_slow.inc(),
            _ => {}
        }
        // Says goodbye on TLS; whatever comes of it, the connection is over.
        let _ = self.shared.environment.within(Duration::from_secs(1), self.output.writer.shutdown()).await;
        closed
    }

    async fn serve(&mut self) -> Result<(), Closed> {
        loop {
            while let Some(frame) = self.next_frame()? {
                self.answer(frame).await?;
                if self.shared.environment.shutdown().is_cancelled() {
                    return Err(Closed::Shutdown);
                }
            }
            if !self.read().await? {
                break;
            }
        }
        self.end_of_stream().await
    }

    /// A frame that has arrived whole.
    fn next_frame(&mut self) -> Result<Option<Bytes>, Closed> {
        let before = self.decoder.discarded();
        let frame = self.decoder.decode(&mut self.buffer);
        let after = self.decoder.discarded();
        self.shared.metrics.discarded(before, after);
        let frame = frame?;
        let restarted = frame.is_some() || after.frames > before.frames;
        self.frame_began = match self.frame_began {
            _ if !self.decoder.is_inside() => None,
            Some(began) if !restarted => Some(began),
            _ => Some(self.shared.environment.instant()),
        };
        if let Some(frame) = &frame {
            self.shared.metrics.frames.inc();
            if frame.len() > KEPT_BUFFER_BYTES_MAX {
                self.buffer = BytesMut::from(self.buffer.as_ref());
            }
        }
        Ok(frame)
    }

    /// Waits for bytes, writing what becomes ready meanwhile. False at the end of the stream.
    async fn read(&mut self) -> Result<bool, Closed> {
        loop {
            let environment = &self.shared.environment;
            let settings = &self.shared.settings;
            let (deadline, closed) = match self.frame_began {
                Some(began) => (began + settings.frame_timeout, Closed::TooSlow),
                None => (self.last_byte + settings.idle_timeout, Closed::Idle),
            };
            let patience = deadline.saturating_duration_since(environment.instant());
            let waits_for_answer = !self.late.is_empty();
            self.buffer.reserve(READ_BYTES);
            tokio::select! {
                biased;
                () = environment.shutdown().cancelled() => return Err(Closed::Shutdown),
                Some(late) = self.late.next(), if waits_for_answer => self.output.write_late(late).await?,
                read = self.reader.read_buf(&mut self.buffer), if self.late.len() < DEFERRED_MAX => {
                    self.last_byte = environment.instant();
                    return match read {
                        Ok(0) => Ok(false),
                        Ok(_) => Ok(true),
                        // TLS peers often leave without saying so.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                        Err(error) => Err(error.into()),
                    };
                }
                // A peer that waits for its answer is not idle.
                () = environment.sleep(patience), if self.frame_began.is_some() || !waits_for_answer => {
                    return Err(closed);
                }
            }
        }
    }

    /// Gives one frame to intake and its answer to the peer.
    async fn answer(&mut self, frame: Bytes) -> Result<(), Closed> {
        let intake = self.shared.intake.clone();
        let inbound = Inbound {
            source: self.shared.settings.source.clone(),
            transport: Transport::Mllp,
            received_at: self.shared.environment.now(),
            peer: Some(self.peer),
            content: Content::Hl7v2 { bytes: frame, charset: None },
        };
        let mut receiving = intake.receive(inbound);
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut receiving => break answer,
                Some(late) = self.late.next(), if !self.late.is_empty() => self.output.write_late(late).await?,
            }
        };
        drop(receiving);
        let Answer { message, hl7, deferred, .. } = answer;
        let answered = hl7.is_some();
        if let Some(hl7) = hl7 {
            self.output.write(&hl7, message).await?;
        }
        if let Some(reply) = deferred {
            self.late.push(Box::pin(async move {
                let bytes = intake.deferred(&reply, DEFERRED_REPLY_MAX).await;
                Late { bytes, unacknowledged: (!answered).then_some(reply.message) }
            }));
        }
        Ok(())
    }

    /// The peer sends no more, but may still read: what is on its way is written.
    async fn end_of_stream(&mut self) -> Result<(), Closed> {
        let before = self.decoder.discarded();
        // Every complete frame was taken before; what is left is cut short.
        self.decoder.decode_eof(&mut self.buffer)?;
        self.shared.metrics.discarded(before, self.decoder.discarded());
        let environment = self.shared.environment.clone();
        while !self.late.is_empty() {
            tokio::select! {
                biased;
                () = environment.shutdown().cancelled() => return Err(Closed::Shutdown),
                Some(late) = self.late.next() => self.output.write_late(late).await?,
            }
        }
        Ok(())
    }
}

/// The way back to the peer.
struct Output<S> {
    writer: WriteHalf<S>,
    shared: Shared,
}

impl<S: AsyncWrite> Output<S> {
    /// Writes one frame and then, only then, notes that `message` was acknowledged.
    async fn write(&mut self, answer: &Bytes, message: Option<MessageId>) -> Result<(), Closed> {
        let mut frame = BytesMut::new();
        Encoder.encode(answer, &mut frame)?;
        let writing = async {
            self.writer.write_all(&frame).await?;
            self.writer.flush().await
        };
        let limit = self.shared.settings.frame_timeout;
        self.shared.environment.within(limit, writing).await.ok_or(Closed::NotReading)??;
        self.shared.metrics.answers.inc();
        if let Some(message) = message {
            self.shared.intake.acknowledged(message).await;
        }
        Ok(())
    }

    async fn write_late(&mut self, late: Late) -> Result<(), Closed> {
        match late.bytes {
            Some(bytes) => self.write(&bytes, late.unacknowledged).await,
            None => Ok(()),
        }
    }
}
