//! TLS from PEM files: a listener's certificate with the CAs of client certificates, and a client's trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

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
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path)?), provider())
                .build()
                .map_err(|error| TlsError::Authority { path: path.clone(), text: error.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(builder.with_cert_resolver(Arc::new(Renewed::load(tls)?)))
}

/// A listener's certificate, read again when its files have changed: who renews it needs not restart the gateway.
#[derive(Debug)]
struct Renewed {
    tls: Tls,
    in_use: Mutex<InUse>,
}

#[derive(Debug)]
struct InUse {
    /// Of the files, when they were last read, whatever came of it.
    stamp: Stamp,
    key: Arc<CertifiedKey>,
}

/// When certificate and private key were last written.
type Stamp = [Option<SystemTime>; 2];

impl Renewed {
    fn load(tls: &Tls) -> Result<Self, TlsError> {
        let in_use = InUse { stamp: stamp(tls), key: Arc::new(certified_key(tls)?) };
        Ok(Self { tls: tls.clone(), in_use: Mutex::new(in_use) })
    }
}

impl ResolvesServerCert for Renewed {
    /// Looks at the files at each handshake: two calls of the kernel beside a signature.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = stamp(&self.tls);
        let mut in_use = self.in_use.lock();
        if now != in_use.stamp {
            in_use.stamp = now;
            match certified_key(&self.tls) {
                Ok(key) => {
                    in_use.key = Arc::new(key);
                    tracing::info!(certificate = %self.tls.certificate.display(), "a new certificate is in use");
                }
                // Between the writing of the one file and of the other as well.
                Err(error) => tracing::error!(%error, "a certificate cannot be used; the one before stays in use"),
            }
        }
        Some(in_use.key.clone())
    }
}

fn stamp(tls: &Tls) -> Stamp {
    [&tls.certificate, &tls.private_key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn certified_key(tls: &Tls) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(certificates(&tls.certificate)?, private_key(&tls.private_key)?, &provider())
        .map_err(|source| TlsError::KeyPair { path: tls.certificate.clone(), source })
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
