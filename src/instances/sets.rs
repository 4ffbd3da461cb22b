//! The mapping set in use, the folder that it comes from, and agreement with the others about it.
//!
//! The newest set that any instance read from its files is the one that all use (`design.md` section 7). A set is
//! known to the store before any plan is made with it.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::changes::{self, What};
use crate::environment::Environment;
use crate::mapping::{Diagnostic, FilesError, MappingFiles, MappingSet, MappingSets};
use crate::store::{SetAnnouncement, Store, StoreError};
use crate::telemetry::MappingMetrics;

#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("the mapping set is broken:\n{}", lines(.0))]
    Broken(Vec<Diagnostic>),
    #[error("the store cannot keep the mapping set: {0}")]
    Store(#[from] StoreError),
    #[error("the newest set {0} is not in the store")]
    Missing(String),
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Mappings {
    shared: Arc<Shared>,
}

struct Shared {
    folder: Option<PathBuf>,
    instance: String,
    sets: Arc<MappingSets>,
    metrics: MappingMetrics,
    store: Arc<dyn Store>,
    environment: Environment,
    /// A newest set that this version cannot use: told once.
    unusable: Mutex<Option<String>>,
    /// Our own set, and the newest when we began: announced when no older version can come back any more.
    held_back: Mutex<Option<HeldBack>>,
}

struct HeldBack {
    set: Arc<MappingSet>,
    newest: String,
}

impl Mappings {
    /// Reads the files of `folder` (the built-in ones if there is none) and announces them, unless an older version is
    /// about: it could not carry out what is planned with a set that only this version understands.
    pub async fn begin(
        folder: Option<PathBuf>,
        instance: &str,
        metrics: MappingMetrics,
        store: Arc<dyn Store>,
        environment: &Environment,
    ) -> Result<Self, SetError> {
        let set = read(folder.as_ref())?;
        let before = changes::last(&*store, What::MappingSet, instance).await?;
        let mappings = Self {
            shared: Arc::new(Shared {
                folder,
                instance: instance.to_owned(),
                sets: Arc::new(MappingSets::new(set.clone())),
                metrics,
                store,
                environment: environment.clone(),
                unusable: Mutex::default(),
                held_back: Mutex::default(),
            }),
        };
        let newest = match mappings.held_back(&set).await? {
            Some(newest) => newest,
            None => mappings.announce(&set, false).await?,
        };
        mappings.take_up(set);
        mappings.note_change(before.as_deref(), "start").await?;
        if newest != mappings.digest() {
            tracing::warn!(
                mapping.set = %newest, own = %mappings.digest(),
                "the store has newer mapping files, or those of an older version that is about: using those"
            );
            mappings.follow().await;
        }
        Ok(mappings)
    }

    pub fn sets(&self) -> Arc<MappingSets> {
        self.shared.sets.clone()
    }

    /// Digest of the set in use.
    pub fn digest(&self) -> String {
        self.shared.sets.current().digest().to_owned()
    }

    /// Reads the files again and makes them the newest for all instances. A broken set leaves the running one in
    /// place.
    pub async fn reload(&self) -> Result<String, SetError> {
        let taken_up = match read(self.shared.folder.as_ref()) {
            Ok(set) => self.reload_with(set).await,
            Err(error) => Err(error),
        };
        match &taken_up {
            Ok(digest) => tracing::info!(mapping.set = %digest, "the mapping files were read again"),
            Err(error) => {
                self.shared.metrics.refused();
                tracing::error!(%error, mapping.set = %self.digest(), "the mapping files were not taken up; the set in use stays");
            }
        }
        taken_up
    }

    async fn reload_with(&self, set: Arc<MappingSet>) -> Result<String, SetError> {
        let digest = set.digest().to_owned();
        self.announce(&set, true).await?;
        let before = self.digest();
        self.take_up(set);
        // It was asked for, so it is noted even where nothing changed.
        self.note(Some(&before), "the files were read again (SIGHUP)").await?;
        Ok(digest)
    }

    /// A row of the audit log where this instance uses another set than `before`.
    async fn note_change(&self, before: Option<&str>, why: &str) -> Result<(), SetError> {
        if before == Some(&*self.digest()) { Ok(()) } else { self.note(before, why).await }
    }

    async fn note(&self, before: Option<&str>, why: &str) -> Result<(), SetError> {
        let Shared { store, instance, environment, .. } = &*self.shared;
        let digests = (before, &*self.digest());
        Ok(changes::note(&**store, What::MappingSet, instance, digests, why, environment.now()).await?)
    }

    /// The newest set, if ours waits until older versions are gone for good.
    async fn held_back(&self, set: &Arc<MappingSet>) -> Result<Option<String>, SetError> {
        let store = &self.shared.store;
        let Some(newest) = store.newest_set().await? else { return Ok(None) };
        if newest == set.digest() || !store.has_older_versions().await? {
            return Ok(None);
        }
        let now = self.shared.environment.now();
        store.register_set(set.digest(), set.files().to_archive(), now).await?;
        *self.shared.held_back.lock() = Some(HeldBack { set: set.clone(), newest: newest.clone() });
        Ok(Some(newest))
    }

    /// Announces what was held back, once nobody is left who could not use it; unless somebody announced another.
    async fn announce_held_back(&self) {
        let Some((set, newest)) =
            self.shared.held_back.lock().as_ref().map(|held| (held.set.clone(), held.newest.clone()))
        else {
            return;
        };
        let store = &self.shared.store;
        let (Ok(current), Ok(false)) = (store.newest_set().await, store.has_older_versions().await) else { return };
        if current == Some(newest) && self.announce(&set, false).await.is_err() {
            return;
        }
        *self.shared.held_back.lock() = None;
    }

    /// Takes up what another instance announced since.
    pub(super) async fn follow(&self) {
        self.announce_held_back().await;
        let newest = match self.shared.store.newest_set().await {
            Ok(Some(newest)) if newest != self.digest() => newest,
            _ => return,
        };
        if self.shared.unusable.lock().as_ref() == Some(&newest) {
            return;
        }
        match self.load(&newest).await {
            Ok(set) => {
                let before = self.digest();
                self.take_up(set);
                if let Err(error) = self.note_change(Some(&before), "announced by another instance").await {
                    tracing::warn!(%error, mapping.set = %newest, "the change of mapping set is not in the audit log");
                }
                tracing::info!(mapping.set = %newest, "took up the mapping set that another instance announced");
            }
            Err(SetError::Store(error)) => tracing::debug!(%error, "the newest mapping set cannot be read now"),
            Err(error) => {
                self.shared.metrics.refused();
                tracing::error!(%error, mapping.set = %newest, "the newest mapping set cannot be used by this version; its own stays in use");
                *self.shared.unusable.lock() = Some(newest);
            }
        }
    }

    async fn load(&self, digest: &str) -> Result<Arc<MappingSet>, SetError> {
        let archive = self.shared.store.load_set(digest).await?;
        let archive = archive.ok_or_else(|| SetError::Missing(digest.to_owned()))?;
        MappingSet::load(MappingFiles::from_archive(&archive)?).map(Arc::new).map_err(SetError::Broken)
    }

    async fn announce(&self, set: &MappingSet, asked_for: bool) -> Result<String, SetError> {
        let announcement = SetAnnouncement {
            digest: set.digest().to_owned(),
            archive: set.files().to_archive(),
            instance: self.shared.instance.clone(),
            asked_for,
            at: self.shared.environment.now(),
        };
        Ok(self.shared.store.announce_set(announcement).await?)
    }

    fn take_up(&self, set: Arc<MappingSet>) {
        self.shared.metrics.loaded(set.digest());
        self.shared.sets.replace(set);
        *self.shared.unusable.lock() = None;
    }
}

/// Every file is read and checked: nothing half-read is ever used.
fn read(folder: Option<&PathBuf>) -> Result<Arc<MappingSet>, SetError> {
    let files = match folder {
        Some(folder) => MappingFiles::from_folder(folder)?,
        None => MappingFiles::built_in(),
    };
    MappingSet::load(files).map(Arc::new).map_err(SetError::Broken)
}
