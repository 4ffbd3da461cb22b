//! `keys`: the file that seals tokens and digests identifiers; and the public keys that the NHS has to know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jsonwebtoken::jwk::JwkSet;

use super::exit::{CliError, Done};
use super::settings::Settings;
use crate::config::{Access, Config};
use crate::environment::Environment;
use crate::ers::public_jwk;
use crate::keys::Keys;

/// Make the key file that seals tokens and digests identifiers; show the public keys to register
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  ers-gateway keys --out /var/lib/ers-gateway/gateway.key
  ers-gateway keys jwks --config gateway.yaml

The file is readable by its owner only, and an existing one is never overwritten. Back it up apart from the
store: without it sealed tokens cannot be opened and known referrals cannot be found again."
)]
pub struct KeysArgs {
    #[command(subcommand)]
    other: Option<Other>,
    /// Where to; key_file in the settings names it
    #[arg(long, value_name = "FILE", default_value = "gateway.key")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Other {
    Jwks(Jwks),
}

/// Print the public keys of the connections that sign (RFC 7517), to be registered with the NHS API platform
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway keys jwks --config gateway.yaml > jwks.json
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out new.pem
  ers-gateway keys jwks --config gateway.yaml --and trust-2027=new.pem    both keys, for a rotation

To change a key: register both, wait until the platform has them, put the new private_key and kid into the settings and restart, then
register what `keys jwks` prints without --and.")]
pub struct Jwks {
    #[command(flatten)]
    settings: Settings,
    /// One more private key, such as the next one; may be repeated
    #[arg(long = "and", value_name = "KID=FILE", value_parser = named_key)]
    more: Vec<(String, PathBuf)>,
}

fn named_key(text: &str) -> Result<(String, PathBuf), String> {
    let (kid, file) = text
        .split_once('=')
        .filter(|(kid, file)| !kid.is_empty() && !file.is_empty())
        .ok_or("is KID=FILE: the name under which the key is registered, and its private half as PEM")?;
    Ok((kid.to_owned(), file.into()))
}

impl KeysArgs {
    pub fn run(self) -> Done {
        if let Some(Other::Jwks(jwks)) = self.other {
            return jwks.run();
        }
        if self.out.exists() {
            return Err(CliError::No(format!("{} is there already, and stays as it is", self.out.display())));
        }
        Keys::load_or_create(&self.out, &Environment::system())
            .map_err(|error| CliError::Unavailable(error.to_string()))?;
        println!("made {}; name it as key_file in the settings, and back it up", self.out.display());
        Ok(())
    }
}

impl Jwks {
    fn run(self) -> Done {
        let config = self.settings.load()?;
        let set = key_set(&config, &self.more)?;
        println!("{:#}", serde_json::to_value(set).map_err(|error| CliError::unavailable("the keys", error))?);
        Ok(())
    }
}

/// Every key once, by its `kid`.
fn key_set(config: &Config, more: &[(String, PathBuf)]) -> Result<JwkSet, CliError> {
    let mut files: BTreeMap<&str, &Path> = BTreeMap::new();
    for connection in &config.connections {
        if let Access::ApplicationRestricted(signed) = &connection.access {
            files.insert(&signed.kid, &signed.private_key);
        }
    }
    if let Some(pds) = &config.pds {
        files.insert(&pds.kid, &pds.private_key);
    }
    for (kid, file) in more {
        if files.insert(kid, file).is_some() {
            return Err(CliError::Usage(format!(
                "--and {kid}: the settings have a key of this name; give the next one another"
            )));
        }
    }
    if files.is_empty() {
        return Err(CliError::No("no connection in the settings signs with a key of its own".to_owned()));
    }
    let keys = files.into_iter().map(|(kid, file)| public_jwk(kid, file));
    let keys = keys.collect::<Result<_, _>>().map_err(|error| CliError::Unavailable(error.to_string()))?;
    Ok(JwkSet { keys })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::SignedJwt;
    use crate::simulator::demonstration::PRIVATE_KEY_PEM;

    #[test]
    fn a_key_file_is_made_once_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("gateway.key");
        KeysArgs { other: None, out: out.clone() }.run().expect("a new file");
        let made = std::fs::read(&out).expect("the file");
        assert!(KeysArgs { other: None, out: out.clone() }.run().is_err());
        assert_eq!(std::fs::read(&out).expect("the file"), made);
    }

    /// What is printed opens what is signed, under either name, and has nothing of the private half.
    #[test]
    fn both_keys_of_a_rotation_are_shown_and_verify_what_the_private_ones_sign() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("key.pem");
        std::fs::write(&file, PRIVATE_KEY_PEM).expect("written");
        let mut config = Config::demonstration();
        let none = key_set(&config, &[]);
        assert!(matches!(none, Err(CliError::No(_))), "nobody signs in the demonstration");
        config.connections[0].access = Access::ApplicationRestricted(SignedJwt {
            private_key: file.clone(),
            kid: "trust-2026".into(),
            unattended: Vec::new(),
        });
        let set = key_set(&config, &[("trust-2027".into(), file.clone())]).expect("two keys");
        assert_eq!(set.keys.len(), 2);
        let claims = json!({"iss": "client", "exp": 4_000_000_000_u64});
        let key = EncodingKey::from_rsa_pem(PRIVATE_KEY_PEM.as_bytes()).expect("a key");
        for kid in ["trust-2026", "trust-2027"] {
            let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::RS512) };
            let token = jsonwebtoken::encode(&header, &claims, &key).expect("signed");
            let jwk = set.find(kid).expect("it is in the set");
            let opened = DecodingKey::from_jwk(jwk).expect("a public key");
            let read = jsonwebtoken::decode::<Value>(&token, &opened, &Validation::new(Algorithm::RS512));
            assert_eq!(read.expect("it verifies").claims["iss"], "client");
        }
        let printed = serde_json::to_value(&set).expect("JSON");
        let members: Vec<_> = printed["keys"][0].as_object().expect("a key").keys().cloned().collect();
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(!members.iter().any(|member| member == private), "{members:?}");
        }
        let again = key_set(&config, &[("trust-2026".into(), file)]);
        assert!(matches!(again, Err(CliError::Usage(_))), "one name, one key");
    }
}
