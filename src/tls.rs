//! TLS from PEM files: a listener's certificate with the CAs of client certificates, and a client's trust.
//!
//! Enters: the files that the settings name. Leaves: what rustls needs. Guarantees: a listener's files are read again when they have
//! changed; what cannot be used then changes nothing but the log; a client whose CA was taken out gets no new connection
//! once the new file is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::config::Tls;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: cannot read the PEM file: {source}")]
    Pem { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{path}: there is no certificate in it")]
    NoCertificate { path: PathBuf },
    #[error("{path}: not usable as certificates of a CA: {text}")]
    Authority { path: PathBuf, text: String },
    #[error("{path}: certificate and private key do not fit together: {source}")]
    KeyPair { path: PathBuf, source: rustls::Error },
}

/// What a client trusts, and how it shows who it is.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// CAs of the server's certificate.
    pub authorities: PathBuf,
    /// The name that the server's certificate must have.
    pub server_name: String,
    pub identity: Option<Identity>,
}

/// A client certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// With `client_ca`, a client without a certificate of one of them is refused.
pub fn server_config(tls: &Tls) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions");
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(Arc::new(ClientAuthorities(client_authorities(path)?))),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificate(certificate(tls)?)));
    if tls.client_ca.is_some() {
        // A session that is resumed shows no certificate: one of a CA that was taken out would go on for a day.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// What was made of files, and is made again when they have changed: who renews them needs not restart the gateway. What
/// cannot be used leaves in use what was before.
struct Renewed<T> {
    /// For the log.
    what: &'static str,
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    in_use: Mutex<InUse<T>>,
}

struct InUse<T> {
    /// Of the files, when they were last read, whatever came of it.
    stamp: Stamp,
    made: T,
}

/// By which each file is known: a copy may keep the time of what it was made of.
type Stamp = Vec<Option<Known>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    inode: u64,
}

impl<T: Clone> Renewed<T> {
    fn load(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let in_use = InUse { stamp: stamp(&files), made: make()? };
        Ok(Self { what, files, make: Box::new(make), in_use: Mutex::new(in_use) })
    }

    /// Looks at the files at each handshake: a call of the kernel for each, beside a signature.
    fn of_now(&self) -> T {
        let now = stamp(&self.files);
        let mut in_use = self.in_use.lock();
        if now != in_use.stamp {
            in_use.stamp = now;
            match (self.make)() {
                Ok(made) => {
                    in_use.made = made;
                    tracing::info!(file = %self.files[0].display(), "new {} in use", self.what);
                }
                // Between the writing of the one file and of the other as well.
                Err(error) => tracing::error!(%error, "new {} cannot be used; what was before stays in use", self.what),
            }
        }
        in_use.made.clone()
    }
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let known = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some(Known {
            modified: file.modified().ok(),
            bytes: file.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&file),
        })
    };
    files.iter().map(known).collect()
}

impl<T> std::fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renewed({} of {:?})", self.what, self.files)
    }
}

/// A listener's own.
#[derive(Debug)]
struct Certificate(Renewed<Arc<CertifiedKey>>);

fn certificate(tls: &Tls) -> Result<Renewed<Arc<CertifiedKey>>, TlsError> {
    let files = vec![tls.certificate.clone(), tls.private_key.clone()];
    let tls = tls.clone();
    Renewed::load("certificate", files, move || Ok(Arc::new(certified_key(&tls)?)))
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.of_now())
    }
}

fn certified_key(tls: &Tls) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(certificates(&tls.certificate)?, private_key(&tls.private_key)?, &provider())
        .map_err(|source| TlsError::KeyPair { path: tls.certificate.clone(), source })
}

/// CAs of client certificates.
#[derive(Debug)]
struct ClientAuthorities(Renewed<Arc<dyn ClientCertVerifier>>);

fn client_authorities(path: &Path) -> Result<Renewed<Arc<dyn ClientCertVerifier>>, TlsError> {
    let of = path.to_owned();
    Renewed::load("CAs of client certificates", vec![path.to_owned()], move || {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(&of)?), provider()).build();
        verifier.map_err(|error| TlsError::Authority { path: of.clone(), text: error.to_string() })
    })
}

impl ClientCertVerifier for ClientAuthorities {
    /// None: they would have to be those of the start. A client sends the certificate that it has (RFC 8446, 4.2.4: the
    /// extension is optional).
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.of_now().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.of_now().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.of_now().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.of_now().supported_verify_schemes()
    }
}

pub fn client_config(tls: &ClientTls) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(authorities(&tls.authorities)?);
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => builder
            .with_client_auth_cert(certificates(&identity.certificate)?, private_key(&identity.private_key)?)
            .map_err(|source| TlsError::KeyPair { path: identity.certificate.clone(), source }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let refused = |error: rustls::Error| TlsError::Authority { path: path.to_owned(), text: error.to_string() };
        roots.add(certificate).map_err(refused)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_same_time_is_another() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, next) = (folder.path().join("ca.pem"), folder.path().join("next.pem"));
        let files = [file.clone()];
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).expect("written");
            let open = std::fs::File::options().write(true).open(path).expect("it is there");
            open.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
        };
        assert_eq!(stamp(&files), [None]);
        write(&file, "one");
        let first = stamp(&files);
        assert_eq!(first, stamp(&files));
        write(&file, "longer");
        let longer = stamp(&files);
        assert_ne!(first, longer);
        write(&next, "others");
        std::fs::rename(&next, &file).expect("renamed");
        if cfg!(unix) {
            assert_ne!(longer, stamp(&files), "of the same length");
        }
    }
}
