//! Which target belongs to which wave.

use super::facts::Fact;
use super::settings::Wave;
use crate::services::selector::selects;

/// The wave of each target: the first that takes it.
///
/// A wave with a number takes those whose names have the smallest digests: a spread over the fleet that stays the same
/// from one look to the next, and changes little when targets come and go.
pub fn membership(waves: &[Wave], targets: &[Fact<'_>]) -> Vec<usize> {
    let last = waves.len().saturating_sub(1);
    let mut of = vec![last; targets.len()];
    let mut left: Vec<usize> = (0..targets.len()).collect();
    for (number, wave) in waves.iter().enumerate() {
        let takes =
            |at: &usize| wave.selector.is_none() || selects(wave.selector.as_ref(), targets[*at].labels);
        let (mut taken, mut rest): (Vec<_>, Vec<_>) = left.into_iter().partition(takes);
        if let Some(edges) = wave.edges {
            taken.sort_by_cached_key(|at| (spread(targets[*at].name), *at));
            rest.extend(taken.split_off(edges.ceil(targets.len()).min(taken.len())));
            rest.sort_unstable();
        }
        taken.iter().for_each(|at| of[*at] = number);
        left = rest;
    }
    of
}

/// A digest that spreads names evenly and is the same everywhere and always (FNV-1a, its bits mixed as MurmurHash3 does).
fn spread(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
