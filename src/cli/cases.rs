//! `messages explain` and `messages bundle`: what is made of one stored message for people who look into it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::exit::{CliError, Done};
use super::records::{Records, Where};
use super::table::{cell, table};
use crate::command::MessageId;
use crate::trials::zip;

/// Show which field of a stored message made which member of its command and which element of the calls
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway messages explain 0199f2c4-…                   every member, from which field, to where in the calls
  ers-gateway messages explain 0199f2c4-… --field PID-3     where did this field go?
  ers-gateway messages explain 0199f2c4-… --json            for a program

With the mappings that made its command. Needs the right to content; the audit log tells who looked.")]
pub struct Explain {
    #[command(flatten)]
    place: Where,
    message: MessageId,
    /// Only rows whose field or element starts so: PID-3, ServiceRequest.note
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// Why; goes to the audit log
    #[arg(long)]
    why: Option<String>,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub async fn run(self) -> Done {
        let Records::Api(api) = self.place.open_to_look(self.why.as_deref()).await? else {
            return Err(CliError::Usage("a message is explained by a gateway that runs: name it with --api".into()));
        };
        let found = api.get(&format!("v1/messages/{}/explanation", self.message), &[]).await?;
        match self.json {
            true => println!("{found:#}"),
            false => print!("{}", self.told(&found)),
        }
        Ok(())
    }

    fn told(&self, found: &Value) -> String {
        let wanted = |row: &&Value| {
            let field = row["field"].as_str().unwrap_or_default();
            self.field.as_ref().is_none_or(|wanted| field.starts_with(wanted.as_str()))
        };
        let mut lines = Vec::new();
        for row in found["rows"].as_array().into_iter().flatten().filter(wanted) {
            let is_present = row["present"] == true;
            let field = cell(&row["field"]);
            let value = row["member"].as_str().and_then(|member| found["body"].pointer(member)).map(cell);
            let elements: Vec<String> = row["elements"].as_array().into_iter().flatten().map(cell).collect();
            lines.push(vec![
                if is_present { field } else { format!("{field} (absent)") },
                cell(&row["member"]),
                value.unwrap_or_default(),
                elements.join(", "),
            ]);
        }
        let mut text = table(&["message", "command", "value", "e-RS"], &lines);
        for problem in found["problems"].as_array().into_iter().flatten() {
            text += &format!("{}: {}\n", cell(&problem["location"]), cell(&problem["text"]));
        }
        let unused: Vec<String> = found["unused"].as_array().into_iter().flatten().map(cell).collect();
        if !unused.is_empty() {
            text += &format!("Not used, and not named as ignored: {}\n", unused.join(", "));
        }
        text
    }
}

/// Make a case that names nobody of a stored message, for a supplier or for a bug report
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway messages bundle 0199f2c4-… -o case.zip       one file
  ers-gateway messages bundle 0199f2c4-… -o case           a folder
  ers-gateway map test northmoor --mappings case/mappings  the case tried, anywhere

Names, addresses, numbers, dates of birth and free text are replaced, the same value by the same everywhere; NHS numbers by test
numbers. Look through it before you give it away. Needs the right to content; the audit log tells who made it. Exit code 1 where
the case does not come to the same verdict any more.")]
pub struct MakeBundle {
    #[command(flatten)]
    place: Where,
    message: MessageId,
    /// A file that ends with .zip, or a new folder
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Why; goes to the audit log
    #[arg(long)]
    why: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    reproduces: bool,
    files: BTreeMap<String, String>,
}

impl MakeBundle {
    pub async fn run(self) -> Done {
        let Records::Api(api) = self.place.open_to_look(self.why.as_deref()).await? else {
            return Err(CliError::Usage("a bundle is made by a gateway that runs: name it with --api".into()));
        };
        if self.out.exists() {
            return Err(CliError::No(format!("{} is there already", self.out.display())));
        }
        let found = api.get(&format!("v1/messages/{}/bundle", self.message), &[("as", "json".into())]).await?;
        let made: Made =
            serde_json::from_value(found).map_err(|error| CliError::unavailable("the gateway's answer", error))?;
        let written = match self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip")) {
            true => std::fs::write(&self.out, zip(&made.files)),
            false => write_folder(&self.out, &made.files),
        };
        written.map_err(|error| CliError::unavailable(self.out.display(), error))?;
        println!("{}: {} files", self.out.display(), made.files.len());
        match made.reproduces {
            true => Ok(()),
            false => Err(CliError::No("the case does not come to the same verdict: see its README.txt".into())),
        }
    }
}

fn write_folder(folder: &Path, files: &BTreeMap<String, String>) -> std::io::Result<()> {
    for (name, text) in files {
        // Only below it, whoever answered.
        if Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(std::io::Error::other(format!("{name} is no name of a file in a bundle")));
        }
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, text)?;
    }
    Ok(())
}
