//! Log lines to stderr, as JSON for machines or text for people.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.filter is not as in RUST_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// A program that embeds the gateway has set up its own.
    #[error("logs were already started: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process, once.
pub fn start_logs(log: &Log) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&log.filter)?;
    // Told about on stderr, which panics if stderr is what cannot be written: a full disk under a log file, a
    // reader that went away. Then the line is lost, and the work goes on.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).finish().with(filter_fn(is_allowed)).try_init()?;
        }
        LogFormat::Text => {
            let terminal = std::io::stderr().is_terminal();
            lines.with_ansi(terminal).compact().finish().with(filter_fn(is_allowed)).try_init()?;
        }
    }
    Ok(())
}

/// The AMQP client traces every frame, with the messages in it: no filter of the settings brings patients into a log.
fn is_allowed(metadata: &Metadata<'_>) -> bool {
    !(*metadata.level() == Level::TRACE && metadata.target().starts_with("lapin"))
}
