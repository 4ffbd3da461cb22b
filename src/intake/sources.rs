//! The configured sending systems, found by name or by MSH-3 and MSH-4, and how they stand.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Peer;
use crate::config::{Fingerprint, Source};
use crate::mapping::DEFAULT_DIALECT;
use crate::modes::{Board, SourceStanding};

pub struct Sources {
    by_name: HashMap<String, Arc<KnownSource>>,
    by_header: HashMap<(String, String), Arc<KnownSource>>,
    board: Board,
}

/// A source with what intake works out once.
pub struct KnownSource {
    pub config: Source,
    pub settings: Map<String, Value>,
    /// Encoding of text that declares none and is not UTF-8.
    pub encoding: &'static encoding_rs::Encoding,
    /// Held while a numbered message of it is taken.
    pub link: tokio::sync::Mutex<()>,
}

impl KnownSource {
    /// Whether it is one of its machines that sends.
    pub fn takes_from(&self, peer: Option<&Peer>) -> bool {
        let Some(peer) = peer else { return true };
        let (certificates, networks) = (&self.config.certificates, &self.config.networks);
        let shown = |known: &Fingerprint| peer.certificate == Some(known.0);
        (certificates.is_empty() || certificates.iter().any(shown))
            && (networks.is_empty() || networks.iter().any(|network| network.contains(peer.address)))
    }

    pub fn dialect(&self, known: impl Fn(&str) -> bool) -> &str {
        match &self.config.dialect {
            Some(dialect) => dialect,
            None if known(&self.config.name) => &self.config.name,
            None => DEFAULT_DIALECT,
        }
    }
}

impl Sources {
    pub fn new(configured: &[Source]) -> Self {
        Self::switched_by(configured, Board::default())
    }

    /// Their modes are those of the board.
    pub fn switched_by(configured: &[Source], board: Board) -> Self {
        let mut by_name = HashMap::new();
        let mut by_header = HashMap::new();
        for config in configured {
            let encoding = crate::hl7::charset::named_encoding(&config.charset).unwrap_or(encoding_rs::WINDOWS_1252);
            let known = Arc::new(KnownSource {
                settings: config.seen_by_mappings(),
                encoding,
                link: tokio::sync::Mutex::default(),
                config: config.clone(),
            });
            if let Some(application) = &config.application {
                let facility = config.facility.clone().unwrap_or_default();
                by_header.insert((application.clone(), facility), known.clone());
            }
            by_name.insert(config.name.clone(), known);
        }
        Self { by_name, by_header, board }
    }

    pub fn named(&self, name: &str) -> Option<&Arc<KnownSource>> {
        self.by_name.get(name)
    }

    /// By sending application and facility; a source without a facility takes every facility.
    pub fn by_header(&self, application: &str, facility: &str) -> Option<&Arc<KnownSource>> {
        let exact = self.by_header.get(&(application.to_owned(), facility.to_owned()));
        exact.or_else(|| self.by_header.get(&(application.to_owned(), String::new())))
    }

    /// How a source stands at that time.
    pub fn standing(&self, source: &Source, at: Timestamp) -> SourceStanding {
        self.board.source(source, at)
    }

    pub fn all(&self) -> impl Iterator<Item = &Source> {
        self.by_name.values().map(|known| &known.config)
    }
}
