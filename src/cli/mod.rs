//! The command line: one file a subcommand.
//!
//! Enters: arguments. Leaves: text or JSON on stdout, problems on stderr, and a documented exit code.

mod api;
mod audit;
pub mod bench;
mod cases;
mod check;
mod demo;
mod dispatches;
mod events;
mod exit;
mod health;
mod hold;
mod indoubt;
mod keys;
mod legal_hold;
mod map;
mod messages;
mod patient;
mod people;
mod private_file;
mod problems;
mod records;
mod replay;
mod report;
mod send;
mod serve;
mod settings;
mod simulate;
mod sources;
mod stop;
mod store;
mod subject;
mod table;
mod tokens;
mod waiting;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::CliError;

/// Takes HL7 v2 and JSON messages from hospital systems to the NHS e-Referral Service: never lost, never
/// twice, explained.
#[derive(Parser)]
#[command(name = "ers-gateway", version, max_term_width = 110, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Check(check::Check),
    Send(send::Send),
    #[command(subcommand)]
    Map(map::Map),
    #[command(subcommand)]
    Messages(messages::Messages),
    Problems(problems::Problems),
    #[command(subcommand)]
    Replay(replay::Replay),
    Report(report::Report),
    #[command(subcommand)]
    Sources(sources::Sources),
    #[command(subcommand, name = "hold")]
    Holding(hold::Holding),
    #[command(subcommand, name = "indoubt")]
    InDoubt(indoubt::InDoubt),
    #[command(subcommand)]
    Waiting(waiting::Waiting),
    #[command(subcommand)]
    Dispatches(dispatches::Dispatches),
    #[command(subcommand)]
    Events(events::Events),
    #[command(subcommand)]
    Audit(audit::Audit),
    Simulate(simulate::Simulate),
    Bench(bench::Bench),
    Keys(keys::KeysArgs),
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    #[command(subcommand)]
    People(people::People),
    #[command(subcommand)]
    Store(store::StoreCommand),
    #[command(subcommand)]
    Subject(subject::Subject),
    Health(health::Health),
}

/// Runs the program's arguments; problems are told on stderr.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Demo(demo) => demo.run(),
        Command::Check(check) => check.run(),
        Command::Send(send) => send.run(),
        Command::Map(map) => map.run(),
        Command::Messages(messages) => messages.run(),
        Command::Problems(problems) => problems.run(),
        Command::Replay(replay) => replay.run(),
        Command::Report(report) => report.run(),
        Command::Sources(sources) => sources.run(),
        Command::Holding(holding) => holding.run(),
        Command::InDoubt(indoubt) => indoubt.run(),
        Command::Waiting(waiting) => waiting.run(),
        Command::Dispatches(dispatches) => dispatches.run(),
        Command::Events(events) => events.run(),
        Command::Audit(audit) => audit.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Bench(bench) => bench.run(),
        Command::Keys(keys) => keys.run(),
        Command::Tokens(tokens) => tokens.run(),
        Command::People(people) => people.run(),
        Command::Store(store) => store.run(),
        Command::Subject(subject) => subject.run(),
        Command::Health(health) => health.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}

/// For subcommands that do many things at once.
fn busy_runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::unavailable("the runtime cannot start", error))
}

/// For subcommands that talk to something; one thread is enough for one conversation.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::unavailable("the runtime cannot start", error))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_teaches_by_example() {
        fn teach(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{path} says what it does");
                if sub.has_subcommands() {
                    teach(sub, &path);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Examples:"), "{path} has examples");
                }
            }
        }
        teach(&Cli::command(), "ers-gateway");
    }
}
