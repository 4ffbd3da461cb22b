//! `people`: who may use the console.

use std::io::{IsTerminal as _, Read as _};

use clap::{Args, Subcommand};

use super::exit::{CliError, Done};
use crate::config::PersonRole;
use crate::console::password_digest;
use crate::environment::Environment;

/// NIST SP 800-63B section 5.1.1.2 asks for 8 at least; a patient's data deserves more.
const PASSWORD_CHARS_MIN: usize = 12;
const PASSWORD_BYTES_MAX: u64 = 1_024;
const SALT_BYTES: usize = 16;

/// Make accounts for people who use the console
#[derive(Subcommand)]
pub enum People {
    Make(Make),
}

/// Make an account: asks for its password, prints what to put into the settings
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway people make jo.bloggs --role operator
  ers-gateway people make it.security --role administrator
  ers-gateway people make jo.bloggs --role operator --content < password.txt     for scripts: the first line is the password

The settings keep only a digest (argon2id): put the printed entry under `people`, then SIGHUP or restart. To end an account, take
its entry out, and SIGHUP: its sessions end with it. To change a password, make the entry anew.")]
pub struct Make {
    /// Signs in with it; stands in the audit log
    name: String,
    /// viewer, operator (acts as well) or administrator (sees the audit log as well)
    #[arg(long, value_parser = role)]
    role: PersonRole,
    /// Sees what messages say, and what e-RS answered
    #[arg(long)]
    content: bool,
}

fn role(text: &str) -> Result<PersonRole, String> {
    let named = PersonRole::ALL.into_iter().find(|role| role.name() == text);
    named.ok_or_else(|| "must be viewer, operator or administrator".to_owned())
}

impl People {
    pub fn run(self) -> Done {
        match self {
            Self::Make(make) => {
                let password = ask_password()?;
                let mut salt = [0; SALT_BYTES];
                Environment::system().fill_random(&mut salt);
                let digest = password_digest(&password, &salt)
                    .ok_or_else(|| CliError::Usage("this password cannot be used: choose another".into()))?;
                print!("{}", make.told(&digest));
            }
        }
        Ok(())
    }
}

fn ask_password() -> Result<String, CliError> {
    let unreadable = |error| CliError::unavailable("standard input", error);
    let password = if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ").map_err(unreadable)?;
        if first != rpassword::prompt_password("The same again: ").map_err(unreadable)? {
            return Err(CliError::Usage("the two passwords differ".into()));
        }
        first
    } else {
        let mut text = String::new();
        std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        text.lines().next().unwrap_or_default().to_owned()
    };
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(CliError::Usage(format!(
            "a password has {PASSWORD_CHARS_MIN} characters at least; several words are easy to keep"
        )));
    }
    Ok(password)
}

impl Make {
    fn told(&self, digest: &str) -> String {
        let mut told = format!("# In the settings:\npeople:\n  - name: {}\n    password: \"{digest}\"\n", self.name);
        told.push_str(&format!("    role: {}\n", self.role.name()));
        if self.content {
            told.push_str("    content: true\n");
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_printed_entry_is_one_of_the_settings() {
        let make = Make { name: "jo.bloggs".into(), role: PersonRole::Operator, content: true };
        let digest = password_digest("correct horse battery", b"salt salt salt!!").expect("a digest");
        let config = Config::parse(&make.told(&digest), Path::new("gateway.yaml"), &|_| None).expect("settings");
        let person = &config.people[0];
        assert_eq!((person.name.as_str(), person.role, person.content), ("jo.bloggs", PersonRole::Operator, true));
        assert_eq!(person.password.as_str(), digest);
    }
}
