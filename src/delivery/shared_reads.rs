//! Reads that several doubts may share: a worklist of thousands is not asked for once for each of a thousand doubts.
//!
//! Enters: good answers to the reads of settlings, by connection, path and body, with when they were begun. Leaves: the same
//! answers. Guarantees: nobody gets an answer that was begun before his own look was due, or too long ago; kept in memory
//! only, and no more than a few.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::ers::Response;
use crate::mapping::{CallBody, PreparedCall, ReplyBody};

/// Shorter than between two looks at one doubt, so that each look sees something new.
const FRESH: Duration = Duration::from_secs(15);
const READS_MAX: usize = 8;
/// As text; their trees take up to nine times as much.
const BYTES_MAX: usize = 16 << 20;

/// What is asked, and through which connection.
#[derive(PartialEq)]
struct Asked {
    connection: String,
    path: String,
    body: Value,
}

impl Asked {
    /// A search is for many; what a path alone names is for one.
    fn of(connection: &str, call: &PreparedCall) -> Option<Self> {
        let CallBody::Json(body) = &call.body else { return None };
        Some(Self { connection: connection.to_owned(), path: call.path.clone(), body: body.clone() })
    }
}

/// An answer with what it is known by at e-RS.
#[derive(Clone)]
pub(super) struct SharedRead {
    pub(super) begun: Instant,
    pub(super) correlation_id: String,
    pub(super) response: Response,
    /// That of the response: read once for all who look into it.
    pub(super) body: ReplyBody,
}

/// The oldest first.
#[derive(Default)]
pub(super) struct SharedReads(Mutex<Vec<(Asked, SharedRead)>>);

impl SharedReads {
    /// An answer to the same question that was begun at `not_before` or after.
    pub(super) fn get(
        &self,
        connection: &str,
        call: &PreparedCall,
        not_before: Instant,
        now: Instant,
    ) -> Option<SharedRead> {
        let asked = Asked::of(connection, call)?;
        let reads = self.0.lock();
        let read = reads.iter().rfind(|(other, _)| *other == asked).map(|(_, read)| read)?;
        let is_fresh = read.begun >= not_before && now.saturating_duration_since(read.begun) < FRESH;
        is_fresh.then(|| read.clone())
    }

    pub(super) fn put(&self, connection: &str, call: &PreparedCall, read: SharedRead) {
        let Some(asked) = Asked::of(connection, call) else { return };
        let now = read.begun;
        let mut reads = self.0.lock();
        reads.retain(|(other, read)| *other != asked && now.saturating_duration_since(read.begun) < FRESH);
        reads.push((asked, read));
        let bytes =
            |reads: &[(Asked, SharedRead)]| -> usize { reads.iter().map(|(_, read)| read.response.body.len()).sum() };
        while reads.len() > READS_MAX || bytes(&reads) > BYTES_MAX {
            reads.remove(0);
        }
    }

    /// Nobody is in doubt any more.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(selector: &str) -> PreparedCall {
        PreparedCall {
            step: "list".into(),
            call: "A008".into(),
            method: "POST".into(),
            path: "/STU3/ReferralRequest/$ers.fetchworklist".into(),
            headers: Vec::new(),
            body: CallBody::Json(json!({ "list": selector })),
            counts_for: None,
        }
    }

    fn read(begun: Instant, bytes: usize) -> SharedRead {
        let response = Response { status: 200, headers: Vec::new(), body: vec![b' '; bytes].into() };
        let body = ReplyBody::of(response.body.clone());
        SharedRead { begun, correlation_id: "read".into(), response, body }
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_answer_to_the_same_question_asked_late_enough_and_lately_is_shared() {
        let (reads, begun) = (SharedReads::default(), Instant::now());
        reads.put("ers", &list("A"), read(begun, 1));
        let second = Duration::from_secs(1);
        assert!(reads.get("ers", &list("A"), begun, begun + second).is_some());
        assert!(reads.get("ers", &list("B"), begun, begun + second).is_none(), "another list");
        assert!(reads.get("other", &list("A"), begun, begun + second).is_none(), "another connection");
        assert!(
            reads.get("ers", &list("A"), begun + second, begun + second).is_none(),
            "begun before the look was due"
        );
        assert!(reads.get("ers", &list("A"), begun, begun + FRESH).is_none(), "too old");
        reads.forget();
        assert!(reads.get("ers", &list("A"), begun, begun + second).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_kept_and_the_oldest_make_room() {
        let (reads, begun) = (SharedReads::default(), Instant::now());
        for number in 0..=READS_MAX {
            reads.put("ers", &list(&number.to_string()), read(begun, 1));
        }
        assert!(reads.get("ers", &list("0"), begun, begun).is_none());
        assert!(reads.get("ers", &list("1"), begun, begun).is_some());
        reads.put("ers", &list("big"), read(begun, BYTES_MAX));
        assert!(reads.get("ers", &list("1"), begun, begun).is_none());
        assert!(reads.get("ers", &list("big"), begun, begun).is_some());
        reads.put("ers", &list("bigger"), read(begun, BYTES_MAX + 1));
        assert!(reads.get("ers", &list("bigger"), begun, begun).is_none(), "one that is too long is not kept");
    }
}
