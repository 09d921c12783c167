//! Waiting longer after each failure, differently for everyone.

use std::time::Duration;

use protocol::id::Digest;

/// The wait after `failures` failures in a row: doubling from `base` to `cap`, of which between half and the
/// whole is taken. The jitter comes from `seed`, so it differs between agents and needs no randomness.
pub(crate) fn delay(base: Duration, cap: Duration, failures: u32, seed: &str) -> Duration {
    let full = base.saturating_mul(1u32 << failures.min(20)).min(cap);
    let digest = Digest::of(format!("{seed}/{failures}").as_bytes());
    let fraction = f64::from(u16::from_be_bytes([digest.0[0], digest.0[1]])) / f64::from(u16::MAX);
    full.mul_f64(0.5 + 0.5 * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_differ_between_seeds() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(30));
        for failures in 0..40 {
            let wait = delay(base, cap, failures, "a");
            let full = base.saturating_mul(1 << failures.min(20)).min(cap);
            assert!(wait >= full / 2 && wait <= full, "{failures}: {wait:?}");
        }
        assert_ne!(delay(base, cap, 3, "a"), delay(base, cap, 3, "b"));
    }
}
