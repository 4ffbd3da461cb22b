use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::door::{Served, message, settings};
use crate::config::Tls;
use crate::inbound::mllp::{MllpMetrics, MllpServer};
use crate::outbound::{MllpClient, MllpClientError};
use crate::tls::{ClientTls, Identity};

/// A folder with two CAs, a server's certificate and one client's certificate of each CA.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn make() -> Self {
        let made = Self { folder: tempfile::tempdir().expect("a folder for the test") };
        for (authority, leaves) in [("ours", &["server", "client"][..]), ("other", &["stranger"])] {
            let mut params = CertificateParams::new([]).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let issuer = CertifiedIssuer::self_signed(params, key).expect("a CA");
            made.write(&format!("{authority}.pem"), &issuer.pem());
            for leaf in leaves {
                let key = KeyPair::generate().expect("a key");
                let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
                let certificate = params.signed_by(&key, &issuer).expect("a certificate");
                made.write(&format!("{leaf}.pem"), &certificate.pem());
                made.write(&format!("{leaf}.key"), &key.serialize_pem());
            }
        }
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, pem: &str) {
        std::fs::write(self.path(name), pem).expect("the folder can be written");
    }

    fn server(&self, client_ca: Option<&str>) -> Tls {
        Tls {
            certificate: self.path("server.pem"),
            private_key: self.path("server.key"),
            client_ca: client_ca.map(|name| self.path(name)),
        }
    }

    fn client(&self, authority: &str, identity: Option<&str>) -> ClientTls {
        ClientTls {
            authorities: self.path(authority),
            server_name: "localhost".to_owned(),
            identity: identity.map(|name| Identity {
                certificate: self.path(&format!("{name}.pem")),
                private_key: self.path(&format!("{name}.key")),
            }),
        }
    }
}

/// One message over TLS.
async fn send(served: &Served, tls: &ClientTls) -> Result<String, MllpClientError> {
    let address = served.address.to_string();
    let limit = Duration::from_secs(10);
    let mut client = MllpClient::connect(&address, Some(tls), limit, served.environment.clone()).await?;
    client.send(&message("E1")).await.map(|answer| String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn messages_travel_over_tls() {
    let certificates = Certificates::make();
    let served = Served::start(settings(|listener| listener.tls = Some(certificates.server(None)))).await;
    let answer = send(&served, &certificates.client("ours.pem", None)).await.expect("an answer");
    assert_eq!(answer, "MSA|AA|E1\r");
    let distrusted = send(&served, &certificates.client("other.pem", None)).await;
    assert!(matches!(distrusted, Err(MllpClientError::Unreachable { .. })));
    served.reaches("gateway_mllp_connections_refused_total", "handshake", 1).await;
}

#[tokio::test]
async fn a_half_closed_tls_peer_still_gets_its_answer() {
    let certificates = Certificates::make();
    let served = Served::start(settings(|listener| listener.tls = Some(certificates.server(None)))).await;
    let tls = certificates.client("ours.pem", None);
    let address = served.address.to_string();
    let limit = Duration::from_secs(10);
    let connecting = MllpClient::connect(&address, Some(&tls), limit, served.environment.clone());
    let mut client = connecting.await.expect("a handshake");
    client.write(&message("HELD1")).await.expect("it reads");
    client.finish().await.expect("half of it closes");
    served.reaches("gateway_mllp_frames_total", "", 1).await;
    served.door.let_go.notify_one();
    assert_eq!(client.answer().await.expect("an answer").as_ref(), b"MSA|AA|HELD1\r");
}

#[tokio::test]
async fn a_client_certificate_of_the_right_ca_is_required_when_one_is_named() {
    let certificates = Certificates::make();
    let tls = certificates.server(Some("ours.pem"));
    let served = Served::start(settings(|listener| listener.tls = Some(tls))).await;
    assert!(send(&served, &certificates.client("ours.pem", None)).await.is_err());
    assert!(send(&served, &certificates.client("ours.pem", Some("stranger"))).await.is_err());
    assert!(served.door.control_ids().is_empty());
    let answer = send(&served, &certificates.client("ours.pem", Some("client"))).await.expect("an answer");
    assert_eq!(answer, "MSA|AA|E1\r");
    served.reaches("gateway_mllp_connections_refused_total", "handshake", 2).await;
}

#[tokio::test]
async fn intake_is_told_who_is_at_the_other_end() {
    let certificates = Certificates::make();
    let tls = certificates.server(Some("ours.pem"));
    let served = Served::start(settings(|listener| listener.tls = Some(tls))).await;
    send(&served, &certificates.client("ours.pem", Some("client"))).await.expect("an answer");
    let pem = std::fs::read(certificates.path("client.pem")).expect("a certificate");
    let der = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    let peer = served.door.received.lock()[0].peer.expect("it came over MLLP");
    assert_eq!(peer.certificate, Some(Sha256::digest(&der).into()));
    assert!(peer.address.is_loopback());
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_refused() {
    let certificates = Certificates::make();
    let served = Served::start(settings(|listener| listener.tls = Some(certificates.server(None)))).await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    stream.write_all(&super::door::framed("E1")).await.expect("it reads");
    served.reaches("gateway_mllp_connections_refused_total", "handshake", 1).await;
    assert!(served.door.control_ids().is_empty());
}

#[tokio::test]
async fn a_listener_says_what_is_wrong_with_its_files_or_address() {
    let certificates = Certificates::make();
    let served = Served::start(settings(|_| {})).await;
    let metrics = MllpMetrics::register(&crate::metrics::Registry::new()).expect("the names are free");
    let mismatch = Tls { private_key: certificates.path("client.key"), ..certificates.server(None) };
    let empty = Tls { certificate: certificates.path("server.key"), ..certificates.server(None) };
    let missing = Tls { certificate: Path::new("/nonexistent/server.pem").to_owned(), ..certificates.server(None) };
    for (change, expected) in [
        (settings(|listener| listener.tls = Some(mismatch)), "do not fit together"),
        (settings(|listener| listener.tls = Some(empty)), "there is no certificate in it"),
        (settings(|listener| listener.tls = Some(missing)), "cannot read the PEM file"),
        (settings(|listener| listener.listen = served.address), "cannot listen on 127.0.0.1"),
    ] {
        let bound = MllpServer::bind(change, served.door.clone(), served.environment.clone(), &metrics).await;
        let error = bound.err().expect("it must not start").to_string();
        assert!(error.contains(expected), "{error}");
    }
}
