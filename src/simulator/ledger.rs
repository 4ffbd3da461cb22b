//! What e-RS did, for whoever wants to compare it with what others say: every call, and every referral made.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::exchange::Delivery;
use super::referral::Ubrn;
use super::settings::Retention;

/// One call as e-RS saw it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counts from 1 and never repeats, whatever is forgotten.
    pub number: u64,
    pub at: Timestamp,
    /// `A011`, `token`, or `none` for a path that nobody serves.
    pub operation: &'static str,
    pub client_id: Option<Box<str>>,
    pub user: Option<Box<str>>,
    pub correlation_id: Option<Box<str>>,
    pub status: u16,
    #[serde(serialize_with = "as_text")]
    pub ubrn: Option<Ubrn>,
    /// SHA-256, hexadecimal.
    pub body_sha256: Option<Box<str>>,
    /// False when the answer was lost on purpose.
    pub delivered: bool,
}

/// One referral that came into being.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Creation {
    #[serde(serialize_with = "display")]
    pub ubrn: Ubrn,
    pub nhs_number: Box<str>,
    pub services: Box<[Box<str>]>,
    pub priority: &'static str,
    pub at: Timestamp,
    pub correlation_id: Option<Box<str>>,
}

fn as_text<S: serde::Serializer>(ubrn: &Option<Ubrn>, serializer: S) -> Result<S::Ok, S::Error> {
    match ubrn {
        Some(ubrn) => serializer.collect_str(ubrn),
        None => serializer.serialize_none(),
    }
}

fn display<S: serde::Serializer>(ubrn: &Ubrn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(ubrn)
}

#[derive(Default)]
struct Recent {
    entries: VecDeque<Entry>,
    written: u64,
}

pub struct Ledger {
    recent: Mutex<Recent>,
    creations: Mutex<VecDeque<Creation>>,
    by_call: Mutex<HashMap<(&'static str, u16), u64>>,
    created: AtomicU64,
    lost: AtomicU64,
    retention: Retention,
}

impl Ledger {
    pub fn new(retention: Retention) -> Self {
        Self {
            recent: Mutex::default(),
            creations: Mutex::default(),
            by_call: Mutex::default(),
            created: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            retention,
        }
    }

    pub fn reset(&self) {
        self.recent.lock().entries.clear();
        self.creations.lock().clear();
        self.by_call.lock().clear();
        self.created.store(0, Ordering::Relaxed);
        self.lost.store(0, Ordering::Relaxed);
    }

    /// Should entries carry correlation ids and digests?
    pub fn in_full(&self) -> bool {
        self.retention.ledger_in_full
    }

    /// Numbers the entry and keeps it; the oldest is forgotten when there are too many.
    pub fn record(&self, mut entry: Entry, delivery: Delivery) {
        *self.by_call.lock().entry((entry.operation, entry.status)).or_default() += 1;
        entry.delivered = delivery == Delivery::Sent;
        if !entry.delivered {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        let mut recent = self.recent.lock();
        recent.written += 1;
        entry.number = recent.written;
        push(&mut recent.entries, entry, self.retention.ledger_entries_max);
    }

    pub fn record_creation(&self, creation: Creation) {
        self.created.fetch_add(1, Ordering::Relaxed);
        push(&mut self.creations.lock(), creation, self.retention.creations_max);
    }

    /// The entries with higher numbers than `after`, oldest first.
    pub fn entries(&self, after: u64, max: usize) -> Vec<Entry> {
        let recent = self.recent.lock();
        let first = recent.entries.partition_point(|entry| entry.number <= after);
        recent.entries.iter().skip(first).take(max).cloned().collect()
    }

    /// A-numbers in order of arrival, the token endpoint left out.
    pub fn calls(&self) -> Vec<&'static str> {
        let recent = self.recent.lock();
        recent.entries.iter().map(|entry| entry.operation).filter(|operation| *operation != "token").collect()
    }

    pub fn creations(&self) -> Vec<Creation> {
        self.creations.lock().iter().cloned().collect()
    }

    /// Referrals of the same patient to the same services with the same priority, where there are several.
    pub fn duplicates(&self) -> Vec<Vec<Creation>> {
        let mut groups: HashMap<_, Vec<Creation>> = HashMap::new();
        for creation in self.creations() {
            let key = (creation.nhs_number.clone(), creation.services.clone(), creation.priority);
            groups.entry(key).or_default().push(creation);
        }
        let mut several: Vec<Vec<Creation>> = groups.into_values().filter(|group| group.len() > 1).collect();
        several.sort_unstable_by_key(|group| group[0].ubrn);
        several
    }

    pub fn counters(&self) -> Value {
        let by_call = self.by_call.lock();
        let mut calls: Vec<_> = by_call.iter().collect();
        calls.sort_unstable();
        let calls: Vec<Value> = calls
            .into_iter()
            .map(|((operation, status), count)| json!({"operation": operation, "status": status, "count": count}))
            .collect();
        json!({
            "calls": calls,
            "referrals_created": self.created.load(Ordering::Relaxed),
            "answers_lost": self.lost.load(Ordering::Relaxed),
        })
    }

    pub fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if max == 0 {
        return;
    }
    while queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}
