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
    /// Absent where the simulator is set not to keep contents.
    pub content: Option<Bytes>,
    /// `NHSD-eRS-Referral-ID` of the upload.
    pub meant_for: Option<Ubrn>,
    pub linked_to: Option<Ubrn>,
    pub uploaded: Timestamp,
    /// A verdict that somebody has set; else the scan's delay decides.
    pub verdict: Option<Availability>,
}

impl File {
    pub fn availability(&self, now: Timestamp, scan_delay: Duration) -> Availability {
        match self.verdict {
            Some(verdict) => verdict,
            None if now.duration_since(self.uploaded).unsigned_abs() < scan_delay => Availability::Pending,
            None => Availability::Available,
        }
    }
}

#[derive(Default)]
struct Kept {
    files: HashMap<Uuid, File>,
    oldest_first: VecDeque<Uuid>,
}

pub struct Files {
    kept: Mutex<Kept>,
    max: usize,
    contents: bool,
    scan_delay: Duration,
}

impl Files {
    pub fn new(max: usize, contents: bool, scan_delay: Duration) -> Self {
        Self { kept: Mutex::default(), max, contents, scan_delay }
    }

    pub fn reset(&self) {
        *self.kept.lock() = Kept::default();
    }

    /// The files of the published samples, long since scanned.
    pub fn seed(&self, now: Timestamp) {
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
                    uploaded: now,
                    verdict: Some(Availability::Available),
                },
            );
        }
    }

    /// Forgets the oldest file when there are too many.
    pub fn insert(&self, id: Uuid, mut file: File) {
        if !self.contents {
            file.content = None;
        }
        let mut kept = self.kept.lock();
        kept.files.insert(id, file);
        kept.oldest_first.push_back(id);
        if kept.oldest_first.len() > self.max
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.files.remove(&oldest);
        }
    }

    pub fn get(&self, id: Uuid) -> Option<File> {
        self.kept.lock().files.get(&id).cloned()
    }

    pub fn availability(&self, file: &File, now: Timestamp) -> Availability {
        file.availability(now, self.scan_delay)
    }

    pub fn link(&self, id: Uuid, to: Option<Ubrn>) {
        if let Some(file) = self.kept.lock().files.get_mut(&id) {
            file.linked_to = to;
        }
    }

    /// False when there is no such file.
    pub fn set_verdict(&self, id: Uuid, verdict: Availability) -> bool {
        self.kept.lock().files.get_mut(&id).map(|file| file.verdict = Some(verdict)).is_some()
    }

    pub fn count(&self) -> usize {
        self.kept.lock().files.len()
    }
}
