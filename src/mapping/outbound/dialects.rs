//! The dialects of destinations: folders under `outbound/`, each inheriting from `default`, or from what its
//! `dialect.yaml` names, file by file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{OutboundMapping, compile};
use crate::mapping::diagnostic::Diagnostics;
use crate::mapping::files::MappingFiles;
use crate::mapping::inheritance::{Extends, chain};
use crate::mapping::set::DEFAULT_DIALECT;
use crate::mapping::yaml::{self, Keys, Node, Yaml};

/// What a destination is told, inheritance resolved.
#[derive(Debug, Default)]
pub struct OutboundDialect {
    /// By name: in this order they make their messages.
    files: BTreeMap<String, Arc<OutboundMapping>>,
}

impl OutboundDialect {
    /// Files that take an event, in the order of their names.
    pub fn files_for(&self, event: &str) -> impl Iterator<Item = &OutboundMapping> {
        self.files.values().map(|file| &**file).filter(move |file| file.takes(event))
    }
}

/// A dialect as its own folder says it.
struct Own {
    extends: Option<String>,
    /// `None`: the inherited file is taken out.
    files: BTreeMap<String, Option<Arc<OutboundMapping>>>,
}

impl Extends for Own {
    fn extends(&self) -> Option<&str> {
        self.extends.as_deref()
    }
}

pub(in crate::mapping) fn dialects(
    files: &MappingFiles,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, OutboundDialect> {
    let folders = files.folders_in("outbound");
    let own: BTreeMap<&str, Own> = folders.iter().map(|name| (*name, own_dialect(name, files, diagnostics))).collect();
    let mut dialects = BTreeMap::new();
    for name in own.keys() {
        let Some(chain) = chain("outbound", name, &own, diagnostics) else { continue };
        let mut merged = BTreeMap::new();
        for link in chain.iter().rev() {
            merged.extend(link.files.iter().map(|(stem, file)| (stem.clone(), file.clone())));
        }
        let files = merged.into_iter().filter_map(|(stem, file)| Some((stem, file?))).collect();
        dialects.insert((*name).to_owned(), OutboundDialect { files });
    }
    dialects
}

fn own_dialect(name: &str, files: &MappingFiles, diagnostics: &mut Diagnostics) -> Own {
    let has_default = files.folders_in("outbound").contains(&DEFAULT_DIALECT);
    let inherits = has_default && name != DEFAULT_DIALECT;
    let mut own = Own { extends: inherits.then(|| DEFAULT_DIALECT.to_owned()), files: BTreeMap::new() };
    for (stem, file, text) in files.in_folder(&format!("outbound/{name}"), "yaml") {
        let Some(node) = yaml::parse(file, text, diagnostics) else { continue };
        if stem == "dialect" {
            let keys = Keys::of(file, &node, &["extends", "about"], diagnostics);
            own.extends = keys.and_then(|keys| keys.text("extends", diagnostics)).or(own.extends);
        } else if is_skipped(file, &node, diagnostics) {
            own.files.insert(stem.to_owned(), None);
        } else if let Some(mapping) = compile(stem, file, &node, diagnostics) {
            own.files.insert(stem.to_owned(), Some(Arc::new(mapping)));
        }
    }
    own
}

/// `skip: true`, and nothing else.
fn is_skipped(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> bool {
    let Some(skip) = node.get("skip") else { return false };
    if !matches!(skip.yaml, Yaml::Bool(true)) {
        diagnostics.report(file, skip.at, "`skip` is true, or is left out");
    }
    let _ = Keys::of(file, node, &["skip", "about"], diagnostics);
    true
}
