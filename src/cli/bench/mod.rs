//! `bench`: how fast the gateway is on this machine, beside what is asked of it (`docs/performance.md`).
//!
//! Enters: nothing but options. Leaves: a table (or JSON) of figures, targets and what limits each. Guarantees:
//! it measures a gateway and a simulator that it started itself, on 127.0.0.1, with stores in a temporary folder
//! that is removed; it takes no settings file, so nothing real can be hurt; it ends in bounded time.
//!
//! The gateway is `serve` in a process of its own, with the settings that it has in production but for what a
//! scenario says. The generator is one thread with frames made beforehand.

mod big_store;
mod certificates;
mod end_to_end;
mod figure;
mod frames;
mod ground;
mod house;
mod intake;
mod letters;
mod load;
mod mapping;
mod postgres;
mod process;
mod queue;
mod sqlite;
mod waiting;
mod workflows;
mod worklists;

pub use sqlite::bare_loop;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::exit::{CliError, Done};
use super::stop::Asked;
use crate::environment::is_this_machine;
use figure::Figure;
use postgres::Server;

/// Measure the gateway on this machine, against a simulator that it starts itself
///
/// Each figure stands beside its target and what limits it. Everything runs on 127.0.0.1 against stores in a
/// temporary folder; there is no way to point it at a real gateway, store or e-RS.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway bench                                  all but the two with a million rows, a few minutes
  ers-gateway bench --quick                          a smoke run of seconds; its figures mean little
  ers-gateway bench --only intake --only mapping     some of it
  ers-gateway bench --folder /var/lib/ers-gateway    on the disk that the store will be on
  ers-gateway bench --only queue --only big-store    with a million rows each: up to 10 GB, some minutes
  ers-gateway bench --only end-to-end --amqp amqp://guest:guest@127.0.0.1:5672/%2f
  ers-gateway bench --postgres postgres://gateway@127.0.0.1:5432/postgres

What is measured, and figures of one machine: docs/performance.md")]
pub struct Bench {
    /// Run this scenario only; can be given several times
    #[arg(long, value_enum, value_name = "SCENARIO")]
    only: Vec<Scenario>,
    /// A smoke run: every scenario for a moment
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Let this RabbitMQ on this machine confirm the events of end-to-end
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
    /// Have the stores in this PostgreSQL on this machine, each in a schema of its own that is dropped afterwards
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Where the temporary folder of the stores is made: the disk matters
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Parse, normalise and validate, on one core, without a store
    Mapping,
    /// Durable intake over MLLP from one and many connections, and a bare loop that writes the same rows; with
    /// --postgres into one and two gateways
    Intake,
    /// MLLP to A011 to event, pacing off
    EndToEnd,
    /// 200 kB messages with a PDF; the memory that a letter of 5 MB costs
    Letters,
    /// Memory and start, idle and with 200,000 commands waiting
    Waiting,
    /// Each workflow of a referrer, one at a time, without network and pace
    Workflows,
    /// Compare a worklist of 10 MB, the most that e-RS answers
    Worklists,
    /// What a claim costs with a thousand to a million commands waiting; only by name or quick
    Queue,
    /// Start, memory, search, lists and purging with a million finished messages; only by name or quick
    BigStore,
}

/// How much of everything.
struct Scale {
    folder: PathBuf,
    /// Where stores are schemas.
    server: Option<Server>,
    /// Of each measurement; end to end takes twice as long.
    measured: Duration,
    warm_up: Duration,
    waiting_commands: u64,
    /// Of each workflow.
    workflow_rounds: usize,
    queue_depths: [u64; 3],
    finished_messages: u64,
}

impl Scale {
    fn full(folder: PathBuf, server: Option<Server>) -> Self {
        let (measured, warm_up) = (Duration::from_secs(12), Duration::from_secs(2));
        Self {
            folder,
            server,
            measured,
            warm_up,
            waiting_commands: 200_000,
            workflow_rounds: 60,
            queue_depths: [1_000, 100_000, 1_000_000],
            finished_messages: 1_000_000,
        }
    }

    fn quick(folder: PathBuf, server: Option<Server>) -> Self {
        let (measured, warm_up) = (Duration::from_millis(700), Duration::from_millis(200));
        Self {
            folder,
            server,
            measured,
            warm_up,
            waiting_commands: 2_000,
            workflow_rounds: 3,
            queue_depths: [1_000, 2_000, 5_000],
            finished_messages: 5_000,
        }
    }
}

impl Scenario {
    /// Gigabytes and minutes: not for who did not ask for it.
    fn is_heavy(self) -> bool {
        matches!(self, Self::Queue | Self::BigStore)
    }
}

impl Bench {
    pub fn run(self) -> Done {
        if let Some(url) = &self.amqp {
            require_this_machine(url)?;
        }
        let server = self.postgres.as_deref().map(Server::parse).transpose()?;
        let folder = self.folder.clone().unwrap_or_else(std::env::temp_dir);
        let scale = if self.quick { Scale::quick(folder, server) } else { Scale::full(folder, server) };
        let figures = super::runtime()?.block_on(async {
            let mut asked = Asked::listen()?;
            tokio::select! {
                figures = self.measure(&scale) => figures,
                // What was started ends with what is dropped here.
                () = asked.stop() => Err(CliError::No("stopped before everything was measured".to_owned())),
            }
        })?;
        if self.json {
            println!("{}", figure::to_json(&figures));
        } else {
            print!("{}", figure::to_table(&figures));
        }
        Ok(())
    }

    async fn measure(&self, scale: &Scale) -> Result<Vec<Figure>, CliError> {
        let mut figures = Vec::new();
        for scenario in Scenario::value_variants() {
            let is_asked_for = match self.only[..] {
                [] => self.quick || !scenario.is_heavy(),
                _ => self.only.contains(scenario),
            };
            if !is_asked_for {
                continue;
            }
            if let Some(name) = scenario.to_possible_value() {
                eprintln!("measuring {} …", name.get_name());
            }
            figures.extend(match scenario {
                Scenario::Mapping => mapping::measure(scale)?,
                Scenario::Intake => intake::measure(scale).await?,
                Scenario::EndToEnd => end_to_end::measure(scale, self.amqp.as_deref()).await?,
                Scenario::Letters => letters::measure(scale).await?,
                Scenario::Waiting => waiting::measure(scale).await?,
                Scenario::Workflows => workflows::measure(scale).await?,
                Scenario::Worklists => worklists::measure(scale)?,
                Scenario::Queue => queue::measure(scale).await?,
                Scenario::BigStore => big_store::measure(scale).await?,
            });
        }
        Ok(figures)
    }
}

/// A broker elsewhere is somebody's: thousands of events are not for it.
fn require_this_machine(url: &str) -> Result<(), CliError> {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).map(|host| host.trim_matches(['[', ']']));
    if host.is_some_and(is_this_machine) {
        return Ok(());
    }
    Err(CliError::Usage("--amqp takes a broker on this machine only: amqp://…@127.0.0.1:PORT/…".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broker_on_this_machine_is_taken() {
        for (url, is_taken) in [
            ("amqp://guest:guest@127.0.0.1:5672/%2f", true),
            ("amqp://localhost/%2f", true),
            ("amqp://guest@[::1]:5672/%2f", true),
            ("amqp://rabbit.example.nhs.uk/%2f", false),
            ("amqp://127.0.0.1.example.com/%2f", false),
            ("amqp://127.0.0.1@example.com/%2f", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(require_this_machine(url).is_ok(), is_taken, "{url}");
        }
    }
}
