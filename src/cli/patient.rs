//! A patient at the command line: the NHS number, which is never an argument (others see those), and the key that the store
//! knows patients by.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::CliError;
use crate::command::NhsNumber;
use crate::keys::Keys;
use crate::patients;
use crate::store::{Store, StoreError};

/// A number and a line end are less.
const NUMBER_BYTES_MAX: u64 = 1_024;

/// Where the NHS number comes from.
#[derive(Args)]
pub struct Number {
    /// File with the NHS number; otherwise it is asked for, or read from standard input
    #[arg(long, value_name = "FILE")]
    nhs_number_file: Option<PathBuf>,
}

impl Number {
    /// `-` stands for the prompt, or standard input.
    pub fn in_file(path: PathBuf) -> Self {
        Self { nhs_number_file: Some(path).filter(|path| path.as_os_str() != "-") }
    }

    pub fn read(&self) -> Result<NhsNumber, CliError> {
        let mut text = String::new();
        let read = match &self.nhs_number_file {
            Some(path) => std::fs::File::open(path)
                .and_then(|file| file.take(NUMBER_BYTES_MAX).read_to_string(&mut text))
                .map_err(|error| CliError::unavailable(path.display(), error)),
            None if std::io::stdin().is_terminal() => {
                eprint!("NHS number: ");
                std::io::stdin().read_line(&mut text).map_err(|error| CliError::unavailable("standard input", error))
            }
            None => std::io::stdin()
                .take(NUMBER_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|error| CliError::unavailable("standard input", error)),
        };
        read?;
        // Never what was given: it may be a patient's.
        NhsNumber::parse(text.trim())
            .map_err(|_| CliError::Usage("that is no NHS number: ten digits with a valid check digit".into()))
    }
}

/// Those that the store was opened with: it knows patients by nothing else.
pub fn keys(store: &dyn Store) -> Result<Keys, CliError> {
    store.keys().ok_or_else(|| {
        CliError::Unavailable("there is no key file; the store knows patients by its own (--key-file)".into())
    })
}

/// Notes whom the messages of older versions mention, those that nobody read yet.
pub async fn read_unread(store: &dyn Store, keys: &Keys) -> Result<u64, StoreError> {
    let style = ProgressStyle::with_template("{spinner} {human_pos} messages of older versions read  {per_sec}")
        .expect("the template is a literal");
    let progress = ProgressBar::new_spinner().with_style(style);
    patients::read_unread(store, keys, |count| {
        progress.set_position(count);
        progress.tick();
    })
    .await?;
    progress.finish_and_clear();
    Ok(progress.position())
}
