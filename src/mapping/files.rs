//! The files of a mapping set: from a folder, from the binary, or from the archive kept in the store.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::letter::hex;

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/mappings");

/// Larger files are not mappings.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
const FILES_MAX: usize = 10_000;

/// Names relative to `mappings/`, with `/`; contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingFiles {
    files: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes, or there are more than {FILES_MAX} files")]
    TooLarge { path: String },
    #[error("the archive of the mapping set is damaged")]
    Damaged,
}

impl MappingFiles {
    /// Those that came with the binary.
    pub fn built_in() -> Self {
        fn collect(dir: &Dir<'_>, files: &mut BTreeMap<String, String>) {
            for file in dir.files() {
                if let (Some(path), Some(text)) = (file.path().to_str(), file.contents_utf8()) {
                    files.insert(path.replace('\\', "/"), text.to_owned());
                }
            }
            dir.dirs().for_each(|dir| collect(dir, files));
        }
        let mut files = BTreeMap::new();
        collect(&BUILT_IN, &mut files);
        Self { files }
    }

    /// `.yaml` and `.csv` files, and the messages beside tests, under `root`.
    pub fn from_folder(root: &Path) -> Result<Self, FilesError> {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let unreadable = |source| FilesError::Unreadable { path: folder.display().to_string(), source };
            for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let shown = path.display().to_string();
                let unreadable = |source| FilesError::Unreadable { path: shown.clone(), source };
                if path.metadata().map_err(unreadable)?.len() > FILE_BYTES_MAX || files.len() >= FILES_MAX {
                    return Err(FilesError::TooLarge { path: shown });
                }
                let bytes = std::fs::read(&path).map_err(unreadable)?;
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                files.insert(name, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(Self { files })
    }

    pub fn from_archive(archive: &[u8]) -> Result<Self, FilesError> {
        serde_json::from_slice(archive).map(|files| Self { files }).map_err(|_| FilesError::Damaged)
    }

    /// For the store: a plan made with this set finds it again after a restart. Tests are left out.
    pub fn to_archive(&self) -> Bytes {
        let files: BTreeMap<&String, &String> = self.effective().collect();
        serde_json::to_vec(&files).map(Bytes::from).unwrap_or_default()
    }

    /// Hex SHA-256 over names and contents of what takes part in mapping.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (name, text) in self.effective() {
            digest.update((name.len() as u64).to_be_bytes());
            digest.update(name);
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        hex(&digest.finalize())
    }

    fn effective(&self) -> impl Iterator<Item = (&String, &String)> {
        self.files.iter().filter(|(name, _)| !name.contains("/tests/"))
    }

    /// Without any.
    pub fn empty() -> Self {
        Self { files: BTreeMap::new() }
    }

    /// Every file by its name, tests too.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// Files directly in `folder` (`ers`, `codes/default`) with that extension: stem and name.
    pub fn in_folder<'f>(&'f self, folder: &str, extension: &str) -> Vec<(&'f str, &'f str, &'f str)> {
        let prefix = format!("{folder}/");
        self.files
            .iter()
            .filter_map(|(name, text)| {
                let rest = name.strip_prefix(&prefix)?;
                let stem = rest.strip_suffix(extension)?.strip_suffix('.')?;
                (!stem.contains('/')).then_some((stem, name.as_str(), text.as_str()))
            })
            .collect()
    }

    /// Folders directly in `folder`.
    pub fn folders_in(&self, folder: &str) -> Vec<&str> {
        let prefix = format!("{folder}/");
        let mut folders: Vec<&str> = self
            .files
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix)?.split_once('/').map(|(folder, _)| folder))
            .collect();
        folders.dedup();
        folders
    }

    pub fn insert(&mut self, name: &str, text: &str) {
        self.files.insert(name.to_owned(), text.to_owned());
    }
}
