//! Plays the queue forward: who is claimed, and whose calls leave when, if nothing comes and nothing goes wrong.
//!
//! Enters: everything that waits or is in hand, the hands, and the pace of each application. Leaves: when each makes
//! its first call, and when each class has ended. Guarantees: no clock, no store; as many steps as there are calls.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use super::line::Line;
use crate::command::{Class, CommandId};
use crate::delivery::pace::{OLDEST_TURN, Speed};
use crate::store::OLDEST_EVERY;

/// A command as it stands when the play begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrant {
    pub(super) id: CommandId,
    /// The order of arrival.
    pub(super) number: i64,
    pub(super) thread: i64,
    pub(super) class: Class,
    /// Index of the application that calls for it.
    pub(super) application: usize,
    /// How many it will make.
    pub(super) calls: u32,
    pub(super) stands: Stands,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    Ready,
    /// Behind others of its thread.
    Held,
    Running,
    /// May be claimed then.
    Due(Duration),
}

pub(super) struct Scene {
    /// Commands that are carried out at once, by all instances together.
    pub(super) hands: usize,
    /// Of each application; `None`: as fast as it goes.
    pub(super) speeds: Vec<Option<Speed>>,
    /// From a call's departure to what follows it.
    pub(super) answer: Duration,
}

/// All times are from the beginning of the play.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) first_calls: HashMap<CommandId, Duration>,
    pub(super) ends: BTreeMap<Class, Duration>,
}

struct Play<'a> {
    entrants: &'a [Entrant],
    scene: &'a Scene,
    calls_left: Vec<u32>,
    /// The order in which they came into hands.
    begun: Vec<i64>,
    claimed: i64,
    free: usize,
    line: Line,
    paces: Vec<Paced>,
    followers: HashMap<i64, BTreeMap<i64, usize>>,
    /// What happens by itself: when, and to whom.
    ahead: BinaryHeap<Reverse<(Duration, usize)>>,
    played: Played,
}

struct Paced {
    waiting: Line,
    next: Duration,
}

pub(super) fn play(entrants: &[Entrant], scene: &Scene) -> Played {
    let paces = scene.speeds.iter().map(|_| Paced { waiting: Line::new(OLDEST_TURN), next: Duration::ZERO });
    let mut play = Play {
        entrants,
        scene,
        calls_left: entrants.iter().map(|entrant| entrant.calls).collect(),
        begun: vec![0; entrants.len()],
        claimed: 0,
        free: scene.hands,
        line: Line::new(u64::from(OLDEST_EVERY)),
        paces: paces.collect(),
        followers: HashMap::new(),
        ahead: BinaryHeap::new(),
        played: Played::default(),
    };
    play.take_places();
    play.claim(Duration::ZERO);
    while play.step() {}
    play.played
}

impl Play<'_> {
    fn take_places(&mut self) {
        for (index, entrant) in self.entrants.iter().enumerate() {
            match entrant.stands {
                Stands::Ready => self.line.join(entrant.class, entrant.number, index),
                Stands::Held => _ = self.followers.entry(entrant.thread).or_default().insert(entrant.number, index),
                Stands::Due(at) => self.ahead.push(Reverse((at, index))),
                Stands::Running => {
                    self.free = self.free.saturating_sub(1);
                    self.begin(index, Duration::ZERO);
                }
            }
        }
    }

    fn claim(&mut self, now: Duration) {
        while self.free > 0 {
            let Some(index) = self.line.next() else { return };
            self.free -= 1;
            self.begin(index, now);
        }
    }

    fn begin(&mut self, index: usize, now: Duration) {
        self.begun[index] = self.claimed;
        self.claimed += 1;
        match self.calls_left[index] {
            0 => {
                self.played.first_calls.insert(self.entrants[index].id, now);
                self.ahead.push(Reverse((now, index)));
            }
            _ => self.ask_for_leave(index),
        }
    }

    fn ask_for_leave(&mut self, index: usize) {
        let Entrant { class, application, .. } = self.entrants[index];
        self.paces[application].waiting.join(class, self.begun[index], index);
    }

    /// The next thing that happens; false if nothing does.
    fn step(&mut self) -> bool {
        let waited_for = self.paces.iter().enumerate().filter(|(_, pace)| !pace.waiting.is_empty());
        let leave = waited_for.map(|(application, pace)| (pace.next, application)).min();
        let happens = self.ahead.peek().map(|Reverse((at, _))| *at);
        match (leave, happens) {
            (None, None) => return false,
            (Some((at, application)), happens) if happens.is_none_or(|happens| at < happens) => {
                self.depart(application, at);
            }
            _ => {
                if let Some(Reverse((at, index))) = self.ahead.pop() {
                    self.go_on(index, at);
                }
            }
        }
        true
    }

    fn depart(&mut self, application: usize, at: Duration) {
        let Some(index) = self.paces[application].waiting.next() else { return };
        let gap = self.scene.speeds[application].map_or(Duration::ZERO, |speed| speed.gap_after(at));
        self.paces[application].next = at + gap;
        self.played.first_calls.entry(self.entrants[index].id).or_insert(at);
        self.calls_left[index] -= 1;
        self.ahead.push(Reverse((at + self.scene.answer, index)));
    }

    /// One is answered, or due.
    fn go_on(&mut self, index: usize, now: Duration) {
        let entrant = self.entrants[index];
        let has_begun = entrant.stands == Stands::Running || self.played.first_calls.contains_key(&entrant.id);
        if !has_begun {
            self.line.join(entrant.class, entrant.number, index);
        } else if self.calls_left[index] > 0 {
            self.come_back(entrant.application, now);
            self.ask_for_leave(index);
        } else {
            self.end(entrant, now);
        }
        self.claim(now);
        self.come_back(entrant.application, now);
    }

    /// A pace that nobody waited for does not give the past away.
    fn come_back(&mut self, application: usize, now: Duration) {
        let pace = &mut self.paces[application];
        pace.next = pace.next.max(now);
    }

    fn end(&mut self, entrant: Entrant, now: Duration) {
        self.free += 1;
        let end = self.played.ends.entry(entrant.class).or_default();
        *end = (*end).max(now);
        if let Some(followers) = self.followers.get_mut(&entrant.thread)
            && let Some((number, next)) = followers.pop_first()
        {
            self.line.join(self.entrants[next].class, number, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_SECOND: f64 = 10.0;

    fn entrant(number: i64, class: Class, calls: u32) -> Entrant {
        let id = CommandId(uuid::Uuid::from_u128(u128::from(number.unsigned_abs())));
        Entrant { id, number, thread: number, class, application: 0, calls, stands: Stands::Ready }
    }

    fn scene(hands: usize) -> Scene {
        let speed = Speed { now: PER_SECOND, full: PER_SECOND };
        Scene { hands, speeds: vec![Some(speed), Some(speed)], answer: Duration::ZERO }
    }

    fn first_call(played: &Played, entrant: Entrant) -> f64 {
        played.first_calls.get(&entrant.id).expect("it is sent").as_secs_f64()
    }

    #[test]
    fn calls_leave_at_the_pace_and_what_has_begun_ends_first() {
        let entrants = [entrant(1, Class::Routine, 3), entrant(2, Class::Routine, 1)];
        let played = play(&entrants, &scene(64));
        assert_eq!(first_call(&played, entrants[0]), 0.0);
        assert!((first_call(&played, entrants[1]) - 0.3).abs() < 1e-6, "{played:?}");
    }

    #[test]
    fn the_urgent_pass_and_the_oldest_get_their_turn() {
        let old = entrant(1, Class::Bulk, 1);
        let mut entrants = vec![old];
        entrants.extend((2..200).map(|number| entrant(number, Class::Urgent, 1)));
        let played = play(&entrants, &scene(1));
        assert!((first_call(&played, old) - 0.7).abs() < 1e-6, "the eighth: {played:?}");
        assert!((played.ends[&Class::Urgent].as_secs_f64() - 19.8).abs() < 1e-6, "{:?}", played.ends);
    }

    #[test]
    fn a_follower_comes_after_what_holds_it_and_never_if_that_stays() {
        let head = entrant(1, Class::Routine, 2);
        let follower = Entrant { thread: 1, stands: Stands::Held, ..entrant(2, Class::Routine, 1) };
        let stuck = Entrant { thread: 77, stands: Stands::Held, ..entrant(3, Class::Routine, 1) };
        let played = play(&[head, follower, stuck], &scene(64));
        assert!((first_call(&played, follower) - 0.2).abs() < 1e-6, "{played:?}");
        assert!(!played.first_calls.contains_key(&stuck.id));
    }

    #[test]
    fn what_is_due_later_waits_and_another_application_has_its_own_pace() {
        let due = Entrant { stands: Stands::Due(Duration::from_secs(5)), ..entrant(1, Class::Routine, 1) };
        let other = Entrant { application: 1, ..entrant(50, Class::Routine, 1) };
        let mut entrants = vec![due, other];
        entrants.extend((2..12).map(|number| entrant(number, Class::Routine, 1)));
        let played = play(&entrants, &scene(64));
        assert_eq!(first_call(&played, due), 5.0);
        assert_eq!(first_call(&played, other), 0.0);
    }

    #[test]
    fn slow_answers_keep_hands_busy() {
        let entrants: Vec<_> = (1..=20).map(|number| entrant(number, Class::Routine, 1)).collect();
        let played = play(&entrants, &Scene { answer: Duration::from_secs(2), ..scene(2) });
        let last = first_call(&played, entrants[19]);
        assert!((17.9..=19.1).contains(&last), "two hands make one call a second: {last}");
    }
}
