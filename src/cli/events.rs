//! `events`: the published facts, as they come.

use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::exit::{CliError, Done};
use super::records::{Records, Where};
use super::runtime;

/// A line of a stream that is longer than this is no event.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Read at once from a store or a page of the API.
const PAGE: usize = 500;

/// Look at published events
#[derive(Subcommand)]
pub enum Events {
    Tail(Tail),
}

/// Print events, oldest first, and follow what comes
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway events tail                      what comes from now on, until Ctrl-C
  ers-gateway events tail --after 0            everything from the beginning, then what comes
  ers-gateway events tail --after 0 --once     everything so far, then stop
  ers-gateway events tail --json | jq .data    one CloudEvent a line")]
pub struct Tail {
    #[command(flatten)]
    place: Where,
    /// Position of the last event already seen; 0 is the beginning. Default: the newest
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Stop when there is nothing more; always so with --store
    #[arg(long)]
    once: bool,
    /// One CloudEvent a line
    #[arg(long)]
    json: bool,
}

impl Events {
    pub fn run(self) -> Done {
        let Self::Tail(tail) = self;
        runtime()?.block_on(tail.run())
    }
}

impl Tail {
    async fn run(self) -> Done {
        let records = self.place.open_to_look(None).await?;
        records.looked("view", "events".into(), None).await?;
        match &records {
            Records::Api(api) if !self.once => {
                let query: Vec<_> = self.after.map(|after| ("after", after.to_string())).into_iter().collect();
                let mut body = api.follow("v1/events", &query).await?.bytes_stream();
                let mut lines = Lines::default();
                while let Some(piece) = body.next().await {
                    let piece = piece.map_err(|error| CliError::unavailable("the stream of events ended", error))?;
                    for line in lines.take(&piece)? {
                        if let Some(event) =
                            line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok())
                        {
                            self.print(&event);
                        }
                    }
                }
                Err(CliError::Unavailable("the gateway ended the stream of events".to_owned()))
            }
            _ => {
                let mut after = self.after.unwrap_or(0);
                loop {
                    let page = records.events(after, PAGE).await?;
                    let events = page["events"].as_array().cloned().unwrap_or_default();
                    events.iter().for_each(|event| self.print(event));
                    after = page["next"].as_u64().unwrap_or(after);
                    if events.len() < PAGE {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn print(&self, event: &Value) {
        if self.json {
            println!("{event}");
        } else {
            println!("{}", in_words(event));
        }
    }
}

/// `2026-03-16T09:30:00Z  northmoor  ReferralCreated  {"ubrn":"…"}`
fn in_words(event: &Value) -> String {
    let member = |name: &str| event[name].as_str().unwrap_or("–").to_owned();
    let source = member("source");
    format!(
        "{}  {}  {}  {}",
        member("time"),
        source.rsplit(['/', ':']).next().unwrap_or(&source),
        member("type").rsplit('.').next().unwrap_or_default(),
        event["data"]
    )
}

/// Whole lines out of the pieces that the network makes.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, piece: &[u8]) -> Result<Vec<String>, CliError> {
        self.rest.extend_from_slice(piece);
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', &self.rest) {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(CliError::Unavailable("a line of the stream is too long for an event".to_owned()));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_the_network_cuts_them() {
        let mut lines = Lines::default();
        let mut whole = Vec::new();
        for piece in ["da", "ta: {\"a\":1}\n\nda", "ta: {}\r\n"] {
            whole.extend(lines.take(piece.as_bytes()).expect("short lines"));
        }
        assert_eq!(whole, ["data: {\"a\":1}", "", "data: {}"]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        assert!(Lines::default().take(&vec![b'x'; LINE_BYTES_MAX + 1]).is_err());
    }
}
