//! `audit`: who did what, and proof that nothing of it was changed.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;

use super::exit::{CliError, Done};
use super::private_file;
use super::records::{Records, Where};
use super::runtime;
use super::table::table;
use crate::store::{AuditEntry, AuditHead, Chain};

/// Entries in one answer.
const PAGE: usize = 1_000;

/// Look at who did what; prove that nothing of it was changed; take it elsewhere
#[derive(Subcommand)]
pub enum Audit {
    List(List),
    Verify(Verify),
    Export(Export),
}

/// List acts: who, from where, what, to what, why
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway audit list                                       the newest 50
  ers-gateway audit list --person j.smith --act view           what somebody looked at
  ers-gateway audit list --subject 'message 0199f2c4-…'        who looked at a message
  ers-gateway audit list --since 2026-03-16T00:00:00Z --json   of a day, for a program

The newest that fit, in their order.")]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// Of this person, program or instance only
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// view, search, replay, discard, release, decide, hold, purge, change mappings, …
    #[arg(long)]
    act: Option<String>,
    /// To this only: kind and identifier, as they are listed
    #[arg(long)]
    subject: Option<String>,
    #[command(flatten)]
    times: Times,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// One entry a line, for a program
    #[arg(long)]
    json: bool,
}

/// Which time.
#[derive(Args)]
struct Times {
    /// Done at or after this instant, such as 2026-03-16T09:30:00Z
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// Done before this instant
    #[arg(long, value_name = "INSTANT")]
    until: Option<Timestamp>,
}

impl Times {
    fn have(&self, entry: &AuditEntry) -> bool {
        self.since.is_none_or(|since| entry.at >= since) && self.until.is_none_or(|until| entry.at < until)
    }
}

/// Prove that no entry of the audit log was changed, taken out or cut off
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway audit verify                                     of a running gateway
  ers-gateway audit verify --store store.db                    of one that does not run
  ers-gateway audit verify --head 1a2b…@4711                   and that it is the log that had this head

Every entry's hash is reckoned from the entry and the hash before it. Whoever may write all of the store could write the
whole log anew, or cut off its end with the count beside it: only a head that was kept elsewhere shows that. `audit export`
and this command print it, and the gateway writes it into its own log at every start.

Exit codes: 0 whole, 1 not (the entry is named), 3 the gateway or the store is not there.")]
pub struct Verify {
    #[command(flatten)]
    place: Where,
    /// A head from an export, an earlier verify or the gateway's log
    #[arg(long, value_name = "HASH@NUMBER")]
    head: Option<AuditHead>,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

/// Write the audit log as JSON lines, verified on the way; the last line is its head
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway audit export --to audit-2026-03.jsonl --since 2026-03-01T00:00:00Z --until 2026-04-01T00:00:00Z
  ers-gateway audit export | tail -1                           only its head: {\"head\":\"HASH@NUMBER\",\"exported\":…}

Keep it elsewhere: with its head, `audit verify --head` proves later that nothing up to it was changed or cut off. The
file is made for its owner only, and one that is there is not overwritten. That it was exported is in the log as well.

Exit codes: 0 done, 1 the log is not whole (the entry is named) or the file is there, 3 the gateway or the store is not
there.")]
pub struct Export {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    times: Times,
    /// A new file; otherwise standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Audit {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run().await,
                Self::Verify(verify) => verify.run().await,
                Self::Export(export) => export.run().await,
            }
        })
    }
}

/// Walks the whole log, proving it. What was done is handed on only when it is proved to follow what was before.
async fn walk(
    records: &Records,
    head: Option<AuditHead>,
    mut each: impl FnMut(AuditEntry) -> Result<(), CliError>,
) -> Result<AuditHead, CliError> {
    let style = ProgressStyle::with_template("{spinner} {human_pos} entries  {per_sec}").expect("a literal");
    let progress = ProgressBar::new_spinner().with_style(style);
    let broken = |broken: crate::store::ChainBroken| CliError::No(broken.to_string());
    let mut chain = Chain::new(head);
    let mut written = None;
    loop {
        let (page, counted) = records.audit_log(chain.head().number, PAGE).await?;
        // As it was before the first page: others go on writing.
        let written = *written.get_or_insert(counted);
        if page.is_empty() {
            progress.finish_and_clear();
            chain.end(written).map_err(broken)?;
            return Ok(chain.head().clone());
        }
        for entry in page {
            chain.take(&entry).map_err(broken)?;
            each(entry)?;
        }
        progress.set_position(chain.head().number);
        progress.tick();
    }
}

impl Verify {
    async fn run(self) -> Done {
        let records = self.place.open_to_look(None).await?;
        let head = walk(&records, self.head, |_| Ok(())).await?;
        if self.json {
            println!("{}", json!({ "entries": head.number, "head": head.to_string() }));
        } else {
            println!("{} entries, none of them changed or missing\nhead {head}", head.number);
        }
        Ok(())
    }
}

impl Export {
    async fn run(self) -> Done {
        let records = self.place.open_to_look(None).await?;
        let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match &self.to {
            Some(path) => Box::new(private_file::create(path)?),
            None => Box::new(io::stdout().lock()),
        });
        records.looked("export", "audit log".into(), None).await?;
        let unwritable = |error: io::Error| CliError::unavailable("the export", error);
        let mut exported = 0_u64;
        let head = walk(&records, None, |entry| {
            if !self.times.have(&entry) {
                return Ok(());
            }
            exported += 1;
            let line = serde_json::to_string(&entry).expect("an entry has a JSON form");
            writeln!(out, "{line}").map_err(unwritable)
        })
        .await?;
        let last = json!({ "head": head.to_string(), "exported": exported });
        writeln!(out, "{last}").and_then(|()| out.flush()).map_err(unwritable)
    }
}

impl List {
    fn wants(&self, entry: &AuditEntry) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&self.person, &entry.by)
            && is(&self.act, &entry.act)
            && is(&self.subject, &entry.subject)
            && self.times.have(entry)
    }

    async fn run(self) -> Done {
        let records = self.place.open_to_look(None).await?;
        let limit = usize::from(self.limit);
        let mut found: std::collections::VecDeque<AuditEntry> = std::collections::VecDeque::new();
        walk(&records, None, |entry| {
            if self.wants(&entry) {
                if found.len() == limit {
                    found.pop_front();
                }
                found.push_back(entry);
            }
            Ok(())
        })
        .await?;
        if self.json {
            for entry in &found {
                println!("{}", serde_json::to_string(entry).expect("an entry has a JSON form"));
            }
            return Ok(());
        }
        let rows: Vec<Vec<String>> = found
            .into_iter()
            .map(|entry| {
                let unknown = || "–".to_owned();
                vec![
                    entry.at.to_string(),
                    entry.by,
                    entry.place.filter(|place| !place.is_empty()).unwrap_or_else(unknown),
                    entry.act,
                    entry.subject,
                    entry.why.unwrap_or_else(|| "(removed)".to_owned()),
                ]
            })
            .collect();
        print!("{}", table(&["at", "who", "from", "did", "to", "why"], &rows));
        Ok(())
    }
}
