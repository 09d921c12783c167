//! Randomness as an argument, so that a simulation replays from its seed (invariant 12).

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A number below `bound`, or 0 when `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes).checked_rem(bound).unwrap_or(0)
    }
}

/// The operating system's randomness; the only kind fit for keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        // Fails only where the system has no source of randomness at all; nothing safe can be done then.
        getrandom::fill(bytes).expect("the operating system provides randomness");
    }
}

/// An endless stream of bytes from a seed, for simulations.
#[derive(Debug)]
pub struct SeededEntropy(blake3::OutputReader);

impl SeededEntropy {
    /// The stream of that seed.
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("skein seeded entropy v1");
        hasher.update(&seed.to_le_bytes());
        Self(hasher.finalize_xof())
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}
