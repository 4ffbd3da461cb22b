//! `send`: files to a gateway (or any receiver) as a hospital system would, each answer in words.

pub(super) mod acknowledgement;
mod control_id;
mod http;
mod mllp;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{CliError, Done};
use super::runtime;
use acknowledgement::Verdict;

/// As large as any listener takes by default.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Above this many sends a progress bar replaces one line each.
const LINES_MAX: usize = 20;

/// Send HL7 v2 files over MLLP or HTTP and print each answer in words
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway send referral.hl7 --to mllp://127.0.0.1:2575
  ers-gateway send letters/*.hl7 --to http://127.0.0.1:8080      HL7 over HTTP, POST /v1/hl7v2
  ers-gateway send command.json --to http://127.0.0.1:8080/v1/commands/CreateReferral
  ers-gateway send referral.hl7 --to mllp://127.0.0.1:2575 --repeat 1000 --new-ids
  ers-gateway send capture.bin --to mllp://127.0.0.1:2575        .bin: raw bytes, frames and all

Exit codes: 0 everything was accepted, 1 something was refused, 3 no connection or no answer.")]
pub struct Send {
    /// One HL7 v2 message or batch each; to …/v1/commands/NAME, one JSON command each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// mllp://HOST:PORT, or http(s)://HOST:PORT with or without a path
    #[arg(long, value_name = "ADDRESS", default_value = "mllp://127.0.0.1:2575")]
    to: String,
    /// Send all files so many times over
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Give every message a new MSH-10, so that it is no resend
    #[arg(long)]
    new_ids: bool,
    /// Wait so long for each answer
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
    /// One JSON object a line: file, code, control id, errors, milliseconds
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration::parse(text).ok_or_else(|| "a number and a unit, such as 500ms, 20s or 5m".to_owned())
}

/// Who takes the messages.
pub(super) enum Receiver {
    Mllp(mllp::Connection),
    Http(http::Connection),
}

impl Receiver {
    pub(super) async fn connect(to: &str, timeout: Duration) -> Result<Self, CliError> {
        if let Some(address) = to.strip_prefix("mllp://") {
            return mllp::Connection::open(address.trim_end_matches('/'), timeout).await.map(Self::Mllp);
        }
        if to.starts_with("http://") || to.starts_with("https://") {
            return http::Connection::new(to, timeout).map(Self::Http);
        }
        Err(CliError::Usage(format!("--to {to}: must start with mllp://, http:// or https://")))
    }

    pub(super) async fn send(&mut self, path: &Path, content: &[u8]) -> Result<Verdict, CliError> {
        match self {
            Self::Mllp(connection) if path.extension().is_some_and(|extension| extension == "bin") => {
                connection.send_raw(content).await
            }
            Self::Mllp(connection) => connection.send(content).await,
            Self::Http(connection) => connection.send(path, content).await,
        }
    }
}

impl Send {
    pub fn run(self) -> Done {
        let files = self.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        runtime()?.block_on(self.send_all(&files))
    }

    async fn send_all(&self, files: &[Vec<u8>]) -> Done {
        let total = files.len() * self.repeat as usize;
        let mut receiver = Receiver::connect(&self.to, self.timeout).await?;
        let quiet = total > LINES_MAX && !self.json;
        let bar = progress(if quiet { total } else { 0 });
        let started = Instant::now();
        let mut refused = 0usize;
        for round in 0..self.repeat {
            for (path, content) in self.files.iter().zip(files) {
                let fresh;
                let content = if self.new_ids {
                    fresh = control_id::renew(content);
                    &fresh
                } else {
                    content
                };
                let sent = Instant::now();
                let verdict = receiver.send(path, content).await?;
                let milliseconds = sent.elapsed().as_millis();
                refused += usize::from(!verdict.accepted);
                if self.json {
                    println!("{}", verdict.json(path, milliseconds));
                } else if !quiet {
                    println!("{}: {} ({milliseconds} ms)", path.display(), verdict.words);
                } else if !verdict.accepted {
                    bar.println(format!("{} (round {}): {}", path.display(), round + 1, verdict.words));
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        if quiet {
            let seconds = started.elapsed().as_secs_f64();
            println!("{total} sent, {} accepted, {refused} refused, {:.0}/s", total - refused, total as f64 / seconds);
        }
        if refused > 0 { Err(CliError::No(format!("{refused} of {total} refused"))) } else { Ok(()) }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let size = std::fs::metadata(path).map_err(|error| CliError::unavailable(path.display(), error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(CliError::Usage(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())));
    }
    std::fs::read(path).map_err(|error| CliError::unavailable(path.display(), error))
}

/// Hidden where there is nothing to wait for, or nobody looks.
fn progress(total: usize) -> ProgressBar {
    if total == 0 {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {eta} left").expect("the template is a literal");
    ProgressBar::new(total as u64).with_style(style)
}
