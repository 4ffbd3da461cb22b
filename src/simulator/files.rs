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
    with_content_oldest_first: VecDeque<Uuid>,
    content_bytes: usize,
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
                uploaded: Timestamp::UNIX_EPOCH,
                verdict: None,
            };
            files.insert(*id, file);
        }
        let kept: Vec<Option<bool>> = ids.iter().map(|id| files.get(*id).map(|file| file.content.is_some())).collect();
        assert_eq!(kept, [None, None, Some(false), Some(false), Some(true)]);
    }
}
