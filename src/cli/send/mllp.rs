//! One MLLP connection to a receiver: a frame out, its answer in.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::super::exit::CliError;
use super::acknowledgement::{self, Verdict};
use crate::hl7::framing::{Decoder, Encoder};
use crate::hl7::{AnswersWanted, Header};

const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Raw bytes may hold any number of frames; their answers are taken until the receiver is quiet for so long.
const QUIET: Duration = Duration::from_secs(2);

pub struct Connection {
    frames: FramedWrite<OwnedWriteHalf, Encoder>,
    answers: FramedRead<OwnedReadHalf, Decoder>,
    timeout: Duration,
}

impl Connection {
    pub async fn open(address: &str, timeout: Duration) -> Result<Self, CliError> {
        let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
            .await
            .map_err(|_| CliError::Unavailable(format!("{address} does not take a connection within {timeout:?}")))?
            .map_err(|error| CliError::unavailable(address, error))?;
        stream.set_nodelay(true).map_err(|error| CliError::unavailable(address, error))?;
        let (read, write) = stream.into_split();
        Ok(Self {
            frames: FramedWrite::new(write, Encoder),
            answers: FramedRead::new(read, Decoder::new(ANSWER_BYTES_MAX)),
            timeout,
        })
    }

    pub async fn send(&mut self, message: &[u8]) -> Result<Verdict, CliError> {
        self.frames.send(message).await.map_err(|error| CliError::unavailable("the message was not sent", error))?;
        if !wants_answer(message) {
            return Ok(Verdict::silence());
        }
        match self.answer(self.timeout).await? {
            Some(answer) => Ok(acknowledgement::read(&answer)),
            None => Err(CliError::Unavailable(format!("no answer within {:?}", self.timeout))),
        }
    }

    /// Bytes as they are; every answer that comes before the receiver falls quiet.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<Verdict, CliError> {
        let stream = self.frames.get_mut();
        stream.write_all(bytes).await.map_err(|error| CliError::unavailable("the bytes were not sent", error))?;
        let mut verdicts = Vec::new();
        while let Some(answer) = self.answer(QUIET).await? {
            verdicts.push(acknowledgement::read(&answer));
        }
        let together = |part: fn(&Verdict) -> String| verdicts.iter().map(part).collect::<Vec<_>>().join(", ");
        Ok(Verdict {
            accepted: verdicts.iter().all(|verdict| verdict.accepted),
            code: if verdicts.is_empty() { "none".to_owned() } else { together(|verdict| verdict.code.clone()) },
            control_id: together(|verdict| verdict.control_id.clone()),
            errors: verdicts.iter().flat_map(|verdict| verdict.errors.clone()).collect(),
            words: if verdicts.is_empty() { "no answer".to_owned() } else { together(|verdict| verdict.words.clone()) },
        })
    }

    /// `None` when none came in time, or the receiver closed the connection.
    async fn answer(&mut self, limit: Duration) -> Result<Option<Bytes>, CliError> {
        match tokio::time::timeout(limit, self.answers.next()).await {
            Err(_) | Ok(None) => Ok(None),
            Ok(Some(answer)) => answer.map(Some).map_err(|error| CliError::unavailable("the answer", error)),
        }
    }
}

/// MSH-15 and MSH-16 may ask for silence; what has no readable header gets whatever comes.
fn wants_answer(message: &[u8]) -> bool {
    Header::scan(message).map(|header| AnswersWanted::of(&header).on_arrival(true).is_some()).unwrap_or(true)
}
