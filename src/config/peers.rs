//! Which machines send as a source: their client certificates, and the networks they are in.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

/// SHA-256 of a certificate (DER), as `openssl x509 -fingerprint -sha256` prints it, with colons or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        super::TokenDigest::parse(&digits).map(|digest| Self(digest.0))
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = "must be the SHA-256 of a certificate: openssl x509 -in FILE -noout -fingerprint -sha256";
        Self::parse(&text).ok_or_else(|| de::Error::custom(wrong))
    }
}

/// `10.1.2.0/24`, or one address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(Self).ok_or_else(|| de::Error::custom("must be an address or a network, such as 10.1.2.0/24"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_openssl_prints_it() {
        let printed = ["A5"; 32].join(":");
        assert_eq!(Fingerprint::parse(&printed), Some(Fingerprint([0xa5; 32])));
        assert_eq!(Fingerprint::parse(&"a5".repeat(32)), Some(Fingerprint([0xa5; 32])));
        assert_eq!(Fingerprint::parse("A5:A5"), None);
    }

    #[test]
    fn a_network_has_its_addresses_and_one_address_is_a_network() {
        let network = |text: &str| serde_json::from_value::<Network>(text.into()).expect("a network");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(network("10.1.2.0/24").contains(address("10.1.2.77")));
        assert!(network("10.1.2.0/24").contains(address("::ffff:10.1.2.77")), "as a socket for both says it");
        assert!(!network("10.1.2.0/24").contains(address("10.1.3.77")));
        assert!(
            network("10.1.2.7").contains(address("10.1.2.7")) && !network("10.1.2.7").contains(address("10.1.2.8"))
        );
        assert!(serde_json::from_value::<Network>("10.1.2".into()).is_err());
    }
}
