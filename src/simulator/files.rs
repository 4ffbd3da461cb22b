//! Uploaded files: what they are, whether they have been scanned, and what they are meant for.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use super::demonstration;
use super::referral::Ubrn;

/// In `eRS-AvailabilityStatus-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Pending,
    Available,
    ThreatsFound,
    ValidationFailed,
}

impl Availability {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Available, Self::ThreatsFound, Self::ValidationFailed];

    pub fn code(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Available => "AVAILABLE",
            Self::ThreatsFound => "THREATS_FOUND",
            Self::ValidationFailed => "VALIDATION_FAILED",
        }
    }

    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

#[derive(Clone, Debug)]
pub struct File {
    pub name: String,
    pub content_type: String,
    pub size: usize,
    /// Absent once it has been forgotten for lack of room.
    pub content: Option<Bytes>,
    /// `NHSD-eRS-Referral-ID` of the upload.
    pub meant_for: Option<Ubrn>,
    pub linked_to: Option<Ubrn>,
    pub scan: Scan,
}

/// Every upload is scanned for threats and checked for being what it says it is.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    pub ends: Timestamp,
    /// [`Availability::Pending`]: it never ends.
    pub finding: Availability,
}

impl Scan {
    /// One that is over.
    pub fn of(finding: Availability) -> Self {
        Self { ends: Timestamp::MIN, finding }
    }
}

impl File {
    pub fn availability(&self, now: Timestamp) -> Availability {
        if now < self.scan.ends { Availability::Pending } else { self.scan.finding }
    }
}

#[derive(Default)]
struct Kept {
    files: HashMap<Uuid, File>,
    oldest_first: VecDeque<Uuid>,
    with_content_oldest_first: VecDeque<Uuid>,
    content_bytes: usize,
    /// By file name, what scans of later uploads will find.
    findings: HashMap<String, Availability>,
}

impl Kept {
    fn forget_content(&mut self, id: Uuid) {
        if let Some(content) = self.files.get_mut(&id).and_then(|file| file.content.take()) {
            self.content_bytes -= content.len();
        }
    }
}

pub struct Files {
    kept: Mutex<Kept>,
    max: usize,
    content_bytes_max: usize,
    scan_delay: Duration,
}

impl Files {
    pub fn new(max: usize, content_bytes_max: usize, scan_delay: Duration) -> Self {
        Self { kept: Mutex::default(), max, content_bytes_max, scan_delay }
    }

    pub fn reset(&self) {
        *self.kept.lock() = Kept::default();
    }

    /// The files of the published samples, long since scanned.
    pub fn seed(&self) {
        for (id, name, content_type, meant_for, content) in demonstration::FILES {
            let id: Uuid = id.parse().expect("the file ids of the demonstration are literals");
            let linked = demonstration::REFERRALS
                .iter()
                .any(|seed| seed.ubrn == meant_for && seed.letters.iter().any(|letter| letter.parse() == Ok(id)));
            self.insert(
                id,
                File {
                    name: name.into(),
                    content_type: content_type.into(),
                    size: content.len(),
                    content: Some(Bytes::from_static(content)),
                    meant_for: Some(Ubrn(meant_for)),
                    linked_to: linked.then_some(Ubrn(meant_for)),
                    scan: Scan::of(Availability::Available),
                },
            );
        }
    }

    /// Forgets the oldest file when there are too many, and the oldest contents when they are too large.
    pub fn insert(&self, id: Uuid, file: File) {
        let mut kept = self.kept.lock();
        kept.content_bytes += file.content.as_ref().map_or(0, Bytes::len);
        kept.files.insert(id, file);
        kept.oldest_first.push_back(id);
        kept.with_content_oldest_first.push_back(id);
        while kept.content_bytes > self.content_bytes_max
            && let Some(oldest) = kept.with_content_oldest_first.pop_front()
        {
            kept.forget_content(oldest);
        }
        if kept.oldest_first.len() > self.max
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.forget_content(oldest);
            kept.files.remove(&oldest);
        }
        // Where contents are small the files go first, and their entries in the second queue with them.
        while kept.with_content_oldest_first.len() > self.max {
            kept.with_content_oldest_first.pop_front();
        }
    }

    pub fn get(&self, id: Uuid) -> Option<File> {
        self.kept.lock().files.get(&id).cloned()
    }

    /// Of a file with this name that is uploaded now.
    pub fn scan(&self, name: &str, now: Timestamp) -> Scan {
        let finding = self.kept.lock().findings.get(name).copied().unwrap_or(Availability::Available);
        Scan { ends: now.checked_add(self.scan_delay).unwrap_or(Timestamp::MAX), finding }
    }

    /// What the scan of each file with this name will find that is uploaded from now on.
    pub fn set_finding(&self, name: &str, finding: Availability) {
        self.kept.lock().findings.insert(name.to_owned(), finding);
    }

    pub fn link(&self, id: Uuid, to: Option<Ubrn>) {
        if let Some(file) = self.kept.lock().files.get_mut(&id) {
            file.linked_to = to;
        }
    }

    /// Ends the scan. False when there is no such file.
    pub fn set_verdict(&self, id: Uuid, verdict: Availability) -> bool {
        self.kept.lock().files.get_mut(&id).map(|file| file.scan = Scan::of(verdict)).is_some()
    }

    pub fn count(&self) -> usize {
        self.kept.lock().files.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_contents_go_first_then_the_oldest_files() {
        let files = Files::new(3, 10, Duration::ZERO);
        let ids: Vec<Uuid> = (0..5).map(Uuid::from_u128).collect();
        for id in &ids {
            let file = File {
                name: "letter.pdf".into(),
                content_type: "application/pdf".into(),
                size: 6,
                content: Some(Bytes::from_static(b"letter")),
                meant_for: None,
                linked_to: None,
                scan: Scan::of(Availability::Available),
            };
            files.insert(*id, file);
        }
        let kept: Vec<Option<bool>> = ids.iter().map(|id| files.get(*id).map(|file| file.content.is_some())).collect();
        assert_eq!(kept, [None, None, Some(false), Some(false), Some(true)]);
    }
}
