//! The master key and what hangs from it: what seals secrets at rest and turns identifiers into digests.
//!
//! Enters: 32 random bytes (base64), from a file or from the settings. Leaves: sealed secrets (AES-256-GCM), keyed
//! digests (HMAC-SHA256), and the data keys of a store, wrapped and unwrapped. Guarantees: each use has a key of its
//! own, derived by label, so that neither reveals the other; a sealed secret opens only in the context that it was
//! sealed for; nothing here is ever shown by `Debug`.
//!
//! Digests must outlive a change of the master key, so they hang from a *root*: the first master key that a store met,
//! which it keeps wrapped like a data key.

mod cipher;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretSlice};
use sha2::Sha256;

pub use self::cipher::{Cipher, KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use crate::command::{NhsNumber, nhs_numbers_in};
use crate::environment::Environment;
use crate::store::AliasKind;

/// By which a store knows the master key that something was wrapped with. It reveals nothing of it.
pub type Fingerprint = [u8; 8];

/// A key that is not shown.
pub type SecretKey = SecretBox<[u8; KEY_BYTES]>;

/// The keys of one gateway. Cheap to clone; clones share the secret.
#[derive(Clone)]
pub struct Keys {
    master: Arc<Master>,
    root: Arc<Root>,
    environment: Environment,
}

struct Master {
    key: SecretKey,
    wrap: Cipher,
    fingerprint: Fingerprint,
}

struct Root {
    seal: Cipher,
    identifiers: SecretKey,
    given: SecretKey,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read or create the key file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is not a key file: it must hold 32 random bytes as base64; `ers-gateway keys` makes one")]
    Shape { path: PathBuf },
    #[error("`key` in the settings is no key: it must be 32 random bytes as base64, as `ers-gateway keys` makes them")]
    Text,
    #[error("a stored secret does not open with this key file: restore the key file that it was sealed with")]
    WrongKey,
}

/// One key per use, as HKDF-Expand (RFC 5869) makes a first block: HMAC over the label.
fn expand(key: &SecretKey, label: &str) -> [u8; KEY_BYTES] {
    let mut mac = hmac(key.expose_secret());
    mac.update(label.as_bytes());
    mac.update(&[1]);
    mac.finalize().into_bytes().into()
}

impl Master {
    fn new(key: SecretKey) -> Self {
        let wrap = SecretBox::new(Box::new(expand(&key, "ers-gateway wrap v1")));
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(&expand(&key, "ers-gateway fingerprint v1")[..8]);
        Self { wrap: Cipher::new(wrap.expose_secret()), fingerprint, key }
    }
}

impl Root {
    fn new(key: &SecretKey) -> Self {
        let derived = |label| SecretBox::new(Box::new(expand(key, label)));
        Self {
            seal: Cipher::new(derived("ers-gateway seal v1").expose_secret()),
            identifiers: derived("ers-gateway identifiers v1"),
            given: derived("ers-gateway given v1"),
        }
    }
}

impl Keys {
    /// Reads the key file, or makes one (readable by its owner only) if there is none. Two processes
    /// that start together end up with the same file.
    pub fn load_or_create(path: &Path, environment: &Environment) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        if let Err(error) = fs::metadata(path)
            && error.kind() == io::ErrorKind::NotFound
        {
            create(path, environment).map_err(file)?;
        }
        Self::load(path, environment)
    }

    /// Reads a key file that is there.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, KeyError> {
        let text = fs::read_to_string(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Self::of_text(&text, environment).map_err(|_| KeyError::Shape { path: path.to_owned() })
    }

    /// As it stands in a key file.
    pub fn of_text(text: &str, environment: &Environment) -> Result<Self, KeyError> {
        let key = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(KeyError::Text)?;
        let master = Master::new(SecretBox::new(Box::new(key)));
        let root = Arc::new(Root::new(&master.key));
        Ok(Self { master: Arc::new(master), root, environment: environment.clone() })
    }

    /// The same master key, with the digests of a store that has another root.
    pub fn with_root(&self, root: &SecretKey) -> Self {
        Self { root: Arc::new(Root::new(root)), ..self.clone() }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.master.fingerprint
    }

    /// What becomes the root of a store that has none.
    pub fn first_root(&self) -> SecretKey {
        SecretBox::new(Box::new(*self.master.key.expose_secret()))
    }

    /// A key of its own for somebody's data.
    pub fn new_key(&self) -> SecretKey {
        let mut key = [0; KEY_BYTES];
        self.environment.fill_random(&mut key);
        SecretBox::new(Box::new(key))
    }

    /// A key as it may be written down: it opens with this master key, and by that name.
    pub fn wrap(&self, name: &str, key: &SecretKey) -> Vec<u8> {
        self.master.wrap.seal(&[], self.nonce(), name.as_bytes(), key.expose_secret())
    }

    pub fn unwrap(&self, name: &str, wrapped: &[u8]) -> Result<SecretKey, KeyError> {
        let key = self.master.wrap.open(0, name.as_bytes(), wrapped.to_vec()).ok_or(KeyError::WrongKey)?;
        Ok(SecretBox::new(Box::new(key.try_into().map_err(|_| KeyError::WrongKey)?)))
    }

    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        self.environment.fill_random(&mut nonce);
        nonce
    }

    /// Seals `plain` for `context` (whose secret it is): nonce, then ciphertext and tag.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Bytes {
        self.root.seal.seal(&[], self.nonce(), context.as_bytes(), plain).into()
    }

    /// Opens what [`Keys::seal`] made for the same context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<SecretSlice<u8>, KeyError> {
        let plain = self.root.seal.open(0, context.as_bytes(), sealed.to_vec()).ok_or(KeyError::WrongKey)?;
        Ok(SecretSlice::from(plain))
    }

    /// The name of a thread as the store knows it. `parts` are kept apart by their lengths, so that
    /// (`ab`, `c`) and (`a`, `bc`) differ.
    pub fn alias_digest(&self, kind: AliasKind, parts: &[&str]) -> [u8; 32] {
        digest_of(self.root.identifiers.expose_secret(), std::iter::once(kind.name()).chain(parts.iter().copied()))
    }

    /// What a patient is known by in the store: whoever has the rows alone cannot tell whose they are.
    pub fn patient_digest(&self, number: &NhsNumber) -> [u8; 32] {
        digest_of(self.root.identifiers.expose_secret(), ["patient", number.as_str()].into_iter())
    }

    /// Of every patient whose NHS number a text mentions.
    pub fn patients_in(&self, text: &[u8]) -> Vec<[u8; 32]> {
        nhs_numbers_in(text).iter().map(|number| self.patient_digest(number)).collect()
    }

    /// Of what the gateway gives an identifier to (`given.rs`).
    pub fn given_digest(&self, parts: &[&str]) -> [u8; 32] {
        digest_of(self.root.given.expose_secret(), parts.iter().copied())
    }
}

/// Parts are kept apart by their lengths.
fn digest_of<'p>(key: &[u8; KEY_BYTES], parts: impl Iterator<Item = &'p str>) -> [u8; 32] {
    let mut mac = hmac(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

fn hmac(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Written whole beside its place and then linked into it, so that no one reads half a key and a file
/// that appeared meanwhile is kept.
fn create(path: &Path, environment: &Environment) -> io::Result<()> {
    let mut master = [0u8; KEY_BYTES];
    environment.fill_random(&mut master);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = folder.join(format!(".{}.key-draft", environment.random_id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&draft)?;
    let written = writeln!(file, "{}", STANDARD.encode(master)).and_then(|()| file.sync_all());
    let placed = match written.and_then(|()| fs::hard_link(&draft, path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        placed => placed,
    };
    fs::remove_file(&draft)?;
    placed?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u64) -> Keys {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let environment = Environment::simulated(seed, jiff::Timestamp::UNIX_EPOCH);
        Keys::load_or_create(&folder.path().join("gateway.key"), &environment).expect("a new key file")
    }

    #[tokio::test]
    async fn a_key_file_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("gateway.key");
        let environment = Environment::system();
        let first = Keys::load_or_create(&path, &environment).expect("made");
        let second = Keys::load_or_create(&path, &environment).expect("read");
        let sealed = first.seal("here", b"a secret");
        assert_eq!(second.open("here", &sealed).expect("the same key").expose_secret(), b"a secret");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "no draft is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).expect("the key file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_key_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("gateway.key");
        for text in ["", "short", "c2hvcnQ=", "not base64 at all, but long enough to be one"] {
            fs::write(&path, text).expect("the test's file");
            let refused = Keys::load_or_create(&path, &Environment::system());
            assert!(matches!(refused, Err(KeyError::Shape { .. })), "{text:?}");
            assert_eq!(fs::read_to_string(&path).expect("still there"), text);
        }
    }

    #[tokio::test]
    async fn a_sealed_secret_opens_only_with_its_key_and_for_its_context() {
        let keys = keys(1);
        let sealed = keys.seal("int/refresh_token", b"a refresh token");
        assert!(!sealed.windows(9).any(|window| window == b"a refresh"));
        assert_ne!(sealed, keys.seal("int/refresh_token", b"a refresh token"), "every seal has its own nonce");
        assert!(keys.open("int/refresh_token", &sealed).is_ok());
        assert!(keys.open("production/refresh_token", &sealed).is_err());
        assert!(self::keys(2).open("int/refresh_token", &sealed).is_err());
        for cut in [0, 5, NONCE_BYTES, sealed.len() - 1] {
            assert!(keys.open("int/refresh_token", &sealed[..cut]).is_err(), "{cut} bytes");
        }
    }

    #[tokio::test]
    async fn a_wrapped_key_opens_with_its_master_key_and_by_its_name() {
        let (one, other) = (keys(1), keys(2));
        let key = one.new_key();
        let wrapped = one.wrap("data key 7", &key);
        assert_eq!(one.unwrap("data key 7", &wrapped).expect("it opens").expose_secret(), key.expose_secret());
        assert!(one.unwrap("data key 8", &wrapped).is_err());
        assert!(other.unwrap("data key 7", &wrapped).is_err());
        assert_ne!(one.fingerprint(), other.fingerprint());
        let moved = other.with_root(&one.first_root());
        let digest = |keys: &Keys| keys.alias_digest(AliasKind::LocalId, &["northmoor", "R1"]);
        assert_eq!(digest(&moved), digest(&one), "digests go with the root");
        assert_eq!(moved.fingerprint(), other.fingerprint(), "wrapping stays with the master key");
    }

    #[tokio::test]
    async fn an_alias_digest_tells_kinds_and_parts_apart() {
        let keys = keys(1);
        let digest = keys.alias_digest(AliasKind::LocalId, &["northmoor", "R1"]);
        assert_eq!(digest, keys.alias_digest(AliasKind::LocalId, &["northmoor", "R1"]));
        for (kind, parts) in [
            (AliasKind::Ubrn, ["northmoor", "R1"]),
            (AliasKind::LocalId, ["northmoo", "rR1"]),
            (AliasKind::LocalId, ["northmoor", "R2"]),
        ] {
            assert_ne!(digest, keys.alias_digest(kind, &parts), "{kind:?} {parts:?}");
        }
        assert_ne!(digest, self::keys(2).alias_digest(AliasKind::LocalId, &["northmoor", "R1"]));
    }
}
