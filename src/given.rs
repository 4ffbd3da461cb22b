//! Identifiers that the gateway gives to messages of its own, and knows again when they come back.
//!
//! Enters: what a message tells, and to whom. Leaves: its MSH-10, its RF1-6, its id in the store. Guarantees: the same message
//! gets the same identifiers, whenever it is made; each ends with a keyed digest of the rest, so that one of ours is known
//! without a list of what was sent, also after a restart or when that is purged, and nobody else's is taken for it.

use uuid::Uuid;

use crate::command::{DispatchId, EventId, Ubrn};
use crate::keys::Keys;

/// Crockford's base 32: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Five bits each: 60 that tell messages apart, 35 that prove whose they are. With the letter in front 20 characters, as
/// many as MSH-10 may have up to v2.6.
const NAME_DIGITS: usize = 12;
const PROOF_DIGITS: usize = 7;
const FIRST: char = 'E';
/// 130 bits.
const DOCUMENT_DIGITS: usize = 26;
const DOCUMENT_FIRST: char = 'D';

#[derive(Clone)]
pub struct Given {
    keys: Keys,
}

/// Which message of an event.
#[derive(Clone, Copy, Debug)]
pub struct Which<'w> {
    pub destination: &'w str,
    pub event: EventId,
    /// The mapping file, and the entry of its list.
    pub file: &'w str,
    pub entry: usize,
}

impl Given {
    pub fn new(keys: &Keys) -> Self {
        Self { keys: keys.clone() }
    }

    /// MSH-10.
    pub fn control_id(&self, which: &Which<'_>) -> String {
        let name = format!("{FIRST}{}", digits(&self.digest("control id", which), NAME_DIGITS));
        let proof = self.proof("control id", &name);
        name + &proof
    }

    pub fn gave_control_id(&self, text: &str) -> bool {
        text.starts_with(FIRST)
            && text.len() == 1 + NAME_DIGITS + PROOF_DIGITS
            && text
                .split_at_checked(1 + NAME_DIGITS)
                .is_some_and(|(name, proof)| proof == self.proof("control id", name))
    }

    /// RF1-6 of a referral that no hospital system has a name for yet.
    pub fn referral(&self, ubrn: &Ubrn) -> String {
        format!("{}-{}", ubrn.as_str(), self.proof("referral", ubrn.as_str()))
    }

    pub fn gave_referral(&self, text: &str) -> bool {
        text.trim().split_once('-').is_some_and(|(ubrn, proof)| {
            Ubrn::parse(ubrn).is_some_and(|known| known.as_str() == ubrn) && proof == self.proof("referral", ubrn)
        })
    }

    pub fn dispatch_id(&self, which: &Which<'_>) -> DispatchId {
        let digest = self.digest("dispatch", which);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        DispatchId(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Of a document in a folder: the same for the same document, and nothing of it can be read from it.
    pub fn document_id(&self, folder: &str, parts: &[&str]) -> String {
        let digest = self.keys.given_digest(&[&["document", folder], parts].concat());
        format!("{DOCUMENT_FIRST}{}", digits(&digest, DOCUMENT_DIGITS))
    }

    fn digest(&self, what: &str, which: &Which<'_>) -> [u8; 32] {
        let Which { destination, event: EventId(event), file, entry } = which;
        self.keys.given_digest(&[what, destination, &Uuid::to_string(event), file, &entry.to_string()])
    }

    fn proof(&self, what: &str, name: &str) -> String {
        digits(&self.keys.given_digest(&["proof", what, name]), PROOF_DIGITS)
    }
}

/// Whether it has the form of what [`Given::document_id`] gives.
pub fn is_document_id(text: &str) -> bool {
    text.strip_prefix(DOCUMENT_FIRST)
        .is_some_and(|rest| rest.len() == DOCUMENT_DIGITS && rest.bytes().all(|byte| DIGITS.contains(&byte)))
}

/// The first bits of a digest.
fn digits(digest: &[u8; 32], count: usize) -> String {
    let mut text = String::with_capacity(count);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in digest {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            if text.len() == count {
                return text;
            }
            held -= 5;
            let digit = (bits >> held) & 31;
            text.push(char::from(DIGITS[digit as usize]));
        }
        bits &= (1 << held) - 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    fn given(folder: &std::path::Path) -> Given {
        Given::new(&Keys::load_or_create(&folder.join("key"), &Environment::system()).expect("a key file"))
    }

    #[test]
    fn what_was_given_is_known_again_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let which = Which { destination: "pas", event: EventId(Uuid::nil()), file: "ReferralReceived", entry: 0 };
        let id = given(folder.path()).control_id(&which);
        // As after a restart.
        let given = given(folder.path());
        assert_eq!(given.control_id(&which), id);
        assert_eq!(given.dispatch_id(&which), given.dispatch_id(&which));
        assert!(id.len() == 20 && given.gave_control_id(&id), "{id}");
        for other in [
            Which { destination: "lab", ..which },
            Which { event: EventId(Uuid::max()), ..which },
            Which { file: "ReferralReceived.letters", ..which },
            Which { entry: 1, ..which },
        ] {
            assert_ne!(given.control_id(&other), id);
            assert_ne!(given.dispatch_id(&other), given.dispatch_id(&which));
        }
        let last = if id.ends_with('0') { "1" } else { "0" };
        for text in ["", "E", "EV-0000104240", &id[1..], &format!("{}{last}", &id[..19]), &format!("{id}0"), "Eé"] {
            assert!(!given.gave_control_id(text), "{text}");
        }
        let ubrn = Ubrn::parse("000000070000").expect("a UBRN");
        let referral = given.referral(&ubrn);
        assert!(referral.starts_with("000000070000-") && given.gave_referral(&referral), "{referral}");
        let moved = referral.replacen("000000070000", "000000070001", 1);
        for text in ["", "000000070000", "000000070000-", "R-100200", &moved] {
            assert!(!given.gave_referral(text), "{text}");
        }
        let elsewhere = tempfile::tempdir().expect("a folder");
        assert!(!self::given(elsewhere.path()).gave_control_id(&id), "another gateway's keys");
    }

    #[test]
    fn a_document_has_one_name_in_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let given = given(folder.path());
        let id = given.document_id("dms", &["Binary/1", "", "ab"]);
        assert!(is_document_id(&id), "{id}");
        assert_eq!(given.document_id("dms", &["Binary/1", "", "ab"]), id);
        for other in [
            given.document_id("dms", &["Binary/2", "", "ab"]),
            given.document_id("dms", &["Binary/1", "", "ac"]),
            given.document_id("other", &["Binary/1", "", "ab"]),
        ] {
            assert_ne!(other, id);
        }
        for text in ["", "D", &id[1..], &format!("{id}0"), &id.to_lowercase(), "D/../../../../etc/passwd00000"] {
            assert!(!is_document_id(text), "{text}");
        }
    }

    #[test]
    fn digits_take_five_bits_each() {
        let mut digest = [0; 32];
        digest[..3].copy_from_slice(&[0b0000_1000, 0b1011_1111, 0b1000_0000]);
        assert_eq!(digits(&digest, 4), "12ZR");
    }
}
