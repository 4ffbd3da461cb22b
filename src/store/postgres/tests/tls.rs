//! TLS with a real server: what is encrypted, and who is not spoken to.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::store::suite::given::{arrives, local};

/// A CA in a file, and what it signed for a server of that name.
struct Authority {
    folder: TempDir,
    certificate: String,
    key: String,
}

impl Authority {
    fn for_server(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("a file");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &ca).expect("a certificate").pem();
        Self { folder, certificate, key: key.serialize_pem() }
    }

    /// As the end of a URL.
    fn is_trusted(&self) -> String {
        format!("&sslmode=verify-full&sslrootcert={}", self.folder.path().join("ca.pem").display())
    }
}

async fn look(url: &str) -> std::result::Result<(), String> {
    let address = Address::parse(url).expect("a URL");
    let opened = PostgresStore::open_to_look(&address, None, &Environment::system()).await;
    opened.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn every_connection_to_a_server_that_is_trusted_is_encrypted() {
    let authority = Authority::for_server("127.0.0.1");
    let server = Postgres::start_encrypted(&authority.certificate, &authority.key);
    let address = Address::parse(&(server.new_schema() + &authority.is_trusted())).expect("a URL");
    let store = PostgresStore::open(&address, "gateway-1", &Environment::system()).await.expect("opened");
    arrives(&store, &[local("r1")]).await;
    let connections = server.psql(
        "SELECT ssl, count(*) > 1 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = 'ers-gateway' GROUP BY ssl",
    );
    assert_eq!(connections, "t|t", "encrypted, and more than one");
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_is_not_spoken_to() {
    let (authority, stranger) = (Authority::for_server("127.0.0.1"), Authority::for_server("127.0.0.1"));
    let server = Postgres::start_encrypted(&authority.certificate, &authority.key);
    let refused = look(&(server.new_schema() + &stranger.is_trusted())).await.expect_err("another CA");
    assert!(refused.contains("certificate"), "{refused}");

    let elsewhere = Authority::for_server("db.trust.test");
    let server = Postgres::start_encrypted(&elsewhere.certificate, &elsewhere.key);
    let refused = look(&(server.new_schema() + &elsewhere.is_trusted())).await.expect_err("another name");
    assert!(refused.contains("certificate"), "{refused}");

    let in_the_clear = Postgres::shared();
    let refused = look(&(in_the_clear.new_schema() + &authority.is_trusted())).await.expect_err("no TLS at all");
    assert!(refused.contains("TLS"), "{refused}");
}
