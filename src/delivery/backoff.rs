//! How long a command waits before it is tried again.

use std::time::Duration;

/// Time to wait before delivery attempt `attempt` (the first retry is 2): full jitter, doubling
/// from `base`, at most `ceiling`, and at least what e-RS asked for in `Retry-After`.
/// `fraction` is a random number in `0.0..1.0`.
pub fn delay(attempt: u32, base: Duration, ceiling: Duration, asked: Option<Duration>, fraction: f64) -> Duration {
    let doublings = attempt.saturating_sub(2).min(31);
    let most = base.saturating_mul(1 << doublings).min(ceiling);
    most.mul_f64(fraction.clamp(0.0, 1.0)).max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const CEILING: Duration = Duration::from_secs(300);

    #[test]
    fn the_longest_wait_doubles_up_to_the_ceiling() {
        for (attempt, seconds) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 4), (10, 256), (11, 300), (u32::MAX, 300)] {
            assert_eq!(delay(attempt, BASE, CEILING, None, 1.0), Duration::from_secs(seconds), "attempt {attempt}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(attempt: u32, base in 0u64..100_000, ceiling in 0u64..10_000_000,
                                       asked in proptest::option::of(0u64..10_000_000), fraction in 0.0f64..1.0) {
            let (base, ceiling) = (Duration::from_millis(base), Duration::from_millis(ceiling));
            let asked = asked.map(Duration::from_millis);
            let wait = delay(attempt, base, ceiling, asked, fraction);
            prop_assert!(wait >= asked.unwrap_or_default());
            prop_assert!(wait <= ceiling.max(asked.unwrap_or_default()));
        }
    }
}
