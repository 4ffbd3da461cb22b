//! The configured sending systems, found by name or by MSH-3 and MSH-4, and their modes, which people switch.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::{Map, Value};

use super::Peer;
use crate::config::{Fingerprint, Mode, Source};
use crate::mapping::DEFAULT_DIALECT;

pub struct Sources {
    by_name: HashMap<String, Arc<KnownSource>>,
    by_header: HashMap<(String, String), Arc<KnownSource>>,
    modes: SourceModes,
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

/// Modes of sources by name; shared with delivery, changed while running.
#[derive(Clone, Default)]
pub struct SourceModes {
    modes: Arc<RwLock<HashMap<String, Mode>>>,
}

impl SourceModes {
    pub fn of(&self, source: &str) -> Mode {
        self.modes.read().get(source).copied().unwrap_or_default()
    }

    pub fn set(&self, source: &str, mode: Mode) {
        self.modes.write().insert(source.to_owned(), mode);
    }

    /// Names of the sources in this mode.
    pub fn in_mode(&self, mode: Mode) -> Vec<String> {
        self.modes.read().iter().filter(|(_, known)| **known == mode).map(|(name, _)| name.clone()).collect()
    }
}

impl Sources {
    pub fn new(configured: &[Source]) -> Self {
        let modes = SourceModes::default();
        let mut by_name = HashMap::new();
        let mut by_header = HashMap::new();
        for config in configured {
            modes.set(&config.name, config.mode);
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
        Self { by_name, by_header, modes }
    }

    pub fn named(&self, name: &str) -> Option<&Arc<KnownSource>> {
        self.by_name.get(name)
    }

    /// By sending application and facility; a source without a facility takes every facility.
    pub fn by_header(&self, application: &str, facility: &str) -> Option<&Arc<KnownSource>> {
        let exact = self.by_header.get(&(application.to_owned(), facility.to_owned()));
        exact.or_else(|| self.by_header.get(&(application.to_owned(), String::new())))
    }

    pub fn modes(&self) -> &SourceModes {
        &self.modes
    }

    pub fn all(&self) -> impl Iterator<Item = &Source> {
        self.by_name.values().map(|known| &known.config)
    }
}
