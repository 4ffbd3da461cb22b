//! `map docs`: the interface specification of a dialect, to hand over.

use clap::Args;

use super::subject::Subject;
use crate::cli::exit::{CliError, Done};
use crate::mapping::specification;

/// Write the interface specification of a dialect (Markdown), from its mappings
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway map docs eastvale > eastvale-interface.md
  ers-gateway map docs mypas --mappings mappings")]
pub struct Docs {
    /// A folder under inbound/
    dialect: String,
    #[command(flatten)]
    subject: Subject,
}

impl Docs {
    pub fn run(self) -> Done {
        let config = self.subject.config()?;
        let set = self.subject.set(&config)?;
        let dialect = set.dialect(&self.dialect).ok_or_else(|| {
            let known: Vec<&str> = set.dialects().map(|dialect| dialect.name()).collect();
            CliError::NotFound(format!("there is no dialect {}; there are {}", self.dialect, known.join(", ")))
        })?;
        print!("{}", specification(dialect));
        Ok(())
    }
}
