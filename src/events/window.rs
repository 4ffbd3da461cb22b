//! Which events may be sent now: several at once, but of each thread one after the other.
//!
//! Enters: events in commit order, confirmations, refusals. Leaves: the next event to send. Guarantees: an
//! event is sent only when everything before it in its thread is confirmed and noted, so that a refusal
//! or a lost connection never lets a later event of a thread overtake; what is held is bounded.

use std::collections::{BTreeMap, HashSet, VecDeque};

use tokio::time::Instant;

use crate::store::StoredEvent;

pub struct Window {
    in_flight_max: usize,
    /// Fetched, not sent; in commit order.
    waiting: VecDeque<StoredEvent>,
    in_flight: BTreeMap<u64, Sent>,
    /// Threads with an event in flight.
    busy: HashSet<String>,
    /// Everything up to here was fetched.
    position: u64,
}

struct Sent {
    event: StoredEvent,
    at: Instant,
}

/// Fetched ahead for each event in flight, so that one busy thread leaves work for the others.
const AHEAD: usize = 4;

impl Window {
    pub fn new(in_flight_max: usize) -> Self {
        Self {
            in_flight_max: in_flight_max.max(1),
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            busy: HashSet::new(),
            position: 0,
        }
    }

    /// Where to go on reading the outbox. From the beginning when nothing is in hand, because only what
    /// is unconfirmed is left there.
    pub fn position(&self) -> u64 {
        if self.is_empty() { 0 } else { self.position }
    }

    /// How many more may be fetched.
    pub fn room(&self) -> usize {
        (self.in_flight_max * AHEAD).saturating_sub(self.waiting.len())
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Since when the broker owes an answer, to whatever was sent first.
    pub fn oldest_sent_at(&self) -> Option<Instant> {
        self.in_flight.values().map(|sent| sent.at).min()
    }

    pub fn fetched(&mut self, events: Vec<StoredEvent>) {
        if let Some(last) = events.last() {
            self.position = last.position;
        }
        self.waiting.extend(events);
    }

    /// The next event to send, which is in flight from now on.
    pub fn next(&mut self, now: Instant) -> Option<StoredEvent> {
        if self.in_flight.len() >= self.in_flight_max {
            return None;
        }
        // The first waiting event of a thread that is not busy is that thread's oldest: earlier ones
        // would be found first.
        let index = self.waiting.iter().position(|event| !self.busy.contains(&event.thread))?;
        let event = self.waiting.remove(index)?;
        self.busy.insert(event.thread.clone());
        self.in_flight.insert(event.position, Sent { event: event.clone(), at: now });
        Some(event)
    }

    /// Confirmed by the broker and noted by the store.
    pub fn confirmed(&mut self, position: u64) {
        if let Some(Sent { event, .. }) = self.in_flight.remove(&position) {
            self.busy.remove(&event.thread);
        }
    }

    /// Refused by the broker: back to its place in the order.
    pub fn refused(&mut self, position: u64) {
        if let Some(Sent { event, .. }) = self.in_flight.remove(&position) {
            self.busy.remove(&event.thread);
            let index = self.waiting.partition_point(|waiting| waiting.position < position);
            self.waiting.insert(index, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::command::EventId;

    fn event(position: u64, thread: &str) -> StoredEvent {
        StoredEvent {
            position,
            id: EventId(uuid::Uuid::from_u128(u128::from(position))),
            name: "ReferralCreated".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            source: "northmoor".into(),
            subject: String::new(),
            thread: thread.into(),
            sequence: position,
            data: Value::Null,
        }
    }

    fn sent(window: &mut Window) -> Vec<u64> {
        std::iter::from_fn(|| window.next(Instant::now())).map(|event| event.position).collect()
    }

    #[test]
    fn a_thread_waits_for_its_own_and_for_no_other() {
        let mut window = Window::new(8);
        window.fetched(vec![event(1, "a"), event(2, "a"), event(3, "b"), event(4, "a")]);
        assert_eq!(sent(&mut window), [1, 3]);
        window.confirmed(1);
        assert_eq!(sent(&mut window), [2]);
        window.confirmed(3);
        assert_eq!(sent(&mut window), [] as [u64; 0]);
        window.confirmed(2);
        assert_eq!(sent(&mut window), [4]);
    }

    #[test]
    fn a_refused_event_goes_again_before_what_follows_it() {
        let mut window = Window::new(8);
        window.fetched(vec![event(1, "a"), event(2, "a"), event(3, "b")]);
        assert_eq!(sent(&mut window), [1, 3]);
        window.refused(3);
        window.refused(1);
        assert_eq!(sent(&mut window), [1, 3]);
    }

    #[test]
    fn reading_starts_again_at_the_beginning_when_nothing_is_in_hand() {
        let mut window = Window::new(8);
        window.fetched(vec![event(5, "a")]);
        assert_eq!(window.position(), 5);
        assert_eq!(sent(&mut window), [5]);
        window.confirmed(5);
        assert_eq!(window.position(), 0);
    }

    #[test]
    fn later_confirmations_do_not_hide_one_that_is_missing() {
        let mut window = Window::new(8);
        let began = Instant::now();
        let after = |seconds| began + std::time::Duration::from_secs(seconds);
        window.fetched(vec![event(1, "a"), event(2, "b"), event(3, "c")]);
        for second in 0..3 {
            assert!(window.next(after(second)).is_some());
        }
        assert_eq!(window.oldest_sent_at(), Some(began));
        window.confirmed(2);
        window.confirmed(3);
        assert_eq!(window.oldest_sent_at(), Some(began));
        // Sent again, it is waited for anew.
        window.refused(1);
        assert_eq!(window.oldest_sent_at(), None);
        assert!(window.next(after(9)).is_some());
        assert_eq!(window.oldest_sent_at(), Some(after(9)));
    }

    proptest! {
        /// However the broker answers, each thread's events are confirmed in their order, and all of them.
        #[test]
        fn threads_keep_their_order_under_any_answers(
            threads in proptest::collection::vec(0u8..4, 1..60),
            answers in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..400),
            in_flight_max in 1usize..6,
        ) {
            let mut window = Window::new(in_flight_max);
            let mut left: VecDeque<_> =
                threads.iter().zip(1u64..).map(|(t, p)| event(p, &t.to_string())).collect();
            let mut flying: Vec<StoredEvent> = Vec::new();
            let mut done: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            let mut answers = answers.into_iter();
            while !left.is_empty() || !window.is_empty() {
                let room = window.room().min(left.len());
                window.fetched(left.drain(..room).collect());
                flying.extend(std::iter::from_fn(|| window.next(Instant::now())));
                prop_assert!(flying.len() <= in_flight_max);
                let (ack, which) = answers.next().map_or((true, 0), |(ack, i)| (ack, i.index(flying.len())));
                let event = flying.remove(which);
                if ack {
                    window.confirmed(event.position);
                    done.entry(event.thread).or_default().push(event.position);
                } else {
                    window.refused(event.position);
                }
            }
            prop_assert_eq!(done.values().map(Vec::len).sum::<usize>(), threads.len());
            for positions in done.values() {
                prop_assert!(positions.is_sorted());
            }
        }
    }
}
