//! How rows of the audit log hang together, so that none can be changed or taken out unseen.
//!
//! Enters: rows, from the first or from one whose hash is known. Leaves: the hash of the next row, or which row is wrong.
//! Guarantees: what people typed can be removed from a row and the chain holds, for it has a salted digest in the text's
//! place; a row that older versions wrote verifies as they chained it. Whoever may write the whole table can make the
//! whole chain anew: only a head kept elsewhere shows that.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::act::{AuditEntry, AuditHead, Noted};

/// Removes reasons; its subject says which, so that a missing reason that no such row explains is noticed.
pub(super) const FORGET_REASONS: &str = "forget reasons";
const FORGOTTEN_BEFORE: &str = "acts before ";

pub(super) fn forgotten_before(before: Timestamp) -> String {
    format!("{FORGOTTEN_BEFORE}{before}")
}

/// Which entry is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainBroken {
    #[error("the audit log lacks entry {0}")]
    Missing(u64),
    #[error("entry {0} of the audit log does not follow from the one before it: it was changed")]
    Changed(u64),
    #[error("the reason of entry {0} of the audit log was changed")]
    ReasonChanged(u64),
    #[error("the reason of entry {0} of the audit log was removed, and no act says so")]
    ReasonRemoved(u64),
    #[error("the end of the audit log was cut off: {written} entries were written, the last one there is {last}")]
    CutOff { last: u64, written: u64 },
    #[error("the audit log is not the one of that head: entry {0} is another, or not there")]
    OtherHead(u64),
}

/// Hex of what stands for the reason in the chain.
fn reason_digest(salt: &str, why: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(salt.as_bytes());
    digest.update(why.as_bytes());
    hex(&digest.finalize())
}

/// SHA-256 over the previous hash and this row; lengths keep one column from running into the next.
fn hash_of(previous: &str, entry: &AuditEntry) -> String {
    let mut digest = Sha256::new();
    digest.update(unhex(previous));
    digest.update(entry.number.to_be_bytes());
    digest.update(entry.at.as_microsecond().to_be_bytes());
    let mut texts = vec![&*entry.by, &*entry.act, &*entry.subject];
    match &entry.why_digest {
        // As versions before this one did: the reason itself.
        None => texts.push(entry.why.as_deref().unwrap_or_default()),
        Some(why) => {
            texts.push(entry.kind.as_deref().unwrap_or_default());
            texts.push(entry.place.as_deref().unwrap_or_default());
            texts.push(why);
        }
    }
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    }
    hex(&digest.finalize())
}

/// The row that follows `head`. `salt` is nobody's guess.
pub(super) fn following(head: &AuditHead, noted: &Noted, salt: Uuid) -> AuditEntry {
    let Noted { act, subject, by } = noted;
    let salt = salt.simple().to_string();
    let mut entry = AuditEntry {
        number: head.number + 1,
        at: by.at,
        by: by.by.clone(),
        kind: Some(by.kind.name().to_owned()),
        place: Some(by.place.clone()),
        act: (*act).to_owned(),
        subject: subject.clone(),
        why: Some(by.why.clone()),
        why_digest: Some(reason_digest(&salt, &by.why)),
        why_salt: Some(salt),
        hash: String::new(),
    };
    entry.hash = hash_of(&head.hash, &entry);
    entry
}

/// A walk over the log, row by row.
pub struct Chain {
    head: AuditHead,
    /// A head from elsewhere that must be met.
    expected: Option<AuditHead>,
    /// The newest act whose reason was removed.
    forgotten: Option<(Timestamp, u64)>,
    /// Reasons of acts before this were removed by acts in the log.
    forgotten_before: Option<Timestamp>,
}

impl Chain {
    /// From the first row.
    pub fn new(expected: Option<AuditHead>) -> Self {
        Self { head: AuditHead::start(), expected, forgotten: None, forgotten_before: None }
    }

    pub fn head(&self) -> &AuditHead {
        &self.head
    }

    /// The next row.
    pub fn take(&mut self, entry: &AuditEntry) -> Result<(), ChainBroken> {
        if entry.number != self.head.number + 1 {
            return Err(ChainBroken::Missing(self.head.number + 1));
        }
        if hash_of(&self.head.hash, entry) != entry.hash {
            return Err(ChainBroken::Changed(entry.number));
        }
        match (&entry.why, &entry.why_salt, &entry.why_digest) {
            (_, _, None) => {}
            (None, None, Some(_)) => self.forgotten = self.forgotten.max(Some((entry.at, entry.number))),
            (Some(why), Some(salt), Some(digest)) if reason_digest(salt, why) == *digest => {}
            _ => return Err(ChainBroken::ReasonChanged(entry.number)),
        }
        if entry.act == FORGET_REASONS {
            let before = entry.subject.strip_prefix(FORGOTTEN_BEFORE).and_then(|instant| instant.parse().ok());
            self.forgotten_before = self.forgotten_before.max(before);
        }
        self.head = AuditHead { number: entry.number, hash: entry.hash.clone() };
        match &self.expected {
            Some(expected) if expected.number == entry.number && *expected != self.head => {
                Err(ChainBroken::OtherHead(entry.number))
            }
            _ => Ok(()),
        }
    }

    /// After the last row. `written`: how many rows there ever were, as the store has counted.
    pub fn end(&self, written: u64) -> Result<(), ChainBroken> {
        if let Some((at, number)) = self.forgotten
            && self.forgotten_before.is_none_or(|before| at >= before)
        {
            return Err(ChainBroken::ReasonRemoved(number));
        }
        let last = self.head.number;
        if let Some(expected) = self.expected.as_ref().filter(|expected| expected.number > last) {
            return Err(ChainBroken::OtherHead(expected.number));
        }
        if written > last {
            return Err(ChainBroken::CutOff { last, written });
        }
        Ok(())
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of what is no hash nothing is left, so that nothing follows from it.
pub(super) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::given::{act, at};

    fn log(acts: &[&'static str]) -> Vec<AuditEntry> {
        let mut head = AuditHead::start();
        let salted = acts.iter().zip(1_u128..);
        salted
            .map(|(name, number)| {
                let noted = Noted { act: name, subject: format!("command {number}"), by: act() };
                let entry = following(&head, &noted, Uuid::from_u128(number));
                head = AuditHead { number: entry.number, hash: entry.hash.clone() };
                entry
            })
            .collect()
    }

    fn walk(log: &[AuditEntry], expected: Option<AuditHead>, written: u64) -> Result<AuditHead, ChainBroken> {
        let mut chain = Chain::new(expected);
        log.iter().try_for_each(|entry| chain.take(entry))?;
        chain.end(written).map(|()| chain.head)
    }

    /// As versions before reasons were set apart wrote it, byte for byte.
    fn old_entry() -> AuditEntry {
        AuditEntry {
            number: 1,
            at: at(100),
            by: "j.smith".into(),
            kind: None,
            place: None,
            act: "discard".into(),
            subject: "command 1".into(),
            why: Some("asked by the ward".into()),
            why_salt: None,
            why_digest: None,
            hash: "fd50e58db92796ad1b1b34e7ec773dfedfd93d19e3b2bbdbfb11ba8a6a182dd7".into(),
        }
    }

    #[test]
    fn rows_of_older_versions_verify_and_new_ones_follow_them() {
        let old = old_entry();
        let head = AuditHead { number: 1, hash: old.hash.clone() };
        let new = following(&head, &Noted { act: "view", subject: "message 2".into(), by: act() }, Uuid::nil());
        assert_eq!(walk(&[old.clone(), new.clone()], None, 2).map(|head| head.number), Ok(2));
        let changed = AuditEntry { why: Some("asked by nobody".into()), ..old };
        assert_eq!(walk(&[changed, new], None, 2), Err(ChainBroken::Changed(1)));
    }

    #[test]
    fn whatever_is_changed_or_taken_out_is_named() {
        let whole = log(&["view", "replay", "discard"]);
        let head = walk(&whole, None, 3).expect("whole");
        assert_eq!(walk(&whole, Some(head.clone()), 3), Ok(head.clone()));
        type Change = fn(&mut AuditEntry);
        let changes: [Change; 9] = [
            |entry| entry.by = "a.jones".into(),
            |entry| entry.kind = Some("gateway".into()),
            |entry| entry.place = None,
            |entry| entry.act = "view".into(),
            |entry| entry.subject = "command 9".into(),
            |entry| entry.at = at(101),
            |entry| entry.why_digest = Some("00".repeat(32)),
            |entry| entry.why_digest = None,
            |entry| entry.hash = "00".repeat(32),
        ];
        for change in changes {
            let mut log = whole.clone();
            change(&mut log[1]);
            assert_eq!(walk(&log, None, 3), Err(ChainBroken::Changed(2)), "{:?}", log[1]);
        }
        let mut log = whole.clone();
        log[1].why = Some("another reason".into());
        assert_eq!(walk(&log, None, 3), Err(ChainBroken::ReasonChanged(2)));
        assert_eq!(walk(&whole[1..], None, 3), Err(ChainBroken::Missing(1)));
        assert_eq!(walk(&[whole[0].clone(), whole[2].clone()], None, 3), Err(ChainBroken::Missing(2)));
        // The end: by the count beside it, or by a head from elsewhere.
        assert_eq!(walk(&whole[..2], None, 3), Err(ChainBroken::CutOff { last: 2, written: 3 }));
        assert_eq!(walk(&whole[..2], Some(head.clone()), 2), Err(ChainBroken::OtherHead(3)));
        // Written anew as a whole: only the head shows it.
        let anew = self::log(&["view", "replay", "view"]);
        assert_eq!(walk(&anew, None, 3).map(|head| head.number), Ok(3));
        assert_eq!(walk(&anew, Some(head), 3), Err(ChainBroken::OtherHead(3)));
    }

    #[test]
    fn a_reason_is_removed_only_by_an_act_that_says_so() {
        let mut log = log(&["view", "replay"]);
        (log[0].why, log[0].why_salt) = (None, None);
        assert_eq!(walk(&log, None, 2), Err(ChainBroken::ReasonRemoved(1)));
        for (before, outcome) in [(at(100), Err(ChainBroken::ReasonRemoved(1))), (at(101), Ok(3))] {
            let head = AuditHead { number: 2, hash: log[1].hash.clone() };
            let noted = Noted { act: FORGET_REASONS, subject: forgotten_before(before), by: act() };
            let mut log = log.clone();
            log.push(following(&head, &noted, Uuid::nil()));
            assert_eq!(walk(&log, None, 3).map(|head| head.number), outcome, "{before}");
        }
    }

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let head = AuditHead { number: 7, hash: "ab".repeat(32) };
        assert_eq!(head.to_string().parse(), Ok(head));
        for text in ["", "7", "ab@7", &format!("{}@x", "ab".repeat(32)), &format!("{}@7", "xy".repeat(32))] {
            assert!(text.parse::<AuditHead>().is_err(), "{text}");
        }
    }
}
