//! `store`: proof that a store is whole, its backup, its copy into another, and the removal of what is finished and
//! old.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::exit::{CliError, Done};
use super::settings::Settings;
use super::table::table;
use super::{legal_hold, records, runtime};
use crate::config::{Config, StoreUrl};
use crate::environment::Environment;
use crate::keys::Keys;
use crate::retention::{self, Round};
use crate::store::copy::{self, CopyError, Limits, Step};
use crate::store::{self, Act, Noted, Purge, PurgePlace, Store};

/// Messages, and events, in one transaction: nobody waits behind it.
const CALL_MAX: usize = 1_000;

/// Prove a store whole, back it up, move it to another place, or remove what is finished and old
#[derive(Subcommand)]
pub enum StoreCommand {
    Verify(Verify),
    Backup(Backup),
    Copy(Copy),
    Purge(PurgeArgs),
    #[command(subcommand)]
    Hold(legal_hold::Hold),
}

/// Check pages, references, the history of every command and event, counts and the audit chain
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store verify --config /etc/ers-gateway/gateway.yaml
  ers-gateway store verify --store backup.db
  ers-gateway store verify --store postgres://gateway@db.trust.nhs.uk/ers

Takes as long as the store is large. A gateway on a file must not run meanwhile, for a file belongs to one process
at a time; those on a database may.

Exit codes: 0 whole, 3 damaged, not there, or in use.")]
pub struct Verify {
    #[command(flatten)]
    place: Place,
}

/// Copy a store to a new file
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store backup --config /etc/ers-gateway/gateway.yaml --to /backup/ers-gateway.db

The copy is one committed moment, and a store like any other; a gateway may run meanwhile. Keep the key file with it,
but apart from it.")]
pub struct Backup {
    #[command(flatten)]
    place: Place,
    /// The new file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Copy a store into another, from SQLite to PostgreSQL or back
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store copy --from sqlite:/var/lib/ers-gateway/store.db --to postgres://gateway@db.trust.nhs.uk/ers
  ers-gateway store copy --from postgres://gateway@db.trust.nhs.uk/ers --to sqlite:store.db --json

No gateway may have either store. What is copied to must be empty, or not there yet. When it was stopped, however,
the same command goes on where it was; until it is done, no gateway opens the copy. At the end every row is read
again from both and compared. What is copied stays where it is: never start a gateway on it afterwards.

Exit codes: 0 done and the same, 1 the copy differs, 2 not empty, 3 not there, or in use.")]
pub struct Copy {
    /// The store that is copied: sqlite:FILE or postgres://…
    #[arg(long, value_name = "STORE")]
    from: String,
    /// The empty one that it is copied to
    #[arg(long, value_name = "STORE")]
    to: String,
    /// The tables as JSON, one an array's element
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: Actor,
    /// The key file of both; otherwise the one beside the first, if it has one
    #[arg(long, value_name = "FILE", env = "ERS_GATEWAY_KEY_FILE")]
    key_file: Option<PathBuf>,
}

impl Copy {
    async fn run(self) -> Done {
        let (from, to) = (StoreUrl::of_argument(&self.from), StoreUrl::of_argument(&self.to));
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len} rows  {per_sec}  {eta}")
            .expect("the template is a literal");
        let progress = ProgressBar::new(0).with_style(style);
        let told = |step| {
            let (doing, rows, all) = match step {
                Step::Copying { rows, all } => ("copying", rows, all),
                Step::Verifying { rows, all } => ("verifying", rows, all),
            };
            progress.set_message(doing);
            progress.set_length(all);
            progress.set_position(rows);
        };
        let copied = copy::copy(&from, &to, Limits::default(), &Environment::system(), told).await;
        progress.finish_and_clear();
        let copied = copied.map_err(|error| match error {
            CopyError::Differs { .. } => CliError::No(error.to_string()),
            CopyError::Address(_) | CopyError::Same(_) | CopyError::NotEmpty { .. } | CopyError::OfAnother { .. } => {
                CliError::Usage(error.to_string())
            }
            CopyError::Store { .. } | CopyError::Nothing(_) => CliError::Unavailable(error.to_string()),
        })?;
        // In the one that goes on.
        let keys = keys_of(&from, self.key_file.as_deref())?;
        self.actor.note(open(&to, keys.as_ref()).await?.as_ref(), "copy", format!("store {}", from.place())).await?;
        if self.json {
            println!("{}", serde_json::to_string(&copied).expect("names and numbers have a JSON form"));
            return Ok(());
        }
        let rows: Vec<Vec<String>> = copied
            .iter()
            .map(|one| vec![one.table.to_owned(), one.rows.to_string(), one.digest.chars().take(16).collect()])
            .collect();
        print!("{}", table(&["table", "rows", "digest"], &rows));
        println!("{} was copied to {}, and is the same", from.place(), to.place());
        Ok(())
    }
}

/// Remove messages that are finished and old, and events that old
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store purge --before 2026-01-01 --config /etc/ers-gateway/gateway.yaml
  ers-gateway store purge --before 2026-01-01T06:00:00Z --store store.db --keep-events

A message goes once it is that old and its commands are final, with their history, calls and letters, unless a legal
hold keeps it. Events that
a destination or a folder is still to be told of stay. What
recognises resends and repeated referrals stays, and so does the audit log. What is gone is gone: back up before.
It can be stopped at any time. A gateway on a file must not run meanwhile, those on a database may; one that runs
removes by age itself (retention in its settings). A file keeps its size, its empty pages are used again; a copy
made by `store backup` has none.

Exit codes: 0 done, 2 a date that is not over, 3 not there, or in use.")]
pub struct PurgeArgs {
    #[command(flatten)]
    place: Place,
    /// Received before this day (from midnight, UTC) or instant
    #[arg(long, value_name = "DATE", value_parser = day_or_instant)]
    before: Timestamp,
    /// Leave all events where they are
    #[arg(long)]
    keep_events: bool,
    /// Also events that no broker has confirmed: for a gateway without a broker
    #[arg(long, conflicts_with = "keep_events")]
    unconfirmed_events: bool,
    #[command(flatten)]
    actor: Actor,
}

/// Who acts on a store, and why.
#[derive(Args)]
pub struct Actor {
    /// Who does it; goes to the audit log
    #[arg(long, value_name = "NAME", env = "USER", default_value = "unnamed")]
    by: String,
    /// Why; goes to the audit log
    #[arg(long, default_value = "")]
    why: String,
}

impl Actor {
    pub fn name(&self) -> &str {
        &self.by
    }

    pub fn act(&self) -> Act {
        records::act(&self.by, &self.why, &Environment::system())
    }

    /// A row of the audit log.
    pub async fn note(&self, store: &dyn Store, act: &'static str, subject: String) -> Result<(), CliError> {
        Ok(store.note(Noted { act, subject, by: self.act() }).await?)
    }
}

/// `2026-01-31`, or an instant.
fn day_or_instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let day: Date = text.parse().map_err(|_| "a day such as 2026-01-31, or an instant with its offset".to_owned())?;
    day.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp()).map_err(|error| error.to_string())
}

impl PurgeArgs {
    async fn run(self) -> Done {
        if self.before > Environment::system().now() {
            return Err(CliError::Usage("--before must lie in the past".to_owned()));
        }
        let (place, store) = self.place.open().await?;
        let mut round = Round::of(Purge {
            told_up_to: self.place.told_up_to(store.as_ref()).await?,
            messages_before: Some(self.before),
            events_before: (!self.keep_events).then_some(self.before),
            keep_unconfirmed: !self.unconfirmed_events,
            max: CALL_MAX,
            from: PurgePlace::START,
        });
        // First, so that what is stopped in the middle is told as well.
        let what = if self.keep_events { "messages" } else { "messages and events" };
        self.actor.note(store.as_ref(), "purge", format!("{what} before {}", self.before)).await?;
        let style = ProgressStyle::with_template("{spinner} {human_pos} messages removed  {per_sec}")
            .expect("the template is a literal");
        let progress = ProgressBar::new_spinner().with_style(style);
        let (mut messages, mut events) = (0, 0);
        while let Some(purged) = round.step(store.as_ref()).await? {
            messages += purged.messages;
            events += purged.events;
            progress.set_position(messages);
            progress.tick();
        }
        progress.finish_and_clear();
        println!("{messages} messages and {events} events were removed from {place}");
        Ok(())
    }
}

#[derive(Args)]
pub struct Place {
    #[command(flatten)]
    settings: Settings,
    /// Store, as a file or as postgres://…; otherwise that of the settings
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// The key file of that store; otherwise that of the settings, or the one beside the store
    #[arg(long, value_name = "FILE", env = "ERS_GATEWAY_KEY_FILE")]
    key_file: Option<PathBuf>,
}

impl Place {
    fn url(&self) -> Result<StoreUrl, CliError> {
        match &self.store {
            Some(text) => Ok(StoreUrl::of_argument(text)),
            None => Ok(self.settings.load()?.store),
        }
    }

    /// Events behind it stay: with settings for their destinations, else for every one that was ever told.
    async fn told_up_to(&self, store: &dyn Store) -> Result<u64, CliError> {
        let told = store.told().await?;
        let tells: Vec<String> = match &self.store {
            None => self.settings.load()?.told().map(str::to_owned).collect(),
            Some(_) => told.iter().filter(|one| one.left_at.is_none()).map(|one| one.destination.clone()).collect(),
        };
        Ok(retention::told_up_to(&tells, &told))
    }

    /// The master key: that of the key file that was named, of the settings, or beside the store; if there is one.
    fn keys(&self, url: &StoreUrl) -> Result<Option<Keys>, CliError> {
        match (&self.key_file, &self.store) {
            (None, None) => settings_keys(&self.settings.load()?),
            (named, _) => keys_of(url, named.as_deref()),
        }
    }

    pub async fn open(&self) -> Result<(String, Arc<dyn Store>), CliError> {
        let url = self.url()?;
        let store = open(&url, self.keys(&url)?.as_ref()).await?;
        Ok((url.place(), store))
    }
}

/// A store that is there: opening never makes one.
pub async fn open(url: &StoreUrl, keys: Option<&Keys>) -> Result<Arc<dyn Store>, CliError> {
    let opened = store::open_to_act(url, keys, &Environment::system()).await;
    opened.map_err(|error| CliError::Unavailable(error.to_string()))
}

/// Of the file that was named, which must be there, or of the one beside the store, if it is.
pub fn keys_of(url: &StoreUrl, named: Option<&Path>) -> Result<Option<Keys>, CliError> {
    match named {
        Some(named) => load(named).map(Some),
        None => settings_keys(&Config { store: url.clone(), ..Config::default() }),
    }
}

/// Without making a key file.
pub fn settings_keys(config: &Config) -> Result<Option<Keys>, CliError> {
    if config.key.is_none() && !config.key_path().is_file() {
        return Ok(None);
    }
    let keys = config.master_key(&Environment::system());
    keys.map(Some).map_err(|error| CliError::Unavailable(error.to_string()))
}

fn load(path: &Path) -> Result<Keys, CliError> {
    Keys::load(path, &Environment::system()).map_err(|error| CliError::Unavailable(error.to_string()))
}

async fn back_up(backup: &Backup) -> Done {
    let url = backup.place.url()?;
    let Some(path) = url.sqlite_path() else {
        return Err(CliError::Usage(
            "a database is backed up with PostgreSQL's own tools (docs/operations.md): pg_dump, or an archive of its log"
                .to_owned(),
        ));
    };
    if !path.is_file() {
        return Err(CliError::Unavailable(format!("there is no store at {}", path.display())));
    }
    if backup.to.exists() {
        return Err(CliError::No(format!("{} is there already, and stays", backup.to.display())));
    }
    store::back_up_file(&path, &backup.to)?;
    println!("{} was copied to {}", path.display(), backup.to.display());
    Ok(())
}

impl StoreCommand {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::Verify(verify) => {
                    let (place, store) = verify.place.open().await?;
                    store.verify().await?;
                    println!("{place} is whole");
                }
                Self::Backup(backup) => back_up(&backup).await?,
                Self::Copy(copy) => copy.run().await?,
                Self::Purge(purge) => purge.run().await?,
                Self::Hold(hold) => hold.run().await?,
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_utc() {
        for (text, instant) in [
            ("2026-03-30", Some("2026-03-30T00:00:00Z")),
            ("2026-03-30T06:00:00+01:00", Some("2026-03-30T05:00:00Z")),
            ("2026-02-30", None),
            ("yesterday", None),
        ] {
            let instant = instant.map(|instant| instant.parse::<Timestamp>().expect("an instant"));
            assert_eq!(day_or_instant(text).ok(), instant, "{text}");
        }
    }
}
