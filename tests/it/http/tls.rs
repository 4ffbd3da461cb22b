//! TLS, and client certificates where they are asked for.

use ers_gateway::config::{HttpListener, Tls};
use ers_gateway::intake::Outcome;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::gateway::{HttpGateway, listener};
use crate::support::intake::{ScriptedIntake, answer};

/// A CA with one certificate for 127.0.0.1 and one for a client, as PEM files.
struct Certificates {
    folder: TempDir,
    ca: String,
    client: String,
}

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let signed = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            (params.signed_by(&key, &ca).expect("a certificate").pem(), key.serialize_pem())
        };
        let (server, server_key) = signed("127.0.0.1");
        let (client, client_key) = signed("northmoor");
        for (name, text) in [("ca.pem", &ca.pem()), ("server.pem", &server), ("server.key", &server_key)] {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        Self { ca: ca.pem(), client: format!("{client}{client_key}"), folder }
    }

    fn listener(&self, client_ca: bool) -> HttpListener {
        let at = |name| self.folder.path().join(name);
        let tls = Tls {
            certificate: at("server.pem"),
            private_key: at("server.key"),
            client_ca: client_ca.then(|| at("ca.pem")),
        };
        HttpListener { tls: Some(tls), ..listener() }
    }

    fn client(&self, with_certificate: bool) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.ca.as_bytes()).expect("a certificate");
        let mut builder = reqwest::Client::builder().tls_certs_only([ca]);
        if with_certificate {
            builder = builder.identity(reqwest::Identity::from_pem(self.client.as_bytes()).expect("an identity"));
        }
        builder.build().expect("a client")
    }
}

#[tokio::test]
async fn a_listener_with_a_client_ca_talks_only_to_its_clients() {
    let certificates = Certificates::make();
    for (asks, has, works) in [(false, false, true), (true, true, true), (true, false, false)] {
        let intake = ScriptedIntake::new(|_| answer(Outcome::Accepted));
        let gateway = HttpGateway::start(certificates.listener(asks), intake).await;
        let url = format!("https://{}/health/live", gateway.address);
        let answer = certificates.client(has).get(url).send().await;
        assert_eq!(answer.as_ref().is_ok_and(|r| r.status() == 200), works, "{asks} {has} {answer:?}");
    }
}

/// As who renews certificates does it: one file after the other, while the gateway runs.
#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (old, new) = (Certificates::make(), Certificates::make());
    let intake = ScriptedIntake::new(|_| answer(Outcome::Accepted));
    let gateway = HttpGateway::start(old.listener(false), intake).await;
    let url = format!("https://{}/health/live", gateway.address);
    let trusts = async |certificates: &Certificates| {
        certificates.client(false).get(&url).send().await.is_ok_and(|answer| answer.status() == 200)
    };
    assert!(trusts(&old).await && !trusts(&new).await);
    let put = |name: &str, bytes: &[u8]| std::fs::write(old.folder.path().join(name), bytes).expect("written");
    let renewed = |name: &str| std::fs::read(new.folder.path().join(name)).expect("a file");
    put("server.pem", b"half of a certifi");
    assert!(trusts(&old).await, "what was in use stays");
    put("server.pem", &renewed("server.pem"));
    assert!(trusts(&old).await, "the key is not there yet");
    put("server.key", &renewed("server.key"));
    assert!(trusts(&new).await && !trusts(&old).await);
}

/// A hospital's CA is replaced by the next one: first both are good, then the old one is taken out.
#[tokio::test]
async fn new_cas_of_client_certificates_are_used_without_a_restart_and_a_broken_file_is_not() {
    let (old, new) = (Certificates::make(), Certificates::make());
    let intake = ScriptedIntake::new(|_| answer(Outcome::Accepted));
    let gateway = HttpGateway::start(old.listener(true), intake).await;
    let url = format!("https://{}/health/live", gateway.address);
    // One client each all along, as programs do it: it would resume its session if it could.
    let client = |of: &Certificates| {
        let ca = reqwest::Certificate::from_pem(old.ca.as_bytes()).expect("a certificate");
        let identity = reqwest::Identity::from_pem(of.client.as_bytes()).expect("an identity");
        let builder = reqwest::Client::builder().tls_certs_only([ca]).identity(identity);
        builder.pool_max_idle_per_host(0).build().expect("a client")
    };
    let (of_old, of_new) = (client(&old), client(&new));
    let is_let_in =
        async |client: &reqwest::Client| client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
    assert!(is_let_in(&of_old).await && !is_let_in(&of_new).await);
    let put = |text: &str| std::fs::write(old.folder.path().join("ca.pem"), text).expect("written");
    put(&format!("{}{}", old.ca, new.ca));
    assert!(is_let_in(&of_old).await && is_let_in(&of_new).await);
    put(&new.ca);
    assert!(!is_let_in(&of_old).await, "its CA was taken out");
    assert!(is_let_in(&of_new).await);
    for broken in ["", "half of a certifi", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        put(broken);
        assert!(is_let_in(&of_new).await && !is_let_in(&of_old).await, "what was in use stays: {broken}");
    }
    std::fs::remove_file(old.folder.path().join("ca.pem")).expect("removed");
    assert!(is_let_in(&of_new).await && !is_let_in(&of_old).await, "also without a file");
}

#[tokio::test]
async fn a_listener_without_a_usable_certificate_does_not_start_and_names_the_file() {
    let certificates = Certificates::make();
    let mut broken = certificates.listener(false);
    if let Some(tls) = &mut broken.tls {
        tls.certificate = certificates.folder.path().join("server.key");
    }
    let error = ers_gateway::inbound::http::HttpServer::start(
        broken,
        HttpGateway::start(listener(), ScriptedIntake::new(|_| answer(Outcome::Accepted))).await.deps,
        &ers_gateway::environment::Environment::system(),
    )
    .expect_err("there is no certificate in it");
    assert!(error.to_string().contains("server.key"), "{error}");
}
