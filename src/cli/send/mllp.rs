//! One MLLP connection to a receiver: a frame out, its answer in.

use std::time::Duration;

use super::super::exit::CliError;
use super::acknowledgement::{self, Verdict};
use crate::environment::Environment;
use crate::hl7::{AnswersWanted, Header};
use crate::outbound::{MllpClient, MllpClientError};

/// Raw bytes may hold any number of frames; their answers are taken until the receiver is quiet for so long.
const QUIET: Duration = Duration::from_secs(2);

pub struct Connection {
    client: MllpClient,
}

impl Connection {
    pub async fn open(address: &str, timeout: Duration) -> Result<Self, CliError> {
        Ok(Self { client: MllpClient::connect(address, None, timeout, Environment::system()).await? })
    }

    pub async fn send(&mut self, message: &[u8]) -> Result<Verdict, CliError> {
        if !wants_answer(message) {
            self.client.write(message).await?;
            return Ok(Verdict::silence());
        }
        Ok(acknowledgement::read(&self.client.send(message).await?))
    }

    /// Bytes as they are; every answer that comes before the receiver falls quiet.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<Verdict, CliError> {
        self.client.write_raw(bytes).await?;
        let mut verdicts = Vec::new();
        loop {
            match tokio::time::timeout(QUIET, self.client.answer()).await {
                Ok(Ok(answer)) => verdicts.push(acknowledgement::read(&answer)),
                Ok(Err(MllpClientError::Closed | MllpClientError::NoAnswer { .. })) | Err(_) => break,
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        Ok(Verdict::of_several(&verdicts))
    }
}

impl From<MllpClientError> for CliError {
    fn from(error: MllpClientError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// MSH-15 and MSH-16 may ask for silence; what has no readable header gets whatever comes.
fn wants_answer(message: &[u8]) -> bool {
    Header::scan(message).map_or(true, |header| AnswersWanted::of(&header).on_arrival(true).is_some())
}
