//! One seed, and what is drawn from it: each part of the world has a stream of its own, so that one part that draws more
//! does not change the luck of another.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

#[derive(Clone)]
pub struct Chance {
    random: Arc<Mutex<StdRng>>,
}

impl Chance {
    pub fn new(seed: u64, part: u64) -> Self {
        let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(part);
        Self { random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    /// True in so many of a hundred cases.
    pub fn percent(&self, percent: u32) -> bool {
        self.number(0..100) < u64::from(percent)
    }

    pub fn number(&self, range: Range<u64>) -> u64 {
        self.random.lock().random_range(range)
    }

    /// From 1 to `max`, small numbers as likely as large ones.
    pub fn magnitude(&self, max: u64) -> u64 {
        let exponent: f64 = self.random.lock().random();
        ((max as f64).powf(exponent)).round() as u64
    }

    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }
}
