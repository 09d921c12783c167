//! A sample, a series, a batch of series.

use serde::{Deserialize, Serialize};

use crate::{Labels, Millis};

/// The value that says "this series ended here": a NaN with bits of its own, as in Prometheus.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is [`STALE`].
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// A value at a time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Millis,
    /// What.
    pub value: f64,
}

impl Sample {
    /// A value at a time.
    pub fn new(at: Millis, value: f64) -> Self {
        Self { at, value }
    }
}

/// Equal bits: NaN equals itself, so that encodings can be compared.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Sample {}

/// A series and some of its samples, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Series {
    /// Its name.
    pub labels: Labels,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// Series that travel together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The series.
    pub series: Vec<Series>,
}

impl Batch {
    /// Samples in it.
    pub fn points(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }

    /// Time of the oldest and of the newest sample; `None` when there is none.
    pub fn span(&self) -> Option<(Millis, Millis)> {
        let times = || self.series.iter().flat_map(|series| series.samples.iter().map(|sample| sample.at));
        Some((times().min()?, times().max()?))
    }
}
