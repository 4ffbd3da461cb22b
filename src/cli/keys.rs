//! `keys`: the file that seals tokens and digests identifiers.

use std::path::PathBuf;

use clap::Args;

use super::exit::{CliError, Done};
use crate::environment::Environment;
use crate::keys::Keys;

/// Make the key file that seals tokens and digests identifiers
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway keys --out /var/lib/ers-gateway/gateway.key

The file is readable by its owner only, and an existing one is never overwritten. Back it up apart from the
store: without it sealed tokens cannot be opened and known referrals cannot be found again.")]
pub struct KeysArgs {
    /// Where to; key_file in the settings names it
    #[arg(long, value_name = "FILE", default_value = "gateway.key")]
    out: PathBuf,
}

impl KeysArgs {
    pub fn run(self) -> Done {
        if self.out.exists() {
            return Err(CliError::No(format!("{} is there already, and stays as it is", self.out.display())));
        }
        Keys::load_or_create(&self.out, &Environment::system())
            .map_err(|error| CliError::Unavailable(error.to_string()))?;
        println!("made {}; name it as key_file in the settings, and back it up", self.out.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("gateway.key");
        KeysArgs { out: out.clone() }.run().expect("a new file");
        let made = std::fs::read(&out).expect("the file");
        assert!(KeysArgs { out: out.clone() }.run().is_err());
        assert_eq!(std::fs::read(&out).expect("the file"), made);
    }
}
