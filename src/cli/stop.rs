//! How long-running subcommands hear that they are to stop: SIGINT (Ctrl-C) or SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::CliError;

pub struct Asked {
    interrupt: Signal,
    terminate: Signal,
}

impl Asked {
    /// From now on the signals no longer end the process.
    pub fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| CliError::unavailable("signals", error));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
