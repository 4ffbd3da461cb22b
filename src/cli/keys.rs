//! `keys`: the file that seals tokens and digests identifiers; and the public keys that the NHS has to know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use jsonwebtoken::jwk::JwkSet;

use super::exit::{CliError, Done};
use super::runtime;
use super::settings::Settings;
use super::store::settings_keys;
use crate::config::{Access, Config};
use crate::environment::Environment;
use crate::ers::public_jwk;
use crate::keys::Keys;
use crate::store::{self, Store};

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
    Status(Status),
    Rotate(Rotate),
}

/// Tell with which keys the store is encrypted, and whether all of it is
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway keys status --config /etc/ers-gateway/gateway.yaml

Gateways may run meanwhile. Nothing secret is shown.")]
pub struct Status {
    #[command(flatten)]
    settings: Settings,
}

/// Change the master key of a store, while gateways use it
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway keys rotate --config gateway.yaml                      makes a new key file in the place of the old one
  ers-gateway keys rotate --config gateway.yaml --to next.key        leaves key_file alone: for several machines, or a
                                                                     key that is not in a file
  ers-gateway keys rotate --config gateway.yaml --finish             the old key opens nothing any more

The first step makes the new key open the store beside the old one, and a new data key take over. A gateway notices the
new key file by itself; others are given the new key in their settings and restarted one by one. They encrypt what is
stored anew meanwhile (`keys status`); then --finish, and destroy the old key file. Backups from before need the old one.

Exit codes: 0 done, 1 not everything is encrypted anew yet, 3 not there.")]
pub struct Rotate {
    #[command(flatten)]
    settings: Settings,
    /// The new key file, made if there is none; otherwise it takes the place of key_file
    #[arg(long, value_name = "FILE", conflicts_with = "finish")]
    to: Option<PathBuf>,
    /// Let go of every key but that of the settings
    #[arg(long)]
    finish: bool,
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
        match self.other {
            Some(Other::Jwks(jwks)) => return jwks.run(),
            Some(Other::Status(status)) => return runtime()?.block_on(status.run()),
            Some(Other::Rotate(rotate)) => return runtime()?.block_on(rotate.run()),
            None => {}
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

/// The store of the settings, which gateways may be using, and its master key.
async fn open(config: &Config) -> Result<(Arc<dyn Store>, Keys), CliError> {
    let keys = settings_keys(config)?
        .ok_or_else(|| CliError::Unavailable(format!("there is no key file at {}", config.key_path().display())))?;
    let opened = store::open_beside(&config.store, Some(&keys), &Environment::system()).await;
    Ok((opened.map_err(|error| CliError::Unavailable(error.to_string()))?, keys))
}

impl Status {
    async fn run(self) -> Done {
        let (store, _) = open(&self.settings.load()?).await?;
        let view = store.encryption().await?;
        println!("{:#}", serde_json::to_value(view).map_err(|error| CliError::unavailable("the keys", error))?);
        Ok(())
    }
}

impl Rotate {
    async fn run(self) -> Done {
        let config = self.settings.load()?;
        let (store, keys) = open(&config).await?;
        if store.encryption().await?.keys.is_empty() {
            return Err(CliError::No("the store has no keys yet: start a gateway on it first".into()));
        }
        if self.finish {
            store.keep_only(keys.fingerprint()).await?;
            println!("only the key of the settings opens the store now: destroy the old one");
            return Ok(());
        }
        let file = |error: std::io::Error| CliError::unavailable("the new key file", error);
        let (place, next) = match &self.to {
            Some(to) => (None, to.clone()),
            None if config.key.is_some() => {
                return Err(CliError::Usage("the key is in the settings: name a file for the next one (--to)".into()));
            }
            None => (Some(config.key_path()), beside(&config.key_path(), "next")),
        };
        let new = Keys::load_or_create(&next, &Environment::system());
        let new = new.map_err(|error| CliError::Unavailable(error.to_string()))?;
        store.add_master(&new).await?;
        let Some(place) = place else {
            println!("{} opens the store as well: give it to every gateway, then --finish", next.display());
            return Ok(());
        };
        // Both open the store by now, so whichever is there is right.
        let old = beside(&place, "old");
        if !old.exists() {
            std::fs::hard_link(&place, &old).map_err(file)?;
        }
        std::fs::rename(&next, &place).map_err(file)?;
        println!(
            "{} is a new key, the one before it is {}; once `keys status` says that nothing is renewing any more, --finish",
            place.display(),
            old.display()
        );
        Ok(())
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
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
