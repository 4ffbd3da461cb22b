//! `demo`: simulator, gateway and hospitals in one process, and a story that is checked as it is told.
//!
//! Enters: nothing. Leaves: the story on stdout; with `--exit`, success only if every scene went as it
//! should. Everything is synthetic and stays on this machine.

mod scenes;
mod stage;
mod story;
mod teller;

use std::io::IsTerminal as _;

use clap::Args;

use super::exit::{CliError, Done};
use super::{busy_runtime, stop};
use crate::config::{Log, LogFormat};
use crate::telemetry;
use stage::Stage;
use teller::Teller;

/// See it work: starts an e-RS simulator and a gateway, sends eight messages and tells what happens
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway demo                                         the story, then stay up to be looked at
  ers-gateway demo --exit                                  the story; 0 if all went well, 1 if not
  ers-gateway demo --amqp amqp://guest:guest@127.0.0.1:5672/%2f   events go to RabbitMQ too

Needs nothing and leaves nothing: free ports on 127.0.0.1, a store in a temporary folder.")]
pub struct Demo {
    /// Stop after the story
    #[arg(long)]
    exit: bool,
    /// Publish events to this RabbitMQ as well (topic exchange ers.events)
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
}

impl Demo {
    pub fn run(self) -> Done {
        busy_runtime()?.block_on(self.perform())
    }

    async fn perform(self) -> Done {
        // The story tells of refusals and waits itself.
        let log = Log { format: LogFormat::Text, filter: "error".to_owned() };
        telemetry::start_logs(&log).map_err(|error| CliError::Usage(error.to_string()))?;
        let in_colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut teller = Teller::new(Box::new(std::io::stdout()), in_colour);
        let stage = Stage::build(self.amqp.as_deref()).await?;
        teller.opening(&stage);
        let went_wrong = story::tell(&stage, &mut teller).await?;
        teller.closing(&stage, &went_wrong);
        if !self.exit {
            teller.stays_up();
            stop::Asked::listen()?.stop().await;
        }
        let stopped = stage.strike().await;
        if !went_wrong.is_empty() {
            return Err(CliError::No(format!("{} in the story went wrong", went_wrong.len())));
        }
        if !stopped {
            return Err(CliError::No("the gateway did not stop in time".to_owned()));
        }
        Ok(())
    }
}
