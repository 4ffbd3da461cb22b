//! TLS from PEM files: a listener's certificate with the CAs of client certificates, and a client's trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
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
    builder
        .with_single_cert(certificates(&tls.certificate)?, private_key(&tls.private_key)?)
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
