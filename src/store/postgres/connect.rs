//! From a URL to connections: addresses, TLS, limits in time.
//!
//! Enters: `postgres://user:password@host,host/database?…`, as libpq reads it. Leaves: a pool, or single connections.
//! Guarantees: what leaves this machine is encrypted unless `sslmode=disable` says otherwise, and the server's
//! certificate and name are checked whenever it is; a connection that is stuck ends by itself, on both sides; a
//! password is in no message.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::environment::is_this_machine;

/// Connections of one gateway: three that commit in groups, the rest for reading and what people do.
const CONNECTIONS_MAX: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a place in the pool.
const POOL_WAIT: Duration = Duration::from_secs(10);
/// A peer that acknowledges nothing for so long is gone.
const PEER_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Limits that the server keeps for us. A transaction whose client was stopped in the middle holds locks that
/// others need: it is ended long before a lease is. A statement that waits for a lock gives up before that.
const SESSION: &str = "-c idle_in_transaction_session_timeout=5s -c lock_timeout=4s -c statement_timeout=30s \
     -c client_connection_check_interval=2s -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 \
     -c tcp_keepalives_count=3 -c default_transaction_isolation=read\\ committed -c synchronous_commit=on \
     -c jit=off -c timezone=UTC";

/// Where the database is, checked and ready.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: MakeRustlsConnect,
}

/// What is wrong with a URL: never the URL itself, for it holds a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl Address {
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let (url, ours) = take_tls_parameters(url)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
            AddressError(format!(
                "cannot be read as postgres://user:password@host/database{why} (special characters in a password are \
                 written as %XX)"
            ))
        })?;
        if config.get_hosts().is_empty() {
            return Err(AddressError("names no host: postgres://user:password@host/database".into()));
        }
        match ours.mode.as_deref() {
            None if !stays_on_this_machine(&config) => {
                config.ssl_mode(SslMode::Require);
            }
            None => {}
            Some("disable") => {
                config.ssl_mode(SslMode::Disable);
            }
            Some("require" | "verify-ca" | "verify-full") => {
                config.ssl_mode(SslMode::Require);
            }
            Some(_) => {
                return Err(AddressError(
                    "sslmode is disable or verify-full (certificate and name are checked in any other case)".into(),
                ));
            }
        }
        let options = match config.get_options() {
            Some(given) => format!("{SESSION} {given}"),
            None => SESSION.to_owned(),
        };
        config
            .options(options)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(PEER_SILENCE_MAX)
            .keepalives_idle(PEER_SILENCE_MAX)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("ers-gateway");
        }
        let tls = MakeRustlsConnect::new(client_tls(ours.root_certificate)?);
        Ok(Self { config, tls })
    }

    /// Hosts and database, for people.
    pub fn place(&self) -> String {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!("postgres://{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }

    /// Makes no connection yet.
    pub(super) fn pool(&self) -> Pool {
        let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), self.tls.clone(), settings);
        Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .timeouts(Timeouts { wait: Some(POOL_WAIT), create: Some(CONNECT_TIMEOUT), recycle: None })
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is given for the timeouts")
    }

    /// A connection outside the pool, whose other half the caller drives.
    pub(super) async fn connect(
        &self,
    ) -> Result<
        (
            tokio_postgres::Client,
            tokio_postgres::Connection<
                tokio_postgres::Socket,
                <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
            >,
        ),
        tokio_postgres::Error,
    > {
        self.config.connect(self.tls.clone()).await
    }
}

/// An address (`hostaddr`) is where a connection goes, whatever the host's name.
pub(crate) fn stays_on_this_machine(config: &Config) -> bool {
    let is_own = |host: &Host| match host {
        Host::Tcp(name) => is_this_machine(name),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    !hosts.is_empty() && hosts.iter().all(is_own) && addresses.iter().all(IpAddr::is_loopback)
}

/// Parameters of a URL that are read here.
#[derive(Default)]
struct TlsParameters {
    mode: Option<String>,
    root_certificate: Option<PathBuf>,
}

fn take_tls_parameters(url: &str) -> Result<(String, TlsParameters), AddressError> {
    let Some((place, query)) = url.split_once('?') else { return Ok((url.to_owned(), TlsParameters::default())) };
    let mut ours = TlsParameters::default();
    let mut others = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => ours.mode = Some(mode.to_owned()),
            Some(("sslrootcert", path)) if path.contains('%') => {
                return Err(AddressError("sslrootcert is a plain path, without %XX".into()));
            }
            Some(("sslrootcert", path)) => ours.root_certificate = Some(path.into()),
            _ => others.push(parameter),
        }
    }
    let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    Ok((format!("{place}{query}"), ours))
}

/// Trusts the given CAs, or those of this machine.
fn client_tls(root_certificate: Option<PathBuf>) -> Result<ClientConfig, AddressError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions");
    let Some(path) = root_certificate else {
        let builder = builder
            .with_platform_verifier()
            .map_err(|error| AddressError(format!("the CAs of this machine cannot be read: {error}")))?;
        return Ok(builder.with_no_client_auth());
    };
    let unreadable = |why: String| AddressError(format!("sslrootcert {}: {why}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| unreadable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("there is no certificate in it".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for (url, mode) in [
            ("postgres://gateway@db.trust.nhs.uk/ers", SslMode::Require),
            ("postgres://gateway@127.0.0.1,db.trust.nhs.uk/ers", SslMode::Require),
            ("postgres://gateway@127.0.0.1/ers", SslMode::Prefer),
            ("postgres://gateway@127.0.0.1/ers?hostaddr=127.0.0.1", SslMode::Prefer),
            ("postgres://gateway@127.0.0.1/ers?hostaddr=10.1.2.3", SslMode::Require),
            ("postgres://gateway@localhost,localhost/ers?hostaddr=127.0.0.1,10.1.2.3", SslMode::Require),
            ("postgres://gateway@localhost/ers?hostaddr=10.1.2.3&sslmode=disable", SslMode::Disable),
            ("postgres://gateway@localhost/ers?sslmode=verify-full", SslMode::Require),
            ("postgres://gateway@db.trust.nhs.uk/ers?sslmode=disable&connect_timeout=3", SslMode::Disable),
        ] {
            assert_eq!(Address::parse(url).expect(url).config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "postgres://gateway:Tr0ub4dor@/ers",
            "postgres://gateway:Tr0ub4dor@db:port/ers",
            "postgres://gateway:Tr0ub4dor@db/ers?sslmode=prefer",
            "postgres://gateway:Tr0ub4dor@db/ers?sslrootcert=/nowhere.pem",
            "postgres://gateway:Tr0ub4dor@db/ers?colour=green",
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!error.to_string().contains("Tr0ub4dor"), "{error}");
        }
        let address = Address::parse("postgres://gateway:Tr0ub4dor@db1,db2/ers?sslmode=disable").expect("read");
        assert_eq!(address.place(), "postgres://db1,db2/ers");
    }
}
