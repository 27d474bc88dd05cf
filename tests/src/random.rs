//! Choices that repeat themselves for the same seed, so that any failure can be run again.

/// Names a seed to run again.
pub const SEED: &str = "PORTCULLIS_TEST_SEED";

/// A generator (PCG's multiplier, upper bits).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed and a number of one who chooses by himself.
    pub fn new(seed: u64, chooser: u64) -> Self {
        let mut random = Self(seed ^ chooser.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.below(2);
        random
    }

    /// The seed that the environment names, or else the one that is given.
    pub fn seed(usual: u64) -> u64 {
        std::env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    }

    /// A number from 0 to before `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    /// One of several.
    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(from.len() as u64)).unwrap_or_default();
        &from[place]
    }
}
