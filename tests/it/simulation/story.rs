//! What happened in a world, a line each, so that a seed that fails can be read, and two runs of it compared.

use std::sync::Arc;

use ers_gateway::environment::Environment;
use jiff::Timestamp;
use parking_lot::Mutex;

#[derive(Clone)]
pub struct Story {
    lines: Arc<Mutex<Vec<String>>>,
    environment: Environment,
    began: Timestamp,
}

impl Story {
    pub fn new(environment: &Environment) -> Self {
        Self { lines: Arc::default(), began: environment.now(), environment: environment.clone() }
    }

    pub fn tell(&self, what: impl AsRef<str>) {
        let millis = self.environment.now().duration_since(self.began).as_millis();
        self.lines.lock().push(format!("{:>8}.{:03} s  {}", millis / 1_000, millis % 1_000, what.as_ref()));
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }
}
