//! `map`: try, explain, test and document mappings. Sends nothing.

mod docs;
mod explain;
mod subject;
mod test;
mod r#try;

use clap::Subcommand;

use super::exit::Done;

/// Try, explain, test and document mappings; nothing is sent
#[derive(Subcommand)]
pub enum Map {
    Try(r#try::Try),
    Explain(explain::Explain),
    Test(test::Test),
    Docs(docs::Docs),
}

impl Map {
    pub fn run(self) -> Done {
        match self {
            Self::Try(arguments) => arguments.run(),
            Self::Explain(arguments) => arguments.run(),
            Self::Test(arguments) => arguments.run(),
            Self::Docs(arguments) => arguments.run(),
        }
    }
}
