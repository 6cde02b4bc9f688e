//! When a message is tried again. Pure but for chance.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The wait after so many tries that failed: the first of the range, doubled after each try up to the last of it, with 25 %
/// of chance.
pub(super) fn wait(range: (Duration, Duration), attempts: u32) -> Duration {
    let doubled = range.0.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(range.1).mul_f64(0.75 + chance() * 0.5)
}

/// From 0 to 1.
fn chance() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_range() {
        let range = (Duration::from_secs(300), Duration::from_secs(14_400));
        for (attempts, seconds) in
            [(0, 300.0), (1, 300.0), (2, 600.0), (3, 1_200.0), (7, 14_400.0), (u32::MAX, 14_400.0)]
        {
            let wait = wait(range, attempts).as_secs_f64();
            assert!((seconds * 0.75..=seconds * 1.25).contains(&wait), "{attempts}: {wait}");
        }
    }
}
