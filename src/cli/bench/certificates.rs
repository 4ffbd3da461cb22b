//! Certificates of a benchmark: an authority of its own, the listener's, and the generator's, which its sources ask for.
//!
//! Enters: the benchmark's folder. Leaves: files there, and the settings that name them. Guarantees: they go away with the folder.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sha2::{Digest as _, Sha256};

use super::super::exit::CliError;
use crate::tls::{ClientTls, Identity};

const LISTENER: &str = "listener";
const SENDER: &str = "sender";

pub(super) struct Certificates {
    folder: PathBuf,
    /// SHA-256 of the generator's, in hexadecimal.
    pub sender: String,
}

impl Certificates {
    pub fn make(folder: &Path) -> Result<Self, CliError> {
        let failed = |error: rcgen::Error| CliError::unavailable("a certificate", error);
        let write = |name: &str, pem: String| {
            let path = folder.join(name);
            std::fs::write(&path, pem).map_err(|error| CliError::unavailable(path.display(), error))
        };
        let mut params = CertificateParams::new([]).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(failed)?).map_err(failed)?;
        write("authority.pem", issuer.pem())?;
        let mut sender = String::new();
        for name in [LISTENER, SENDER] {
            let key = KeyPair::generate().map_err(failed)?;
            let params = CertificateParams::new(["localhost".to_owned()]).map_err(failed)?;
            let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
            sender = format!("{:x}", Sha256::digest(certificate.der()));
            write(&format!("{name}.pem"), certificate.pem())?;
            write(&format!("{name}.key"), key.serialize_pem())?;
        }
        Ok(Self { folder: folder.to_owned(), sender })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// As the settings of a listener.
    pub fn of_listener(&self) -> String {
        let [certificate, private_key, client_ca] =
            [format!("{LISTENER}.pem"), format!("{LISTENER}.key"), "authority.pem".to_owned()]
                .map(|name| self.path(&name).display().to_string());
        format!("tls: {{ certificate: \"{certificate}\", private_key: \"{private_key}\", client_ca: \"{client_ca}\" }}")
    }

    /// The generator's side.
    pub fn of_sender(&self) -> ClientTls {
        ClientTls {
            authorities: self.path("authority.pem"),
            server_name: "localhost".to_owned(),
            identity: Some(Identity {
                certificate: self.path(&format!("{SENDER}.pem")),
                private_key: self.path(&format!("{SENDER}.key")),
            }),
        }
    }
}
