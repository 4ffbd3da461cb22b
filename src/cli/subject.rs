//! `subject export`: everything that the store has of a patient, for a subject access request.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{CliError, Done};
use super::patient::{self, Number};
use super::store::{Actor, Place};
use super::{private_file, runtime};
use crate::environment::Environment;
use crate::patients::{self, ExportError, TakesExport};

/// Everything about a patient
#[derive(Subcommand)]
pub enum Subject {
    Export(Export),
}

/// Write everything that the store has of a patient into one file, for a subject access request
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway subject export --to sar-4711.json --why 'request 4711' --config gateway.yaml      asks for the NHS number
  ers-gateway subject export --to sar-4711.json --why 'request 4711' --nhs-number-file number.txt --store store.db

Found are messages that mention the NHS number, or have an answer of e-RS that does, and all others of their referrals: as they
came, with their commands, calls and answers, events, what was sent to hospital systems, and a list of documents
(`GET /v1/commands/{id}/documents/{step}` has them). Messages of versions before this one are read for it first, once. What was
purged is not there any more; how worklists were at their last look, and the gateway's log, are not in it.

Somebody must read it before it is handed out: `othersMentioned` says of each message how many other NHS numbers it has, and
answers with others (a worklist) are left out and say so.

The file is made for its owner only, and one that is there is not overwritten. That it was exported is in the audit log, never of
whom. A gateway on a file must not run meanwhile, those on a database may.

Exit codes: 0 done, 1 the file is there already, 2 no NHS number, 3 not there or in use, 4 nothing of this patient.")]
pub struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    number: Number,
    /// A new file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    actor: Actor,
}

impl Subject {
    pub fn run(self) -> Done {
        let Self::Export(export) = self;
        runtime()?.block_on(export.run())
    }
}

impl Export {
    async fn run(self) -> Done {
        let (_, store) = self.place.open().await?;
        let number = self.number.read()?;
        let keys = patient::keys(&*store)?;
        // Before anything is shown; also where nothing is found, for it was looked for.
        self.actor.note(&*store, "export patient", "everything of a patient".into()).await?;
        patient::read_unread(&*store, &keys).await?;
        let patient = keys.patient_digest(&number);
        if store.messages_of_patient(patient, 0, 1).await?.is_empty() {
            return Err(CliError::NotFound(
                "nothing of this patient is there: is it the right number, and the right key file?".into(),
            ));
        }
        let file = private_file::create(&self.to)?;
        let style = ProgressStyle::with_template("{spinner} {human_pos} {msg}").expect("the template is a literal");
        let to = ToFile { file, progress: ProgressBar::new_spinner().with_style(style) };
        let written = patients::Export::new(&*store, number, to).write(patient, Environment::system().now()).await;
        let (messages, ToFile { file, progress }) = written.map_err(|error| match error {
            ExportError::Store(error) => error.into(),
            ExportError::Unwritable(error) => unwritable(error),
        })?;
        file.sync_all().map_err(unwritable)?;
        progress.finish_and_clear();
        println!("{messages} messages and what came of them were written to {}", self.to.display());
        Ok(())
    }
}

struct ToFile {
    file: File,
    progress: ProgressBar,
}

#[async_trait]
impl TakesExport for ToFile {
    async fn take(&mut self, part: Bytes) -> io::Result<()> {
        self.file.write_all(&part)
    }

    fn told(&mut self, count: u64, what: &'static str) {
        self.progress.set_message(what);
        self.progress.set_position(count);
        self.progress.tick();
    }
}

fn unwritable(error: io::Error) -> CliError {
    CliError::unavailable("the export", error)
}
