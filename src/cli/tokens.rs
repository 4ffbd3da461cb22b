//! `tokens`: what opens the HTTP API for a program.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use super::exit::Done;
use crate::config::{Role, TokenDigest};
use crate::environment::Environment;

/// Bytes of chance in a token: nobody guesses one, so that a plain digest keeps it.
const BYTES: usize = 32;
/// Known again by those who search code and logs for secrets.
const PREFIX: &str = "ersgw_";

/// Make tokens for programs that use the HTTP API
#[derive(Subcommand)]
pub enum Tokens {
    Make(Make),
}

/// Make a token: prints it once, with what to put into the settings
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway tokens make riverside-epr --role sender --source riverside
  ers-gateway tokens make prometheus --role monitor
  ers-gateway tokens make night-shift --role operator --expires 2027-03-31

The settings keep only a digest: put the printed entry under `tokens`, then SIGHUP or restart. To revoke a token, take its
entry out, and SIGHUP. Programs send it as `Authorization: Bearer TOKEN`; this command line takes it from
ERS_GATEWAY_TOKEN.")]
pub struct Make {
    /// Whose it is: stands in logs and in the audit log
    name: String,
    /// monitor, sender, viewer or operator
    #[arg(long, value_parser = role)]
    role: Role,
    /// Of a sender: as which source it may send; may be repeated
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// Of a viewer or operator: sees what was read for patients as well, documents and events
    #[arg(long)]
    content: bool,
    /// The last day on which it opens anything, such as 2027-03-31
    #[arg(long, value_name = "DATE")]
    expires: Option<Date>,
}

fn role(text: &str) -> Result<Role, String> {
    let named = Role::ALL.into_iter().find(|role| role.name() == text);
    named.ok_or_else(|| "must be monitor, sender, viewer or operator".to_owned())
}

impl Tokens {
    pub fn run(self) -> Done {
        match self {
            Self::Make(make) => {
                let mut chance = [0; BYTES];
                Environment::system().fill_random(&mut chance);
                let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(chance));
                print!("{}", make.told(&token));
            }
        }
        Ok(())
    }
}

impl Make {
    fn told(&self, token: &str) -> String {
        let digest = TokenDigest(Sha256::digest(token.as_bytes()).into());
        let mut told =
            format!("{token}\n\nIt is not shown again. In the settings:\n\ntokens:\n  - name: {}\n", self.name);
        told.push_str(&format!("    sha256: \"{digest}\"\n    role: {}\n", self.role.name()));
        if !self.sources.is_empty() {
            told.push_str(&format!("    sources: [{}]\n", self.sources.join(", ")));
        }
        if self.content {
            told.push_str("    content: true\n");
        }
        if let Some(expires) = self.expires {
            told.push_str(&format!("    expires: \"{expires}\"\n"));
        }
        told
    }
}
