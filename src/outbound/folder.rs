//! One folder of a document system: the documents that it gets, one after the other.
//!
//! Enters: dispatches of documents. Leaves: for each a document `<id>.<ext>` and, when that is on disk whole, its index
//! `<id>.json`. Guarantees: whoever sees an index finds its document whole; a document is written until it is on disk, however
//! often the gateway or its machine stops in between; what is there is not written again; names are the gateway's own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::documents::{extension, parts};
use super::events::Events;
use super::metrics::{DestinationMetrics, OutboundMetrics};
use super::wait_for_work;
use crate::backoff::Backoff;
use crate::config::DocumentFolder;
use crate::environment::Environment;
use crate::modes::Board;
use crate::store::{DispatchContent, DispatchState, DispatchStep, DueDispatch, Made, Result, Store, SwitchKind};

/// Read at once: documents are large.
const AT_ONCE: usize = 2;
/// What is not whole yet has a name that begins and ends so.
const UNFINISHED: (&str, &str) = (".", ".part");

pub(super) struct Folder {
    name: String,
    path: PathBuf,
    store: Arc<dyn Store>,
    events: Arc<Events>,
    metrics: DestinationMetrics,
    environment: Environment,
    /// Whether somebody has paused it.
    board: Board,
    backoff: Backoff,
    /// Said once for each time that it cannot be written.
    is_away: bool,
}

impl Folder {
    pub fn new(
        settings: DocumentFolder,
        store: Arc<dyn Store>,
        events: Arc<Events>,
        board: &Board,
        metrics: &OutboundMetrics,
        environment: &Environment,
    ) -> Self {
        Self {
            metrics: metrics.destination(&settings.name),
            name: settings.name,
            path: settings.path,
            store,
            events,
            environment: environment.clone(),
            board: board.clone(),
            backoff: Backoff::default(),
            is_away: false,
        }
    }

    /// Writes what there is until the gateway stops.
    pub async fn run(&mut self) {
        let path = self.path.clone();
        if let Err(error) = self.on_disk(move || remove_unfinished(&path)).await {
            tracing::warn!(folder = %self.name, %error, "what an earlier run left unfinished cannot be removed now");
        }
        loop {
            let signals = self.store.signals().clone();
            let bell = signals.dispatches.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            let goes_on = match self.write_due().await {
                Ok(Written::All) => wait_for_work(bell, &self.environment).await,
                Ok(Written::Some) => !self.environment.shutdown().is_cancelled(),
                Ok(Written::FolderIsAway) => self.backoff.wait(&self.environment).await,
                Err(error) => {
                    tracing::warn!(folder = %self.name, %error, "what to write cannot be read or noted now");
                    self.backoff.wait(&self.environment).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    pub fn stops(&self) {
        self.metrics.up.set(0);
    }

    async fn write_due(&mut self) -> Result<Written> {
        if self.board.is_paused(SwitchKind::Destination, &self.name, self.environment.now()) {
            self.stops();
            return Ok(Written::All);
        }
        let due = self.store.due_dispatches(&self.name, AT_ONCE).await?;
        if due.is_empty() {
            return Ok(Written::All);
        }
        for dispatch in &due {
            if self.environment.shutdown().is_cancelled() {
                return Ok(Written::Some);
            }
            let content = match &dispatch.content {
                Some(content) => content.clone(),
                None => match self.events.make_anew(dispatch).await? {
                    Made::Message(content) => {
                        self.store.make_dispatch(dispatch.id, content.clone()).await?;
                        content
                    }
                    Made::Unmade(why) => {
                        self.note(dispatch, DispatchState::Unmade, why).await?;
                        continue;
                    }
                },
            };
            let path = self.path.clone();
            match self.on_disk(move || write(&path, &content)).await {
                Ok(()) => self.note(dispatch, DispatchState::Delivered, String::new()).await?,
                Err(error) => {
                    self.metrics.tried("unreachable");
                    self.metrics.up.set(0);
                    if !std::mem::replace(&mut self.is_away, true) {
                        tracing::warn!(folder = %self.name, %error, "documents wait: their folder cannot be written");
                        let why = format!("the folder cannot be written: {error}");
                        self.note(dispatch, DispatchState::Waiting, why).await?;
                    }
                    return Ok(Written::FolderIsAway);
                }
            }
            self.metrics.up.set(1);
            self.is_away = false;
            self.backoff.reset();
        }
        Ok(Written::Some)
    }

    async fn note(&self, dispatch: &DueDispatch, state: DispatchState, why: String) -> Result<()> {
        if state != DispatchState::Waiting {
            self.metrics.tried(state.name());
        }
        let at = self.environment.now();
        let tries = dispatch.tries.saturating_add(1);
        self.store.step_dispatch(DispatchStep { id: dispatch.id, at, state, tries, put_off: 0, why }).await
    }

    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        self.environment.spawn_blocking_on(&Handle::current(), work).await.map_err(io::Error::other)?
    }
}

/// How far a look came.
enum Written {
    /// There was nothing.
    All,
    /// There may be more.
    Some,
    FolderIsAway,
}

/// The document, then its index; an index that is there says that both were. Each step is on disk before the next.
fn write(folder: &Path, content: &DispatchContent) -> io::Result<()> {
    let id = &content.control_id;
    let index_name = format!("{id}.json");
    if folder.join(&index_name).try_exists()? {
        return Ok(());
    }
    let (index, document) = parts(&content.bytes).ok_or_else(|| io::Error::other("the document has no index"))?;
    put(folder, &format!("{id}.{}", extension(&content.kind)), &document)?;
    put(folder, &index_name, &index)
}

/// A file that is there whole or not at all.
fn put(folder: &Path, name: &str, bytes: &Bytes) -> io::Result<()> {
    let unfinished = folder.join(format!("{}{name}{}", UNFINISHED.0, UNFINISHED.1));
    let written = write_unfinished(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, folder.join(name)))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // A full disk needs the room.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

/// Always a new file: what another put at its name, a link perhaps, is not written through.
fn write_unfinished(path: &Path, bytes: &Bytes) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // The document system reads it by its group.
        options.mode(0o640);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What a run that was killed left behind; its documents are written anew.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            let inner = name.strip_prefix(UNFINISHED.0).and_then(|name| name.strip_suffix(UNFINISHED.1));
            inner.and_then(|inner| inner.split_once('.')).is_some_and(|(id, _)| crate::given::is_document_id(id))
        });
        if is_ours {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "D0123456789ABCDEFGHJKMNPQRS";

    fn content(index: &str, document: &[u8]) -> DispatchContent {
        let bytes = [index.as_bytes(), b"\n", document].concat();
        DispatchContent { kind: "application/pdf".into(), control_id: ID.into(), bytes: bytes.into() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_document_is_there_with_its_index_and_is_not_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let document = b"%PDF-\nwith line ends\n";
        write(folder.path(), &content("{\"id\":\"1\"}", document)).expect("written");
        let (pdf, index) = (format!("{ID}.pdf"), format!("{ID}.json"));
        assert_eq!(names(folder.path()), [index.clone(), pdf.clone()]);
        assert_eq!(std::fs::read(folder.path().join(&pdf)).expect("read"), document);
        assert_eq!(std::fs::read(folder.path().join(&index)).expect("read"), b"{\"id\":\"1\"}\n");
        // The document system may have taken the document, and not its index yet.
        std::fs::remove_file(folder.path().join(&pdf)).expect("removed");
        write(folder.path(), &content("{}", b"%PDF-2")).expect("there already");
        assert_eq!(names(folder.path()), [index]);
    }

    #[test]
    fn what_was_left_unfinished_is_removed_or_written_over_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let unfinished = format!(".{ID}.pdf.part");
        for name in [unfinished.as_str(), ".hidden.part", "scan.pdf"] {
            std::fs::write(folder.path().join(name), b"half").expect("written");
        }
        // As after a crash between the document and its index.
        std::fs::write(folder.path().join(format!("{ID}.pdf")), b"whole").expect("written");
        remove_unfinished(folder.path()).expect("removed");
        assert_eq!(names(folder.path()), [".hidden.part", &format!("{ID}.pdf"), "scan.pdf"]);
        write(folder.path(), &content("{}", b"whole")).expect("written");
        assert_eq!(names(folder.path()).len(), 4);
    }

    #[test]
    fn an_index_is_not_there_before_its_document() {
        let folder = tempfile::tempdir().expect("a folder");
        let in_the_way = folder.path().join(format!("{ID}.pdf"));
        std::fs::create_dir(&in_the_way).expect("made");
        assert!(write(folder.path(), &content("{}", b"whole")).is_err());
        assert_eq!(names(folder.path()), [format!("{ID}.pdf")], "nothing unfinished stays either");
        std::fs::remove_dir(&in_the_way).expect("removed");
        write(folder.path(), &content("{}", b"whole")).expect("written");
        assert_eq!(names(folder.path()), [format!("{ID}.json"), format!("{ID}.pdf")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_at_the_name_of_an_unfinished_file_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, b"not ours").expect("written");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(format!(".{ID}.pdf.part"))).expect("linked");
        write(folder.path(), &content("{}", b"whole")).expect("written");
        assert_eq!(std::fs::read(&elsewhere).expect("read"), b"not ours");
        assert_eq!(std::fs::read(folder.path().join(format!("{ID}.pdf"))).expect("read"), b"whole");
    }

    #[test]
    fn a_folder_that_is_missing_is_never_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("not-mounted");
        assert!(write(&missing, &content("{}", b"")).is_err());
        assert!(!missing.exists());
    }
}
