//! How long to stay away from a broker, or a hospital system, that failed.

use std::time::Duration;

use crate::environment::Environment;

const BASE: Duration = Duration::from_millis(250);
const CEILING: Duration = Duration::from_secs(30);

/// Doubles from 250 ms to 30 s, each time somewhere in its upper half, so that many gateways don't
/// come back at one instant.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It works again: the next failure starts at the beginning.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    pub fn next(&mut self, environment: &Environment) -> Duration {
        let whole = BASE.saturating_mul(1 << self.failures.min(16)).min(CEILING);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + environment.fraction() / 2.0)
    }

    /// Waits for [`Self::next`]; false if the gateway is asked to stop meanwhile.
    pub async fn wait(&mut self, environment: &Environment) -> bool {
        let delay = self.next(environment);
        tokio::select! {
            biased;
            () = environment.shutdown().cancelled() => false,
            () = environment.sleep(delay) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pause_doubles_up_to_its_ceiling_and_starts_again_after_a_success() {
        let environment = Environment::simulated(3, jiff::Timestamp::UNIX_EPOCH);
        let mut backoff = Backoff::default();
        for millis in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let whole = Duration::from_millis(millis);
            let pause = backoff.next(&environment);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next(&environment) <= BASE);
    }
}
