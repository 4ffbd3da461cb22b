//! What a mapping is tried with: the set, the source and the connection of the settings.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use crate::cli::exit::CliError;
use crate::cli::settings::Settings;
use crate::config::{Config, Source};
use crate::intake::{KnownSource, Sources};
use crate::mapping::{MappingFiles, MappingSet};
use crate::trials::connection_of;

#[derive(Args)]
pub struct Subject {
    #[command(flatten)]
    pub settings: Settings,
    /// Folder of mappings; without it, that of the settings, or the built-in set
    #[arg(long, value_name = "FOLDER")]
    pub mappings: Option<PathBuf>,
}

impl Subject {
    pub fn config(&self) -> Result<Config, CliError> {
        self.settings.load()
    }

    pub fn files(&self, config: &Config) -> Result<MappingFiles, CliError> {
        match self.mappings.as_ref().or(config.mappings.as_ref()) {
            None => Ok(MappingFiles::built_in()),
            Some(folder) => MappingFiles::from_folder(folder)
                .map_err(|error| CliError::unavailable("the mappings cannot be read", error)),
        }
    }

    pub fn set(&self, config: &Config) -> Result<MappingSet, CliError> {
        MappingSet::load(self.files(config)?).map_err(|diagnostics| {
            let count = diagnostics.len();
            let lines: String = diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
            CliError::No(format!("{lines}{count} mistake{} in the mappings", if count == 1 { "" } else { "s" }))
        })
    }
}

/// The source by name, or the one that MSH-3 and MSH-4 name.
pub fn source<'s>(sources: &'s Sources, name: Option<&str>, message: &[u8]) -> Result<&'s KnownSource, CliError> {
    let found = match name {
        Some(name) => sources.named(name),
        None => crate::hl7::Header::scan(message)
            .ok()
            .and_then(|header| sources.by_header(&header.sending_application(), &header.sending_facility())),
    };
    found.map(|source| &**source).ok_or_else(|| {
        let mut names: Vec<&str> = sources.all().map(|source| source.name.as_str()).collect();
        names.sort_unstable();
        let unnamed =
            if crate::intake::is_fhir(message) { "FHIR names no source" } else { "MSH-3 and MSH-4 name no source" };
        let asked = name.map_or(unnamed.to_owned(), |name| format!("there is no source {name}"));
        CliError::Usage(format!("{asked}; give --source, one of: {}", names.join(", ")))
    })
}

/// The connection of a source as plans see it; `--as` puts another business function in its place.
pub fn connection(config: &Config, source: &Source, business_function: Option<&str>) -> Value {
    connection_of(&config.connections, source, business_function)
}

pub fn message(file: &Path) -> Result<Bytes, CliError> {
    let bytes = std::fs::read(file)
        .map_err(|error| CliError::unavailable(format!("{} cannot be read", file.display()), error))?;
    // A file may hold the frame that it was sent in.
    let unframed = bytes.strip_prefix(b"\x0b").unwrap_or(&bytes);
    let unframed = unframed.strip_suffix(b"\x1c\r").unwrap_or(unframed);
    Ok(Bytes::copy_from_slice(unframed))
}
