//! How bad it is: faults are drawn while it storms, and none any more once it is calm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chance::Chance;

#[derive(Clone)]
pub struct Weather {
    chance: Chance,
    is_calm: Arc<AtomicBool>,
}

impl Weather {
    pub fn new(chance: Chance) -> Self {
        Self { chance, is_calm: Arc::default() }
    }

    /// The same, with luck of its own.
    pub fn with(&self, chance: Chance) -> Self {
        Self { chance, is_calm: self.is_calm.clone() }
    }

    pub fn calms(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
    }

    pub fn strikes(&self, percent: u32) -> bool {
        !self.is_calm.load(Ordering::Relaxed) && self.chance.percent(percent)
    }

    pub fn chance(&self) -> &Chance {
        &self.chance
    }
}
