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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    /// What is printed can be put into settings as it is, and opens for the token that stands above it.
    #[test]
    fn the_printed_entry_is_one_of_the_settings_and_has_the_digest_of_the_token() {
        let make = Make {
            name: "night-shift".into(),
            role: Role::Operator,
            sources: Vec::new(),
            content: true,
            expires: Some("2027-03-31".parse().expect("a date")),
        };
        let told = make.told("ersgw_example");
        let (token, rest) = told.split_once('\n').expect("the token has a line of its own");
        let entry = &rest[rest.find("tokens:").expect("the entry")..];
        let config = Config::parse(entry, Path::new("gateway.yaml"), &|_| None).expect("settings");
        let read = &config.tokens[0];
        assert_eq!(read.sha256, TokenDigest(Sha256::digest(token.as_bytes()).into()));
        assert_eq!(
            (read.name.as_str(), read.role, read.content, read.expires),
            ("night-shift", Role::Operator, true, make.expires)
        );
    }
}
